//! A source that stops when the manifests of a bundle would be larger than any reader of bundles accepts.
//!
//! An export holds all manifests in memory. An index states the sizes of its children, so most of what is too large is
//! refused before it is read.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    endpoint::{EndpointError, Error, Operation, Source, bundle::closure::most_manifest_bytes, forward},
    error::{Failure, Kind},
    graph::{self, ImageManifests},
    oci::{Digest, RawManifest, Repository, Target, media_type::Structure},
    outcome::Mirrored,
    units,
};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct ManifestBudget<S> {
    inner: Arc<S>,
    most: u64,
    known: Mutex<KnownSizes>,
}

/// The manifests that are known to be needed.
#[derive(Debug, Default)]
struct KnownSizes {
    /// The size of each manifest that was read, or that an index references.
    sizes: HashMap<Digest, u64>,
    /// The sum of the sizes.
    total: u64,
}

impl KnownSizes {
    /// Sets the size of a manifest. Descriptors may claim any size, so the sum saturates.
    fn set(&mut self, digest: &Digest, size: u64) {
        let known = self.sizes.insert(digest.clone(), size).unwrap_or_default();
        self.total = (self.total - known.min(self.total)).saturating_add(size);
    }
}

/// The manifests have more bytes in total than a bundle may have.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the manifests of these images are larger than a bundle permits")]
struct OverBudget;

impl EndpointError for OverBudget {}

impl<S: Source> ManifestBudget<S> {
    /// Permits manifests of `most` bytes in total.
    pub(super) fn new(inner: Arc<S>, most: u64) -> Self {
        Self { inner, most, known: Mutex::default() }
    }

    /// Fails if the manifests that are known to be needed are too large in total.
    pub(super) fn check_total(&self) -> Result<(), Failure> {
        self.excess().map_or(Ok(()), |total| Err(unreadable(total, self.most)))
    }

    /// How many bytes of manifests are known to be needed, if that is too much.
    fn excess(&self) -> Option<u64> {
        let total = self.known.lock().unwrap_or_else(PoisonError::into_inner).total;
        (total > self.most).then_some(total)
    }

    fn add(&self, manifest: &RawManifest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.set(manifest.digest(), manifest.size());
        if manifest.media_type().structure() == Structure::Index
            && let Ok(contents) = manifest.contents()
        {
            for child in graph::children(&contents) {
                if !known.sizes.contains_key(&child.digest) {
                    known.set(&child.digest, child.size);
                }
            }
        }
    }

    fn check(&self, repository: &Repository) -> Result<(), Error> {
        match self.excess() {
            None => Ok(()),
            Some(_) => {
                Err(Error::new(Operation::ReadManifest, self.side(), repository.to_string(), OverBudget))
            }
        }
    }
}

impl<S: Source> Source for ManifestBudget<S> {
    forward!(inner: side, digest, blob_size, open_blob, attachments, expect_attachments, blob_location);

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        self.check(repository)?;
        let read = self.inner.manifest(repository, target).await?;
        if let Some(manifest) = &read {
            self.add(manifest);
            self.check(repository)?;
        }
        Ok(read)
    }
}

/// Refuses images whose manifests are too large in total for anything that reads bundles.
pub(super) fn refuse_unreadable(mirrored: &[Mirrored]) -> Result<(), Failure> {
    let images: Vec<&ImageManifests> =
        mirrored.iter().filter_map(|image| image.manifests.as_deref()).collect();
    let roots = images.iter().map(|image| &image.root.digest);
    let attached = images.iter().flat_map(|image| &image.attached).map(|(_, found)| &found.descriptor.digest);
    let roots: HashSet<&Digest> = roots.chain(attached).collect();
    let manifests = images.iter().flat_map(|image| &image.manifests);
    let sizes: HashMap<&Digest, u64> =
        manifests.map(|manifest| (manifest.digest(), manifest.size())).collect();
    let (total, limit) = (sizes.values().sum::<u64>(), most_manifest_bytes(roots.len()));
    if total <= limit { Ok(()) } else { Err(unreadable(total, limit)) }
}

fn unreadable(total: u64, limit: u64) -> Failure {
    let message = format!(
        "the manifests of these images have at least {} in total, and those of a bundle may have at most {}",
        units::bytes(total),
        units::bytes(limit)
    );
    Failure::new(Kind::Image, message)
        .with_hint("export the images in several bundles, with --include and --exclude")
}
