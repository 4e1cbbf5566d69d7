//! Manifests over HTTP (distribution specification, "Pulling manifests" and "Pushing manifests").

mod pages;
mod push;
mod read;
mod tags;

pub(super) use self::{
    pages::{Answered, Page, Pages},
    push::{PutResult, put, put_if_unchanged},
    read::{descriptor, digest, exists, get, get_to_change},
    tags::{tags, tags_within},
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
