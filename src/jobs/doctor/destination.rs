//! Checks the registry that images go to, and their names there.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use futures::future::join_all;

use super::{CheckResult, Deadline, DoctorCheck, source::credential};
use crate::{
    endpoint::{
        Source,
        registry::{
            ProbeAnswer, Registries, ShownCertificate,
            auth::{Provenance, Reach, Scheme},
        },
    },
    error::{Failure, Kind},
    oci::{Contents, Mapping, Repository},
    problem::Side,
    units,
};

/// A larger difference between the clocks can make certificates and tokens invalid.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(120);

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// A certificate that expires within this time gets a warning.
const MIN_VALIDITY: Duration = Duration::from_secs(14 * SECONDS_PER_DAY);

/// Whether the registry answers, how, and whether the clocks agree. Takes any of its repositories.
pub(crate) async fn registry(
    destination: &Registries,
    repository: &Repository,
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let registry = repository.registry();
    match deadline.ask(Side::Destination, registry, destination.greet(repository)).await {
        Ok(greeting) => {
            let now = SystemTime::now();
            let certificate = greeting.certificate.as_ref().map(|shown| certificate(shown, now));
            [Some(answer(registry, &greeting)), certificate, clock(registry, &greeting, now)]
                .into_iter()
                .flatten()
                .collect()
        }
        Err(failure) => vec![CheckResult::failed(DoctorCheck::Destination, failure)],
    }
}

fn answer(registry: &str, greeting: &ProbeAnswer) -> CheckResult {
    let through =
        greeting.route.as_ref().map(|route| format!(" through the proxy {route}")).unwrap_or_default();
    let how = match (greeting.origin.scheme(), greeting.is_unverified) {
        (Scheme::Http, _) => "over plain http",
        (Scheme::Https, true) => "over https with a certificate that is not verified",
        (Scheme::Https, false) => "over https with a trusted certificate",
    };
    let message = format!("{registry} answers {how}{through} in {} ms", greeting.time.as_millis().max(1));
    if !matches!(greeting.status, 200 | 401 | 403) {
        return CheckResult::warning(
            DoctorCheck::Destination,
            format!("{message}, but with status {} to /v2/", greeting.status),
            "check that this is the address of a registry",
        );
    }
    let is_exposed = !greeting.origin.is_https() && greeting.origin.reach() != Reach::Loopback;
    if is_exposed || greeting.is_unverified {
        let hint = "anyone on the network path can read the credentials and change the images";
        return CheckResult::warning(DoctorCheck::Destination, message, hint);
    }
    CheckResult::ok(DoctorCheck::Destination, message)
}

/// Who issued the certificate, and when it expires. An expired certificate gets here only if it is not verified.
fn certificate(shown: &ShownCertificate, now: SystemTime) -> CheckResult {
    let by = format!("issued by {}", shown.issuer);
    let ends = httpdate::fmt_http_date(shown.ends);
    let hint = "renew it before it expires: clients would refuse to pull from this registry";
    match shown.ends.duration_since(now) {
        Ok(left) => {
            let days = left.as_secs() / SECONDS_PER_DAY;
            let message = format!("{by}; valid until {ends}, {days} days left");
            if left < MIN_VALIDITY {
                CheckResult::warning(DoctorCheck::Certificate, message, hint)
            } else {
                CheckResult::ok(DoctorCheck::Certificate, message)
            }
        }
        Err(_) => CheckResult::warning(DoctorCheck::Certificate, format!("{by}; expired on {ends}"), hint),
    }
}

fn clock(registry: &str, greeting: &ProbeAnswer, now: SystemTime) -> Option<CheckResult> {
    let theirs = greeting.clock?;
    let (skew, ours) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if skew <= MAX_CLOCK_SKEW {
        return Some(CheckResult::ok(
            DoctorCheck::Clock,
            format!("this machine's clock agrees with that of {registry}"),
        ));
    }
    let skew = units::whole_seconds(skew);
    let message = format!("this machine's clock is {skew} {ours} that of {registry}");
    Some(CheckResult::warning(
        DoctorCheck::Clock,
        message,
        "set the clock: tokens and certificates may be refused",
    ))
}

/// Whether images can be pushed: rights, repositories, indexes, referrers.
pub(crate) async fn images(
    destination: &Registries,
    mappings: &[Mapping],
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let Some(first) = mappings.first() else {
        return vec![CheckResult::untested(DoctorCheck::Push, "there are no images to test with")];
    };
    let (mut results, indexes, referrers) = tokio::join!(
        push(destination, mappings, deadline),
        indexes(destination, first, deadline),
        referrers(destination, &first.repository, deadline),
    );
    // A registry that refuses these requests has also refused the push, which is reported.
    results.extend([indexes, referrers].into_iter().flatten());
    results
}

