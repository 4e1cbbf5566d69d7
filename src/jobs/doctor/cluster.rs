//! Checks what a cluster needs of the mirror: every image, and a login if anonymous pulls are refused.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::{CheckResult, Deadline, DoctorCheck};
use crate::{
    endpoint::{Source, registry::Registries},
    error::{Failure, Kind},
    oci::{Mapping, Repository},
    problem::Side,
    request::Access,
    units,
};

/// How many missing images are named; the others are only counted.
const MAX_NAMED: usize = 5;

/// Images that the values already take from the mirror, as they do with the output of `values`.
pub(crate) struct Installed<'a> {
    pub(crate) mappings: &'a [Mapping],
    /// Why `sync` refuses to copy them.
    pub(crate) refusal: Option<&'a Failure>,
}

/// Whether the images are in the mirror, and who may pull them.
pub(crate) async fn images(
    access: &Access,
    destination: &Registries,
    mappings: &[Mapping],
    installed: &Installed<'_>,
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let all: Vec<Mapping> = mappings.iter().chain(installed.mappings).cloned().collect();
    if all.is_empty() {
        return Vec::new();
    }
    let (present, mut results): (_, Vec<CheckResult>) = match mirrored(destination, &all, deadline).await {
        Ok(Presence { present, missing }) => {
            let is_missing = |mapping: &&Mapping| missing.contains(mapping);
            let lacking: Vec<&Mapping> = installed.mappings.iter().filter(is_missing).collect();
            let results =
                [already_there(installed, &lacking), Some(presence(present.len(), &missing, &lacking))];
            (present.first().copied(), results.into_iter().flatten().collect())
        }
        // The push was refused as well, which is a separate problem.
        Err(failure) => {
            let message = format!("the mirror cannot be read: {}", failure.message);
            let refused =
                installed.refusal.cloned().map(|failure| CheckResult::failed(DoctorCheck::Names, failure));
            let untested = CheckResult::untested(DoctorCheck::Mirrored, message);
            (None, refused.into_iter().chain([untested]).collect::<Vec<_>>())
        }
    };
    let without_login = access.anonymous();
    let (anonymous, pull_secret) =
        tokio::join!(anonymous(&without_login, present, deadline), pull_secret(access, &all, deadline));
    results.push(anonymous);
    results.extend(pull_secret);
    results
}

/// Which images are in the mirror.
struct Presence<'a> {
    present: Vec<&'a Mapping>,
    missing: Vec<&'a Mapping>,
}

async fn mirrored<'a>(
    destination: &Registries,
    mappings: &'a [Mapping],
    deadline: &Deadline,
) -> Result<Presence<'a>, Failure> {
    let found = join_all(mappings.iter().map(|mapping| is_present(destination, mapping, deadline))).await;
    let mut presence = Presence { present: Vec::new(), missing: Vec::new() };
    for (mapping, found) in mappings.iter().zip(found) {
        if found? { presence.present.push(mapping) } else { presence.missing.push(mapping) }
    }
    Ok(presence)
}

/// Values that point at the mirror are right once their images are there. Before, they are a mistake: `sync` would have
/// no source.
fn already_there(installed: &Installed<'_>, lacking: &[&Mapping]) -> Option<CheckResult> {
    let refusal = installed.refusal?;
    if !lacking.is_empty() {
        return Some(CheckResult::failed(DoctorCheck::Names, refusal.clone()));
    }
    let count = match installed.mappings.len() {
        1 => "1 image is".to_owned(),
        count => format!("{count} images are"),
    };
    let message = format!(
        "{count} taken from the mirror by these values (for sync, render with the vendor's registry)"
    );
    Some(CheckResult::ok(DoctorCheck::Names, message))
}

