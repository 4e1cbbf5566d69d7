//! The bytes that some destinations have and others still need. No I/O.
//!
//! A [`Read`] of a blob holds its bytes until every destination that needs them has taken them. A destination that has
//! opened the blob is a [`Reader`]; for one that has not, but may upload the blob, the bytes are *reserved*. What a
//! destination has not taken, over all blobs, is its [`Backlog`]: see [`room`] for what happens when that grows too
//! long.

mod backlog;
mod blobs;
mod patience;
mod read;
mod room;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, iter, task::Waker};

use bytes::Bytes;
use tokio::time::Instant;

pub(crate) use self::blobs::MAX_DESTINATIONS;
use self::{
    backlog::Backlog,
    blobs::Blobs,
    read::{Read, Reader},
};
pub(super) use self::{
    read::{ReadId, ReaderId},
    room::WINDOW,
};
use crate::{
    endpoint::Error,
    oci::{Digest, Repository},
    outcome::ExtraReads,
};

/// The reads of all blobs. `H` is the handle that the readers of a read share.
pub(super) struct Reads<H> {
    window: u64,
    next_id: u64,
    by_id: HashMap<ReadId, Read<H>>,
    by_digest: HashMap<Digest, Vec<ReadId>>,
    blobs: Blobs,
    /// One for each destination.
    backlogs: Vec<Backlog>,
    /// Reads that wait for a destination.
    waiting: Vec<Waker>,
}

/// What a reader gets next.
pub(super) enum Next {
    Piece(Bytes),
    End,
    Failed(Error),
    /// The read has gone on without it.
    LeftBehind,
    /// It has everything so far, and may read more.
    NeedsMore,
    /// It has everything so far. Another destination must take something first, or this time must pass.
    Wait(Instant),
}

impl<H> Reads<H> {
    pub(super) fn new(destinations: usize, window: u64) -> Self {
        Self {
            window,
            next_id: 0,
            by_id: HashMap::new(),
            by_digest: HashMap::new(),
            blobs: Blobs::default(),
            backlogs: iter::repeat_with(Backlog::new).take(destinations).collect(),
            waiting: Vec::new(),
        }
    }

    /// Begins a read of the blob at `offset`. The last value says whether the blob has been read before.
    pub(super) fn begin(
        &mut self,
        destination: usize,
        digest: &Digest,
        offset: u64,
        handle: H,
    ) -> (ReadId, ReaderId, bool) {
        let (id, reader) = (self.new_id(), self.new_id());
        let mut read = Read::new(handle, digest.clone(), Reader::new(reader, destination, offset));
        let is_upload = self.is_uploading(destination, digest);
        let is_extra = is_upload && self.blobs.was_read(digest);
        if is_extra && let Some(backlog) = self.backlogs.get_mut(destination) {
            backlog.extra.reads += 1;
            read.extra_for = Some(destination);
        }
        if is_upload {
            self.blobs.note_read(destination, digest);
        }
        if offset == 0 {
            for (other, backlog) in self.backlogs.iter_mut().enumerate() {
                if !backlog.has_left && self.blobs.may_read(other, digest) {
                    backlog.reserved.push_back(id);
                    read.reserved_for.push(other);
                }
            }
        }
        self.by_id.insert(id, read);
        self.by_digest.entry(digest.clone()).or_default().push(id);
        (id, reader, is_extra)
    }

    /// Joins a read of the blob that still has the bytes from `offset` on, or has yet to reach them.
    pub(super) fn join(
        &mut self,
        destination: usize,
        digest: &Digest,
        offset: u64,
    ) -> Option<(ReadId, ReaderId, H)>
    where
        H: Clone,
    {
        let behind = self.backlogs.get(destination)?.bytes;
        let can_join = |id: &&ReadId| {
            self.by_id.get(id).is_some_and(|read| {
                let is_reserved = read.reserved_for.contains(&destination);
                let counted = if is_reserved { read.head - read.start } else { 0 };
                let behind = behind - counted + read.head.saturating_sub(offset);
                read.can_begin_at(offset) && behind <= self.window
            })
        };
        let id = *self.by_digest.get(digest)?.iter().find(can_join)?;
        let reader = self.new_id();
        // Before the bytes are no longer reserved: the read must not drop what the reader needs.
        self.change(id, |read| read.readers.push(Reader::new(reader, destination, offset)));
        if self.is_uploading(destination, digest) {
            self.blobs.note_read(destination, digest);
            self.release(id, destination);
        }
        let handle = self.by_id.get(&id)?.handle.clone();
        Some((id, reader, handle))
    }

    /// Takes the next bytes. `waker` is woken when a read that must wait may continue.
    pub(super) fn take(&mut self, id: ReadId, reader: ReaderId, waker: &Waker) -> Next {
        let Some(read) = self.by_id.get(&id) else { return Next::LeftBehind };
        let Some(own) = read.reader(reader) else { return Next::LeftBehind };
        let destination = own.destination;
        if let Some(piece) = read.next_piece(own) {
            self.change(id, |read| {
                if let Some(own) = read.readers.iter_mut().find(|other| other.id == reader) {
                    own.offset += piece.len() as u64;
                }
            });
            self.made_room(destination);
            return Next::Piece(piece);
        }
        if own.left_at.is_some() || own.offset < read.start {
            return Next::LeftBehind;
        }
        match &read.end {
            Some(Ok(())) => return Next::End,
            Some(Err(error)) => return Next::Failed(error.clone()),
            None => {}
        }
        let Some(until) = self.wait_for_others(id, reader) else { return Next::NeedsMore };
        if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
        Next::Wait(until)
    }

