//! Limits how many images are in progress, so that memory does not depend on the number of images.
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
/// The number of consecutive images that are ordered by size, the largest first.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Node,
        oci::{Descriptor, Digest, RawManifest, manifest::Contents, media_type::OCI_INDEX},
    };

    /// A graph that holds a manifest with this many bytes, and knows of another without its bytes.
    fn graph(bytes: u64) -> Graph {
        let document = r#"{"schemaVersion":2,"manifests":[]}"#;
        let manifest = RawManifest::read(Some(OCI_INDEX), document.into(), None).unwrap();
        let node = |size: u64, manifest: Option<RawManifest>| Node {
            descriptor: Descriptor::new(OCI_INDEX.into(), Digest::sha256(b"index"), size),
            media_type: OCI_INDEX.into(),
            manifest,
            contents: Contents::Index { manifests: Vec::new(), subject: None },
            height: 0,
        };
        Graph { nodes: vec![node(bytes, Some(manifest)), node(u64::MAX / 2, None)], ..Graph::default() }
    }

    #[test]
    fn sixty_four_images_are_in_progress_at_most() {
        let mut window = Window::default();
        let mut slots = Vec::new();
        for _ in 0..64 {
            assert!(window.has_room());
            slots.push(window.enter());
        }
        assert!(!window.has_room());
        slots.pop();
        assert!(window.has_room(), "an image is done");
    }

    #[test]
    fn no_image_starts_while_others_hold_32_mib_of_manifests() {
        let mut window = Window::default();
        let (mut first, mut second) = (window.enter(), window.enter());
        first.holds(&graph(32 * 1024 * 1024 - 1));
        assert!(window.has_room());
        second.holds(&graph(1));
        assert!(!window.has_room());
        drop(second);
        assert!(window.has_room(), "its bytes are no longer held");
        first.holds(&graph(1));
        assert!(!window.has_room());
        drop(first);
        assert!(window.has_room(), "no image is in progress");
    }

    #[test]
    fn sixteen_images_in_a_row_are_ordered_by_size() {
        let mut window = Window::default();
        let slots: Vec<WindowSlot> = std::iter::repeat_with(|| window.enter()).take(18).collect();
        let rank = |at: usize, bytes: u64| slots[at].rank(bytes);
        assert!(rank(15, 2) < rank(0, 1), "the larger one first");
        assert!(rank(0, 1) < rank(1, 1), "of equal ones, the first first");
        assert!(rank(15, 1) < rank(16, 2), "the next sixteen come afterwards");
        assert!(rank(17, 2) < rank(16, 1));
    }
}