/// Opens and cancels an upload in every repository: permissions are per repository, and some registries need each
/// repository to be created first.
async fn push(destination: &Registries, mappings: &[Mapping], deadline: &Deadline) -> Vec<CheckResult> {
    let repositories: BTreeSet<&Repository> = mappings.iter().map(|mapping| &mapping.repository).collect();
    let probe = async |repository: &Repository| match destination.probe_push(repository).await {
        Ok(()) => Ok(Pushed::Allowed(destination.provenance(repository).await?)),
        Err(error) if error.lacks_repository() => Ok(Pushed::NoRepository),
        Err(error) => Err(error),
    };
    let answers = join_all(repositories.iter().map(async |repository| {
        deadline.ask(Side::Destination, &repository.to_string(), probe(repository)).await
    }));
    let (mut allowed, mut missing, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (repository, answer) in repositories.iter().zip(answers.await) {
        match answer {
            Ok(Pushed::Allowed(provenance)) => allowed.push(provenance),
            Ok(Pushed::NoRepository) => missing.push(repository.to_string()),
            Err(failure) => refused.push(failure),
        }
    }
    let mut results = refusals(&missing, refused);
    if let Some(provenance) = allowed.first() {
        let with = credential(provenance.as_ref());
        let count = format!("{} of {}", allowed.len(), counted(repositories.len()));
        let message = format!("{count} can be pushed to {with} (uploads were opened and canceled)");
        results.insert(0, CheckResult::ok(DoctorCheck::Push, message));
    }
    results
}

/// The result of opening an upload in a repository.
enum Pushed {
    /// The upload was accepted with this credential.
    Allowed(Option<Provenance>),
    /// The repository must be created first.
    NoRepository,
}

/// Names every missing repository, because each must be created. Of other refusals, it shows only the first of each
/// kind.
fn refusals(missing: &[String], refused: Vec<Failure>) -> Vec<CheckResult> {
    let mut results = Vec::new();
    if !missing.is_empty() {
        let message = format!("these repositories do not exist: {}", missing.join(", "));
        let hint = "create them first: this registry does not create repositories on push";
        results
            .push(CheckResult::failed(DoctorCheck::Push, Failure::new(Kind::Image, message).with_hint(hint)));
    }
    let mut kinds: Vec<(Failure, usize)> = Vec::new();
    for failure in refused {
        match kinds.iter_mut().find(|(first, _)| first.kind == failure.kind) {
            Some((_, more)) => *more += 1,
            None => kinds.push((failure, 0)),
        }
    }
    results.extend(kinds.into_iter().map(|(mut failure, more)| {
        if more > 0 {
            failure.causes.push(format!("and the same for {} more", counted(more)));
        }
        CheckResult::failed(DoctorCheck::Push, failure)
    }));
    results
}

fn counted(repositories: usize) -> String {
    format!("{repositories} {}", if repositories == 1 { "repository" } else { "repositories" })
}

/// Whether the registry already has an index. Only a push shows whether it accepts indexes.
async fn indexes(destination: &Registries, first: &Mapping, deadline: &Deadline) -> Option<CheckResult> {
    let location = first.repository.to_string();
    let target = first.target();
    let request = destination.manifest(&first.repository, &target);
    let found = deadline.ask(Side::Destination, &location, request).await.ok()?;
    Some(if found.is_some_and(|root| matches!(root.contents(), Ok(Contents::Index { .. }))) {
        CheckResult::ok(
            DoctorCheck::Indexes,
            format!("the registry accepts multi-platform images: {} is an image index", first.destination()),
        )
    } else {
        let message = "only the first push will show whether the registry accepts multi-platform images";
        CheckResult::untested(DoctorCheck::Indexes, message)
    })
}

async fn referrers(
    destination: &Registries,
    repository: &Repository,
    deadline: &Deadline,
) -> Option<CheckResult> {
    let request = destination.has_referrers(repository);
    let is_known = deadline.ask(Side::Destination, &repository.to_string(), request).await.ok()??;
    let message = if is_known {
        "the registry has the referrers API"
    } else {
        "the registry has no referrers API: clients find signatures and SBOMs by tag"
    };
    Some(CheckResult::ok(DoctorCheck::Referrers, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::doctor::CheckVerdict;

    #[test]
    fn a_certificate_is_a_warning_from_its_last_fortnight_on() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let judged = |ends: SystemTime| {
            let result = certificate(&ShownCertificate { issuer: "CN=ca".to_owned(), ends }, now);
            (result.verdict, result.message)
        };
        let day = Duration::from_secs(SECONDS_PER_DAY);
        assert_eq!(judged(now + day * 14).0, CheckVerdict::Ok);
        let (verdict, message) = judged(now + day * 14 - Duration::from_secs(1));
        assert_eq!(verdict, CheckVerdict::Warning);
        assert_eq!(message, "issued by CN=ca; valid until Sun, 31 Mar 2030 17:46:39 GMT, 13 days left");
        assert!(judged(now - day).1.contains("; expired on "));
    }
}
