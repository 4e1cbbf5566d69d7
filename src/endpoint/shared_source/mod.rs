//! One source for several destinations: each manifest and each blob is read once, and passed on to all of them.
//!
//! Every destination runs the whole pipeline by itself, concurrently with the others, between its own [`SharedSource`] and
//! [`SharedDestination`]. What they share is here:
//!
//! - [`answers`]: manifests, digests of tags and lists of attachments. A tag keeps its digest for the whole run, so that all
//!   destinations get the same image.
//! - [`taker`]: the bytes of a blob. The first destination that opens a blob begins to read it, and others that open it take
//!   the same bytes, from [`kept`]. Whichever destination needs bytes next reads on: no destination waits for another one to
//!   do so.
//! - A destination that is more than [`WINDOW`] behind is left behind, and reads the rest by itself: from another destination
//!   that has the blob, if that answers faster than the source, else from the source again. Such reads are counted:
//!   [`ExtraReads`].
//! - [`destination`]: which destination has which blob. Destinations in one registry mount blobs from each other.
//!
//! Nothing here verifies bytes: each destination does, as without a shared source.

mod answers;
mod destination;
mod kept;
mod taker;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use tokio::{sync::Notify, time::Instant};

use self::{
    answers::Answers,
    kept::{Kept, WINDOW},
    taker::{Read, Taker},
};
pub(crate) use self::{destination::SharedDestination, kept::MOST_DESTINATIONS};
use super::{BlobStream, Cause, Destination, Error, Location, Operation, Source};
use crate::{
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    outcome::ExtraReads,
    problem::Side,
};

/// How many bytes of manifests, and of lists of attachments, stay in memory.
const ANSWERS: usize = 4 * 1024 * 1024;
/// A larger manifest does not stay: it counts against the memory for large manifests until it is dropped.
const LARGEST_ANSWER: usize = 64 * 1024;
/// What an answer takes besides its bytes.
const ANSWER: usize = 256;

/// The digest of a tag at the source.
#[derive(Debug, Clone)]
struct Tagged {
    /// `None` if there is no such tag.
    digest: Option<Digest>,
    /// Whether the manifest has been read, rather than only a header.
    is_read: bool,
}

/// What all destinations of a run share.
pub(crate) struct Shared<S, D> {
    /// The source, once for each destination: the connections that a stalled destination occupies are its own.
    sources: Vec<Arc<S>>,
    destinations: Vec<Arc<D>>,
    /// The destinations with other connections: what is read from one of them does not delay what is pushed there.
    readers: Vec<Arc<D>>,
    kept: Mutex<Kept<Arc<Read>>>,
    /// Uploads to registries that several destinations share.
    uploads: destination::Uploads,
    upload_ended: Notify,
    tags: Answers<(Repository, String), Tagged>,
    manifests: Answers<(Repository, Digest), Option<RawManifest>>,
    sizes: Answers<(Repository, Digest), Option<u64>>,
    attachments: Answers<(Repository, Digest), Vec<Attachment>>,
    /// The fastest answer of the source so far.
    source_answers: Fastest,
    /// The fastest answer of each destination so far.
    destination_answers: Vec<Fastest>,
}

impl<S: Source, D: Destination> Shared<S, D> {
    /// `sources` are the same source once for each destination, each with connections of its own, and `readers` are the
    /// destinations with other connections. At most [`MOST_DESTINATIONS`].
    pub(crate) fn new(sources: Vec<Arc<S>>, destinations: Vec<Arc<D>>, readers: Vec<Arc<D>>) -> Arc<Self> {
        Arc::new(Self {
            kept: Mutex::new(Kept::new(destinations.len(), WINDOW)),
            uploads: destination::Uploads::default(),
            upload_ended: Notify::new(),
            tags: Answers::new(usize::MAX),
            manifests: Answers::new(ANSWERS),
            sizes: Answers::new(ANSWERS / 8),
            attachments: Answers::new(ANSWERS / 8),
            source_answers: Fastest::default(),
            destination_answers: std::iter::repeat_with(Fastest::default).take(destinations.len()).collect(),
            sources,
            destinations,
            readers,
        })
    }

    /// The source for one destination.
    pub(crate) fn source(self: &Arc<Self>, number: usize) -> Option<SharedSource<S, D>> {
        let source = Arc::clone(self.sources.get(number)?);
        Some(SharedSource { shared: Arc::clone(self), number, source })
    }

    /// One destination.
    pub(crate) fn destination(self: &Arc<Self>, number: usize) -> Option<SharedDestination<S, D>> {
        let destination = Arc::clone(self.destinations.get(number)?);
        Some(SharedDestination::new(Arc::clone(self), number, destination))
    }

    /// What was read again for a destination.
    pub(crate) fn extra_reads(&self, number: usize) -> ExtraReads {
        self.kept().extra(number)
    }

    fn kept(&self) -> MutexGuard<'_, Kept<Arc<Read>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another destination that has the blob and answers faster than the source.
    fn closer_holder(&self, number: usize, digest: &Digest) -> Option<(usize, Repository)> {
        let source = self.source_answers.get();
        let kept = self.kept();
        let others = kept.holders(digest).iter().filter(|(holder, _)| *holder != number);
        let timed = others.filter_map(|(holder, repository)| {
            let time = self.destination_answers.get(*holder)?.get();
            (time < source).then_some((time, *holder, repository))
        });
        timed.min_by_key(|(time, ..)| *time).map(|(_, holder, repository)| (holder, repository.clone()))
    }
}

/// The time of the fastest answer of an endpoint, as a measure of how close it is.
#[derive(Debug)]
struct Fastest(AtomicU64);

impl Default for Fastest {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Fastest {
    /// Waits for an answer and notes its time.
    async fn of<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let asked = Instant::now();
        let answer = answer.await;
        if answer.is_ok() {
            let time = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.0.fetch_min(time, Ordering::Relaxed);
        }
        answer
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// It failed: it is not used any more.
    fn distrust(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

/// The source as one destination reads it. When it is dropped, the destination needs nothing more.
pub(crate) struct SharedSource<S: Source, D: Destination> {
    shared: Arc<Shared<S, D>>,
    number: usize,
    source: Arc<S>,
}

impl<S: Source, D: Destination> Drop for SharedSource<S, D> {
    fn drop(&mut self) {
        self.shared.kept().leave(self.number);
    }
}

impl<S: Source, D: Destination> SharedSource<S, D> {
    /// Asks the source as the first destination sees it: what it remembers about attachments is there.
    fn ask<T: Send + 'static, F>(&self, ask: impl FnOnce(Arc<S>) -> F) -> BoxFuture<'static, Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        ask(self.shared.sources.first().map_or_else(|| Arc::clone(&self.source), Arc::clone)).boxed()
    }

    /// The same for a manifest, which takes a request: its time says how close the source is.
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

    /// The digest of a tag: with its manifest, if there is a `slot` for it; else by the cheapest request.
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
    (bytes < LARGEST_ANSWER).then(|| bytes + ANSWER)
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
        let mut taker = Taker::new(Arc::clone(&self.shared), self.number, (repository, blob), offset);
        poll_fn(|context| taker.poll_opened(context)).await?;
        Ok(taker.boxed())
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

impl<S, D> std::fmt::Debug for Shared<S, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}
