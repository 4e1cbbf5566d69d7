//! The bytes that some destinations have and others still need. No I/O.
//!
//! A [`Read`](ReadId) of a blob passes through here. Its bytes stay until every destination that needs them has taken them.
//! What a destination has not taken, over all blobs, is how far it is behind; it may be [`WINDOW`] bytes behind. Then the
//! reads go on without it, after a short wait if it is taking bytes at all: see [`Patience`].

mod patience;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
};

use bytes::Bytes;
use tokio::time::Instant;

use self::patience::Patience;
use crate::{
    endpoint::Error,
    oci::{Digest, Repository},
    outcome::ExtraReads,
};

/// How many bytes a destination may be behind, over all blobs.
pub(super) const WINDOW: u64 = 8 * 1024 * 1024;
/// A read waits for a destination that has less room than this. Most pieces are smaller.
const ROOM: u64 = 512 * 1024;

/// One read of a blob.
pub(super) type ReadId = u64;
/// A destination that takes the bytes of a read.
pub(super) type TakerId = u64;

/// The bytes of all reads. `H` is what the takers of a read share.
pub(super) struct Kept<H> {
    window: u64,
    next_id: u64,
    reads: HashMap<ReadId, Read<H>>,
    by_digest: HashMap<Digest, Vec<ReadId>>,
    known: HashMap<Digest, Known>,
    destinations: Vec<Behind>,
    /// Reads that wait for a destination.
    waiting: Vec<Waker>,
}

/// What is known about a blob.
#[derive(Default)]
struct Known {
    /// Whether it has been read for an upload.
    was_read: bool,
    /// The destinations that have begun to read it for an upload, as bits.
    taken_by: u64,
    /// Repositories that hold it, at most one for each destination.
    holders: Vec<(usize, Repository)>,
}

/// One destination.
struct Behind {
    /// The bytes that it has not taken, over all reads.
    bytes: u64,
    /// Reads whose blob it has not asked for, the oldest first.
    unasked: VecDeque<ReadId>,
    /// Uploads in progress.
    uploads: HashMap<Digest, usize>,
    patience: Patience,
    has_left: bool,
    extra: ExtraReads,
}

struct Read<H> {
    handle: H,
    digest: Digest,
    /// Each with its offset.
    pieces: VecDeque<(u64, Bytes)>,
    /// The offset of the first piece.
    start: u64,
    /// The offset behind the last piece.
    head: u64,
    end: Option<Result<(), Error>>,
    takers: Vec<Taker>,
    /// The destinations that have not asked for the blob.
    unasked: Vec<usize>,
    /// The destination for which the blob is read again.
    extra_for: Option<usize>,
}

struct Taker {
    id: TakerId,
    destination: usize,
    offset: u64,
    /// Where its own read begins: the read has gone on without it.
    left_at: Option<u64>,
}

/// What a taker gets.
pub(super) enum Taken {
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

impl Taker {
    fn behind(&self, head: u64) -> u64 {
        self.left_at.unwrap_or(head).saturating_sub(self.offset)
    }
}

impl<H> Read<H> {
    /// How many bytes each destination is behind in this read.
    fn behind(&self) -> impl Iterator<Item = (usize, u64)> {
        let takers = self.takers.iter().map(|taker| (taker.destination, taker.behind(self.head)));
        takers.chain(self.unasked.iter().map(|destination| (*destination, self.head - self.start)))
    }

    /// Drops the pieces that are no longer needed.
    fn trim(&mut self) {
        if !self.unasked.is_empty() {
            return;
        }
        let needed = self.takers.iter().filter(|taker| taker.behind(self.head) > 0);
        let needed = needed.map(|taker| taker.offset).min().unwrap_or(self.head);
        while let Some((offset, first)) = self.pieces.front()
            && offset + first.len() as u64 <= needed
        {
            self.pieces.pop_front();
        }
        self.start = self.pieces.front().map_or(self.head, |(offset, _)| *offset);
    }

    /// The rest of the piece at an offset, up to `end`.
    fn piece_at(&self, offset: u64, end: u64) -> Option<Bytes> {
        let after = self.pieces.partition_point(|(start, _)| *start <= offset);
        let (start, piece) = self.pieces.get(after.checked_sub(1)?)?;
        let from = usize::try_from(offset - start).ok()?;
        let to = usize::try_from(end.checked_sub(*start)?).map_or(piece.len(), |to| to.min(piece.len()));
        (from < to).then(|| piece.slice(from..to))
    }
}

impl<H: Clone> Kept<H> {
    pub(super) fn new(destinations: usize, window: u64) -> Self {
        let behind = || Behind {
            bytes: 0,
            unasked: VecDeque::new(),
            uploads: HashMap::new(),
            patience: Patience::new(),
            has_left: false,
            extra: ExtraReads::default(),
        };
        Self {
            window,
            next_id: 0,
            reads: HashMap::new(),
            by_digest: HashMap::new(),
            known: HashMap::new(),
            destinations: std::iter::repeat_with(behind).take(destinations).collect(),
            waiting: Vec::new(),
        }
    }

