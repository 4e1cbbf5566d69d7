//! `--split`: the largest size of a volume.

use crate::error::{Failure, Kind};

/// The largest file of a FAT32 file system, in bytes.
const FAT32: u64 = 4_294_967_295;
/// What a single-layer DVD holds, in bytes.
const DVD: u64 = 4_700_000_000;
/// Less than this is no volume but a nuisance, in bytes.
const SMALLEST: u64 = 64 * 1024;

const UNITS: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

/// A volume's size in bytes, and what should be said about it.
pub fn volume_size(text: &str) -> Result<(u64, Option<&'static str>), Failure> {
    let refused = |reason: &str| {
        Failure::new(Kind::Usage, format!("--split {}: {reason}", text.escape_debug())).with_hint(
            "write a number of bytes, or one with a unit such as 700MB or 2GiB, or dvd (4700000000 bytes), or fat32 \
             (4294967295 bytes)",
        )
    };
    let lower = text.trim().to_ascii_lowercase();
    let size = match lower.as_str() {
        "fat32" => FAT32,
        "dvd" => DVD,
        other => {
            let unit = UNITS.iter().find_map(|(name, unit)| Some((other.strip_suffix(name)?, *unit)));
            let (number, unit) = unit.unwrap_or((other, 1));
            let number: u64 = number.trim().parse().map_err(|_| refused("it is not a size"))?;
            number.checked_mul(unit).ok_or_else(|| refused("it is too large"))?
        }
    };
    if size < SMALLEST {
        return Err(refused("a volume has 64 KiB at least"));
    }
    let warning = "volumes of 4 GiB are one byte too large for FAT32: --split fat32 fits";
    Ok((size, (size == FAT32 + 1).then_some(warning)))
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
            ("1TB", 1_000_000_000_000),
            ("fat32", 4_294_967_295),
            ("FAT32", 4_294_967_295),
            ("dvd", 4_700_000_000),
        ] {
            assert_eq!(volume_size(text).unwrap(), (size, None), "{text}");
        }
        let (size, warning) = volume_size("4GiB").unwrap();
        assert_eq!(size, 4 << 30);
        assert!(warning.unwrap().contains("FAT32"));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "GiB", "-1", "1.5GiB", "12 parrots", "1023", "99999999999TiB", "0"] {
            let failure = volume_size(text).unwrap_err();
            assert!(failure.hint.unwrap().contains("dvd"), "{text}");
        }
    }
}
