//! Which images are in progress: a bounded number, so that memory does not depend on the number of images.
//!
//! The window is large enough to keep every connection busy on a slow link, and to know which images share a blob before
//! it is copied. Images that hold large manifests take more of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{graph::Graph, transfer::Rank};

/// The most images in progress. Small images take about 20 requests in ten round trips, so these keep the connections to
/// a host busy.
const IMAGES: usize = 64;
/// No further image starts while those in progress hold manifests with this many bytes.
const MANIFEST_BYTES: u64 = 32 * 1024 * 1024;
/// So many images in a row are ordered by size, the largest first.
const ORDERED_BY_SIZE: u64 = 16;

/// The images in progress.
#[derive(Debug, Default)]
pub(super) struct Window {
    in_progress: Arc<InProgress>,
    next: u64,
}

/// What the images in progress hold.
#[derive(Debug, Default)]
struct InProgress {
    images: AtomicUsize,
    manifest_bytes: AtomicU64,
}

/// One image in the window, until it is dropped.
#[derive(Debug)]
pub(super) struct WindowSlot {
    in_progress: Arc<InProgress>,
    number: u64,
    manifest_bytes: u64,
}

impl Window {
    /// Whether another image may start. One always may if no other is in progress.
    pub(super) fn has_room(&self) -> bool {
        let images = self.in_progress.images.load(Ordering::Relaxed);
        let bytes = self.in_progress.manifest_bytes.load(Ordering::Relaxed);
        images == 0 || (images < IMAGES && bytes < MANIFEST_BYTES)
    }

    /// Lets the next image in.
    pub(super) fn enter(&mut self) -> WindowSlot {
        self.in_progress.images.fetch_add(1, Ordering::Relaxed);
        let number = self.next;
        self.next += 1;
        WindowSlot { in_progress: Arc::clone(&self.in_progress), number, manifest_bytes: 0 }
    }
}

impl WindowSlot {
    /// Counts the manifests that the image holds until it is done.
    pub(super) fn holds(&mut self, graph: &Graph) {
        let kept = graph.manifests().filter(|node| node.manifest.is_some());
        let bytes = kept.map(|node| node.descriptor.size).sum();
        self.manifest_bytes += bytes;
        self.in_progress.manifest_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The rank of an image with this many bytes to copy. Images finish one after another, and a large one that starts
    /// last cannot delay the end by much.
    pub(super) fn rank(&self, bytes: u64) -> Rank {
        Rank::new(self.number / ORDERED_BY_SIZE, bytes, self.number)
    }
}

impl Drop for WindowSlot {
    fn drop(&mut self) {
        self.in_progress.images.fetch_sub(1, Ordering::Relaxed);
        self.in_progress.manifest_bytes.fetch_sub(self.manifest_bytes, Ordering::Relaxed);
    }
}