    /// Joins a read of the blob that still has the bytes from `offset` on, or has yet to reach them.
    pub(super) fn join(
        &mut self,
        destination: usize,
        digest: &Digest,
        offset: u64,
    ) -> Option<(ReadId, TakerId, H)> {
        let is_upload = self.is_uploading(destination, digest);
        let ids = self.by_digest.get(digest)?;
        let behind = self.destinations.get(destination)?.bytes;
        let can_join = |id: &&ReadId| {
            self.reads.get(id).is_some_and(|read| {
                let may_come = match &read.end {
                    None => true,
                    Some(Ok(())) => offset <= read.head,
                    Some(Err(_)) => false,
                };
                let counted = if read.unasked.contains(&destination) { read.head - read.start } else { 0 };
                let behind = behind - counted + read.head.saturating_sub(offset);
                offset >= read.start && may_come && behind <= self.window
            })
        };
        let id = *ids.iter().find(can_join)?;
        let taker = self.new_id();
        // Before it no longer counts as one that has not asked: the read must not drop what it needs.
        self.change(id, |read| {
            read.takers.push(Taker { id: taker, destination, offset, left_at: None });
        });
        if is_upload {
            self.note_upload(destination, digest);
            self.asked(id, destination);
        }
        let handle = self.reads.get(&id)?.handle.clone();
        Some((id, taker, handle))
    }

    /// Begins a read of the blob at `offset`. The last value says whether it is an extra one.
    pub(super) fn begin(
        &mut self,
        destination: usize,
        digest: &Digest,
        offset: u64,
        handle: H,
    ) -> (ReadId, TakerId, bool) {
        let is_upload = self.is_uploading(destination, digest);
        let (id, taker) = (self.new_id(), self.new_id());
        let known = self.known.entry(digest.clone()).or_default();
        let (is_extra, taken_by) = (is_upload && known.was_read, known.taken_by);
        if is_upload {
            self.note_upload(destination, digest);
        }
        let others = self.destinations.iter_mut().enumerate().filter(|(other, behind)| {
            let asks = *other == destination && is_upload;
            offset == 0 && !asks && !behind.has_left && taken_by & bit(*other) == 0
        });
        let mut unasked = Vec::new();
        for (other, behind) in others {
            unasked.push(other);
            behind.unasked.push_back(id);
        }
        if is_extra && let Some(behind) = self.destinations.get_mut(destination) {
            behind.extra.reads += 1;
        }
        let read = Read {
            handle,
            digest: digest.clone(),
            pieces: VecDeque::new(),
            start: offset,
            head: offset,
            end: None,
            takers: vec![Taker { id: taker, destination, offset, left_at: None }],
            unasked,
            extra_for: is_extra.then_some(destination),
        };
        self.reads.insert(id, read);
        self.by_digest.entry(digest.clone()).or_default().push(id);
        (id, taker, is_extra)
    }

    /// Takes the next bytes. `waker` is woken when a read that must wait may go on.
    pub(super) fn take(&mut self, id: ReadId, taker: TakerId, waker: &Waker) -> Taken {
        let Some(read) = self.reads.get(&id) else { return Taken::LeftBehind };
        let Some(own) = read.takers.iter().find(|other| other.id == taker) else { return Taken::LeftBehind };
        let (destination, offset) = (own.destination, own.offset);
        if let Some(piece) = read.piece_at(offset, own.left_at.unwrap_or(read.head)) {
            self.change(id, |read| {
                if let Some(own) = read.takers.iter_mut().find(|other| other.id == taker) {
                    own.offset += piece.len() as u64;
                }
            });
            self.made_room(destination);
            return Taken::Piece(piece);
        }
        if own.left_at.is_some() || offset < read.start {
            return Taken::LeftBehind;
        }
        match &read.end {
            Some(Ok(())) => return Taken::End,
            Some(Err(error)) => return Taken::Failed(error.clone()),
            None => {}
        }
        match self.wait_for_others(id, taker) {
            Some(until) => {
                if !self.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
                    self.waiting.push(waker.clone());
                }
                Taken::Wait(until)
            }
            None => Taken::NeedsMore,
        }
    }

