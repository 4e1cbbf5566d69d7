//! The bytes of one archive in one file, or in volumes that are slices of it.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};

use crate::problem::{ArchivePart, ArchivePosition, Problem};

/// A range of bytes in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The offset of the first byte in the archive.
    pub offset: u64,
    /// The number of bytes.
    pub size: u64,
}

impl Extent {
    /// The offset after the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

/// A file with a part of the archive.
#[derive(Debug, Clone)]
struct Slice {
    /// `None` if it is missing.
    file: Option<Arc<File>>,
    name: String,
    offset: u64,
    size: u64,
}

/// Reads and writes at any offset of an archive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Slices {
    slices: Arc<[Slice]>,
    /// The first bytes, if they are known from elsewhere.
    head: Bytes,
}

/// A file for [`Slices`]: its name for messages, the file unless it is missing, its size in bytes.
pub(crate) type Part = (String, Option<File>, u64);

impl Slices {
    /// Joins files in this order.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        let mut offset = 0;
        let slices = parts.into_iter().map(|(name, file, size)| {
            let slice = Slice { file: file.map(Arc::new), name, offset, size };
            offset += size;
            slice
        });
        Self { slices: slices.collect(), head: Bytes::new() }
    }

    /// The same, with known first bytes, which are not read from the files.
    #[must_use]
    pub(crate) fn with_head(self, head: Bytes) -> Self {
        Self { head, ..self }
    }

    /// How many clones there are, including this one.
    pub(crate) fn users(&self) -> usize {
        Arc::strong_count(&self.slices)
    }

    /// The length of the whole in bytes.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.slices.last().map_or(0, |slice| slice.offset + slice.size)
    }

    /// The names of the missing files that contain these bytes.
    #[must_use]
    pub(crate) fn absent(&self, offset: u64, size: u64) -> Vec<String> {
        let known = (self.head.len() as u64).saturating_sub(offset).min(size);
        self.touching(offset + known, size - known)
            .filter(|slice| slice.file.is_none())
            .map(|slice| slice.name.clone())
            .collect()
    }

    /// The names of the files that contain these bytes, missing or not; empty if there is only one file.
    #[must_use]
    pub(crate) fn volumes(&self, extent: Extent) -> Vec<String> {
        if self.slices.len() < 2 {
            return Vec::new();
        }
        self.touching(extent.offset, extent.size).map(|slice| slice.name.clone()).collect()
    }

    /// The offset of the first byte in the files that differs. Missing files are not compared.
    pub(crate) fn first_difference(&self, expected: &[u8], offset: u64) -> io::Result<Option<u64>> {
        for slice in self.touching(offset, expected.len() as u64) {
            let Some(file) = &slice.file else { continue };
            let from = offset.max(slice.offset);
            let skipped = usize::try_from(from - offset).unwrap_or(usize::MAX);
            let held = usize::try_from(slice.offset + slice.size - from).unwrap_or(usize::MAX);
            let expected = expected.get(skipped..).unwrap_or_default();
            let expected = expected.get(..held).unwrap_or(expected);
            let mut found = vec![0; expected.len()];
            file.read_exact_at(&mut found, from - slice.offset)?;
            if let Some(position) = found.iter().zip(expected).position(|(found, expected)| found != expected)
            {
                return Ok(Some(from + position as u64));
            }
        }
        Ok(None)
    }

    /// The first byte in the files that differs from what was written to this part of the archive.
    pub(crate) fn first_alteration(
        &self,
        part: ArchivePart,
        written: &[u8],
        offset: u64,
    ) -> io::Result<Option<Problem>> {
        let differs = self.first_difference(written, offset)?;
        Ok(differs.map(|offset| Problem::AlteredArchive { part, position: self.position(offset) }))
    }

    /// A byte of the archive, with its volume.
    pub(crate) fn position(&self, offset: u64) -> ArchivePosition {
        ArchivePosition { offset, volume: self.volumes(Extent { offset, size: 1 }).pop() }
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let known =
            usize::try_from(offset).ok().and_then(|offset| self.head.get(offset..)).unwrap_or_default();
        let (from_head, mut rest) = buffer.split_at_mut(known.len().min(buffer.len()));
        from_head.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
        let offset = offset.saturating_add(from_head.len() as u64);
        self.each(offset, rest.len() as u64, |file, at, length| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(length);
            rest = later;
            file.read_exact_at(now, at)
        })
    }

    /// Writes all of `bytes` from `offset` on.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut rest = bytes;
        self.each(offset, rest.len() as u64, |file, at, length| {
            let (now, later) = rest.split_at(length);
            rest = later;
            file.write_all_at(now, at)
        })
    }

    /// Every file that is not missing.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        self.slices.iter().filter_map(|slice| slice.file.as_deref())
    }

    /// The number of bytes from the start of this range that may have been written: up to the first hole if the file
    /// system supports holes, else all.
    #[must_use]
    pub(crate) fn data_from(&self, extent: Extent) -> u64 {
        let Some(slice) = self.touching(extent.offset, extent.size).next() else { return extent.size };
        let Some(file) = &slice.file else { return 0 };
        let Ok(hole) = rustix::fs::seek(file, SeekFrom::Hole(extent.offset - slice.offset)) else {
            return extent.size;
        };
        let end = slice.offset.saturating_add(hole);
        if hole >= slice.size { extent.size } else { end.min(extent.end()).saturating_sub(extent.offset) }
    }

    /// Punches a hole, which reads as zeros, if the file system supports it.
    pub(crate) fn punch(&self, extent: Extent) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Best effort: remains that are taken for data fail the digest check and are downloaded again.
        let _ = self.each(extent.offset, extent.size, |file, at, length| {
            rustix::fs::fallocate(file, flags, at, length as u64).map_err(io::Error::from)
        });
    }

    fn touching(&self, offset: u64, size: u64) -> impl Iterator<Item = &Slice> {
        let end = offset.saturating_add(size);
        let touches = move |slice: &&Slice| slice.offset < end && offset < slice.offset + slice.size;
        self.slices.iter().filter(move |slice| size > 0 && touches(slice))
    }

    /// Calls `act` with every file that contains a part of the range, the offset in the file, and the length of the
    /// part.
    fn each(
        &self,
        offset: u64,
        length: u64,
        mut act: impl FnMut(&File, u64, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset.saturating_add(length);
        if end > self.length() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        for slice in self.touching(offset, length) {
            let (from, to) = (offset.max(slice.offset), end.min(slice.offset + slice.size));
            let Some(file) = &slice.file else {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is missing", slice.name)));
            };
            act(file, from - slice.offset, usize::try_from(to - from).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn part(name: &str, content: &[u8]) -> Part {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        (name.to_owned(), Some(file), content.len() as u64)
    }

    #[test]
    fn ranges_cross_files() {
        let slices = Slices::new(vec![part("a", b"012"), part("b", b"34"), part("c", b"56789")]);
        assert_eq!(slices.length(), 10);
        for from in 0..10 {
            for to in from..=10 {
                let mut buffer = vec![0; to - from];
                slices.read_exact_at(&mut buffer, from as u64).unwrap();
                assert_eq!(buffer, &b"0123456789"[from..to]);
            }
        }
        slices.write_all_at(b"abcd", 2).unwrap();
        let mut buffer = [0; 10];
        slices.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"01abcd6789");
        assert_eq!(slices.read_exact_at(&mut [0; 2], 9).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_known_head_is_read_from_no_file() {
        let slices = Slices::new(vec![("a".to_owned(), None, 3), part("b", b"345")]);
        let slices = slices.with_head(Bytes::from_static(b"0123"));
        assert_eq!(slices.absent(0, 6), Vec::<String>::new());
        for from in 0..6 {
            let mut buffer = vec![0; 6 - from];
            slices.read_exact_at(&mut buffer, from as u64).unwrap();
            assert_eq!(buffer, &b"012345"[from..]);
        }
    }

    #[test]
    fn differences_are_found_in_the_files_that_are_there() {
        let parts = vec![part("a", b"012"), ("b".to_owned(), None, 2), part("c", b"5678")];
        let slices = Slices::new(parts).with_head(Bytes::from_static(b"xx"));
        let difference = |expected: &[u8], offset| slices.first_difference(expected, offset).unwrap();
        assert_eq!(difference(b"012..5678", 0), None);
        assert_eq!(difference(b"0x2", 0), Some(1), "the files, not what is known of them");
        assert_eq!(difference(b"2..5x", 2), Some(6));
        assert_eq!(difference(b"78 and more", 7), None, "nothing follows the end");
        assert_eq!(slices.volumes(Extent { offset: 2, size: 2 }), ["a", "b"]);
    }

    #[test]
    fn a_missing_file_is_named_where_it_is_needed() {
        let slices = Slices::new(vec![part("a", b"012"), ("b".to_owned(), None, 2), part("c", b"5")]);
        assert_eq!(slices.absent(0, 3), Vec::<String>::new());
        assert_eq!(slices.absent(2, 2), ["b"]);
        assert_eq!(slices.absent(5, 1), Vec::<String>::new());
        assert!(slices.read_exact_at(&mut [0; 1], 5).is_ok());
        assert!(slices.read_exact_at(&mut [0; 3], 2).unwrap_err().to_string().contains("b is missing"));
    }
}
