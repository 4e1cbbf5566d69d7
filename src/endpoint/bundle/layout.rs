//! The layout of a bundle of this program. It follows from the descriptors alone, before any blob is read.
//!
//! Order: `oci-layout`, `index.json`, `thoras-mirror.lock`, manifests, files that say whom to trust, configs, layers, each
//! group by digest. The same images give the same bytes.

use std::{
    collections::{HashMap, HashSet},
    io, iter,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    closure::Closure,
    header::{self, END},
    names,
    slices::{Extent, Slices},
};
use crate::{
    oci::{Descriptor, Digest},
    problem::{ArchivePart, Problem},
};

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

/// How much of the head is put together at once, in bytes.
const PIECE: usize = 64 * 1024;

/// A file before the blobs. Its header and the padding after it are encoded again each time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HeadFile {
    Named(&'static str, Bytes),
    Manifest(Digest, Bytes),
}

impl HeadFile {
    fn content(&self) -> &Bytes {
        match self {
            Self::Named(_, content) | Self::Manifest(_, content) => content,
        }
    }

    fn size(&self) -> u64 {
        self.content().len() as u64
    }

    fn header(&self) -> Vec<u8> {
        match self {
            Self::Named(name, _) => header::encode(name, self.size()),
            Self::Manifest(digest, _) => header::encode(&names::of_blob(digest), self.size()),
        }
    }

    /// Its length in the archive.
    fn length(&self) -> u64 {
        self.header().len() as u64 + self.size() + header::padding(self.size())
    }
}

/// The offsets of a bundle's parts.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The files before the blobs. Their contents share memory with the manifests that the bundle has anyway.
    head: Arc<[HeadFile]>,
    head_length: u64,
    blobs: Arc<[BlobEntry]>,
    positions: Arc<HashMap<Digest, usize>>,
    length: u64,
}

impl Layout {
    /// Lays out a bundle. `absent` are blobs that its destination already has.
    pub(crate) fn new(
        index: &Bytes,
        lock: Option<&Bytes>,
        closure: &Closure,
        absent: &HashSet<Digest>,
    ) -> Self {
        let marker = HeadFile::Named(names::MARKER, Bytes::from_static(names::MARKER_CONTENT));
        let lock = lock.map(|lock| HeadFile::Named(names::LOCK, lock.clone()));
        let manifests = closure
            .manifests
            .iter()
            .map(|(digest, manifest)| HeadFile::Manifest(digest.clone(), manifest.bytes().clone()));
        let head: Arc<[HeadFile]> = iter::once(marker)
            .chain([HeadFile::Named(names::INDEX, index.clone())])
            .chain(lock)
            .chain(manifests)
            .collect();
        let head_length: u64 = head.iter().map(HeadFile::length).sum();
        let mut end = head_length;
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
        let length = end.saturating_add(END);
        Self { head, head_length, blobs, positions: positions.into(), length }
    }

    /// Everything before the first blob's header. That of 10,000 images has more than 50 MB: see
    /// [`Layout::head_pieces`].
    #[must_use]
    pub fn head(&self) -> Bytes {
        let mut head = Vec::with_capacity(usize::try_from(self.head_length).unwrap_or_default());
        self.head_pieces().for_each(|piece| head.extend_from_slice(&piece));
        head.into()
    }

    /// The length of everything before the first blob's header.
    #[must_use]
    pub(crate) fn head_length(&self) -> u64 {
        self.head_length
    }

    /// Everything before the first blob's header, piece by piece.
    pub(crate) fn head_pieces(&self) -> impl Iterator<Item = Bytes> {
        let files = self.head.iter();
        joined(files.flat_map(|file| {
            [file.header().into(), file.content().clone(), zeros(header::padding(file.size()))]
        }))
    }

    /// The same with the offset of each piece.
    fn head_at(&self) -> impl Iterator<Item = (u64, Bytes)> {
        self.head_pieces().scan(0, |end, piece| {
            let offset = *end;
            *end += piece.len() as u64;
            Some((offset, piece))
        })
    }

    /// Whether both have the same bytes before the first blob's header.
    #[must_use]
    pub(crate) fn has_head_of(&self, other: &Self) -> bool {
        self.head == other.head
    }

    /// How these bytes differ from everything before the first blob's header.
    pub(crate) fn head_alteration(&self, slices: &Slices) -> io::Result<HeadAlteration> {
        let mut alteration = HeadAlteration::default();
        for (offset, written) in self.head_at() {
            let mut found = vec![0; written.len()];
            slices.read_exact_at(&mut found, offset)?;
            let differing =
                found.iter().zip(&written).enumerate().filter(|(_, (found, written))| found != written);
            for (position, _) in differing {
                alteration.first.get_or_insert(offset + position as u64);
                alteration.bytes += 1;
            }
        }
        Ok(alteration)
    }

    /// The first byte in the files that differs from everything before the first blob's header.
    pub(crate) fn head_problem(&self, slices: &Slices) -> io::Result<Option<Problem>> {
        for (offset, written) in self.head_at() {
            let problem = slices.first_alteration(ArchivePart::Head, &written, offset)?;
            if problem.is_some() {
                return Ok(problem);
            }
        }
        Ok(None)
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
        let around = self.blobs.iter().flat_map(|entry| {
            let header = entry.header();
            let before = entry.extent.offset - header.len() as u64;
            [(before, header.into()), (entry.extent.end(), zeros(header::padding(entry.extent.size)))]
        });
        let end = (self.length - END, zeros(END));
        self.head_at().chain(around).chain([end])
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

/// How files differ from what was written to the beginning of a bundle.
#[derive(Debug, Default)]
pub(crate) struct HeadAlteration {
    /// The offset of the first byte that differs.
    pub(crate) first: Option<u64>,
    /// How many bytes differ.
    pub(crate) bytes: usize,
}

/// Zeros before the next block, or at the end of an archive.
fn zeros(length: u64) -> Bytes {
    let length = usize::try_from(length).unwrap_or_default();
    Bytes::from_static(&header::END_MARK).slice(..length.min(header::END_MARK.len()))
}

/// The same bytes in fewer pieces: small ones are put together, large ones are not copied.
fn joined(pieces: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
    let mut pieces = pieces.peekable();
    iter::from_fn(move || {
        let first = pieces.next()?;
        if first.len() >= PIECE {
            return Some(first);
        }
        let mut whole = Vec::from(first);
        while let Some(next) = pieces.next_if(|next| whole.len() + next.len() <= PIECE) {
            whole.extend_from_slice(&next);
        }
        Some(whole.into())
    })
}
