//! The source as one destination reads it: every answer is shared with the other destinations.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};

use super::{Shared, stream::SharedStream};
use crate::{
    endpoint::{BlobStream, Cause, Destination, Error, Location, Operation, Source},
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// A larger manifest does not stay in memory: it counts against the memory for large manifests until it is dropped.
const MAX_ANSWER_SIZE: usize = 64 * 1024;
/// What an answer takes besides its bytes.
const ANSWER: usize = 256;

/// The digest of a tag at the source.
#[derive(Debug, Clone)]
pub(super) struct Tagged {
    /// `None` if there is no such tag.
    digest: Option<Digest>,
    /// Whether the manifest has been read, rather than only a header.
    is_read: bool,
}

/// The source as one destination reads it. When it is dropped, the destination needs nothing more.
pub(crate) struct SharedSource<S: Source, D: Destination> {
    shared: Arc<Shared<S, D>>,
    number: usize,
    source: Arc<S>,
}

impl<S: Source, D: Destination> Drop for SharedSource<S, D> {
    fn drop(&mut self) {
        self.shared.reads().leave(self.number);
    }
}

impl<S: Source, D: Destination> SharedSource<S, D> {
    pub(super) fn new(shared: Arc<Shared<S, D>>, number: usize, source: Arc<S>) -> Self {
        Self { shared, number, source }
    }

    /// Asks the source of the first destination: that one remembers what it knows about attachments.
    fn ask<T: Send + 'static, F>(&self, ask: impl FnOnce(Arc<S>) -> F) -> BoxFuture<'static, Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        ask(self.shared.sources.first().map_or_else(|| Arc::clone(&self.source), Arc::clone)).boxed()
    }

    /// Asks for a manifest, which always takes a request: its time says how close the source is.
    fn ask_timed<T: Send + 'static, F>(
        &self,
        repository: &Repository,
        ask: impl FnOnce(Arc<S>) -> F,
    ) -> BoxFuture<'static, Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (shared, asking) = (Arc::clone(&self.shared), self.ask(ask));
        // A chart that was packaged on this machine is in memory.
        if repository.registry() == "localhost" {
            return asking;
        }
        async move { shared.source_answers.of(asking).await }.boxed()
    }

    /// The digest of a tag: with its manifest, if there is a `slot` for it; otherwise by the cheapest request.
    async fn tagged(
        &self,
        repository: &Repository,
        tag: &str,
        slot: Option<Arc<Mutex<Option<RawManifest>>>>,
    ) -> Result<Tagged, Error> {
        let question = (repository.clone(), tag.to_owned());
        let (asked, asked_tag) = question.clone();
        let shared = Arc::clone(&self.shared);
        let ask = || {
            self.ask_timed(repository, |source| async move {
                match slot {
                    None => {
                        let digest = source.digest(&asked, &asked_tag).await?;
                        Ok(Tagged { digest, is_read: false })
                    }
                    Some(slot) => {
                        let manifest = source.manifest(&asked, &Target::Tag(asked_tag)).await?;
                        let digest = manifest.as_ref().map(|manifest| manifest.digest().clone());
                        // Before other destinations learn the digest, and ask for the manifest by it.
                        if let (Some(digest), Some(bytes)) = (&digest, bytes_of(manifest.as_ref())) {
                            shared.manifests.add((asked, digest.clone()), manifest.clone(), bytes);
                        }
                        *slot.lock().unwrap_or_else(PoisonError::into_inner) = manifest;
                        Ok(Tagged { digest, is_read: true })
                    }
                }
            })
        };
        self.shared.tags.get(question, ask, |_| Some(0)).await
    }

    async fn manifest_by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<RawManifest>, Error> {
        let question = (repository.clone(), digest.clone());
        let (asked, target) = (repository.clone(), Target::Digest(digest.clone()));
        let ask =
            || self.ask_timed(repository, |source| async move { source.manifest(&asked, &target).await });
        let bytes = |manifest: &Option<RawManifest>| bytes_of(manifest.as_ref());
        self.shared.manifests.get(question, ask, bytes).await
    }

    /// The manifest that the tag had when it was first looked up.
    async fn manifest_by_tag(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<RawManifest>, Error> {
        let slot = Arc::<Mutex<Option<RawManifest>>>::default();
        let tagged = self.tagged(repository, tag, Some(Arc::clone(&slot))).await?;
        let Some(digest) = tagged.digest else { return Ok(None) };
        let read = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if read.is_some() {
            return Ok(read);
        }
        if let Some(manifest) = self.manifest_by_digest(repository, &digest).await? {
            return Ok(Some(manifest));
        }
        // The source has it only under the tag, or the header was wrong.
        let (asked, target) = (repository.clone(), Target::Tag(tag.to_owned()));
        let found = self.ask(|source| async move { source.manifest(&asked, &target).await }).await?;
        let Some(manifest) = found else { return Ok(None) };
        if *manifest.digest() == digest {
            return Ok(Some(manifest));
        }
        if tagged.is_read {
            let name = format!("{repository}:{tag}");
            return Err(Error::new(Operation::ReadManifest, self.side(), name, Cause::NoSuchManifest));
        }
        let corrected = Tagged { digest: Some(manifest.digest().clone()), is_read: true };
        self.shared.tags.correct(&(repository.clone(), tag.to_owned()), corrected);
        Ok(Some(manifest))
    }
}

/// The memory of a manifest; `None` if it must not stay.
fn bytes_of(manifest: Option<&RawManifest>) -> Option<usize> {
    let bytes = manifest.map_or(0, |manifest| usize::try_from(manifest.size()).unwrap_or(usize::MAX));
    (bytes < MAX_ANSWER_SIZE).then(|| bytes + ANSWER)
}

impl<S: Source, D: Destination> Source for SharedSource<S, D> {
    fn side(&self) -> Side {
        self.source.side()
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        Ok(self.tagged(repository, tag, None).await?.digest)
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        match target {
            Target::Digest(digest) => self.manifest_by_digest(repository, digest).await,
            Target::Tag(tag) => self.manifest_by_tag(repository, tag).await,
        }
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let question = (repository.clone(), digest.clone());
        let (asked, asked_digest) = question.clone();
        let ask = || self.ask(|source| async move { source.blob_size(&asked, &asked_digest).await });
        self.shared.sizes.get(question, ask, |_| Some(ANSWER)).await
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let mut stream = SharedStream::new(Arc::clone(&self.shared), self.number, (repository, blob), offset);
        poll_fn(|context| stream.poll_opened(context)).await?;
        Ok(stream.boxed())
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        let question = (repository.clone(), subject.clone());
        let (asked, asked_subject) = question.clone();
        let ask = || self.ask(|source| async move { source.attachments(&asked, &asked_subject).await });
        let bytes = |attachments: &Vec<Attachment>| Some(ANSWER * (1 + attachments.len()));
        self.shared.attachments.get(question, ask, bytes).await
    }

    async fn expect_attachments(&self, repository: &Repository) {
        if let Some(source) = self.shared.sources.first() {
            source.expect_attachments(repository).await;
        }
    }

    fn blob_location(&self, repository: &Repository, digest: &Digest) -> Location {
        self.source.blob_location(repository, digest)
    }
}

impl<S: Source, D: Destination> std::fmt::Debug for SharedSource<S, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SharedSource").field("number", &self.number).finish_non_exhaustive()
    }
}
