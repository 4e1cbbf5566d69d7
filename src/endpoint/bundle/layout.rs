//! The layout of a bundle of this program. It follows from the descriptors alone, before any blob is read.
//!
//! Order: `oci-layout`, `index.json`, `thoras-mirror.lock`, manifests, files that say whom to trust, configs, layers, each
//! group by digest. The same images give the same bytes.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    closure::Closure,
    header::{self, END},
    names,
    slices::{Extent, Slices},
};
use crate::oci::{Descriptor, Digest};

/// A blob's entry.
#[derive(Debug, Clone)]
pub struct BlobEntry {
    /// The blob.
    pub blob: Descriptor,
    /// Its content.
    pub extent: Extent,
}

impl BlobEntry {
    /// The blocks before its content. They are encoded again each time, because those of every blob would take more
    /// memory than everything else that is known about it.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        header::encode(&names::of_blob(&self.blob.digest), self.blob.size)
    }
}

/// The offsets of a bundle's parts.
#[derive(Debug, Clone)]
pub struct Layout {
    head: Bytes,
    blobs: Arc<[BlobEntry]>,
    positions: Arc<HashMap<Digest, usize>>,
    length: u64,
}

impl Layout {
    /// Lays out a bundle. `absent` are blobs that its destination already has.
    pub(crate) fn new(
        index: &[u8],
        lock: Option<&[u8]>,
        closure: &Closure,
        absent: &HashSet<Digest>,
    ) -> Self {
        let mut head = Vec::new();
        append(&mut head, names::MARKER, names::MARKER_CONTENT);
        append(&mut head, names::INDEX, index);
        if let Some(lock) = lock {
            append(&mut head, names::LOCK, lock);
        }
        for (digest, manifest) in &closure.manifests {
            append(&mut head, &names::of_blob(digest), manifest.bytes());
        }
        let mut end = head.len() as u64;
        let kept = closure.blobs().filter(|blob| !absent.contains(&blob.digest));
        let blobs: Arc<[BlobEntry]> = kept
            .map(|blob| {
                let header = header::encode(&names::of_blob(&blob.digest), blob.size);
                // Descriptors may claim any size; a size that is too large for the disk is refused before writing.
                let extent = Extent { offset: end.saturating_add(header.len() as u64), size: blob.size };
                end = extent.end().saturating_add(header::padding(blob.size));
                BlobEntry { blob: blob.clone(), extent }
            })
            .collect();
        let positions: HashMap<Digest, usize> =
            blobs.iter().enumerate().map(|(position, entry)| (entry.blob.digest.clone(), position)).collect();
        Self { head: head.into(), blobs, positions: positions.into(), length: end.saturating_add(END) }
    }

    /// Everything before the first blob's header.
    #[must_use]
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The blobs in their order.
    #[must_use]
    pub fn blobs(&self) -> &[BlobEntry] {
        &self.blobs
    }

    /// The location of a blob.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> Option<&BlobEntry> {
        self.positions.get(digest).and_then(|position| self.blobs.get(*position))
    }

    /// Whether every byte outside the blobs is present and intact.
    pub(crate) fn frame_is_at(&self, slices: &Slices) -> io::Result<bool> {
        self.frame().try_fold(true, |so_far, (offset, bytes)| {
            let mut found = vec![0; bytes.len()];
            slices.read_exact_at(&mut found, offset)?;
            Ok(so_far && found == bytes)
        })
    }

    /// Writes every byte outside the blobs.
    pub(crate) fn write_frame(&self, slices: &Slices) -> io::Result<()> {
        self.frame().try_for_each(|(offset, bytes)| slices.write_all_at(&bytes, offset))
    }

    /// Every byte outside the blobs, as pairs of offset and bytes.
    fn frame(&self) -> impl Iterator<Item = (u64, Bytes)> {
        let zeros = |length: u64| Bytes::from(vec![0; usize::try_from(length).unwrap_or_default()]);
        let around = self.blobs.iter().flat_map(move |entry| {
            let header = entry.header();
            let before = entry.extent.offset - header.len() as u64;
            [(before, header.into()), (entry.extent.end(), zeros(header::padding(entry.extent.size)))]
        });
        let end = (self.length - END, zeros(END));
        std::iter::once((0, self.head.clone())).chain(around).chain([end])
    }

    /// The length of the whole bundle in bytes, including its end mark.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The range of the blobs.
    #[must_use]
    pub(crate) fn extents(&self) -> HashMap<Digest, Extent> {
        self.blobs.iter().map(|entry| (entry.blob.digest.clone(), entry.extent)).collect()
    }
}

fn append(head: &mut Vec<u8>, path: &str, content: &[u8]) {
    let size = content.len() as u64;
    head.extend(header::encode(path, size));
    head.extend_from_slice(content);
    head.extend(std::iter::repeat_n(0, usize::try_from(header::padding(size)).unwrap_or_default()));
}