/// Whether every image is in the mirror. `lacking` are missing images that the values take from the mirror.
fn presence(present: usize, missing: &[&Mapping], lacking: &[&Mapping]) -> CheckResult {
    let all = present + missing.len();
    if missing.is_empty() {
        return CheckResult::ok(DoctorCheck::Mirrored, format!("{all} of {all} images are in the mirror"));
    }
    if present == 0 && lacking.is_empty() {
        return CheckResult::untested(DoctorCheck::Mirrored, "no image is in the mirror yet");
    }
    let names: Vec<String> = missing.iter().map(|mapping| mapping.destination().clone()).collect();
    let message =
        format!("{present} of {all} images are in the mirror; missing: {}", units::named(&names, MAX_NAMED));
    let hint = if lacking.is_empty() {
        "run sync with the same images and --to"
    } else {
        "run sync with the vendor's registry in the values"
    };
    CheckResult::warning(DoctorCheck::Mirrored, message, hint)
}

async fn is_present(
    registries: &Registries,
    mapping: &Mapping,
    deadline: &Deadline,
) -> Result<bool, Failure> {
    let (location, target) = (mapping.repository.to_string(), mapping.target());
    let request = registries.manifest(&mapping.repository, &target);
    Ok(deadline.ask(Side::Destination, &location, request).await?.is_some())
}

/// Whether a cluster needs a pull secret. Only an image that is in the mirror shows it: registries answer 404 to
/// anonymous clients for what they hide and for what they lack.
async fn anonymous(anonymous: &Registries, present: Option<&Mapping>, deadline: &Deadline) -> CheckResult {
    let Some(mapping) = present else {
        let message = "the mirror has no image to test anonymous pulls with";
        return CheckResult::untested(DoctorCheck::Anonymous, message);
    };
    let registry = mapping.repository.registry();
    match is_present(anonymous, mapping, deadline).await {
        Ok(true) => {
            let message = format!("{registry} permits anonymous pulls: a cluster needs no pull secret");
            CheckResult::ok(DoctorCheck::Anonymous, message)
        }
        Err(failure) if failure.kind != Kind::Authentication => {
            CheckResult::untested(DoctorCheck::Anonymous, failure.message)
        }
        Ok(false) | Err(_) => {
            let message = format!("{registry} refuses anonymous pulls: a cluster needs a pull secret");
            CheckResult::ok(DoctorCheck::Anonymous, message)
        }
    }
}

/// Whether the login of `--authfile` alone reads each repository: permissions are per repository.
async fn pull_secret(access: &Access, mappings: &[Mapping], deadline: &Deadline) -> Option<CheckResult> {
    let secret = match access.pull_secret() {
        Ok(secret) => secret?,
        Err(failure) => return Some(CheckResult::failed(DoctorCheck::PullSecret, failure)),
    };
    let mut seen = BTreeSet::new();
    let repositories = mappings.iter().filter(|mapping| seen.insert(&mapping.repository));
    let answers = join_all(repositories.map(|mapping| reads(&secret, mapping, deadline))).await;
    let all = answers.len();
    let mut without = Vec::new();
    let mut refused = Vec::new();
    for answer in answers {
        match answer {
            Ok(Login::Reads) => {}
            Ok(Login::Absent(repository)) => without.push(repository.to_string()),
            Err(failure) => refused.push(failure),
        }
    }
    if let Some(first) = refused.into_iter().next() {
        let hint = "pass the content of the cluster's pull secret, or create a new one with pull-secret";
        return Some(CheckResult::failed(DoctorCheck::PullSecret, first.with_hint(hint)));
    }
    Some(if without.is_empty() {
        let message = format!("the login of --authfile reads {all} of {all} repositories of the mirror");
        CheckResult::ok(DoctorCheck::PullSecret, message)
    } else {
        let message = format!("--authfile has no login for {}", units::named(&without, MAX_NAMED));
        CheckResult::untested(DoctorCheck::PullSecret, message)
    })
}

enum Login<'a> {
    /// The registry accepted it.
    Reads,
    /// The file has none for this repository.
    Absent(&'a Repository),
}

async fn reads<'a>(
    secret: &Registries,
    mapping: &'a Mapping,
    deadline: &Deadline,
) -> Result<Login<'a>, Failure> {
    let location = mapping.repository.to_string();
    let login = deadline.ask(Side::Destination, &location, secret.provenance(&mapping.repository)).await?;
    if login.is_none() {
        return Ok(Login::Absent(&mapping.repository));
    }
    // A registry without the image has accepted the login all the same.
    is_present(secret, mapping, deadline).await?;
    Ok(Login::Reads)
}
