//! Reads a large blob over several connections, where one connection is slower than the network.
//!
//! Object stores limit each connection, and on a long link a connection may take seconds to recover from a lost packet.
//! So the request for a large blob asks for its first part only. If the network was mostly waited for, and few other
//! transfers are in progress at the registry, the rest is read in parts by two connections, then by four and eight, as
//! long as each doubling pays ([`Width`]). Otherwise one request brings the rest. [`PartSize`] says how large parts are.
//!
//! The consumer receives the bytes in order and hashes them once. Parts that arrive early wait in memory, a limited
//! number in the whole run. No byte is requested twice, unless a part fails: then one connection reads the rest.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    task::JoinSet,
};

use super::{
    super::{host::Host, pace::Permit},
    BlobAddress,
    part_size::{PartSize, QuickestAnswer},
    span::Span,
    width::Width,
};
use crate::{
    endpoint::{BlobStream, Error},
    oci::Descriptor,
};

/// Whether to read a blob in parts from this offset on. True at most once for each blob.
pub(super) fn are_for(host: &Host, blob: &Descriptor, offset: u64) -> bool {
    let least = host.tuning().parts.first.saturating_mul(4);
    blob.size.saturating_sub(offset) >= least && host.capabilities.begins_in_parts(&blob.digest)
}

/// Opens a blob at an offset.
pub(super) async fn open(
    host: Arc<Host>,
    address: BlobAddress,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, Error> {
    let permit = host.pace.blob().await;
    let address = Arc::new(address);
    let end = offset.saturating_add(host.tuning().parts.first).min(blob.size);
    let mut first = Span::new(Arc::clone(&host), permit, Arc::clone(&address), blob, (offset, end));
    let quickest_answer = Arc::new(QuickestAnswer::default());
    quickest_answer.time(first.open()).await?;
    if first.end() != end {
        host.capabilities.refuses_parts();
        return Ok(first.into_stream());
    }
    let blob = blob.clone();
    let width = Width::default();
    let (current, early, tasks) = (Current::Direct(Box::new(first)), VecDeque::new(), JoinSet::new());
    let size = PartSize::new(host.tuning().parts.size, offset, quickest_answer);
    let (next, delivered) = (end, offset);
    let parts = Parts { host, address, blob, current, early, tasks, next, delivered, width, size };
    let pieces = stream::try_unfold(parts, |mut parts| async {
        let piece = parts.next().await?;
        Ok(piece.map(|bytes| (bytes, parts)))
    });
    Ok(pieces.boxed())
}

/// A blob that is read in parts.
struct Parts {
    host: Arc<Host>,
    address: Arc<BlobAddress>,
    blob: Descriptor,
    /// The part whose turn it is.
    current: Current,
    /// The parts after it that have been requested, in order.
    early: VecDeque<EarlyPart>,
    /// What reads them; stops when the blob is dropped.
    tasks: JoinSet<()>,
    /// Where the first part begins that has not been requested.
    next: u64,
    /// How many bytes of the blob the consumer has received.
    delivered: u64,
    width: Width,
    size: PartSize,
}

enum Current {
    /// Read from its connection.
    Direct(Box<Span>),
    /// Read by a task.
    Early(EarlyPart),
}

/// A part that was requested before its turn.
struct EarlyPart {
    end: u64,
    /// Its bytes, unverified; ends early after an error.
    pieces: UnboundedReceiver<Bytes>,
    /// Bounds what is in memory: released when the consumer has it all.
    _in_memory: OwnedSemaphorePermit,
}

impl Parts {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let piece = match &mut self.current {
                Current::Direct(span) => span.next().await?,
                Current::Early(part) => part.pieces.recv().await,
            };
            if let Some(piece) = piece {
                self.delivered = self.delivered.saturating_add(piece.len() as u64);
                self.width.count(piece.len() as u64);
                return Ok(Some(piece));
            }
            if matches!(&self.current, Current::Early(part) if self.delivered < part.end) {
                self.read_the_rest_at_once().await?;
            } else if self.delivered >= self.blob.size {
                return Ok(None);
            } else {
                self.turn().await?;
            }
        }
    }

    /// Continues with the next part.
    async fn turn(&mut self) -> Result<(), Error> {
        let sizes = self.host.tuning().parts;
        // The permit of a part that is over serves the next one.
        let (waited, mut spare) = match &mut self.current {
            Current::Direct(span) => (Some(span.waited()), span.take_permit()),
            Current::Early(_) => (None, None),
        };
        if self.width.is_untried() && !self.host.pace.has_room_for_parts() {
            // Other transfers fill the network now. Ask again later.
            self.width = Width::default();
            let end = self.next.saturating_add(sizes.first).min(self.blob.size);
            return self.read_directly(end, spare).await;
        }
        if self.width.is_untried() {
            self.size.first_part_took(self.delivered);
        }
        self.width.adapt(self.size.bytes(), waited);
        self.request_early_parts(&mut spare);
        if let Some(part) = self.early.pop_front() {
            self.current = Current::Early(part);
            self.request_early_parts(&mut spare);
            return Ok(());
        }
        let size = if self.width.is_one() { u64::MAX } else { self.size.bytes() };
        let end = self.next.saturating_add(size).min(self.blob.size);
        self.read_directly(end, spare).await
    }

    /// Requests parts until enough are being read. The first uses the spare permit.
    fn request_early_parts(&mut self, spare: &mut Option<Permit>) {
        while self.early.len() + 1 < self.width.connections() && self.next < self.blob.size {
            let Some(in_memory) = self.host.part_in_memory() else { return };
            let Some(permit) = spare.take().or_else(|| self.host.pace.blob_part()) else { return };
            let end = self.next.saturating_add(self.size.bytes()).min(self.blob.size);
            let span = self.span(permit, end).part();
            let (sender, pieces) = unbounded_channel();
            let quickest_answer = self.size.quickest_answer();
            self.tasks.spawn(async move {
                let mut span = span;
                // The rest is read again after an error, which then says what is wrong.
                if quickest_answer.time(span.open()).await.is_err() {
                    return;
                }
                while let Ok(Some(piece)) = span.next().await {
                    // A piece keeps the whole buffer in memory that it was read into, which may be many times as large.
                    if sender.send(Bytes::copy_from_slice(&piece)).is_err() {
                        return;
                    }
                }
            });
            while self.tasks.try_join_next().is_some() {}
            self.early.push_back(EarlyPart { end, pieces, _in_memory: in_memory });
            self.next = end;
        }
    }

    /// After a part failed: gives up what was requested early.
    async fn read_the_rest_at_once(&mut self) -> Result<(), Error> {
        self.host.capabilities.refuses_parts();
        self.early.clear();
        self.tasks.abort_all();
        self.width.settle_at_one();
        self.next = self.delivered;
        self.read_directly(self.blob.size, None).await
    }

    async fn read_directly(&mut self, end: u64, spare: Option<Permit>) -> Result<(), Error> {
        let permit = match spare {
            Some(permit) => permit,
            None => self.host.pace.blob().await,
        };
        let mut span = Box::new(self.span(permit, end));
        span.open().await?;
        self.next = span.end();
        self.current = Current::Direct(span);
        Ok(())
    }

    fn span(&self, permit: Permit, end: u64) -> Span {
        let (host, address) = (Arc::clone(&self.host), Arc::clone(&self.address));
        Span::new(host, permit, address, &self.blob, (self.next, end))
    }
}
