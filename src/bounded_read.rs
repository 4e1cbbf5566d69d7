//! Reads whole files that have a size limit: a path may name a device or a pipe that never ends.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The largest key, certificate, policy or list of users, in bytes.
pub(crate) const MAX_SETTINGS_SIZE: u64 = 16 * MIB;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Reads a file of at most `max_size` bytes, a multiple of 1 KiB; a larger one is an error.
pub(crate) fn read(path: &Path, max_size: u64) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?, max_size)
}

/// The same, for a file that is open, or for standard input.
pub(crate) fn read_from(reader: impl Read, max_size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max_size + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_size {
        return Err(too_large(max_size));
    }
    Ok(bytes)
}

/// A file has more than `max_size` bytes, a multiple of 1 KiB.
pub(crate) fn too_large(max_size: u64) -> io::Error {
    let (size, unit) = if max_size < MIB { (max_size / KIB, "KiB") } else { (max_size / MIB, "MiB") };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {size} {unit}"))
}

/// What to do about a file of settings that could not be read.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    hint_or(error, "check that the file exists and that this user may read it")
}

/// The same, with the hint for a file that cannot be opened.
pub(crate) fn hint_or(error: &io::Error, not_opened: &'static str) -> &'static str {
    if is_other_file(error.kind()) { "check that it is the right file" } else { not_opened }
}

/// Whether a file could be opened, but does not hold what was expected.
pub(crate) fn is_other_file(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData)
}

/// Reads a file of at most `max_size` bytes as text.
pub(crate) fn read_text(path: &Path, max_size: u64) -> io::Result<String> {
    read_text_from(File::open(path)?, max_size)
}

/// The same, for a file that is open, or for standard input.
pub(crate) fn read_text_from(reader: impl Read, max_size: u64) -> io::Result<String> {
    let text = String::from_utf8(read_from(reader, max_size)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_never_ends_is_refused_bug() {
        let error = read(Path::new("/dev/zero"), MAX_SETTINGS_SIZE).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 16 MiB");
        assert!(read_text(Path::new("/dev/zero"), MAX_SETTINGS_SIZE).is_err());
    }

    #[test]
    fn a_file_of_the_largest_size_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1024 * 1024).unwrap();
        assert_eq!(read(file.path(), 1024 * 1024).unwrap().len(), 1024 * 1024);
        file.as_file().set_len(1024 * 1024 + 1).unwrap();
        assert!(read(file.path(), 1024 * 1024).is_err());
    }

    #[test]
    fn what_is_too_large_is_never_cut_bug() {
        let size = usize::try_from(64 * KIB).unwrap();
        assert_eq!(read_text_from("x".repeat(size).as_bytes(), 64 * KIB).unwrap().len(), size);
        let error = read_text_from("x".repeat(size + 1).as_bytes(), 64 * KIB).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 64 KiB");
        let error = read_text_from([0xff].as_slice(), 64 * KIB).unwrap_err();
        assert_eq!(error.to_string(), "it is not UTF-8 text");
    }
}