    /// Whether a taker has everything so far, and the read goes on.
    pub(super) fn needs_more(&self, id: ReadId, taker: TakerId) -> bool {
        let Some(read) = self.reads.get(&id) else { return false };
        let own = read.takers.iter().find(|other| other.id == taker);
        read.end.is_none() && own.is_some_and(|own| own.left_at.is_none() && own.offset >= read.head)
    }

    /// Why a read failed, if it did.
    pub(super) fn failure(&self, id: ReadId) -> Option<Error> {
        self.reads.get(&id)?.end.as_ref()?.as_ref().err().cloned()
    }

    /// Until when a read must wait for destinations without room. Destinations for which it need not wait are left behind.
    fn wait_for_others(&mut self, id: ReadId, taker: TakerId) -> Option<Instant> {
        let read = self.reads.get(&id)?;
        let digest = read.digest.clone();
        let takers = read.takers.iter().filter(|other| other.id != taker && other.left_at.is_none());
        let mut others: Vec<usize> = takers.map(|other| other.destination).collect();
        let uploading = |other: &&usize| self.is_uploading(**other, &digest);
        others.extend(read.unasked.iter().filter(uploading));
        let mut until = None;
        for other in others {
            if self.has_room(other, ROOM.min(self.window), id) {
                continue;
            }
            let Some(behind) = self.destinations.get_mut(other) else { continue };
            match behind.patience.wait() {
                Some(limit) => until = Some(until.map_or(limit, |other: Instant| other.min(limit))),
                None => self.leave_behind(id, other, taker),
            }
        }
        until
    }

    /// Whether a destination can keep so many more bytes. Gives up the oldest blobs that it has not asked for.
    fn has_room(&mut self, destination: usize, bytes: u64, besides: ReadId) -> bool {
        loop {
            let Some(behind) = self.destinations.get(destination) else { return false };
            if behind.bytes + bytes <= self.window {
                return true;
            }
            // A large blob does not drive out many small ones.
            let is_large = |read: &Read<H>| {
                read.unasked.contains(&destination) && read.head - read.start + bytes > self.window / 2
            };
            if self.reads.get(&besides).is_some_and(is_large) {
                return false;
            }
            let uploads = &behind.uploads;
            let is_idle = |id: &ReadId| {
                *id != besides && self.reads.get(id).is_none_or(|read| !uploads.contains_key(&read.digest))
            };
            let Some(oldest) = behind.unasked.iter().copied().find(is_idle) else { return false };
            self.asked(oldest, destination);
        }
    }

    /// A read no longer keeps its bytes for a destination that has not asked for them.
    fn asked(&mut self, id: ReadId, destination: usize) {
        if let Some(behind) = self.destinations.get_mut(destination) {
            behind.unasked.retain(|other| *other != id);
        }
        self.change(id, |read| read.unasked.retain(|other| *other != destination));
    }

    /// The read goes on without a destination.
    fn leave_behind(&mut self, id: ReadId, destination: usize, besides: TakerId) {
        self.asked(id, destination);
        self.change(id, |read| {
            let head = read.head;
            for taker in read.takers.iter_mut().filter(|taker| taker.destination == destination) {
                if taker.id != besides && taker.left_at.is_none() {
                    taker.left_at = Some(head.max(taker.offset));
                }
            }
        });
    }

    /// Adds a piece that `taker` has read.
    pub(super) fn push(&mut self, id: ReadId, taker: TakerId, piece: Bytes) {
        let length = piece.len() as u64;
        let Some(read) = self.reads.get(&id) else { return };
        if let Some(behind) = read.extra_for.and_then(|it| self.destinations.get_mut(it)) {
            behind.extra.bytes += length;
        }
        let takers = read.takers.iter().filter(|other| other.id != taker && other.left_at.is_none());
        let mut others: Vec<usize> = takers.map(|other| other.destination).collect();
        others.extend(&read.unasked);
        for other in others {
            if !self.has_room(other, length, id) {
                self.leave_behind(id, other, taker);
            }
        }
        self.change(id, |read| {
            read.pieces.push_back((read.head, piece));
            read.head += length;
        });
    }

    /// Ends a read.
    pub(super) fn end(&mut self, id: ReadId, end: Result<(), Error>) {
        self.change(id, |read| read.end = Some(end));
    }

    /// How far a read has come.
    pub(super) fn head(&self, id: ReadId) -> u64 {
        self.reads.get(&id).map_or(0, |read| read.head)
    }

