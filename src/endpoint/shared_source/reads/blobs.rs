//! Records which destination has, or has begun to read, which blob.

use std::collections::HashMap;

use crate::oci::{Digest, Repository};

/// The most destinations of one run: a set of them fits into a `u64`.
pub(crate) const MAX_DESTINATIONS: usize = 64;

/// What is known about the blobs of a run.
#[derive(Default)]
pub(super) struct Blobs(HashMap<Digest, Blob>);

#[derive(Default)]
struct Blob {
    /// Whether it has been read for an upload.
    was_read: bool,
    /// The destinations that have it or have begun to read it for an upload, as bits.
    taken_by: u64,
    /// Repositories that hold it, at most one for each destination.
    holders: Vec<(usize, Repository)>,
}

impl Blobs {
    /// Whether the blob has been read for an upload.
    pub(super) fn was_read(&self, digest: &Digest) -> bool {
        self.0.get(digest).is_some_and(|blob| blob.was_read)
    }

    /// A destination begins to read a blob for an upload.
    pub(super) fn note_read(&mut self, destination: usize, digest: &Digest) {
        let blob = self.0.entry(digest.clone()).or_default();
        blob.was_read = true;
        blob.taken_by |= bit(destination);
    }

    /// Whether a destination may still read the blob for an upload.
    pub(super) fn may_read(&self, destination: usize, digest: &Digest) -> bool {
        self.0.get(digest).is_none_or(|blob| blob.taken_by & bit(destination) == 0)
    }

    /// A repository of a destination holds a blob. `destinations` is how many there are.
    pub(super) fn add_holder(
        &mut self,
        destination: usize,
        digest: &Digest,
        repository: &Repository,
        destinations: usize,
    ) {
        let blob = self.0.entry(digest.clone()).or_default();
        if blob.holders.iter().all(|(holder, _)| *holder != destination) {
            blob.holders.push((destination, repository.clone()));
        }
        blob.taken_by |= bit(destination);
        if blob.holders.len() == destinations {
            // Every destination has the blob, so none will look for it.
            blob.holders = Vec::new();
        }
    }

    /// The repositories that hold a blob, each with its destination.
    pub(super) fn holders(&self, digest: &Digest) -> &[(usize, Repository)] {
        self.0.get(digest).map_or(&[], |blob| blob.holders.as_slice())
    }
}

fn bit(destination: usize) -> u64 {
    1 << (destination % MAX_DESTINATIONS)
}
