//! Manifests over HTTP (distribution specification, "Pulling manifests" and "Pushing manifests").

mod push;
mod read;
mod tags;

pub(super) use self::{
    push::put,
    read::{digest, get},
    tags::tags,
};
use super::{error::RegistryError, host::Host};
use crate::oci::{Repository, Target};

fn url(host: &Host, repository: &Repository, target: &Target) -> Result<url::Url, RegistryError> {
    host.url(repository, &format!("manifests/{target}"))
}

/// The name of a manifest in errors.
fn name(repository: &Repository, target: &Target) -> String {
    match target {
        Target::Tag(tag) => format!("{repository}:{tag}"),
        Target::Digest(digest) => format!("{repository}@{digest}"),
    }
}