    /// A taker needs no more. A read without takers ends.
    pub(super) fn stop(&mut self, id: ReadId, taker: TakerId) {
        let destination = self.reads.get(&id).and_then(|read| {
            read.takers.iter().find(|other| other.id == taker).map(|taker| taker.destination)
        });
        let mut unasked = Vec::new();
        self.change(id, |read| {
            read.takers.retain(|other| other.id != taker);
            // No destination would go on with it.
            if read.takers.is_empty() && !matches!(read.end, Some(Ok(()))) {
                unasked.clone_from(&read.unasked);
            }
        });
        for other in unasked {
            self.asked(id, other);
        }
        if let Some(destination) = destination {
            self.made_room(destination);
        }
    }

    /// A destination begins to upload a blob, which it may read for that.
    pub(super) fn begin_upload(&mut self, destination: usize, digest: &Digest) {
        if let Some(behind) = self.destinations.get_mut(destination) {
            *behind.uploads.entry(digest.clone()).or_default() += 1;
        }
    }

    pub(super) fn end_upload(&mut self, destination: usize, digest: &Digest) {
        let Some(behind) = self.destinations.get_mut(destination) else { return };
        if let Some(count) = behind.uploads.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                behind.uploads.remove(digest);
            }
        }
        // Reads may have waited for it to ask.
        self.made_room(destination);
    }

    /// A repository of a destination holds a blob, so the destination need not read it.
    pub(super) fn add_holder(&mut self, destination: usize, digest: &Digest, repository: &Repository) {
        let known = self.known.entry(digest.clone()).or_default();
        if known.holders.iter().all(|(holder, _)| *holder != destination) {
            known.holders.push((destination, repository.clone()));
        }
        known.taken_by |= bit(destination);
        if known.holders.len() == self.destinations.len() {
            // No destination will ask.
            known.holders = Vec::new();
        }
        let ids = self.by_digest.get(digest).cloned().unwrap_or_default();
        for id in ids {
            self.asked(id, destination);
        }
    }

    /// The repositories that hold a blob, each with its destination.
    pub(super) fn holders(&self, digest: &Digest) -> &[(usize, Repository)] {
        self.known.get(digest).map_or(&[], |known| known.holders.as_slice())
    }

    /// A destination reads nothing more.
    pub(super) fn leave(&mut self, destination: usize) {
        let Some(behind) = self.destinations.get_mut(destination) else { return };
        behind.has_left = true;
        for id in std::mem::take(&mut behind.unasked) {
            self.asked(id, destination);
        }
        self.made_room(destination);
    }

    /// What was read again for a destination.
    pub(super) fn extra(&self, destination: usize) -> ExtraReads {
        self.destinations.get(destination).map(|behind| behind.extra).unwrap_or_default()
    }

    /// An extra read comes from another destination.
    pub(super) fn note_extra_from_destination(&mut self, destination: usize) {
        if let Some(behind) = self.destinations.get_mut(destination) {
            behind.extra.from_destinations += 1;
        }
    }

    fn is_uploading(&self, destination: usize, digest: &Digest) -> bool {
        self.destinations.get(destination).is_some_and(|behind| behind.uploads.contains_key(digest))
    }

    fn note_upload(&mut self, destination: usize, digest: &Digest) {
        let known = self.known.entry(digest.clone()).or_default();
        known.was_read = true;
        known.taken_by |= bit(destination);
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A destination has taken bytes, or needs none any more.
    fn made_room(&mut self, destination: usize) {
        let Some(behind) = self.destinations.get_mut(destination) else { return };
        if behind.bytes + ROOM.min(self.window) <= self.window || behind.has_left {
            behind.patience.ended();
        }
        for waiting in self.waiting.drain(..) {
            waiting.wake();
        }
    }

    /// Changes a read and counts anew how far each destination is behind. A read that no destination needs is dropped.
    fn change(&mut self, id: ReadId, change: impl FnOnce(&mut Read<H>)) {
        let Some(read) = self.reads.get_mut(&id) else { return };
        let destinations = &mut self.destinations;
        for (destination, bytes) in read.behind() {
            if let Some(behind) = destinations.get_mut(destination) {
                behind.bytes -= bytes;
            }
        }
        change(read);
        read.trim();
        for (destination, bytes) in read.behind() {
            if let Some(behind) = destinations.get_mut(destination) {
                behind.bytes += bytes;
            }
        }
        if read.takers.is_empty() && read.unasked.is_empty() {
            let digest = read.digest.clone();
            self.reads.remove(&id);
            if let Some(ids) = self.by_digest.get_mut(&digest) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_digest.remove(&digest);
                }
            }
        }
    }
}

/// The most destinations of one run.
pub(crate) const MOST_DESTINATIONS: usize = 64;

fn bit(destination: usize) -> u64 {
    1 << (destination % MOST_DESTINATIONS)
}
