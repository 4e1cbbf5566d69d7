//! Moving intact blobs to other places of the same file, when the images changed since the export that broke off.
//!
//! Blobs stand in the same order in every layout, so those that move to the right go first, the last of them first, and
//! those that move to the left follow, the first of them first: then no blob is ever written over another.

use std::{fs, io, path::Path, sync::atomic::Ordering};

use serde::{Deserialize, Serialize};

use super::{hashing::Meter, output, slices::Slices};
use crate::oci::Digest;

/// How much is moved at a time, in bytes.
const PIECE: u64 = 1024 * 1024;

/// A blob that is to stand elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Move {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Keeps of these moves those that do not stand in each other's way, in the order of their places.
pub(crate) fn compatible(mut moves: Vec<Move>) -> Vec<Move> {
    moves.sort_by_key(|one| one.from);
    let mut kept: Vec<Move> = Vec::new();
    for one in moves {
        let fits =
            kept.last().is_none_or(|last| last.from + last.size <= one.from && last.to + last.size <= one.to);
        if fits {
            kept.push(one);
        }
    }
    kept
}

/// Moves blobs. They must be [`compatible`].
pub(crate) fn carry_out(slices: &Slices, moves: &[Move], meter: &Meter) -> io::Result<()> {
    for one in moves.iter().rev().filter(|one| one.to > one.from) {
        let mut end = one.size;
        while end > 0 {
            let length = end.min(PIECE);
            end -= length;
            copy(slices, one.from + end, one.to + end, length)?;
            meter.fetch_add(length, Ordering::Relaxed);
        }
    }
    for one in moves.iter().filter(|one| one.to < one.from) {
        let mut at = 0;
        while at < one.size {
            let length = (one.size - at).min(PIECE);
            copy(slices, one.from + at, one.to + at, length)?;
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

/// Notes moves before they begin, so that a run that is killed amidst them finds what has been moved.
pub(crate) fn note(journal: &Path, moves: &[Move]) -> io::Result<()> {
    output::write_whole(journal, &serde_json::to_vec(moves)?)
}

/// The moves that a killed run had begun; none when there was no such run, or its journal is damaged.
pub(crate) fn noted(journal: &Path) -> Vec<Move> {
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
        fn whatever_moves_arrives_whole(
            blobs in prop::collection::vec((1_u64..40, 0_u64..30, 0_u64..30), 1..12),
        ) {
            let (mut from, mut to) = (0, 0);
            let mut moves = Vec::new();
            for (number, (size, gap, other_gap)) in blobs.into_iter().enumerate() {
                from += gap;
                to += other_gap;
                let digest = Digest::sha256(&number.to_be_bytes());
                moves.push(Move { digest, size, from, to });
                from += size;
                to += size;
            }
            let length = from.max(to);
            let mut content = vec![0_u8; usize::try_from(length).unwrap()];
            for (number, one) in moves.iter().enumerate() {
                let range = usize::try_from(one.from).unwrap()..usize::try_from(one.from + one.size).unwrap();
                content[range].fill(u8::try_from(number).unwrap() + 1);
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let slices = Slices::new(vec![("x".to_owned(), Some(file), length)]);
            let kept = compatible(moves.clone());
            prop_assert_eq!(&kept, &moves);
            carry_out(&slices, &kept, &Meter::default()).unwrap();
            for (number, one) in moves.iter().enumerate() {
                let mut bytes = vec![0; usize::try_from(one.size).unwrap()];
                slices.read_exact_at(&mut bytes, one.to).unwrap();
                prop_assert!(bytes.iter().all(|byte| usize::from(*byte) == number + 1));
            }
        }
    }

    #[test]
    fn what_stands_in_the_way_is_left_behind() {
        let one = |from, to| Move { digest: Digest::sha256(b"x"), size: 10, from, to };
        assert_eq!(compatible(vec![one(0, 100), one(20, 50)]), [one(0, 100)]);
        assert_eq!(compatible(vec![one(0, 0), one(5, 50)]), [one(0, 0)]);
    }
}
