//! A destination that says which blobs it has, and mounts those that another destination in the same registry has.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use super::Shared;
use crate::{
    endpoint::{Begun, BlobSink, Destination, Error, Source, Start, VerifiedBody, forward},
    oci::{Descriptor, Digest, RawManifest, Repository, Target},
};

/// The uploads in progress, by registry. Destinations in one registry upload a blob once.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashSet<(String, Digest)>>);

/// One destination of a run with several.
pub(crate) struct SharedDestination<S, D> {
    shared: Arc<Shared<S, D>>,
    number: usize,
    inner: Arc<D>,
}

impl<S: Source, D: Destination> SharedDestination<S, D> {
    pub(super) fn new(shared: Arc<Shared<S, D>>, number: usize, inner: Arc<D>) -> Self {
        Self { shared, number, inner }
    }

    /// Waits until no other destination uploads the blob to this registry.
    async fn find_or_claim(&self, repository: &Repository, digest: &Digest) -> BlobInRegistry<S, D> {
        loop {
            let ended = self.shared.upload_ended.notified();
            let mut ended = std::pin::pin!(ended);
            ended.as_mut().enable();
            {
                let mut uploads = self.shared.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
                let reads = self.shared.reads();
                let others = reads.holders(digest).iter().filter(|(holder, _)| *holder != self.number);
                let mut repositories = others.map(|(_, repository)| repository);
                if let Some(other) = repositories.find(|other| other.registry() == repository.registry()) {
                    return BlobInRegistry::Held(other.clone());
                }
                let key = (repository.registry().to_owned(), digest.clone());
                if uploads.insert(key.clone()) {
                    return BlobInRegistry::Claimed(UploadClaim { shared: Arc::clone(&self.shared), key });
                }
            }
            ended.await;
        }
    }
}

/// A blob in the registry of a destination.
enum BlobInRegistry<S, D> {
    /// Another destination has it in this repository.
    Held(Repository),
    /// No destination has it; this one may upload it.
    Claimed(UploadClaim<S, D>),
}

/// The right to upload a blob to a registry.
struct UploadClaim<S, D> {
    shared: Arc<Shared<S, D>>,
    key: (String, Digest),
}

impl<S, D> Drop for UploadClaim<S, D> {
    fn drop(&mut self) {
        self.shared.uploads.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.shared.upload_ended.notify_waiters();
    }
}

/// An upload in progress, until it is dropped.
struct UploadInProgress<S: Source, D: Destination> {
    shared: Arc<Shared<S, D>>,
    number: usize,
    repository: Repository,
    digest: Digest,
}

impl<S: Source, D: Destination> UploadInProgress<S, D> {
    fn succeeded(&self) {
        self.shared.reads().add_holder(self.number, &self.digest, &self.repository);
    }
}

impl<S: Source, D: Destination> Drop for UploadInProgress<S, D> {
    fn drop(&mut self) {
        self.shared.reads().end_upload(self.number, &self.digest);
    }
}

impl<S: Source, D: Destination> Source for SharedDestination<S, D> {
    forward!(inner: side, digest, blob_size, open_blob, attachments, expect_attachments, blob_location);

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let answer = self.inner.manifest(repository, target);
        match self.shared.destination_answers.get(self.number) {
            Some(fastest) => fastest.of(answer).await,
            None => answer.await,
        }
    }
}

impl<S: Source, D: Destination> Destination for SharedDestination<S, D> {
    type Sink = SharedSink<S, D>;

    forward!(inner: is_far, put_manifest);

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<Self::Sink>, Error> {
        let (other, claim) = match self.find_or_claim(repository, &blob.digest).await {
            BlobInRegistry::Held(other) => (Some(other), None),
            BlobInRegistry::Claimed(claim) => (None, Some(claim)),
        };
        self.shared.reads().begin_upload(self.number, &blob.digest);
        let upload = UploadInProgress {
            shared: Arc::clone(&self.shared),
            number: self.number,
            repository: repository.clone(),
            digest: blob.digest.clone(),
        };
        let begun = self.inner.begin_blob(repository, blob, mount.or(other.as_ref())).await?;
        let begun = match begun {
            Begun::Present => Begun::Present,
            Begun::Mounted => Begun::Mounted,
            Begun::Completed => Begun::Completed,
            Begun::Wanted(inner) => return Ok(Begun::Wanted(SharedSink { inner, upload, _claim: claim })),
        };
        upload.succeeded();
        Ok(begun)
    }
}

/// An upload to a destination of a run with several.
pub(crate) struct SharedSink<S: Source, D: Destination> {
    inner: D::Sink,
    upload: UploadInProgress<S, D>,
    _claim: Option<UploadClaim<S, D>>,
}

impl<S: Source, D: Destination> BlobSink for SharedSink<S, D> {
    fn start(&self) -> Start {
        self.inner.start()
    }

    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        let Self { inner, upload, _claim } = self;
        inner.write(body).await?;
        upload.succeeded();
        Ok(())
    }
}

impl<S, D> std::fmt::Debug for SharedDestination<S, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SharedDestination").field("number", &self.number).finish_non_exhaustive()
    }
}
