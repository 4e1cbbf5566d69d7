//! A blob as a stream: hashed once, with the last piece held back until the digest matches.
//!
//! [`VerifiedBody`] is an HTTP body with an exact length. If the source fails or sends wrong bytes, the body ends with
//! an error before its announced length, so no receiver accepts it as complete. The error is also stored in [`Watch`],
//! because the receiver's HTTP client would only report that the body failed.
//!
//! A receiver that already has the start of a blob passes a [`Start`]. The source is then read from the last
//! [`Snapshot`] of the hash before that offset. Bytes between the two are hashed but not passed on.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use super::{BlobStream, Cause, Error, Location, Source};
use crate::oci::{Descriptor, Hasher, Repository, verified::DigestVerifier};

/// The hash of a blob's first `offset` bytes.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// How many bytes have been hashed.
    pub offset: u64,
    /// Their hash.
    pub hasher: Hasher,
}

/// The offset at which a receiver wants a blob's bytes.
#[derive(Debug, Clone)]
pub struct Start {
    /// The last known hash at or before `received`; the source is read from its offset.
    pub hashed: Snapshot,
    /// How many bytes the receiver has.
    pub received: u64,
    /// The number of bytes between snapshots; `None` for no snapshots.
    pub snapshot_every: Option<u64>,
}

impl Start {
    /// At the blob's first byte, without snapshots.
    #[must_use]
    pub fn at_the_beginning(blob: &Descriptor) -> Self {
        let hashed = Snapshot { offset: 0, hasher: blob.digest.hasher() };
        Self { hashed, received: 0, snapshot_every: None }
    }
}

/// Observes a body while it is consumed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    moved: AtomicU64,
    passed: AtomicU64,
    waits: AtomicBool,
    failure: OnceLock<Error>,
    snapshots: Mutex<Vec<Snapshot>>,
    taken: Notify,
}

