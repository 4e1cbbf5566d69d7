//! The bytes that one destination has yet to take.

use std::collections::{HashMap, VecDeque};

use super::{patience::Patience, read::ReadId};
use crate::{oci::Digest, outcome::ExtraReads};

/// How far one destination is behind, and what it is expected to read.
pub(super) struct Backlog {
    /// The bytes that it has not taken, over all reads.
    pub(super) bytes: u64,
    /// The reads that keep every byte until it opens their blob, the oldest first.
    pub(super) reserved: VecDeque<ReadId>,
    /// How many uploads of each blob are in progress.
    uploads: HashMap<Digest, usize>,
    /// How long the reads may still wait for it.
    pub(super) patience: Patience,
    /// Whether it has read all that it needs.
    pub(super) has_left: bool,
    /// What was read again for it.
    pub(super) extra: ExtraReads,
}

impl Backlog {
    pub(super) fn new() -> Self {
        Self {
            bytes: 0,
            reserved: VecDeque::new(),
            uploads: HashMap::new(),
            patience: Patience::new(),
            has_left: false,
            extra: ExtraReads::default(),
        }
    }

    pub(super) fn is_uploading(&self, digest: &Digest) -> bool {
        self.uploads.contains_key(digest)
    }

    pub(super) fn begin_upload(&mut self, digest: &Digest) {
        *self.uploads.entry(digest.clone()).or_default() += 1;
    }

    pub(super) fn end_upload(&mut self, digest: &Digest) {
        if let Some(count) = self.uploads.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.uploads.remove(digest);
            }
        }
    }
}
