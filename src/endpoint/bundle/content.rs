//! The content of a file that precedes the blobs. The lock of 10,000 images has 16 MB, so it does not stay in memory.

use std::{
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use bytes::Bytes;
use tempfile::{SpooledData, SpooledTempFile};

use super::{
    error::BundleError,
    slices::{Extent, Slices},
    storage::BlobReader,
};
use crate::{
    lock::{Lock, LockError},
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

    /// The content of a file of at most `limit` bytes. A small one is read into memory.
    pub(crate) fn of_file(
        file: BlobReader,
        name: &'static str,
        limit: u64,
        path: &Path,
    ) -> Result<Self, BundleError> {
        if file.size() <= MAX_IN_MEMORY as u64 {
            return file.whole(name, limit, path).map(Self::Memory);
        }
        file.check_readable(name, limit)?;
        Ok(Self::Stored(file))
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

    /// Reads it from its beginning.
    pub(crate) fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Self::Memory(bytes) => Box::new(&**bytes),
            Self::Stored(file) => Box::new(file.sequential()),
        }
    }

    /// The lock in this file, which has at most `most_values` values and the digest that the index records, if any.
    /// `path` names the bundle in errors.
    pub(crate) fn read_lock(
        &self,
        expected: Option<&Digest>,
        most_values: usize,
        path: &Path,
    ) -> Result<Lock, BundleError> {
        let lock =
            self.parse_lock(expected, most_values, |content| Lock::from_readers(self.reader(), content))?;
        lock.map_err(|error| match error {
            LockError::Unreadable(_, error) => BundleError::unreadable(path, error),
            error => BundleError::Lock(error.reason_in_one_line()),
        })
    }

    /// What `parse` makes of this lock, if the lock has at most `most_values` values and the expected digest. The bytes
    /// that are hashed are those that are parsed, even if somebody changes the file meanwhile.
    pub(crate) fn parse_lock<T>(
        &self,
        expected: Option<&Digest>,
        most_values: usize,
        parse: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<T, BundleError> {
        let mut hashed = Hashed::new(self, expected, most_values);
        let parsed = parse(&mut hashed);
        // The parser may have stopped at an error. That the bytes are not those recorded explains it.
        let rest = io::copy(&mut hashed, &mut io::sink());
        if hashed.values > most_values {
            return Err(BundleError::Lock(format!("it has more than {most_values} values")));
        }
        let found = hashed.hasher.map(Hasher::finish);
        match expected {
            Some(expected) if rest.is_ok() && found.as_ref() != Some(expected) => {
                Err(BundleError::Lock(format!("its digest is not {expected}, as in index.json")))
            }
            _ => Ok(parsed),
        }
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

/// Hashes what is read of a lock, and counts its values: short ones take many times their length in memory, but a real
/// lock's are digests and names.
struct Hashed<'a> {
    content: Box<dyn Read + 'a>,
    hasher: Option<Hasher>,
    values: usize,
    most_values: usize,
}

impl<'a> Hashed<'a> {
    fn new(content: &'a Content, expected: Option<&Digest>, most_values: usize) -> Self {
        Self { content: content.reader(), hasher: expected.map(Digest::hasher), values: 1, most_values }
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        if let Some(hasher) = &mut self.hasher {
            hasher.update(read);
        }
        self.values += read.split(|byte| *byte == b',').count() - 1;
        if self.values > self.most_values {
            return Err(io::Error::other("too many values"));
        }
        Ok(length)
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

    /// The text of a lock of this many images.
    fn lock_of(images: usize) -> String {
        let images: Vec<String> = (0..images)
            .map(|number| {
                format!(
                    r#"{{"source":"a.example.com/b:{number}","platforms":[],"blobs":[],"destinations":
                        [{{"to":null,"reference":"c.example.com/d:{number}","confirmed":false}}]}}"#
                )
            })
            .collect();
        let schema = crate::lock::SCHEMA;
        let destinations = r#"[{"to":null,"naming":"last"}]"#;
        let images = images.join(",");
        format!(
            r#"{{"schema":"{schema}","destinations":{destinations},"platforms":[],"images":[{images}],"blobs":{{}}}}"#
        )
    }

    #[test]
    fn a_large_lock_is_read_from_its_file_with_its_digest() {
        let text = lock_of(9000);
        assert!(text.len() > MAX_IN_MEMORY);
        let content = Content::written(|out| out.write_all(text.as_bytes()));
        assert!(matches!(content, Content::Stored(_)));
        let digest = Digest::sha256(text.as_bytes());
        assert_eq!(content.read_lock(Some(&digest), 100_000, Path::new("a.tar")).unwrap().images.len(), 9000);
        assert_eq!(content.read_lock(None, 100_000, Path::new("a.tar")).unwrap().images.len(), 9000);
        let error = content.read_lock(Some(&digest), 100, Path::new("a.tar")).unwrap_err();
        assert!(error.to_string().contains("more than 100 values"), "{error}");
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_not_called_damaged_bug() {
        let text = lock_of(9000);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let (opened, size) = (file.reopen().unwrap(), text.len() as u64);
        let slices = Slices::new(vec![("a.tar".to_owned(), Some(opened), size)]);
        let content = Content::Stored(BlobReader::new(slices, Extent { offset: 0, size }));
        let digest = Digest::sha256(text.as_bytes());
        content.read_lock(Some(&digest), 100_000, Path::new("a.tar")).unwrap();
        file.as_file().set_len(size / 2).unwrap();
        let error = content.read_lock(Some(&digest), 100_000, Path::new("a.tar")).unwrap_err();
        assert!(matches!(error, BundleError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("a.tar"), "{error}");
    }

    #[test]
    fn another_lock_than_the_recorded_one_is_refused_whatever_it_has() {
        let recorded = Digest::sha256(b"another");
        for text in
            [lock_of(1), lock_of(1) + "}", "{".to_owned(), String::new(), r#"{"schema":"x"}"#.to_owned()]
        {
            let content = Content::from(Bytes::from(text.clone().into_bytes()));
            let error = content.read_lock(Some(&recorded), 100, Path::new("a.tar")).unwrap_err();
            assert!(error.to_string().contains("its digest is not"), "{text}: {error}");
        }
        let spaced = lock_of(1) + "  \n";
        let digest = Digest::sha256(spaced.as_bytes());
        Content::from(Bytes::from(spaced)).read_lock(Some(&digest), 100, Path::new("a.tar")).unwrap();
    }
}
