//! Limits how far a destination may fall behind, and decides when a read continues without it.
//!
//! A destination may be [`WINDOW`] bytes behind, over all blobs. Bytes that are reserved for it are dropped first, the
//! oldest first. If that does not help, the read waits for it as long as [`Patience`](super::patience::Patience)
//! permits, and then goes on without it.

use tokio::time::Instant;

use super::{
    Reads,
    read::{Read, ReadId, ReaderId},
};

/// How many bytes a destination may be behind, over all blobs.
pub(in super::super) const WINDOW: u64 = 8 * 1024 * 1024;
/// A read waits for a destination that has less room than this. Most pieces are smaller.
const ROOM: u64 = 512 * 1024;

impl<H> Reads<H> {
    /// Until when a read must wait for destinations without room; `None` if it need not wait. The read goes on without
    /// the destinations whose patience is used up.
    pub(super) fn wait_for_others(&mut self, id: ReadId, reader: ReaderId) -> Option<Instant> {
        let read = self.by_id.get(&id)?;
        let mut others: Vec<usize> = read.other_destinations(reader).collect();
        let uploading = |other: &&usize| self.is_uploading(**other, &read.digest);
        others.extend(read.reserved_for.iter().filter(uploading));
        let mut until = None;
        for other in others {
            if self.has_room(other, ROOM.min(self.window), id) {
                continue;
            }
            let Some(backlog) = self.backlogs.get_mut(other) else { continue };
            match backlog.patience.wait() {
                Some(limit) => until = Some(until.map_or(limit, |other: Instant| other.min(limit))),
                None => self.leave_behind(id, other, reader),
            }
        }
        until
    }

    /// Leaves behind the destinations that have no room for this many more bytes of a read.
    pub(super) fn leave_behind_if_full(&mut self, id: ReadId, reader: ReaderId, bytes: u64) {
        let Some(read) = self.by_id.get(&id) else { return };
        let mut others: Vec<usize> = read.other_destinations(reader).collect();
        others.extend(&read.reserved_for);
        for other in others {
            if !self.has_room(other, bytes, id) {
                self.leave_behind(id, other, reader);
            }
        }
    }

    /// Whether a destination may be this many more bytes behind. Drops the oldest bytes that are reserved for it,
    /// except those of the read `besides`.
    fn has_room(&mut self, destination: usize, bytes: u64, besides: ReadId) -> bool {
        loop {
            let Some(backlog) = self.backlogs.get(destination) else { return false };
            if backlog.bytes + bytes <= self.window {
                return true;
            }
            // A large blob does not displace many small ones.
            let is_large = |read: &Read<H>| {
                read.reserved_for.contains(&destination) && read.head - read.start + bytes > self.window / 2
            };
            if self.by_id.get(&besides).is_some_and(is_large) {
                return false;
            }
            let is_idle = |id: &ReadId| {
                *id != besides && self.by_id.get(id).is_none_or(|read| !backlog.is_uploading(&read.digest))
            };
            let Some(oldest) = backlog.reserved.iter().copied().find(is_idle) else { return false };
            self.release(oldest, destination);
        }
    }

    /// The read continues without a destination.
    fn leave_behind(&mut self, id: ReadId, destination: usize, besides: ReaderId) {
        self.release(id, destination);
        self.change(id, |read| {
            let head = read.head;
            for reader in read.readers.iter_mut().filter(|reader| reader.destination == destination) {
                if reader.id != besides && reader.left_at.is_none() {
                    reader.left_at = Some(head.max(reader.offset));
                }
            }
        });
    }

    /// A read no longer reserves its bytes for a destination.
    pub(super) fn release(&mut self, id: ReadId, destination: usize) {
        if let Some(backlog) = self.backlogs.get_mut(destination) {
            backlog.reserved.retain(|other| *other != id);
        }
        self.change(id, |read| read.reserved_for.retain(|other| *other != destination));
    }

    /// A destination has taken bytes, or needs no more: reads that wait for it look again.
    pub(super) fn made_room(&mut self, destination: usize) {
        let Some(backlog) = self.backlogs.get_mut(destination) else { return };
        if backlog.bytes + ROOM.min(self.window) <= self.window || backlog.has_left {
            backlog.patience.ended();
        }
        for waiting in self.waiting.drain(..) {
            waiting.wake();
        }
    }
}
