//! The storage of a layout's blobs: an archive or a folder.

use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::{
    error::BundleError,
    names::{self, Name},
    slices::{Extent, Slices},
};
use crate::{
    endpoint::{BlobStream, Location},
    oci::Digest,
};

/// The number of bytes read at a time. Two pieces are in memory: one being consumed, one being read.
const PIECE: usize = 256 * 1024;

/// A layout's files.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// Entries of an archive.
    Archive {
        /// The archive.
        slices: Slices,
        /// The location of each blob.
        blobs: Arc<HashMap<Digest, Extent>>,
        /// For messages.
        path: PathBuf,
    },
    /// Files in a folder; no path or link leads out of the folder.
    Folder {
        /// The folder.
        folder: Arc<Dir>,
        /// For messages.
        path: PathBuf,
    },
}

impl Storage {
    pub(crate) fn open_folder(path: &Path) -> Result<Self, BundleError> {
        let folder = Dir::open_ambient_dir(path, cap_std::ambient_authority())
            .map_err(|error| BundleError::unreadable(path, error))?;
        Ok(Self::Folder { folder: Arc::new(folder), path: path.to_owned() })
    }

    /// The file or folder, for messages.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Archive { path, .. } | Self::Folder { path, .. } => path,
        }
    }

    /// A blob, readable at any offset; `None` if it is missing.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<BlobReader>, BundleError> {
        match self {
            Self::Archive { slices, blobs, .. } => {
                let extent = blobs.get(digest).copied();
                Ok(extent.map(|extent| BlobReader { slices: slices.clone(), extent }))
            }
            Self::Folder { .. } => self.file(&names::of_blob(digest)),
        }
    }

    /// The names of the volumes that contain a blob; empty if the archive is a single file.
    pub(crate) fn volumes_of(&self, digest: &Digest) -> Vec<String> {
        match self {
            Self::Archive { slices, blobs, .. } => {
                blobs.get(digest).map(|extent| slices.volumes(*extent)).unwrap_or_default()
            }
            Self::Folder { .. } => Vec::new(),
        }
    }

    /// The archive; `None` for a folder.
    pub(crate) fn archive(&self) -> Option<&Slices> {
        match self {
            Self::Archive { slices, .. } => Some(slices),
            Self::Folder { .. } => None,
        }
    }

    /// Every existing blob, in the order in which reading is fastest.
    pub(crate) fn in_order(&self) -> Result<Vec<Digest>, BundleError> {
        let mut placed: Vec<(u64, Digest)> = match self {
            Self::Archive { blobs, .. } => {
                blobs.iter().map(|(digest, extent)| (extent.offset, digest.clone())).collect()
            }
            Self::Folder { .. } => self.blobs()?.into_keys().map(|digest| (0, digest)).collect(),
        };
        placed.sort();
        Ok(placed.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Opens a file of a folder.
    pub(crate) fn file(&self, name: &str) -> Result<Option<BlobReader>, BundleError> {
        let Self::Folder { folder, path } = self else { return Ok(None) };
        // Opening a named pipe must not block until it has a writer.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let opened = folder.open_with(name, &options).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) if metadata.is_file() => {
                let size = metadata.len();
                let slices = Slices::new(vec![(name.to_owned(), Some(file.into_std()), size)]);
                Ok(Some(BlobReader { slices, extent: Extent { offset: 0, size } }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BundleError::unreadable(path.join(name), error)),
        }
    }

    /// The bytes of a small file.
    pub(crate) fn small(&self, name: &'static str, limit: u64) -> Result<Option<Bytes>, BundleError> {
        match self.file(name)? {
            Some(file) => file.whole(name, limit, self.path()).map(Some),
            None => Ok(None),
        }
    }

    /// Every blob with its size.
    pub(crate) fn blobs(&self) -> Result<HashMap<Digest, u64>, BundleError> {
        match self {
            Self::Archive { blobs, .. } => {
                Ok(blobs.iter().map(|(digest, extent)| (digest.clone(), extent.size)).collect())
            }
            Self::Folder { folder, path } => {
                list(folder).map_err(|error| BundleError::unreadable(path.join("blobs"), error))
            }
        }
    }
}

fn list(folder: &Dir) -> io::Result<HashMap<Digest, u64>> {
    let mut found = HashMap::new();
    for algorithm in folder.read_dir("blobs")? {
        let algorithm = algorithm?;
        if !algorithm.file_type()?.is_dir() {
            continue;
        }
        for file in algorithm.open_dir()?.entries()? {
            let file = file?;
            let name = format!(
                "blobs/{}/{}",
                algorithm.file_name().to_string_lossy(),
                file.file_name().to_string_lossy()
            );
            // Files that are not named like a blob are never read.
            if let Ok(Name::Blob(digest)) = names::read(&name)
                && file.file_type()?.is_file()
            {
                found.insert(digest, file.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// A blob that can be read at any offset. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlobReader {
    slices: Slices,
    extent: Extent,
}

impl BlobReader {
    pub(crate) fn new(slices: Slices, extent: Extent) -> Self {
        Self { slices, extent }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.extent.size
    }

    /// The number of its bytes before the end of the archive.
    pub(crate) fn before_the_end(&self) -> u64 {
        self.slices.length().saturating_sub(self.extent.offset).min(self.extent.size)
    }

    /// The missing volumes that contain it.
    #[must_use]
    pub(crate) fn absent(&self) -> Vec<String> {
        self.slices.absent(self.extent.offset, self.extent.size)
    }

    /// The volumes that contain it, if there are several.
    pub(crate) fn volumes(&self) -> Vec<String> {
        self.slices.volumes(self.extent)
    }

    /// Fills `buffer`, starting at an offset in the blob. Blocks.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.extent.size);
        if end.is_none() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.slices.read_exact_at(buffer, self.extent.offset.saturating_add(offset))
    }

    /// The bytes from `offset` on, at most `limit` of them.
    fn piece(&self, offset: u64, limit: usize) -> io::Result<Bytes> {
        let rest = self.extent.size.saturating_sub(offset);
        let mut buffer = vec![0; limit.min(usize::try_from(rest).unwrap_or(limit))];
        self.read_exact_at(&mut buffer, offset)?;
        Ok(buffer.into())
    }

    /// All its bytes; an error if there are more than `limit`.
    pub(crate) fn whole(&self, name: &'static str, limit: u64, path: &Path) -> Result<Bytes, BundleError> {
        self.check_readable(name, limit)?;
        let whole = self.piece(0, usize::try_from(self.extent.size).unwrap_or(usize::MAX));
        whole.map_err(|error| BundleError::unreadable(path, error))
    }

    /// An error if there are more than `limit` bytes, or some are in a missing volume.
    pub(crate) fn check_readable(&self, name: &'static str, limit: u64) -> Result<(), BundleError> {
        if self.extent.size > limit {
            return Err(BundleError::TooLarge { name, limit });
        }
        let names = self.absent();
        if names.is_empty() { Ok(()) } else { Err(BundleError::Absent { names }) }
    }

    /// Reads it from its beginning.
    pub(crate) fn sequential(&self) -> Sequential<'_> {
        Sequential { blob: self, offset: 0 }
    }

    /// Streams from `offset` on, one piece ahead of its consumer. A failed read is reported at `location`.
    #[must_use]
    pub fn stream(self, offset: u64, location: Location) -> BlobStream {
        let absent = self.absent();
        if !absent.is_empty() {
            let error = location.error(BundleError::Absent { names: absent });
            return stream::once(async { Err(error) }).boxed();
        }
        let first = self.read_ahead(offset);
        stream::try_unfold((self, first), move |(reader, reading)| {
            let location = location.clone();
            async move {
                let Some((reading, end)) = reading else { return Ok(None) };
                let read = reading.await.map_err(|error| BundleError::Internal(error.to_string()));
                let piece =
                    read.and_then(|read| read.map_err(|error| BundleError::unreadable("the bundle", error)));
                let piece = piece.map_err(|error| location.error(error))?;
                let next = reader.read_ahead(end);
                Ok(Some((piece, (reader, next))))
            }
        })
        .boxed()
    }

    /// Starts reading the piece at `offset`; returns where it ends.
    fn read_ahead(&self, offset: u64) -> Option<(JoinHandle<io::Result<Bytes>>, u64)> {
        let rest = self.extent.size.saturating_sub(offset);
        if rest == 0 {
            return None;
        }
        let reader = self.clone();
        let end = offset + rest.min(PIECE as u64);
        Some((tokio::task::spawn_blocking(move || reader.piece(offset, PIECE)), end))
    }
}

/// A blob that is read from its beginning.
pub(crate) struct Sequential<'a> {
    blob: &'a BlobReader,
    offset: u64,
}

impl Read for Sequential<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.size().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        self.blob.read_exact_at(buffer.get_mut(..length).unwrap_or_default(), self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}
