//! Blobs that the destination has although the source does not have them or cannot send them again: blobs that a delta
//! omits, and blobs from a stream that is read once.
//!
//! [`KnownBlobsSource`] reads such a blob from the destination; [`KnownBlobsDestination`] does not check it again, but
//! reports or mounts it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Begun, BlobStream, Destination, Error, Location, Source, forward};
use crate::oci::{Descriptor, Digest, Repository};

/// Which repositories of the destination hold which blobs.
#[derive(Debug, Default)]
pub(crate) struct KnownBlobs {
    repositories: Mutex<HashMap<Digest, Vec<Repository>>>,
    /// What this run has sent, and no image has counted yet.
    uncounted: Mutex<HashSet<(Digest, Repository)>>,
}

impl KnownBlobs {
    /// Notes that a repository holds a blob.
    pub(crate) fn add(&self, digest: Digest, repository: Repository) {
        let mut known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest).or_default().push(repository);
    }

    /// Notes that this run has sent a blob to a repository. It counts as copied for the first image that asks for it.
    pub(crate) fn add_sent(&self, digest: Digest, repository: Repository) {
        let mut uncounted = self.uncounted.lock().unwrap_or_else(PoisonError::into_inner);
        uncounted.insert((digest.clone(), repository.clone()));
        drop(uncounted);
        self.add(digest, repository);
    }

    /// Whether this run has sent a blob to a repository; `true` once.
    fn count_sent(&self, digest: &Digest, repository: &Repository) -> bool {
        let mut uncounted = self.uncounted.lock().unwrap_or_else(PoisonError::into_inner);
        uncounted.remove(&(digest.clone(), repository.clone()))
    }

    /// Whether a repository is known to hold a blob.
    #[must_use]
    pub(crate) fn is_in(&self, digest: &Digest, repository: &Repository) -> bool {
        let known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).is_some_and(|repositories| repositories.contains(repository))
    }

    /// Everything that is known.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<(Digest, Repository)> {
        let known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |(digest, repositories): (&Digest, &Vec<Repository>)| {
            repositories.iter().map(|repository| (digest.clone(), repository.clone())).collect::<Vec<_>>()
        };
        known.iter().flat_map(each).collect()
    }

    /// A repository that holds a blob.
    #[must_use]
    pub(crate) fn first(&self, digest: &Digest) -> Option<Repository> {
        let known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).and_then(|repositories| repositories.first()).cloned()
    }
}

/// A source that reads known blobs from the destination, and everything else from the source itself.
#[derive(Debug)]
pub(crate) struct KnownBlobsSource<S, D> {
    source: Arc<S>,
    destination: Arc<D>,
    known: Arc<KnownBlobs>,
}

impl<S, D> KnownBlobsSource<S, D> {
    /// `known` may grow later.
    #[must_use]
    pub(crate) fn new(source: Arc<S>, destination: Arc<D>, known: Arc<KnownBlobs>) -> Self {
        Self { source, destination, known }
    }
}

impl<S: Source, D: Source> Source for KnownBlobsSource<S, D> {
    forward!(source: side, digest, manifest, attachments, expect_attachments);

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.known.first(digest) {
            Some(holder) => self.destination.blob_size(&holder, digest).await,
            None => self.source.blob_size(repository, digest).await,
        }
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        match self.known.first(&blob.digest) {
            Some(holder) => self.destination.open_blob(&holder, blob, offset).await,
            None => self.source.open_blob(repository, blob, offset).await,
        }
    }

    fn blob_location(&self, repository: &Repository, digest: &Digest) -> Location {
        match self.known.first(digest) {
            Some(holder) => self.destination.blob_location(&holder, digest),
            None => self.source.blob_location(repository, digest),
        }
    }
}

/// A destination that does not check known blobs.
#[derive(Debug)]
pub(crate) struct KnownBlobsDestination<D> {
    destination: Arc<D>,
    known: Arc<KnownBlobs>,
}

impl<D> KnownBlobsDestination<D> {
    /// `known` may grow later.
    #[must_use]
    pub(crate) fn new(destination: Arc<D>, known: Arc<KnownBlobs>) -> Self {
        Self { destination, known }
    }
}

impl<D: Destination> Source for KnownBlobsDestination<D> {
    forward!(destination: side, digest, manifest, blob_size, open_blob, attachments);
}

impl<D: Destination> Destination for KnownBlobsDestination<D> {
    type Sink = D::Sink;

    forward!(destination: is_far, put_manifest);

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<Self::Sink>, Error> {
        if self.known.count_sent(&blob.digest, repository) {
            return Ok(Begun::Completed);
        }
        if self.known.is_in(&blob.digest, repository) {
            return Ok(Begun::Present);
        }
        let known = self.known.first(&blob.digest);
        self.destination.begin_blob(repository, blob, mount.or(known.as_ref())).await
    }
}
