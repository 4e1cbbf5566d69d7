//! The layout of a bundle of this program. It follows from the descriptors alone, before any blob is read.
//!
//! Order: `oci-layout`, `index.json`, `thoras-mirror.lock`, manifests, trust files, configs, layers, each
//! group by digest. The same images give the same bytes.

use std::{
    collections::{HashMap, HashSet},
    io, iter,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    closure::Closure,
    content::Content,
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
    pub blob: Arc<Descriptor>,
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
#[derive(Debug, Clone)]
enum HeadFile {
    Named(&'static str, Content),
    Manifest(Digest, Content),
}

impl HeadFile {
    fn content(&self) -> &Content {
        match self {
            Self::Named(_, content) | Self::Manifest(_, content) => content,
        }
    }

    fn size(&self) -> u64 {
        self.content().size()
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

    fn is_like(&self, other: &Self) -> bool {
        let same_name = match (self, other) {
            (Self::Named(own, _), Self::Named(other, _)) => own == other,
            (Self::Manifest(own, _), Self::Manifest(other, _)) => own == other,
            _ => false,
        };
        same_name && self.content().is_like(other.content())
    }
}

/// The offsets of a bundle's parts.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The files before the blobs. Their contents share memory with the manifests that the bundle has anyway.
    head: Arc<[HeadFile]>,
    head_length: u64,
    blobs: Arc<[BlobEntry]>,
    /// The positions of the blobs, by digest.
    by_digest: Arc<[u32]>,
    length: u64,
}

impl Layout {
    /// Lays out a bundle. `absent` are blobs that its destination already has.
    pub(crate) fn new(
        index: &Bytes,
        lock: Option<&Content>,
        closure: &Closure,
        absent: &HashSet<Digest>,
    ) -> Self {
        let marker = HeadFile::Named(names::MARKER, Bytes::from_static(names::MARKER_CONTENT).into());
        let lock = lock.map(|lock| HeadFile::Named(names::LOCK, lock.clone()));
        let manifests = closure
            .manifests
            .iter()
            .map(|(digest, manifest)| HeadFile::Manifest(digest.clone(), manifest.bytes().clone().into()));
        let head: Arc<[HeadFile]> = iter::once(marker)
            .chain([HeadFile::Named(names::INDEX, index.clone().into())])
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
                BlobEntry { blob: Arc::clone(blob), extent }
            })
            .collect();
        let mut by_digest: Arc<[u32]> = (0..).take(blobs.len()).collect();
        let digest = |position: &u32| blobs.get(*position as usize).map(|entry| &entry.blob.digest);
        Arc::make_mut(&mut by_digest).sort_unstable_by(|a, b| digest(a).cmp(&digest(b)));
        let length = end.saturating_add(END);
        Self { head, head_length, blobs, by_digest, length }
    }

    /// Everything before the first blob's header. That of 10,000 images has more than 50 MB: see
    /// [`Layout::head_pieces`].
    pub fn head(&self) -> io::Result<Bytes> {
        let mut head = Vec::with_capacity(usize::try_from(self.head_length).unwrap_or_default());
        self.head_pieces().try_for_each(|piece| {
            head.extend_from_slice(&piece?);
            Ok::<_, io::Error>(())
        })?;
        Ok(head.into())
    }

    /// The length of everything before the first blob's header.
    #[must_use]
    pub(crate) fn head_length(&self) -> u64 {
        self.head_length
    }

    /// Everything before the first blob's header, piece by piece.
    pub(crate) fn head_pieces(&self) -> impl Iterator<Item = io::Result<Bytes>> {
        let files = self.head.iter();
        joined(files.flat_map(|file| {
            let (header, padding) = (file.header().into(), zeros(header::padding(file.size())));
            iter::once(Ok(header)).chain(file.content().pieces()).chain([Ok(padding)])
        }))
    }

    /// The same with the offset of each piece.
    fn head_at(&self) -> impl Iterator<Item = io::Result<(u64, Bytes)>> {
        self.head_pieces().scan(0, |end, piece| {
            let offset = *end;
            *end += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            Some(piece.map(|piece| (offset, piece)))
        })
    }

    /// Whether both have the same bytes before the first blob's header.
    #[must_use]
    pub(crate) fn has_head_of(&self, other: &Self) -> bool {
        self.head.len() == other.head.len()
            && self.head.iter().zip(&*other.head).all(|(own, other)| own.is_like(other))
    }

    /// How these bytes differ from everything before the first blob's header.
    pub(crate) fn head_alteration(&self, slices: &Slices) -> io::Result<HeadAlteration> {
        let mut alteration = HeadAlteration::default();
        for piece in self.head_at() {
            let (offset, written) = piece?;
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
        for piece in self.head_at() {
            let (offset, written) = piece?;
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
        let entry = |position: &u32| self.blobs.get(*position as usize);
        let found = self
            .by_digest
            .binary_search_by(|position| entry(position).map(|entry| &entry.blob.digest).cmp(&Some(digest)));
        self.by_digest.get(found.ok()?).and_then(entry)
    }

    /// Whether every byte outside the blobs is present and intact.
    pub(crate) fn frame_is_at(&self, slices: &Slices) -> io::Result<bool> {
        self.frame().try_fold(true, |so_far, piece| {
            let (offset, bytes) = piece?;
            let mut found = vec![0; bytes.len()];
            slices.read_exact_at(&mut found, offset)?;
            Ok(so_far && found == bytes)
        })
    }

    /// Writes every byte outside the blobs.
    pub(crate) fn write_frame(&self, slices: &Slices) -> io::Result<()> {
        self.frame()
            .try_for_each(|piece| piece.and_then(|(offset, bytes)| slices.write_all_at(&bytes, offset)))
    }

    /// Every byte outside the blobs, as pairs of offset and bytes.
    fn frame(&self) -> impl Iterator<Item = io::Result<(u64, Bytes)>> {
        let around = self.blobs.iter().flat_map(|entry| {
            let header = entry.header();
            let before = entry.extent.offset - header.len() as u64;
            [(before, header.into()), (entry.extent.end(), zeros(header::padding(entry.extent.size)))]
        });
        let end = (self.length - END, zeros(END));
        self.head_at().chain(around.chain([end]).map(Ok))
    }

    /// The length of the whole bundle in bytes, including its end mark.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The range of the manifests.
    pub(crate) fn manifest_extents(&self) -> HashMap<Digest, Extent> {
        let mut end = 0;
        let extents = self.head.iter().filter_map(|file| {
            let (start, size) = (end + file.header().len() as u64, file.size());
            end += file.length();
            match file {
                HeadFile::Named(..) => None,
                HeadFile::Manifest(digest, _) => Some((digest.clone(), Extent { offset: start, size })),
            }
        });
        extents.collect()
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
fn joined(pieces: impl Iterator<Item = io::Result<Bytes>>) -> impl Iterator<Item = io::Result<Bytes>> {
    let mut pieces = pieces.peekable();
    iter::from_fn(move || {
        let first = match pieces.next()? {
            Ok(first) if first.len() < PIECE => first,
            whole => return Some(whole),
        };
        let mut whole = Vec::from(first);
        let fits = |next: &io::Result<Bytes>, whole: &Vec<u8>| {
            next.as_ref().is_ok_and(|next| whole.len() + next.len() <= PIECE)
        };
        while let Some(Ok(next)) = pieces.next_if(|next| fits(next, &whole)) {
            whole.extend_from_slice(&next);
        }
        Some(Ok(whole.into()))
    })
}
