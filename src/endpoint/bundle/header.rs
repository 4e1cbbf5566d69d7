//! The headers of tar entries: ustar, with PAX records where a size or a name does not fit.
//!
//! The same entry is always written with the same bytes. What is read is not trusted: links, devices and sparse files are
//! refused, extensions are bounded, and an unreadable extension is an error, because readers that skip it see another
//! archive than readers that do not.

use tar::{EntryType, Header, PaxExtensions};

/// The unit of a tar archive, in bytes.
pub(crate) const BLOCK: u64 = 512;
/// One block.
pub(crate) type Block = [u8; 512];
/// The end of an archive: two blocks of zeros.
pub(crate) const END: u64 = 2 * BLOCK;
/// The bytes of the end mark.
pub(crate) const END_MARK: [u8; 2 * size_of::<Block>()] = [0; 2 * size_of::<Block>()];
/// From this size on, a PAX record holds the size: eleven octal digits are not enough.
const LARGE: u64 = 8 << 30;
/// The largest extension that is read, in bytes: only names and sizes are needed.
const LARGEST_EXTENSION: u64 = 64 * 1024;

/// How many zeros follow the content of an entry.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

/// The blocks before the content of a regular file.
pub(crate) fn encode(path: &str, size: u64) -> Vec<u8> {
    let mut extension = Vec::new();
    let mut header = plain(EntryType::Regular);
    if header.set_path(path).is_err() {
        extension.extend(record("path", path));
        // Readers without PAX support see the beginning of the name.
        let _ = header.set_path(path.get(..100).unwrap_or_default());
    }
    if size < LARGE {
        header.set_size(size);
    } else {
        extension.extend(record("size", &size.to_string()));
        header.set_size(0);
    }
    header.set_cksum();
    let mut blocks = Vec::new();
    if !extension.is_empty() {
        let length = extension.len() as u64;
        let mut before = plain(EntryType::XHeader);
        let _ = before.set_path("PaxHeaders/entry");
        before.set_size(length);
        before.set_cksum();
        blocks.extend_from_slice(before.as_bytes());
        blocks.extend_from_slice(&extension);
        blocks.resize(blocks.len().next_multiple_of(size_of::<Block>()), 0);
    }
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

fn plain(kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// `LENGTH KEY=VALUE\n`, where the length includes itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = |length: usize| length.to_string().len();
    let mut length = rest + digits(rest);
    if rest + digits(length) > length {
        length += 1;
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// What a file is that is not a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherFormat {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// Compressed with gzip.
    #[error("it is compressed (gzip)")]
    Gzip,
    /// Compressed with zstd.
    #[error("it is compressed (zstd)")]
    Zstd,
    /// Compressed with xz.
    #[error("it is compressed (xz)")]
    Xz,
    /// A zip archive.
    #[error("it is a zip archive")]
    Zip,
    /// Anything else.
    #[error("not a tar archive")]
    Unknown,
}

impl OtherFormat {
    /// Whether decompressing it may give a bundle.
    pub(super) const fn is_compressed(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd | Self::Xz)
    }
}

/// What a file is, going by its first block, if it is not a tar archive at all. A damaged archive still has one of the two
/// marks of a header, the format's name or a checksum; a file may also end before its first block does.
pub(crate) fn other_than_an_archive(beginning: &[u8]) -> Option<OtherFormat> {
    const FORMAT: std::ops::Range<usize> = 257..262;
    let other = match beginning {
        [] => OtherFormat::Empty,
        [0x1f, 0x8b, ..] => OtherFormat::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => OtherFormat::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => OtherFormat::Xz,
        [b'P', b'K', 3, 4, ..] => OtherFormat::Zip,
        _ => OtherFormat::Unknown,
    };
    let Some(block) = beginning.first_chunk::<{ size_of::<Block>() }>() else { return Some(other) };
    let is_header = block.get(FORMAT) == Some(b"ustar") || Header::from_byte_slice(block).cksum().is_ok();
    let is_end = block.iter().all(|byte| *byte == 0);
    (!is_header && !is_end).then_some(other)
}

/// Why an archive cannot be read past some point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The block is not a header.
    #[error("there is no tar header (damaged, or not a tar archive)")]
    NotAHeader,
    /// An entry of a type that no bundle needs.
    #[error("`{}` is a {what}: a bundle holds regular files only", .path.escape_debug())]
    Forbidden {
        /// The entry's name.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// An extension that cannot be read.
    #[error("an extended header cannot be read: {0}")]
    Extension(&'static str),
    /// Two sizes for one entry: readers would disagree about its content.
    #[error("`{}` has {header} bytes by its header and {extended} by its extended header", .path.escape_debug())]
    Sizes {
        /// The entry's name.
        path: String,
        /// The header's size in bytes.
        header: u64,
        /// The extended header's size in bytes.
        extended: u64,
    },
    /// The name is not text.
    #[error("an entry's name is not UTF-8")]
    Name,
}

/// What a block means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next `size` bytes (and padding) are to be given to [`Headers::extend`].
    Extension { size: u64 },
    /// An entry begins: `size` bytes and padding follow.
    Entry(Entry),
    /// A block of zeros.
    Zeros,
}

/// A file or a folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as it was written.
    pub(crate) path: String,
    /// Bytes of content; 0 for folders.
    pub(crate) size: u64,
    /// Whether it is a folder.
    pub(crate) folder: bool,
}

