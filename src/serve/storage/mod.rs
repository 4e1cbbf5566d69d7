//! The served content: reads manifests, tags and blobs, and stores pushes.
//!
//! The registry reads only through [`Storage`], which has a variant for folders and one for bundles. Pushes and
//! deletions need a [`FolderStorage`].
//!
//! All calls block: use a thread that may block.

mod folder;
mod layout;

use std::{
    fs::File,
    io::{self, Cursor, Read, Seek as _, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;

pub use self::folder::StorageError;
pub(super) use self::{
    folder::{FolderStorage, NewManifest, PutError},
    layout::{LayoutStorage, is_layout},
};
use super::{
    names::{RepositoryName, TagName},
    routes::Reference,
};
use crate::{endpoint::bundle::BlobReader, oci::Digest};

/// The storage behind a registry.
#[derive(Debug)]
pub(super) enum Storage {
    /// A folder of this registry's own layout, which can be pushed to.
    Folder(Arc<FolderStorage>),
    /// A bundle, which is read-only.
    Layout(Box<LayoutStorage>),
}

/// A manifest, open for reading.
#[derive(Debug)]
pub(super) struct StoredManifest {
    /// Its digest.
    pub(super) digest: Digest,
    /// The media type that it was pushed with.
    pub(super) media_type: String,
    /// Its bytes.
    pub(super) content: Content,
}

impl Storage {
    /// The number of blobs that its images need and that are known to be missing.
    pub(super) fn left_out(&self) -> usize {
        match self {
            Self::Folder(_) => 0,
            Self::Layout(layout) => layout.left_out(),
        }
    }

    /// Whether anything was ever pushed to the repository.
    pub(super) fn has_repository(&self, name: &RepositoryName) -> io::Result<bool> {
        match self {
            Self::Folder(folder) => folder.has_repository(name),
            Self::Layout(layout) => Ok(layout.has_repository(name)),
        }
    }

    /// The repository's tags in ASCII order; empty if the repository does not exist.
    pub(super) fn tags(&self, name: &RepositoryName) -> io::Result<Vec<TagName>> {
        match self {
            Self::Folder(folder) => folder.tags(name),
            Self::Layout(layout) => Ok(layout.tags(name)),
        }
    }

    /// Opens a manifest; `None` if the repository has no such tag or manifest.
    pub(super) fn open_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> io::Result<Option<StoredManifest>> {
        match self {
            Self::Folder(folder) => folder.open_manifest(name, reference),
            Self::Layout(layout) => Ok(layout.manifest(name, reference)),
        }
    }

    /// The descriptors (JSON) of the referrers of `subject`, in the order of their digests.
    pub(super) fn referrers(&self, name: &RepositoryName, subject: &Digest) -> io::Result<Vec<String>> {
        match self {
            Self::Folder(folder) => folder.referrers(name, subject),
            Self::Layout(layout) => Ok(layout.referrers(name, subject)),
        }
    }

    /// The blob's size in bytes; `None` if the repository does not have it.
    pub(super) fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        match self {
            Self::Folder(folder) => folder.blob_size(name, digest),
            Self::Layout(layout) => Ok(layout.blob(name, digest).map(BlobReader::size)),
        }
    }

    /// Opens a blob; `None` if the repository does not have it.
    pub(super) fn open_blob(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<Content>> {
        match self {
            Self::Folder(folder) => folder.open_blob(name, digest),
            Self::Layout(layout) => Ok(layout.blob(name, digest).cloned().map(Content::of_blob)),
        }
    }
}

/// Content with a known size, open for reading.
#[derive(Debug)]
pub(super) struct Content {
    reader: ContentReader,
    size: u64,
}

/// A sequential reader of content.
#[derive(Debug)]
pub(super) enum ContentReader {
    /// A file, from its current position.
    File(File),
    /// A blob of a bundle, from `offset` on.
    Blob {
        /// The blob.
        reader: BlobReader,
        /// The next byte.
        offset: u64,
    },
    /// Bytes in memory.
    Memory(Cursor<Bytes>),
}

impl Content {
    /// A whole file of `size` bytes, positioned at its beginning.
    pub(super) fn of_file(file: File, size: u64) -> Self {
        Self { reader: ContentReader::File(file), size }
    }

    /// Bytes in memory.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self { size: bytes.len() as u64, reader: ContentReader::Memory(Cursor::new(bytes)) }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// A reader of its bytes from `start` on.
    pub(super) fn skip_to(self, start: u64) -> io::Result<ContentReader> {
        match self.reader {
            ContentReader::File(mut file) => {
                file.seek(SeekFrom::Start(start))?;
                Ok(ContentReader::File(file))
            }
            ContentReader::Blob { reader, .. } => Ok(ContentReader::Blob { reader, offset: start }),
            ContentReader::Memory(mut bytes) => {
                bytes.set_position(start);
                Ok(ContentReader::Memory(bytes))
            }
        }
    }

    /// Reads all bytes. Only for small content.
    pub(super) fn read_all(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
        self.reader.take(self.size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
            Self::Blob { reader, offset } => {
                let left = usize::try_from(reader.size().saturating_sub(*offset)).unwrap_or(usize::MAX);
                let length = left.min(buffer.len());
                let Some(part) = buffer.get_mut(..length) else { return Ok(0) };
                reader.read_exact_at(part, *offset)?;
                *offset += length as u64;
                Ok(length)
            }
        }
    }
}