    /// Whether a reader has everything so far, and the read continues.
    pub(super) fn needs_more(&self, id: ReadId, reader: ReaderId) -> bool {
        let Some(read) = self.by_id.get(&id) else { return false };
        let is_at_head = |own: &Reader| own.left_at.is_none() && own.offset >= read.head;
        read.end.is_none() && read.reader(reader).is_some_and(is_at_head)
    }

    /// Adds a piece that `reader` has read.
    pub(super) fn push(&mut self, id: ReadId, reader: ReaderId, piece: Bytes) {
        let length = piece.len() as u64;
        let Some(read) = self.by_id.get(&id) else { return };
        if let Some(backlog) = read.extra_for.and_then(|it| self.backlogs.get_mut(it)) {
            backlog.extra.bytes += length;
        }
        self.leave_behind_if_full(id, reader, length);
        self.change(id, |read| read.push(piece));
    }

    /// Ends a read.
    pub(super) fn end(&mut self, id: ReadId, end: Result<(), Error>) {
        self.change(id, |read| read.end = Some(end));
    }

    /// How far a read has come.
    pub(super) fn head(&self, id: ReadId) -> u64 {
        self.by_id.get(&id).map_or(0, |read| read.head)
    }

    /// Why a read failed, if it did.
    pub(super) fn failure(&self, id: ReadId) -> Option<Error> {
        self.by_id.get(&id)?.end.as_ref()?.as_ref().err().cloned()
    }

    /// A reader needs no more. A read without readers ends.
    pub(super) fn stop(&mut self, id: ReadId, reader: ReaderId) {
        let destination = self.by_id.get(&id).and_then(|read| read.reader(reader)).map(|own| own.destination);
        let mut reserved_for = Vec::new();
        self.change(id, |read| {
            read.readers.retain(|other| other.id != reader);
            // No destination would continue it.
            if read.readers.is_empty() && !matches!(read.end, Some(Ok(()))) {
                reserved_for.clone_from(&read.reserved_for);
            }
        });
        for other in reserved_for {
            self.release(id, other);
        }
        if let Some(destination) = destination {
            self.made_room(destination);
        }
    }

    /// A destination begins to upload a blob, and may read it for that.
    pub(super) fn begin_upload(&mut self, destination: usize, digest: &Digest) {
        if let Some(backlog) = self.backlogs.get_mut(destination) {
            backlog.begin_upload(digest);
        }
    }

    /// An upload has ended, whether it succeeded or failed.
    pub(super) fn end_upload(&mut self, destination: usize, digest: &Digest) {
        if let Some(backlog) = self.backlogs.get_mut(destination) {
            backlog.end_upload(digest);
        }
        // Reads may have waited for it to open the blob.
        self.made_room(destination);
    }

    /// A repository of a destination holds a blob, so the destination need not read it.
    pub(super) fn add_holder(&mut self, destination: usize, digest: &Digest, repository: &Repository) {
        self.blobs.add_holder(destination, digest, repository, self.backlogs.len());
        for id in self.by_digest.get(digest).cloned().unwrap_or_default() {
            self.release(id, destination);
        }
    }

    /// The repositories that hold a blob, each with its destination.
    pub(super) fn holders(&self, digest: &Digest) -> &[(usize, Repository)] {
        self.blobs.holders(digest)
    }

    /// A destination reads nothing more.
    pub(super) fn leave(&mut self, destination: usize) {
        let Some(backlog) = self.backlogs.get_mut(destination) else { return };
        backlog.has_left = true;
        for id in std::mem::take(&mut backlog.reserved) {
            self.release(id, destination);
        }
        self.made_room(destination);
    }

    /// What was read again for a destination.
    pub(super) fn extra(&self, destination: usize) -> ExtraReads {
        self.backlogs.get(destination).map(|backlog| backlog.extra).unwrap_or_default()
    }

    /// An extra read comes from another destination.
    pub(super) fn note_extra_from_destination(&mut self, destination: usize) {
        if let Some(backlog) = self.backlogs.get_mut(destination) {
            backlog.extra.from_destinations += 1;
        }
    }

    fn is_uploading(&self, destination: usize, digest: &Digest) -> bool {
        self.backlogs.get(destination).is_some_and(|backlog| backlog.is_uploading(digest))
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Changes a read and updates how far each destination is behind. Drops the read if no destination needs it.
    fn change(&mut self, id: ReadId, change: impl FnOnce(&mut Read<H>)) {
        let Some(read) = self.by_id.get_mut(&id) else { return };
        for (destination, bytes) in read.behind() {
            if let Some(backlog) = self.backlogs.get_mut(destination) {
                backlog.bytes -= bytes;
            }
        }
        change(read);
        read.trim();
        for (destination, bytes) in read.behind() {
            if let Some(backlog) = self.backlogs.get_mut(destination) {
                backlog.bytes += bytes;
            }
        }
        if read.readers.is_empty() && read.reserved_for.is_empty() {
            let digest = read.digest.clone();
            self.by_id.remove(&id);
            if let Some(ids) = self.by_digest.get_mut(&digest) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_digest.remove(&digest);
                }
            }
        }
    }
}
