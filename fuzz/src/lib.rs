//! What the targets share: archives that stay archives while they are mutated, and what every error must hold to.
//!
//! Nearly every change of a byte in a tar breaks a checksum or a digest, and a reader that stops there shows nothing of
//! what lies behind. [`mend`] sets them right again, so that mutated indexes, locks and manifests are read as well.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

/// The size of a tar's blocks, in bytes.
const BLOCK: usize = 512;
/// Where the checksum stands in a header (POSIX.1-1988, "ustar Interchange Format").
const CHECKSUM: Range<usize> = 148..156;
/// Where the size stands in a header.
const SIZE: Range<usize> = 124..136;
/// What the names of blobs begin with.
const BLOBS: &[u8] = b"blobs/sha256/";
/// The name of the lock, and what stands before its digest in the index.
const LOCK: &[u8] = b"thoras-mirror.lock\0";
const LOCK_DIGEST: &[u8] = b"\"com.thoras.mirror.lock.digest\":\"sha256:";
/// A manifest's digest changes its index's, and that one's the index's above it.
const LEVELS: usize = 4;

/// One of so many mutations is left as it is, so that broken archives are read too.
const LEFT_BROKEN: u32 = 4;

/// Mutates an archive in its buffer; for `fuzz_mutator!`.
pub fn mutate(archive: &mut [u8], size: usize, largest: usize, seed: u32) -> usize {
    let size = libfuzzer_sys::fuzzer_mutate(archive, size, largest);
    if !seed.is_multiple_of(LEFT_BROKEN) {
        mend(archive.get_mut(..size).unwrap_or_default());
    }
    size
}

/// Gives every blob the name that its bytes have, wherever it is named, and every header its checksum.
pub fn mend(archive: &mut [u8]) {
    for _ in 0..LEVELS {
        let mut changed = false;
        for (header, content) in entries(archive) {
            let name = header.start + BLOBS.len()..header.start + BLOBS.len() + 64;
            let (Some(begin), Some(old)) = (archive.get(header.start..name.start), archive.get(name.clone()))
            else {
                continue;
            };
            if begin != BLOBS || !old.iter().all(u8::is_ascii_hexdigit) {
                continue;
            }
            let (old, new) = (old.to_owned(), hex_digest(&archive[content]));
            if old != new {
                replace(archive, &old, &new);
                changed = true;
            }
        }
        changed |= mend_lock(archive);
        if !changed {
            break;
        }
    }
    for (header, _) in entries(archive) {
        let header = &mut archive[header];
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Gives the index the digest of the lock beside it; tells whether it had another.
fn mend_lock(archive: &mut [u8]) -> bool {
    let is_lock = |(header, _): &(Range<usize>, _)| archive[header.clone()].starts_with(LOCK);
    let Some((_, content)) = entries(archive).into_iter().find(is_lock) else { return false };
    let new = hex_digest(&archive[content]);
    let Some(at) = archive.windows(LOCK_DIGEST.len()).position(|text| text == LOCK_DIGEST) else {
        return false;
    };
    let at = at + LOCK_DIGEST.len();
    match archive.get_mut(at..at + new.len()) {
        Some(old) if old != new => {
            old.copy_from_slice(&new);
            true
        }
        _ => false,
    }
}

/// Where the headers are, and the contents of their entries.
fn entries(archive: &[u8]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + BLOCK) {
        let size = octal(&header[SIZE]).unwrap_or(0);
        let content = at + BLOCK;
        let end = content.saturating_add(size).min(archive.len());
        if header.iter().any(|byte| *byte != 0) {
            found.push((at..content, content..end));
        }
        at = end.next_multiple_of(BLOCK);
    }
    found
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

fn hex_digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Replaces one text with another of the same length, everywhere.
fn replace(archive: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(place) = archive.get_mut(at..at + old.len()) {
        if place == old {
            place.copy_from_slice(new);
            at += old.len();
        } else {
            at += 1;
        }
    }
}

/// What a person sees of an error: no control character from outside reaches a terminal.
pub fn assert_printable(shown: &str) {
    assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
}
