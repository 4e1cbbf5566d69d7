//! The headers of tar entries: ustar, with PAX records for sizes and names that do not fit.
//!
//! The same entry is always written with the same bytes. Archives are not trusted: links, devices and sparse files are
//! refused, extensions are bounded, and an unreadable extension is an error, because readers that skip it would see a
//! different archive.

use tar::{EntryType, Header, PaxExtensions};

/// The unit of a tar archive, in bytes.
pub(crate) const BLOCK: u64 = 512;
/// One block.
pub(crate) type Block = [u8; 512];
/// The end of an archive: two blocks of zeros.
pub(crate) const END: u64 = 2 * BLOCK;
/// The bytes of the end mark.
pub(crate) const END_MARK: [u8; 2 * size_of::<Block>()] = [0; 2 * size_of::<Block>()];
/// From this size on, the size is in a PAX record: eleven octal digits are not enough.
const LARGE: u64 = 8 << 30;
/// The largest extension that is read, in bytes: only names and sizes are needed.
const MAX_EXTENSION_SIZE: u64 = 64 * 1024;

/// The number of zeros after the content of an entry.
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

/// The type of a file that is not a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherFormat {
    /// It is empty.
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
    /// Metadata that macOS writes next to a file.
    #[error("it is a macOS metadata file (AppleDouble)")]
    AppleDouble,
    /// Anything else.
    #[error("not a tar archive")]
    Unknown,
}

impl OtherFormat {
    /// Whether it may be a compressed bundle.
    pub(super) const fn is_compressed(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd | Self::Xz)
    }
}

/// The type of a file by its first block, if it is not a tar archive. A damaged archive still has one of the two marks
/// of a header: the name of the format or a checksum. The file may be shorter than a block.
pub(crate) fn other_than_an_archive(beginning: &[u8]) -> Option<OtherFormat> {
    const FORMAT: std::ops::Range<usize> = 257..262;
    let other = match beginning {
        [] => OtherFormat::Empty,
        [0x1f, 0x8b, ..] => OtherFormat::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => OtherFormat::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => OtherFormat::Xz,
        [b'P', b'K', 3, 4, ..] => OtherFormat::Zip,
        [0x00, 0x05, 0x16, 0x07, ..] => OtherFormat::AppleDouble,
        _ => OtherFormat::Unknown,
    };
    let Some(block) = beginning.first_chunk::<{ size_of::<Block>() }>() else { return Some(other) };
    let is_header = block.get(FORMAT) == Some(b"ustar") || Header::from_byte_slice(block).cksum().is_ok();
    let is_end = block.iter().all(|byte| *byte == 0);
    (!is_header && !is_end).then_some(other)
}

/// Why an archive cannot be read.
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
    /// An entry has two sizes: readers would disagree about its content.
    #[error("`{}` has two sizes: {header} bytes in its header, {extended} in its extended header", .path.escape_debug())]
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

impl HeaderError {
    /// Whether the entry is a link. Archives of older programs have links between layers.
    pub(super) fn is_link(&self) -> bool {
        matches!(self, Self::Forbidden { what: HARD_LINK | SYMBOLIC_LINK, .. })
    }
}

/// The meaning of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next `size` bytes (and padding) must be passed to [`Headers::extend`].
    Extension { size: u64 },
    /// An entry begins: `size` bytes and padding follow.
    Entry(Entry),
    /// A block of zeros.
    Zeros,
}

/// A file or a folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name as written.
    pub(crate) path: String,
    /// Bytes of content; 0 for folders.
    pub(crate) size: u64,
    /// Whether it is a folder.
    pub(crate) folder: bool,
}

/// Reads the headers of consecutive entries.
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
            if size > MAX_EXTENSION_SIZE {
                return Err(HeaderError::Extension("it is too large"));
            }
            self.extending = Some(kind);
            return Ok(Step::Extension { size });
        }
        let written = String::from_utf8(header.path_bytes().into_owned()).map_err(|_| HeaderError::Name)?;
        let path = self.path.take().unwrap_or(written);
        let size = match self.size.take() {
            None => size,
            // A record is only needed for sizes that do not fit into eleven octal digits; a smaller size must be the
            // same in both.
            Some(extended) if extended < LARGE && extended != size => {
                return Err(HeaderError::Sizes { path, header: size, extended });
            }
            Some(extended) => extended,
        };
        match kind {
            // Some readers treat such a name as a folder, regardless of the type.
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
                let refused = HeaderError::Extension("a global record sets names or sizes");
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

/// The sum of a header's bytes, with spaces in place of the checksum field (POSIX.1-2017, pax, "ustar Interchange
/// Format").
fn checksum(block: &Block) -> u32 {
    let field = 148..156;
    let value = |(at, byte): (usize, &u8)| u32::from(if field.contains(&at) { b' ' } else { *byte });
    block.iter().enumerate().map(value).sum()
}

const HARD_LINK: &str = "hard link";
const SYMBOLIC_LINK: &str = "symbolic link";

fn name_of(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => HARD_LINK,
        EntryType::Symlink => SYMBOLIC_LINK,
        EntryType::Char | EntryType::Block => "device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "special entry",
    }
}

#[cfg(test)]
mod tests;
