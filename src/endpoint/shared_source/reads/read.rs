//! One read of a blob: the bytes that it still holds, and how far each reader has come.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{endpoint::Error, oci::Digest};

/// A read of a blob.
pub(in super::super) type ReadId = u64;
/// One destination's position in a read.
pub(in super::super) type ReaderId = u64;

/// From how many waiting bytes on the others are copied as they arrive. Most readers keep up and wait for less.
const COPIED_FROM: u64 = 1024 * 1024;

/// The bytes of one read. `H` is the handle that its readers share.
pub(super) struct Read<H> {
    pub(super) handle: H,
    pub(super) digest: Digest,
    /// Each with its offset.
    pieces: VecDeque<(u64, Bytes)>,
    /// The offset of the first piece.
    pub(super) start: u64,
    /// The offset after the last piece.
    pub(super) head: u64,
    /// How the read ended, if it has.
    pub(super) end: Option<Result<(), Error>>,
    pub(super) readers: Vec<Reader>,
    /// The destinations that have not opened the blob yet: every byte is kept for them.
    pub(super) reserved_for: Vec<usize>,
    /// The destination for which the blob is read once more.
    pub(super) extra_for: Option<usize>,
}

/// One destination's position in a read.
pub(super) struct Reader {
    pub(super) id: ReaderId,
    pub(super) destination: usize,
    pub(super) offset: u64,
    /// Set when the read continues without this reader: it gets no bytes from this offset on.
    pub(super) left_at: Option<u64>,
}

impl Reader {
    pub(super) fn new(id: ReaderId, destination: usize, offset: u64) -> Self {
        Self { id, destination, offset, left_at: None }
    }

    /// How many bytes of a read that has come to `head` it has not taken.
    fn behind(&self, head: u64) -> u64 {
        self.left_at.unwrap_or(head).saturating_sub(self.offset)
    }
}

impl<H> Read<H> {
    /// A read that begins at the offset of its first reader.
    pub(super) fn new(handle: H, digest: Digest, reader: Reader) -> Self {
        let (start, head) = (reader.offset, reader.offset);
        let (readers, reserved_for) = (vec![reader], Vec::new());
        let (pieces, end, extra_for) = (VecDeque::new(), None, None);
        Self { handle, digest, pieces, start, head, end, readers, reserved_for, extra_for }
    }

    pub(super) fn reader(&self, id: ReaderId) -> Option<&Reader> {
        self.readers.iter().find(|reader| reader.id == id)
    }

    /// The destinations of the readers with which the read continues.
    pub(super) fn other_destinations(&self, besides: ReaderId) -> impl Iterator<Item = usize> {
        let others =
            self.readers.iter().filter(move |reader| reader.id != besides && reader.left_at.is_none());
        others.map(|reader| reader.destination)
    }

    /// How many bytes each destination is behind in this read.
    pub(super) fn behind(&self) -> impl Iterator<Item = (usize, u64)> {
        let readers = self.readers.iter().map(|reader| (reader.destination, reader.behind(self.head)));
        readers.chain(self.reserved_for.iter().map(|destination| (*destination, self.head - self.start)))
    }

    /// Whether a reader can begin at `offset`: the read still holds those bytes, or has yet to reach them.
    pub(super) fn can_begin_at(&self, offset: u64) -> bool {
        let can_reach = match &self.end {
            None => true,
            Some(Ok(())) => offset <= self.head,
            Some(Err(_)) => false,
        };
        offset >= self.start && can_reach
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        let offset = self.head;
        // A piece keeps the whole buffer in memory that it was read into, which may be many times as large.
        let is_kept = self.head - self.start >= COPIED_FROM;
        let piece = if is_kept { Bytes::copy_from_slice(&piece) } else { piece };
        self.head += piece.len() as u64;
        self.pieces.push_back((offset, piece));
    }

    /// Drops the pieces that are no longer needed.
    pub(super) fn trim(&mut self) {
        if !self.reserved_for.is_empty() {
            return;
        }
        let needed = self.readers.iter().filter(|reader| reader.behind(self.head) > 0);
        let needed = needed.map(|reader| reader.offset).min().unwrap_or(self.head);
        while let Some((offset, first)) = self.pieces.front()
            && offset + first.len() as u64 <= needed
        {
            self.pieces.pop_front();
        }
        self.start = self.pieces.front().map_or(self.head, |(offset, _)| *offset);
    }

    /// What is left of the piece at a reader's offset; `None` if it has everything so far.
    pub(super) fn next_piece(&self, reader: &Reader) -> Option<Bytes> {
        let end = reader.left_at.unwrap_or(self.head);
        let after = self.pieces.partition_point(|(start, _)| *start <= reader.offset);
        let (start, piece) = self.pieces.get(after.checked_sub(1)?)?;
        let from = usize::try_from(reader.offset - start).ok()?;
        let to = usize::try_from(end.checked_sub(*start)?).map_or(piece.len(), |to| to.min(piece.len()));
        (from < to).then(|| piece.slice(from..to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_wait_keep_no_more_in_memory_than_themselves() {
        let mut read = Read::new((), Digest::sha256(b""), Reader::new(0, 0, 0));
        let buffer = Bytes::from(vec![7; 1024 * 1024]);
        for _ in 0..32 {
            read.push(buffer.slice(..100_000));
        }
        let shared = |(_, piece): &&(u64, Bytes)| buffer.as_ptr() == piece.as_ptr();
        assert_eq!(read.pieces.iter().filter(shared).count(), 11, "the first MiB");
        assert!(read.pieces.iter().all(|(_, piece)| piece == &buffer[..100_000]));
    }
}
