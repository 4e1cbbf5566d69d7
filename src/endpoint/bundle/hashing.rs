//! Hashes blobs in files, on every core. Blocks: call it where blocking is allowed.

use std::{
    io,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::storage::BlobReader;
use crate::oci::{Digest, Hasher};

/// The number of bytes read at a time; each thread has one piece in memory.
const PIECE: usize = 512 * 1024;

/// Does `work` for every item, with a thread per core; results are in the order of the items.
pub(crate) fn on_every_core<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let queue = Mutex::new(items.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((position, item)) = next() {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((position, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(position, _)| *position);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Counts the bytes read (or moved) so far, for progress: see [`crate::event::Event::Waiting`].
pub(crate) type Meter = AtomicU64;

/// The hash of a blob's first `length` bytes.
pub(crate) fn hash(reader: &BlobReader, digest: &Digest, length: u64, meter: &Meter) -> io::Result<Hasher> {
    hash_with_progress(reader, digest, length, |bytes| {
        meter.fetch_add(bytes, Ordering::Relaxed);
    })
}

/// The same, calling `progress` with the number of bytes after each piece.
pub(crate) fn hash_with_progress(
    reader: &BlobReader,
    digest: &Digest,
    length: u64,
    mut progress: impl FnMut(u64),
) -> io::Result<Hasher> {
    let mut hasher = digest.hasher();
    read_through(reader, length, |piece| {
        hasher.update(piece);
        progress(piece.len() as u64);
    })?;
    Ok(hasher)
}

/// Whether a blob is complete and has its digest.
pub(crate) fn is_intact(reader: &BlobReader, digest: &Digest, meter: &Meter) -> bool {
    hash(reader, digest, reader.size(), meter).is_ok_and(|hasher| hasher.finish() == *digest)
}

/// The checksum of a blob's current bytes.
pub(crate) fn checksum(reader: &BlobReader, meter: &Meter) -> io::Result<u32> {
    let mut checksum = crc32fast::Hasher::new();
    read_through(reader, reader.size(), |piece| {
        checksum.update(piece);
        meter.fetch_add(piece.len() as u64, Ordering::Relaxed);
    })?;
    Ok(checksum.finalize())
}

/// Calls `take` with a blob's first `length` bytes, piece by piece.
fn read_through(reader: &BlobReader, length: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(PIECE).min(PIECE);
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        reader.read_exact_at(piece, offset)?;
        take(piece);
        offset += wanted as u64;
    }
    Ok(())
}
