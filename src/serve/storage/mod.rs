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
    folder::{FolderStorage, MARKER, NewManifest, PutError},
    layout::{LayoutStorage, is_layout},
};
use super::{
    body::{AnswerBody, DigestCheck},
    names::{RepositoryName, TagName},
    routes::Reference,
};
use crate::{endpoint::bundle::BlobReader, oci::Digest, vendor};

/// How many repositories are searched for it.
const MAX_SEARCHED: usize = 1_000;

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
    pub(super) content: OpenContent,
}

impl Storage {
    /// The path (empty or with a leading slash) below which a chart finds its images, as far as that is known. A folder
    /// shows it by the repository of the vendor's main image.
    pub(super) fn chart_prefix(&self) -> Option<String> {
        let folder = match self {
            Self::Layout(layout) => return layout.chart_prefix(),
            Self::Folder(folder) => folder,
        };
        let repositories = folder.repositories(MAX_SEARCHED).ok()?;
        let mut prefixes = repositories.iter().filter_map(|name| match name.as_str() {
            vendor::MAIN_IMAGE => Some(String::new()),
            name => {
                name.strip_suffix(vendor::MAIN_IMAGE)?.strip_suffix('/').map(|prefix| format!("/{prefix}"))
            }
        });
        let prefix = prefixes.next()?;
        prefixes.next().is_none().then_some(prefix)
    }

    /// The number of blobs that its images need and that are known to be missing.
    pub(super) fn left_out(&self) -> usize {
        match self {
            Self::Folder(_) => 0,
            Self::Layout(layout) => layout.left_out(),
        }
    }

    /// The repositories in ASCII order; any `most` of them, if there are more.
    pub(super) fn repositories(&self, most: usize) -> io::Result<Vec<RepositoryName>> {
        match self {
            Self::Folder(folder) => folder.repositories(most),
            Self::Layout(layout) => Ok(layout.repositories(most)),
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
            Self::Layout(layout) => layout.open_manifest(name, reference),
        }
    }

    /// Visits the referrers of `subject` after `after` in the order of their digests, each with its descriptor (JSON),
    /// as long as `visit` returns `true`.
    pub(super) fn visit_referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        visit: &mut VisitReferrer<'_>,
    ) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.visit_referrers(name, subject, after, visit),
            Self::Layout(layout) => layout.visit_referrers(name, subject, after, visit),
        }
    }

    /// The blob's size in bytes; `None` if the repository does not have it.
    pub(super) fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> io::Result<Option<u64>> {
        match self {
            Self::Folder(folder) => folder.blob_size(name, digest),
            Self::Layout(layout) => Ok(layout.blob(name, digest)?.map(|blob| blob.size())),
        }
    }

    /// Opens a blob; `None` if the repository does not have it.
    pub(super) fn open_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Option<OpenContent>> {
        match self {
            Self::Folder(folder) => folder.open_blob(name, digest),
            Self::Layout(layout) => {
                Ok(layout.blob(name, digest)?.map(|blob| OpenContent::of_blob(blob, digest.clone())))
            }
        }
    }
}

/// Takes a referrer and its descriptor (JSON); returns whether to continue.
pub(super) type VisitReferrer<'a> = dyn FnMut(&Digest, String) -> io::Result<bool> + 'a;

/// Content with a known size, open for reading.
#[derive(Debug)]
pub(super) struct OpenContent {
    reader: ContentReader,
    size: u64,
    /// The digest that its bytes are compared with when they are sent; `None` if it was checked when it was stored.
    unchecked: Option<Digest>,
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

impl OpenContent {
    /// A whole file of `size` bytes, positioned at its beginning.
    pub(super) fn of_file(file: File, size: u64) -> Self {
        Self { reader: ContentReader::File(file), size, unchecked: None }
    }

    /// Bytes in memory.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self { size: bytes.len() as u64, reader: ContentReader::Memory(Cursor::new(bytes)), unchecked: None }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// A response body of all its bytes, which are compared with their digest if they come from a bundle. Blocks.
    pub(super) fn whole_body(self) -> io::Result<AnswerBody> {
        let (size, check) = (self.size, self.unchecked.clone().map(DigestCheck::new));
        AnswerBody::read_checked(self.skip_to(0)?, size, check)
    }

    /// The digest that it is not known to have; `None` if that was checked when it was stored.
    pub(super) fn unchecked(&self) -> Option<&Digest> {
        self.unchecked.as_ref()
    }

    /// Reads all of it and compares the bytes with the digest. Blocks.
    pub(super) fn check(&self) -> io::Result<()> {
        let (Some(digest), ContentReader::Blob { reader, .. }) = (&self.unchecked, &self.reader) else {
            return Ok(());
        };
        let reader = ContentReader::Blob { reader: reader.clone(), offset: 0 };
        DigestCheck::new(digest.clone()).read(reader, self.size)
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
