//! One source for several destinations: each manifest and each blob is read once, and passed on to all of them.
//!
//! Every destination runs the whole pipeline by itself, concurrently with the others, between its own [`SharedSource`] and
//! [`SharedDestination`]. They share a [`Shared`]:
//!
//! - [`answers`]: manifests, digests of tags and lists of attachments. A tag keeps its digest for the whole run, so all
//!   destinations get the same image.
//! - [`reads`]: the bytes of the blobs that some destinations have read and others still need. The first destination that
//!   opens a blob begins to read it; others that open it take the same bytes.
//! - [`stream`]: a blob as one destination takes it. Whichever destination needs bytes next reads on: no destination waits for
//!   another one to do so.
//! - A destination that is more than [`WINDOW`] behind reads the rest by itself: from another destination that has the blob,
//!   if that one answers faster than the source, else from the source again. Such reads are counted: [`ExtraReads`].
//! - [`destination`]: which destination has which blob. Destinations in one registry mount blobs from each other.
//!
//! Nothing here verifies bytes: each destination does, as without a shared source.

mod answers;
mod destination;
mod reads;
mod source;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use self::{
    answers::Answers,
    reads::{Reads, WINDOW},
    source::Tagged,
    stream::Upstream,
};
pub(crate) use self::{destination::SharedDestination, reads::MAX_DESTINATIONS, source::SharedSource};
use super::{Destination, Error, Source};
use crate::{
    oci::{Attachment, Digest, RawManifest, Repository},
    outcome::ExtraReads,
};

/// How many bytes of manifests, and of lists of attachments, stay in memory.
const ANSWERS: usize = 4 * 1024 * 1024;

/// What all destinations of a run share.
pub(crate) struct Shared<S, D> {
    /// The source, once for each destination: the connections that a stalled destination occupies are its own.
    sources: Vec<Arc<S>>,
    destinations: Vec<Arc<D>>,
    /// The destinations with connections for reads: what is read from one of them does not delay what is pushed there.
    read_connections: Vec<Arc<D>>,
    reads: Mutex<Reads<Arc<Upstream>>>,
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
    /// `sources` are the same source once for each destination, each with connections of its own, and `read_connections` are
    /// the destinations once more, with connections for reads. At most [`MAX_DESTINATIONS`].
    pub(crate) fn new(
        sources: Vec<Arc<S>>,
        destinations: Vec<Arc<D>>,
        read_connections: Vec<Arc<D>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            reads: Mutex::new(Reads::new(destinations.len(), WINDOW)),
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
            read_connections,
        })
    }

    /// The source for one destination.
    pub(crate) fn source(self: &Arc<Self>, number: usize) -> Option<SharedSource<S, D>> {
        let source = Arc::clone(self.sources.get(number)?);
        Some(SharedSource::new(Arc::clone(self), number, source))
    }

    /// One destination.
    pub(crate) fn destination(self: &Arc<Self>, number: usize) -> Option<SharedDestination<S, D>> {
        let destination = Arc::clone(self.destinations.get(number)?);
        Some(SharedDestination::new(Arc::clone(self), number, destination))
    }

    /// What was read again for a destination.
    pub(crate) fn extra_reads(&self, number: usize) -> ExtraReads {
        self.reads().extra(number)
    }

    fn reads(&self) -> MutexGuard<'_, Reads<Arc<Upstream>>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another destination that has the blob and answers faster than the source.
    fn closer_holder(&self, number: usize, digest: &Digest) -> Option<(usize, Repository)> {
        let source = self.source_answers.get();
        let reads = self.reads();
        let others = reads.holders(digest).iter().filter(|(holder, _)| *holder != number);
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
    /// Waits for an answer and records its time.
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

    /// The endpoint failed: nothing is read from it anymore.
    fn distrust(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

impl<S, D> std::fmt::Debug for Shared<S, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}
