//! Blobs that are at the destination already, although the source does not have them, or cannot give them twice: what a
//! delta leaves out, and what came through a stream that only runs once.
//!
//! [`Relay`] reads such a blob back from the destination; [`Aided`] spares it the journey: it is there, or it is mounted.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Begun, BlobStream, Destination, Error, Source};
use crate::{
    oci::{Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// Which repositories of the destination hold which blobs.
#[derive(Debug, Default)]
pub struct Landed {
    places: Mutex<HashMap<Digest, Vec<Repository>>>,
    /// What this run has sent, and no image has counted yet.
    uncounted: Mutex<HashSet<(Digest, Repository)>>,
}

impl Landed {
    /// Notes that a repository holds a blob.
    pub fn add(&self, digest: Digest, repository: Repository) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.entry(digest).or_default().push(repository);
    }

    /// Notes that this run has sent a blob to a repository. It counts as copied for the first image that asks for it.
    pub fn add_sent(&self, digest: Digest, repository: Repository) {
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
    pub fn is_in(&self, digest: &Digest, repository: &Repository) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(digest).is_some_and(|places| places.contains(repository))
    }

    /// Everything that is known.
    #[must_use]
    pub fn all(&self) -> Vec<(Digest, Repository)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |(digest, places): (&Digest, &Vec<Repository>)| {
            places.iter().map(|place| (digest.clone(), place.clone())).collect::<Vec<_>>()
        };
        places.iter().flat_map(each).collect()
    }

    /// A repository that holds a blob.
    #[must_use]
    pub fn first(&self, digest: &Digest) -> Option<Repository> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(digest).and_then(|places| places.first()).cloned()
    }
}

/// A source that reads what has landed from the destination, and everything else from where it comes from.
#[derive(Debug)]
pub struct Relay<S, D> {
    source: Arc<S>,
    destination: Arc<D>,
    landed: Arc<Landed>,
}

impl<S, D> Relay<S, D> {
    /// `landed` may grow later.
    #[must_use]
    pub fn new(source: Arc<S>, destination: Arc<D>, landed: Arc<Landed>) -> Self {
        Self { source, destination, landed }
    }
}

impl<S: Source, D: Source> Source for Relay<S, D> {
    fn side(&self) -> Side {
        self.source.side()
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        self.source.digest(repository, tag).await
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        self.source.manifest(repository, target).await
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.landed.first(digest) {
            Some(place) => self.destination.blob_size(&place, digest).await,
            None => self.source.blob_size(repository, digest).await,
        }
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        match self.landed.first(&blob.digest) {
            Some(place) => self.destination.open_blob(&place, blob, offset).await,
            None => self.source.open_blob(repository, blob, offset).await,
        }
    }

    fn blob_place(&self, repository: &Repository, digest: &Digest) -> String {
        match self.landed.first(digest) {
            Some(place) => self.destination.blob_place(&place, digest),
            None => self.source.blob_place(repository, digest),
        }
    }
}

/// A destination that is told of what has landed.
#[derive(Debug)]
pub struct Aided<D> {
    destination: Arc<D>,
    landed: Arc<Landed>,
}

impl<D> Aided<D> {
    /// `landed` may grow later.
    #[must_use]
    pub fn new(destination: Arc<D>, landed: Arc<Landed>) -> Self {
        Self { destination, landed }
    }
}

impl<D: Destination> Source for Aided<D> {
    fn side(&self) -> Side {
        self.destination.side()
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        self.destination.digest(repository, tag).await
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        self.destination.manifest(repository, target).await
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        self.destination.blob_size(repository, digest).await
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        self.destination.open_blob(repository, blob, offset).await
    }
}

impl<D: Destination> Destination for Aided<D> {
    type Sink = D::Sink;

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<Self::Sink>, Error> {
        if self.landed.count_sent(&blob.digest, repository) {
            return Ok(Begun::Completed);
        }
        if self.landed.is_in(&blob.digest, repository) {
            return Ok(Begun::Present);
        }
        let landed = self.landed.first(&blob.digest);
        self.destination.begin_blob(repository, blob, mount.or(landed.as_ref())).await
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> Result<(), Error> {
        self.destination.put_manifest(repository, target, manifest).await
    }
}
