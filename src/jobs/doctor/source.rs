//! Checks the registries that images come from.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::{CheckResult, Deadline, DoctorCheck};
use crate::{
    endpoint::{
        Cause, Error, Operation, Source,
        registry::{Registries, auth::Provenance},
    },
    oci::{Reference, Target},
    problem::Side,
};

/// One result for each registry: whether it serves the first of its images.
pub(crate) async fn registries(
    source: &Registries,
    images: &[Reference],
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let mut first = BTreeMap::new();
    for image in images {
        first.entry(image.repository().registry()).or_insert(image);
    }
    join_all(first.into_values().map(|image| registry(source, image, deadline))).await
}

async fn registry(source: &Registries, image: &Reference, deadline: &Deadline) -> CheckResult {
    let registry = image.repository().registry();
    match deadline.ask(Side::Source, registry, pull(source, image)).await {
        Ok(provenance) => {
            let with = credential(provenance.as_ref());
            CheckResult::ok(DoctorCheck::Source, format!("{registry} serves {image} {with}"))
        }
        Err(failure) => CheckResult::failed(DoctorCheck::Source, failure),
    }
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
