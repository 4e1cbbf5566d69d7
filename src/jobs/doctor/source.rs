//! Checks the registries that images come from.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::{CheckResult, Deadline, DoctorCheck};
use crate::{
    endpoint::{
        Cause, Error, Operation, Source,
        registry::{Registries, auth::Provenance},
    },
    error::Failure,
    oci::{Reference, Target},
    pipeline::mirror::skip_reason,
    problem::Side,
};

/// One result for each registry: whether it serves the first of its images. An image in `optional` is tried only if the
/// registry has no other, because `sync` does not need it.
pub(crate) async fn registries(
    source: &Registries,
    images: &[Reference],
    optional: &BTreeSet<Reference>,
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let mut first = BTreeMap::new();
    let (skippable, required): (Vec<_>, Vec<_>) = images.iter().partition(|image| optional.contains(*image));
    for image in required.into_iter().chain(skippable) {
        first.entry(image.repository().registry()).or_insert(image);
    }
    let checks = first.into_values().map(|image| registry(source, image, optional.contains(image), deadline));
    join_all(checks).await
}

async fn registry(
    source: &Registries,
    image: &Reference,
    optional: bool,
    deadline: &Deadline,
) -> CheckResult {
    let registry = image.repository().registry();
    let pulled = async {
        match pull(source, image).await {
            Err(error) if optional => skip_reason(&error).map(Pulled::Skipped).ok_or(error),
            pulled => pulled.map(Pulled::With),
        }
    };
    match deadline.ask(Side::Source, registry, pulled).await {
        Ok(Pulled::With(provenance)) => {
            let with = credential(provenance.as_ref());
            CheckResult::ok(DoctorCheck::Source, format!("{registry} serves {image} {with}"))
        }
        Ok(Pulled::Skipped(reason)) => CheckResult::warning(
            DoctorCheck::Source,
            format!("{image} is optional and will be skipped: {}", reason.message),
            "if it is needed, check its name and the login; --strict makes this an error",
        ),
        Err(failure) => CheckResult::failed(DoctorCheck::Source, failure),
    }
}

/// How the source answered.
enum Pulled {
    /// It serves the image with this credential.
    With(Option<Provenance>),
    /// It does not provide the image, which is optional.
    Skipped(Failure),
}

async fn pull(source: &Registries, image: &Reference) -> Result<Option<Provenance>, Error> {
    let repository = image.repository();
    let is_there = match image.target() {
        Target::Tag(tag) => source.digest(repository, &tag).await?.is_some(),
        target @ Target::Digest(_) => source.manifest(repository, &target).await?.is_some(),
    };
    if !is_there {
        let (operation, location) = (Operation::ReadManifest, image.to_string());
        return Err(Error::new(operation, Side::Source, location, Cause::NoSuchManifest));
    }
    source.provenance(repository).await
}

/// `with the license` or `without a credential`: the origin of the credential, never its value.
pub(super) fn credential(provenance: Option<&Provenance>) -> String {
    provenance.map_or_else(|| "without a credential".to_owned(), |from| format!("with {from}"))
}
