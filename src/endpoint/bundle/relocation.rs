//! Moves intact blobs within the file if the images changed since an export was interrupted.
//!
//! Blobs have the same order in every layout. Blobs that move toward the end are moved first, starting with the last;
//! then those that move toward the beginning, starting with the first. This way no blob ever overwrites another.

use std::{fs, io, path::Path, sync::atomic::Ordering};

use serde::{Deserialize, Serialize};

use super::{hashing::Meter, output, slices::Slices};
use crate::oci::Digest;

/// The number of bytes moved at a time.
const PIECE: u64 = 1024 * 1024;

/// A blob that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relocation {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Sorts relocations by offset and drops those that conflict with an earlier relocation.
pub(super) fn without_conflicts(mut relocations: Vec<Relocation>) -> Vec<Relocation> {
    relocations.sort_by_key(|relocation| relocation.from);
    let mut kept: Vec<Relocation> = Vec::new();
    for next in relocations {
        let fits = kept
            .last()
            .is_none_or(|last| last.from + last.size <= next.from && last.to + last.size <= next.to);
        if fits {
            kept.push(next);
        }
    }
    kept
}

/// Moves blobs that do not conflict: see [`without_conflicts`].
pub(super) fn relocate(slices: &Slices, relocations: &[Relocation], meter: &Meter) -> io::Result<()> {
    for Relocation { size, from, to, .. } in relocations.iter().rev().filter(|blob| blob.to > blob.from) {
        let mut end = *size;
        while end > 0 {
            let length = end.min(PIECE);
            end -= length;
            copy(slices, from + end, to + end, length)?;
            meter.fetch_add(length, Ordering::Relaxed);
        }
    }
    for Relocation { size, from, to, .. } in relocations.iter().filter(|blob| blob.to < blob.from) {
        let mut at = 0;
        while at < *size {
            let length = (size - at).min(PIECE);
            copy(slices, from + at, to + at, length)?;
            meter.fetch_add(length, Ordering::Relaxed);
            at += length;
        }
    }
    Ok(())
}

fn copy(slices: &Slices, from: u64, to: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
    slices.read_exact_at(&mut buffer, from)?;
    slices.write_all_at(&buffer, to)
}

/// Records relocations before they begin, so that the next run finds the blobs if this one is killed.
pub(super) fn write_journal(journal: &Path, relocations: &[Relocation]) -> io::Result<()> {
    output::write_whole(journal, &serde_json::to_vec(relocations)?)
}

/// The relocations that a killed run had begun; empty if there was no such run, or its journal is damaged.
pub(super) fn read_journal(journal: &Path) -> Vec<Relocation> {
    let read = fs::read(journal).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    read.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_blob_that_moves_arrives_intact(
            blobs in prop::collection::vec((1_u64..40, 0_u64..30, 0_u64..30), 1..12),
        ) {
            let (mut from, mut to) = (0, 0);
            let mut relocations = Vec::new();
            for (number, (size, gap, other_gap)) in blobs.into_iter().enumerate() {
                from += gap;
                to += other_gap;
                let digest = Digest::sha256(&number.to_be_bytes());
                relocations.push(Relocation { digest, size, from, to });
                from += size;
                to += size;
            }
            let length = from.max(to);
            let mut content = vec![0_u8; usize::try_from(length).unwrap()];
            for (number, blob) in relocations.iter().enumerate() {
                let range = usize::try_from(blob.from).unwrap()..usize::try_from(blob.from + blob.size).unwrap();
                content[range].fill(u8::try_from(number).unwrap() + 1);
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let slices = Slices::new(vec![("x".to_owned(), Some(file), length)]);
            let kept = without_conflicts(relocations.clone());
            prop_assert_eq!(&kept, &relocations);
            relocate(&slices, &kept, &Meter::default()).unwrap();
            for (number, blob) in relocations.iter().enumerate() {
                let mut bytes = vec![0; usize::try_from(blob.size).unwrap()];
                slices.read_exact_at(&mut bytes, blob.to).unwrap();
                prop_assert!(bytes.iter().all(|byte| usize::from(*byte) == number + 1));
            }
        }
    }

    #[test]
    fn relocations_that_conflict_are_dropped() {
        let relocation = |from, to| Relocation { digest: Digest::sha256(b"x"), size: 10, from, to };
        assert_eq!(without_conflicts(vec![relocation(0, 100), relocation(20, 50)]), [relocation(0, 100)]);
        assert_eq!(without_conflicts(vec![relocation(0, 0), relocation(5, 50)]), [relocation(0, 0)]);
    }
}