/// Reads the headers of entries one after the other.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    extending: Option<EntryType>,
    path: Option<String>,
    size: Option<u64>,
}

impl Headers {
    /// Reads the next block that is not content.
    pub(crate) fn block(&mut self, block: &Block) -> Result<Step, HeaderError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(Step::Zeros);
        }
        let header = Header::from_byte_slice(block);
        let is_valid = header.cksum().is_ok_and(|sum| sum == checksum(block));
        let size = header.entry_size().map_err(|_| HeaderError::NotAHeader)?;
        if !is_valid {
            return Err(HeaderError::NotAHeader);
        }
        let kind = header.entry_type();
        if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName) {
            if size > LARGEST_EXTENSION {
                return Err(HeaderError::Extension("it is too large"));
            }
            self.extending = Some(kind);
            return Ok(Step::Extension { size });
        }
        let written = String::from_utf8(header.path_bytes().into_owned()).map_err(|_| HeaderError::Name)?;
        let path = self.path.take().unwrap_or(written);
        let size = match self.size.take() {
            None => size,
            // A record is only needed for sizes that eleven octal digits cannot hold; a smaller size must be the same in both.
            Some(extended) if extended < LARGE && extended != size => {
                return Err(HeaderError::Sizes { path, header: size, extended });
            }
            Some(extended) => extended,
        };
        match kind {
            // Some readers treat such a name as a folder's, whatever the type is.
            EntryType::Regular | EntryType::Continuous if path.ends_with('/') => {
                Err(HeaderError::Forbidden { path, what: "file with a folder's name" })
            }
            EntryType::Regular | EntryType::Continuous => {
                Ok(Step::Entry(Entry { path, size, folder: false }))
            }
            EntryType::Directory => Ok(Step::Entry(Entry { path, size: 0, folder: true })),
            other => Err(HeaderError::Forbidden { path, what: name_of(other) }),
        }
    }

    /// Reads the content of an extension, without its padding.
    pub(crate) fn extend(&mut self, content: &[u8]) -> Result<(), HeaderError> {
        match self.extending.take() {
            Some(EntryType::GNULongName) => {
                let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
                let name = content.get(..end).unwrap_or_default().to_vec();
                self.path = Some(String::from_utf8(name).map_err(|_| HeaderError::Name)?);
                Ok(())
            }
            Some(EntryType::XHeader) => self.records(content),
            // Only some readers honor names and sizes in a global extension.
            Some(_) => {
                let mut global = Self::default();
                global.records(content)?;
                let says_more = global.path.is_some() || global.size.is_some();
                let refused = HeaderError::Extension("a global record names or measures entries");
                if says_more { Err(refused) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn records(&mut self, content: &[u8]) -> Result<(), HeaderError> {
        for record in PaxExtensions::new(content) {
            let record = record.map_err(|_| HeaderError::Extension("a record is malformed"))?;
            let value = || record.value().map_err(|_| HeaderError::Extension("a value is not UTF-8"));
            match record.key_bytes() {
                b"path" => self.path = Some(value()?.to_owned()),
                b"size" => {
                    let size = value()?.parse();
                    self.size = Some(size.map_err(|_| HeaderError::Extension("a size is not a number"))?);
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(HeaderError::Extension("it describes a sparse file"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The sum of a header's bytes, with spaces in place of the checksum field (POSIX.1-2017, pax, "ustar Interchange Format").
fn checksum(block: &Block) -> u32 {
    let field = 148..156;
    let value = |(at, byte): (usize, &u8)| u32::from(if field.contains(&at) { b' ' } else { *byte });
    block.iter().enumerate().map(value).sum()
}

fn name_of(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "hard link",
        EntryType::Symlink => "symbolic link",
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "special entry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(blocks: &[u8]) -> Entry {
        let mut headers = Headers::default();
        let mut rest = blocks;
        loop {
            let (block, after) = rest.split_first_chunk().unwrap();
            rest = after;
            match headers.block(block).unwrap() {
                Step::Extension { size } => {
                    let size = usize::try_from(size).unwrap();
                    headers.extend(&rest[..size]).unwrap();
                    rest = &rest[size.next_multiple_of(512)..];
                }
                Step::Entry(entry) => {
                    assert!(rest.is_empty());
                    return entry;
                }
                Step::Zeros => panic!("zeros"),
            }
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let long = format!("blobs/sha512/{}", "a".repeat(128));
        for (path, size, blocks) in [
            ("oci-layout", 31, 1),
            ("x", 0, 1),
            ("x", LARGE - 1, 1),
            ("x", LARGE, 3),
            ("x", u64::MAX, 3),
            (&long, 5, 3),
        ] {
            let bytes = encode(path, size);
            assert_eq!(bytes.len(), blocks * 512);
            assert_eq!(read_back(&bytes), Entry { path: path.to_owned(), size, folder: false });
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record("size", "8589934592"), b"19 size=8589934592\n");
        for length in 80..120 {
            let value = "v".repeat(length);
            let record = record("path", &value);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), record.len());
        }
    }

    #[test]
    fn links_and_devices_are_refused_by_name() {
        for (kind, what) in [(EntryType::Symlink, "symbolic link"), (EntryType::Char, "device")] {
            let mut header = plain(kind);
            header.set_path("blobs/evil").unwrap();
            header.set_size(0);
            header.set_cksum();
            let refused = Headers::default().block(header.as_bytes()).unwrap_err();
            assert_eq!(refused, HeaderError::Forbidden { path: "blobs/evil".to_owned(), what });
        }
    }

    #[test]
    fn a_damaged_header_is_noticed() {
        let mut block: [u8; 512] = encode("x", 1).try_into().unwrap();
        block[3] ^= 1;
        assert_eq!(Headers::default().block(&block), Err(HeaderError::NotAHeader));
        assert_eq!(Headers::default().block(&[b'x'; 512]), Err(HeaderError::NotAHeader));
    }

    #[test]
    fn an_extension_that_cannot_be_read_is_refused() {
        let mut headers = Headers { extending: Some(EntryType::XHeader), ..Headers::default() };
        assert!(headers.extend(b"7 size=\n").is_err());
        let mut header = plain(EntryType::XHeader);
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(Headers::default().block(header.as_bytes()).is_err());
    }

    #[test]
    fn two_sizes_for_one_entry_are_refused() {
        let header = |size| {
            let mut header = plain(EntryType::Regular);
            header.set_path("x").unwrap();
            header.set_size(size);
            header.set_cksum();
            *header.as_bytes()
        };
        let read = |record: &[u8], size| {
            let mut headers = Headers { extending: Some(EntryType::XHeader), ..Headers::default() };
            headers.extend(record)?;
            headers.block(&header(size))
        };
        let refused = HeaderError::Sizes { path: "x".to_owned(), header: 5, extended: 7 };
        assert_eq!(read(&record("size", "7"), 5), Err(refused));
        assert!(read(&record("size", "5"), 5).is_ok());
        assert!(read(&record("size", &LARGE.to_string()), 0).is_ok());
    }

    #[test]
    fn a_global_header_may_say_nothing_of_entries() {
        let read = |record: &[u8]| {
            Headers { extending: Some(EntryType::XGlobalHeader), ..Headers::default() }.extend(record)
        };
        assert!(read(&record("comment", "0123")).is_ok());
        assert!(read(&record("size", "7")).is_err());
        assert!(read(&record("path", "oci-layout")).is_err());
    }

    #[test]
    fn a_file_with_the_name_of_a_folder_is_refused() {
        let mut block = encode("blobs/sha256", 1);
        assert_eq!(block.len(), 512);
        let mut header = Header::from_byte_slice(&block).clone();
        header.as_mut_bytes()[12] = b'/';
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let refused = Headers::default().block(&block.try_into().unwrap());
        assert!(matches!(refused, Err(HeaderError::Forbidden { .. })), "{refused:?}");
    }
}
