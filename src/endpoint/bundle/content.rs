//! The content of a file that precedes the blobs. The lock of 10,000 images has 16 MB, so it does not stay in memory.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use tempfile::{SpooledData, SpooledTempFile};

use super::{
    slices::{Extent, Slices},
    storage::BlobReader,
};
use crate::{
    lock::Lock,
    oci::{Digest, Hasher, digest::Algorithm},
};

/// The most bytes of content that stay in memory.
const MAX_IN_MEMORY: usize = 1024 * 1024;
/// How many bytes are read at once.
const PIECE: usize = 64 * 1024;

/// Bytes in memory, or where they are stored.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In memory.
    Memory(Bytes),
    /// In a file.
    Stored(BlobReader),
}

impl Content {
    /// What `write` writes: large content goes to a temporary file without a name, or stays in memory if that file cannot be
    /// written.
    pub(crate) fn written(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> Self {
        spooled(&write).unwrap_or_else(|_| {
            let mut bytes = Vec::new();
            // Memory takes any bytes.
            let _ = write(&mut bytes);
            Self::Memory(bytes.into())
        })
    }

    /// The file of a lock.
    pub(crate) fn of_lock(lock: &Lock) -> Self {
        Self::written(|out| lock.write_to(out))
    }

    /// The number of its bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stored(reader) => reader.size(),
        }
    }

    /// Its bytes, piece by piece; those in memory are one piece.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = io::Result<Bytes>> + use<'_> {
        let step = match self {
            Self::Memory(bytes) => bytes.len().max(1),
            Self::Stored(_) => PIECE,
        };
        (0..self.size()).step_by(step).map(|offset| match self {
            Self::Memory(bytes) => Ok(bytes.clone()),
            Self::Stored(reader) => {
                let left = usize::try_from(reader.size() - offset).unwrap_or(PIECE);
                let mut piece = vec![0; left.min(PIECE)];
                reader.read_exact_at(&mut piece, offset).map(|()| piece.into())
            }
        })
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> io::Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        self.pieces().try_for_each(|piece| {
            hasher.update(&piece?);
            Ok::<_, io::Error>(())
        })?;
        Ok(hasher.finish())
    }

    /// Whether both have the same bytes. Files that are stored are compared by size: what they are named after, or
    /// another file, has their digest.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(own), Self::Memory(other)) => own == other,
            _ => self.size() == other.size(),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}

fn spooled(write: &impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<Content> {
    let mut out = BufWriter::new(SpooledTempFile::new(MAX_IN_MEMORY));
    write(&mut out)?;
    match out.into_inner().map_err(io::IntoInnerError::into_error)?.into_inner() {
        SpooledData::InMemory(written) => Ok(Content::Memory(written.into_inner().into())),
        SpooledData::OnDisk(file) => {
            let size = file.metadata()?.len();
            let slices = Slices::new(vec![("a temporary file".to_owned(), Some(file), size)]);
            Ok(Content::Stored(BlobReader::new(slices, Extent { offset: 0, size })))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_content_is_not_kept_in_memory() {
        for (size, in_memory) in [(10, true), (3 * MAX_IN_MEMORY + 1, false)] {
            let bytes: Vec<u8> = (0..size).map(|number| u8::try_from(number % 251).unwrap()).collect();
            let content = Content::written(|out| out.write_all(&bytes));
            assert_eq!(matches!(content, Content::Memory(_)), in_memory, "{size}");
            let read: Vec<u8> = content.pieces().flat_map(|piece| piece.unwrap().to_vec()).collect();
            assert_eq!((read == bytes, content.size()), (true, size as u64));
            assert_eq!(content.digest().unwrap(), Digest::sha256(&bytes));
        }
    }
}
