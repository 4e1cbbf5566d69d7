//! `--split`: the largest size of a volume.

use super::usage;
use crate::{error::Failure, units};

/// The largest file of a FAT32 file system, in bytes.
const FAT32: u64 = 4_294_967_295;
/// The capacity of a single-layer DVD, in bytes.
const DVD: u64 = 4_700_000_000;
/// The smallest volume, in bytes. Smaller volumes would be too many files to be useful.
const MIN_SIZE: u64 = 64 * 1024;

/// The largest size of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VolumeSize(u64);

impl VolumeSize {
    /// Reads a number of bytes, a size with a unit (decimal `M` or `MB`, binary `MiB`), `dvd` or `fat32`.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let refused = |reason: &str| {
            usage(format!("--split {}: {reason}", text.escape_debug())).with_hint(
                "use a number of bytes, a size such as 4G (decimal) or 2GiB (binary), dvd (4700000000 bytes) or \
                 fat32 (4294967295 bytes)",
            )
        };
        let size = match text.trim().to_ascii_lowercase().as_str() {
            "fat32" => FAT32,
            "dvd" => DVD,
            other => units::parse_bytes(other).map_err(refused)?,
        };
        match size {
            ..MIN_SIZE => Err(refused("the smallest volume is 64 KiB")),
            size => Ok(Self(size)),
        }
    }

    /// In bytes.
    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }

    /// A warning about a size that is likely a mistake.
    pub(crate) fn warning(self) -> Option<&'static str> {
        let exceeds_fat32_by_one = self.0 == FAT32 + 1;
        exceeds_fat32_by_one.then_some("volumes of 4 GiB are one byte too large for FAT32: use --split fat32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, size) in [
            ("65536", 65_536),
            ("100000b", 100_000),
            ("700MB", 700_000_000),
            ("2GiB", 2 << 30),
            ("2 gib", 2 << 30),
            ("4G", 4_000_000_000),
            ("4g", 4_000_000_000),
            ("1TB", 1_000_000_000_000),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9007199254740993B", 9_007_199_254_740_993),
            ("fat32", 4_294_967_295),
            ("FAT32", 4_294_967_295),
            ("dvd", 4_700_000_000),
        ] {
            let volume = VolumeSize::parse(text).unwrap();
            assert_eq!((volume.bytes(), volume.warning()), (size, None), "{text}");
        }
        let volume = VolumeSize::parse("4GiB").unwrap();
        assert_eq!(volume.bytes(), 4 << 30);
        assert!(volume.warning().unwrap().contains("FAT32"));
    }

    #[test]
    fn units_are_decimal_or_binary() {
        for (unit, size) in [
            ("KB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("KiB", 1_u64 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
        ] {
            assert_eq!(VolumeSize::parse(&format!("700{unit}")).unwrap().bytes(), 700 * size, "{unit}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "GiB", "-1", "1.5GiB", "12 parrots", "1023", "99999999999TiB", "0"] {
            let failure = VolumeSize::parse(text).unwrap_err();
            assert!(failure.hint.unwrap().contains("dvd"), "{text}");
        }
    }
}
