//! Where the bytes of one blob land, and what has landed.

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

/// Which blobs are there. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Blobs that are whole, those that this run wrote with the checksum of what it wrote.
    landed: HashMap<Digest, Option<u32>>,
    /// Blobs of which an earlier run left a beginning: how long it is, and its hash.
    begun: HashMap<Digest, (u64, Hasher)>,
}

impl Arrivals {
    /// What an earlier run left.
    pub(crate) fn new(landed: HashSet<Digest>, begun: HashMap<Digest, (u64, Hasher)>) -> Self {
        let landed = landed.into_iter().map(|digest| (digest, None)).collect();
        Self(Arc::new(Mutex::new(State { landed, begun })))
    }

    /// Whether all of a blob is there.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.state().landed.contains_key(digest)
    }

    /// The checksum of a blob that was written from beginning to end.
    pub(crate) fn checksum(&self, digest: &Digest) -> Option<u32> {
        self.state().landed.get(digest).copied().flatten()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one blob.
#[derive(Debug)]
pub struct Sink {
    slices: Slices,
    extent: Extent,
    digest: Digest,
    start: Start,
    arrivals: Arrivals,
    place: String,
}

impl Sink {
    /// The place of a blob that is not there; `place` is what it is called in errors.
    pub(crate) fn open(
        arrivals: &Arrivals,
        entry: &BlobEntry,
        slices: Slices,
        place: String,
    ) -> Option<Self> {
        let digest = entry.blob.digest.clone();
        let mut state = arrivals.state();
        if state.landed.contains_key(&digest) {
            return None;
        }
        let start = match state.begun.remove(&digest) {
            Some((there, hasher)) => {
                Start { hashed: Snapshot { offset: there, hasher }, received: there, snapshot_every: None }
            }
            None => Start::at_the_beginning(&entry.blob),
        };
        Some(Self { slices, extent: entry.extent, digest, start, arrivals: arrivals.clone(), place })
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
        self.arrivals.state().landed.insert(self.digest, checksum);
        Ok(())
    }

    fn error(&self, error: BundleError) -> Error {
        Error::new(Operation::UploadBlob, Side::Destination, self.place.clone(), error)
    }
}

impl BlobSink for Sink {
    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        let died = self.error(BundleError::Internal("a transfer was ended".to_owned()));
        // A task of its own: blobs are hashed and written beside each other where there are cores. Dropped, the set ends it.
        let mut tasks = JoinSet::new();
        tasks.spawn(self.receive(body));
        match tasks.join_next().await {
            Some(Ok(received)) => received,
            Some(Err(_)) | None => Err(died),
        }
    }
}