impl Watch {
    /// Bytes received from the source so far.
    #[must_use]
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// The offset in the blob up to which bytes have been passed on to the receiver.
    #[must_use]
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Whether the receiver is waiting for the source.
    #[must_use]
    pub(crate) fn waits_for_source(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// Why the source side failed, if it did.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// The snapshots since this was last called.
    #[must_use]
    pub(crate) fn take_snapshots(&self) -> Vec<Snapshot> {
        std::mem::take(&mut self.snapshots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is a snapshot to take.
    pub(crate) async fn snapshot_taken(&self) {
        self.taken.notified().await;
    }

    fn add_snapshot(&self, snapshot: Snapshot) {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).push(snapshot);
        self.taken.notify_one();
    }
}

/// Called with the number of bytes of each piece as it passes.
pub type OnProgress = Box<dyn Fn(u64) + Send + Sync>;

/// A stream of a blob's bytes that completes only if they match the digest. See the module documentation.
pub struct VerifiedBody {
    // `http_body` users want `Sync`, which streams are not; `get_mut` on the mutex never locks.
    stream: Mutex<BlobStream>,
    verifier: Option<DigestVerifier>,
    /// Bytes of the stream that the receiver already has.
    skip: u64,
    remaining: u64,
    snapshot_every: Option<u64>,
    last_snapshot: u64,
    location: Location,
    watch: Arc<Watch>,
    on_progress: OnProgress,
}

impl VerifiedBody {
    /// Wraps all the bytes of `blob`. A mismatch is reported at `location`.
    #[must_use]
    pub fn new(stream: BlobStream, blob: &Descriptor, location: Location, on_progress: OnProgress) -> Self {
        Self::starting(stream, blob, Start::at_the_beginning(blob), location, on_progress)
    }

    /// Wraps the bytes of `blob` from `start.hashed.offset` on. Passes on those from `start.received` on.
    #[must_use]
    pub(crate) fn starting(
        stream: BlobStream,
        blob: &Descriptor,
        start: Start,
        location: Location,
        on_progress: OnProgress,
    ) -> Self {
        let Start { hashed: Snapshot { offset, hasher }, received, snapshot_every } = start;
        let watch = Watch { passed: AtomicU64::new(received), ..Watch::default() };
        Self {
            stream: Mutex::new(stream),
            verifier: Some(DigestVerifier::resumed(blob, offset, hasher)),
            skip: received.saturating_sub(offset),
            remaining: blob.size.saturating_sub(received),
            snapshot_every,
            last_snapshot: offset,
            location,
            watch: Arc::new(watch),
            on_progress,
        }
    }

    /// An observer that remains when the body is handed over.
    #[must_use]
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// The bytes still to come.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.remaining
    }

    /// Reads it to its end. Memory: the blob, whose size the caller bounds.
    pub(crate) async fn whole(self) -> Result<Bytes, Error> {
        let whole = self.try_fold(Vec::new(), |mut whole, piece| async move {
            whole.extend_from_slice(&piece);
            Ok(whole)
        });
        Ok(whole.await?.into())
    }

    /// The same bytes, each piece of which waits for `pause` before the receiver gets it. While it does, the receiver is
    /// [waiting for the source](Watch::waits_for_source). Pieces that the receiver already has do not wait.
    #[must_use]
    pub(crate) fn paced<Waiting>(mut self, pause: impl Fn(usize) -> Waiting + Send + 'static) -> Self
    where
        Waiting: Future<Output = ()> + Send + 'static,
    {
        let stream = self.stream.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut known = usize::try_from(self.skip).unwrap_or(usize::MAX);
        let paced = stream.then(move |piece| {
            let length = piece.as_ref().map_or(0, Bytes::len);
            let new = length.saturating_sub(known);
            known = known.saturating_sub(length);
            let waiting = (new > 0).then(|| pause(new));
            async move {
                if let Some(waiting) = waiting {
                    waiting.await;
                }
                piece
            }
        });
        self.stream = Mutex::new(paced.boxed());
        self
    }

    fn fail(&mut self, error: Error) -> Error {
        self.verifier = None;
        // Only the first failure is the reason.
        let _ = self.watch.failure.set(error.clone());
        error
    }

    fn fail_with(&mut self, cause: impl Into<Cause>) -> Error {
        let error = self.location.clone().error(cause);
        self.fail(error)
    }

    /// Hashes a piece. Returns bytes that may be passed on.
    fn accept(&mut self, piece: Bytes) -> Result<Option<Bytes>, Error> {
        let Some(verifier) = &mut self.verifier else { return Ok(None) };
        let length = piece.len() as u64;
        let passed = verifier.push(piece);
        let seen = verifier.seen();
        if passed.is_ok()
            && self.snapshot_every.is_some_and(|every| seen.saturating_sub(self.last_snapshot) >= every)
        {
            self.last_snapshot = seen;
            self.watch.add_snapshot(Snapshot { offset: seen, hasher: verifier.hasher().clone() });
        }
        self.watch.moved.fetch_add(length, Ordering::Relaxed);
        (self.on_progress)(length);
        passed.map_err(|mismatch| self.fail_with(mismatch))
    }

    /// At the end of the source: returns the last piece if everything matches.
    fn complete(&mut self) -> Result<Option<Bytes>, Error> {
        match self.verifier.take().map(DigestVerifier::finish) {
            None => Ok(None),
            Some(Ok(last)) => Ok(last),
            Some(Err(mismatch)) => Err(self.fail_with(mismatch)),
        }
    }

    /// Skips bytes that the receiver already has, counts the rest.
    fn pass_on(&mut self, mut bytes: Bytes) -> Option<Bytes> {
        let dropped = self.skip.min(bytes.len() as u64);
        self.skip -= dropped;
        let rest = bytes.split_off(usize::try_from(dropped).unwrap_or(bytes.len()));
        let length = rest.len() as u64;
        self.remaining = self.remaining.saturating_sub(length);
        self.watch.passed.fetch_add(length, Ordering::Relaxed);
        (length > 0).then_some(rest)
    }
}

impl Stream for VerifiedBody {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.verifier.is_some() {
            let stream = self.stream.get_mut().unwrap_or_else(PoisonError::into_inner);
            let polled = stream.poll_next_unpin(context);
            self.watch.waits.store(polled.is_pending(), Ordering::Relaxed);
            let step = match futures::ready!(polled) {
                Some(Ok(piece)) => self.accept(piece),
                Some(Err(error)) => Err(self.fail(error)),
                None => self.complete(),
            };
            match step.map(|bytes| bytes.and_then(|bytes| self.pass_on(bytes))) {
                Ok(None) => {}
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        Poll::Ready(None)
    }
}

impl Body for VerifiedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_next(context).map(|item| item.map(|result| result.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }

    fn is_end_stream(&self) -> bool {
        // An empty blob still has a digest to check, but no byte to hold back from the receiver.
        self.remaining == 0 && self.verifier.is_none()
    }
}

impl std::fmt::Debug for VerifiedBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VerifiedBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// Reads a blob to its end only to verify it. Memory: one piece.
pub(crate) async fn drain(mut body: VerifiedBody) -> Result<u64, Error> {
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece?.len() as u64;
    }
    Ok(length)
}

/// Reads a whole blob and verifies it. Memory: the blob, whose size the caller bounds.
pub(crate) async fn read_whole<S: Source>(
    source: &S,
    repository: &Repository,
    blob: &Descriptor,
) -> Result<Bytes, Error> {
    let stream = source.open_blob(repository, blob, 0).await?;
    let location = source.blob_location(repository, &blob.digest);
    VerifiedBody::new(stream, blob, location, Box::new(|_| ())).whole().await
}

/// Bytes in memory as the content of a blob, from `offset` on.
pub(crate) fn stream_of(bytes: &Bytes, offset: u64) -> BlobStream {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    stream::iter([Ok(bytes.slice(start..))]).boxed()
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};
    use proptest::prelude::*;

    use super::*;
    use crate::{endpoint::Operation, problem::Side};

    fn run(blob: &Descriptor, start: Start, pieces: Vec<Vec<u8>>) -> (Vec<u8>, bool, Vec<Snapshot>) {
        let stream = stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece)))).boxed();
        let location = Location::new(Operation::ReadBlob, Side::Source, "x");
        let mut body = VerifiedBody::starting(stream, blob, start, location, Box::new(|_| ()));
        let (watch, announced) = (body.watch(), body.length());
        let mut received = Vec::new();
        while let Some(item) = body.next().now_or_never().unwrap() {
            match item {
                Ok(bytes) => received.extend(bytes),
                Err(_) => return (received, false, watch.take_snapshots()),
            }
        }
        assert_eq!(received.len() as u64, announced);
        assert_eq!(watch.passed(), blob.size);
        (received, true, watch.take_snapshots())
    }

    proptest! {
        #[test]
        fn from_any_snapshot_exactly_the_missing_bytes_pass(
            bytes in prop::collection::vec(any::<u8>(), 1..400),
            received in any::<prop::sample::Index>(),
            which in any::<prop::sample::Index>(),
            damage in any::<bool>(),
        ) {
            let blob = Descriptor::new("x/y".into(), crate::oci::Digest::sha256(&bytes), bytes.len() as u64);
            let start = Start { snapshot_every: Some(50), ..Start::at_the_beginning(&blob) };
            let pieces = |bytes: &[u8]| bytes.chunks(7).map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (whole, is_right, snapshots) = run(&blob, start.clone(), pieces(&bytes));
            prop_assert!(is_right && whole == bytes);

            let received = received.index(bytes.len());
            let mut usable = vec![start.hashed];
            usable.extend(snapshots.into_iter().filter(|snapshot| snapshot.offset <= received as u64));
            let hashed = usable.swap_remove(which.index(usable.len()));
            let mut rest = bytes[usize::try_from(hashed.offset).unwrap()..].to_vec();
            *rest.last_mut().unwrap() ^= u8::from(damage);
            let start = Start { hashed, received: received as u64, snapshot_every: None };
            let (passed, is_right, _) = run(&blob, start, pieces(&rest));
            prop_assert_eq!(is_right, !damage);
            prop_assert!(bytes[received..].starts_with(&passed));
            prop_assert_eq!(passed.len() == bytes.len() - received, !damage);
        }
    }
}
