//! Writes the bytes of a blob into place, and records which blobs are complete.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use tokio::task::JoinSet;

use super::{
    error::BundleError,
    layout::BlobEntry,
    slices::{Extent, Slices},
};
use crate::{
    endpoint::{
        BlobSink, Error, Operation, VerifiedBody,
        body::{Snapshot, Start},
    },
    oci::{Digest, Hasher},
    problem::Side,
};

/// Which blobs have been written. Clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct WrittenBlobs(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Complete blobs. Those that this run wrote have the checksum of the written bytes.
    complete: HashMap<Digest, Option<u32>>,
    /// Incomplete blobs of an earlier run: the number of bytes, and their hash.
    started: HashMap<Digest, (u64, Hasher)>,
}

impl WrittenBlobs {
    /// The state that an earlier run left.
    pub(crate) fn new(complete: HashSet<Digest>, started: HashMap<Digest, (u64, Hasher)>) -> Self {
        let complete = complete.into_iter().map(|digest| (digest, None)).collect();
        Self(Arc::new(Mutex::new(State { complete, started })))
    }

    /// Whether a blob is complete.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.state().complete.contains_key(digest)
    }

    /// The checksum of a blob that this run wrote from beginning to end.
    pub(crate) fn checksum(&self, digest: &Digest) -> Option<u32> {
        self.state().complete.get(digest).copied().flatten()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sink of one blob.
#[derive(Debug)]
pub(crate) struct Sink {
    slices: Slices,
    extent: Extent,
    digest: Digest,
    start: Start,
    written_blobs: WrittenBlobs,
    location: String,
}

impl Sink {
    /// A sink for a blob; `None` if the blob is already complete. `location` names it in errors.
    pub(crate) fn open(
        written_blobs: &WrittenBlobs,
        entry: &BlobEntry,
        slices: Slices,
        location: String,
    ) -> Option<Self> {
        let digest = entry.blob.digest.clone();
        let mut state = written_blobs.state();
        if state.complete.contains_key(&digest) {
            return None;
        }
        let start = match state.started.remove(&digest) {
            Some((there, hasher)) => {
                Start { hashed: Snapshot { offset: there, hasher }, received: there, snapshot_every: None }
            }
            None => Start::at_the_beginning(&entry.blob),
        };
        Some(Self {
            slices,
            extent: entry.extent,
            digest,
            start,
            written_blobs: written_blobs.clone(),
            location,
        })
    }

    async fn receive(self, mut body: VerifiedBody) -> Result<(), Error> {
        let mut at = self.extent.offset + self.start.received;
        let mut checksum = (self.start.received == 0).then(crc32fast::Hasher::new);
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if let Some(checksum) = &mut checksum {
                checksum.update(&piece);
            }
            let written = self.slices.write_all_at(&piece, at);
            written.map_err(|error| self.error(BundleError::unwritable("the bundle", error)))?;
            at += piece.len() as u64;
        }
        let checksum = checksum.map(crc32fast::Hasher::finalize);
        self.written_blobs.state().complete.insert(self.digest, checksum);
        Ok(())
    }

    fn error(&self, error: BundleError) -> Error {
        Error::new(Operation::UploadBlob, Side::Destination, self.location.clone(), error)
    }
}

impl BlobSink for Sink {
    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        let died = self.error(BundleError::Internal("a transfer was stopped".to_owned()));
        // A separate task, so that blobs are hashed and written on several cores. Dropping the set stops it.
        let mut tasks = JoinSet::new();
        tasks.spawn(self.receive(body));
        match tasks.join_next().await {
            Some(Ok(received)) => received,
            Some(Err(_)) | None => Err(died),
        }
    }
}
