//! A blob on its way: hashed once while it streams, its last piece held back until the digest matches.
//!
//! [`VerifiedBody`] is an HTTP body with an exact length. When the source fails or lies, the body ends in
//! an error before its announced length is reached, so no receiver can take it for complete. The error
//! itself is kept aside: the receiver's client would only report that "the body failed".

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};

use super::{BlobStream, Cause, Error, error::Operation};
use crate::oci::{Descriptor, verified::Verifier};

/// What can be seen of a body from outside while somebody else consumes it.
#[derive(Debug, Default)]
pub struct Watch {
    moved: AtomicU64,
    failure: OnceLock<Error>,
}

impl Watch {
    /// Bytes that have come from the source so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Why the source side failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }
}

/// Called with the number of bytes of each piece as it passes.
pub type OnProgress = Box<dyn Fn(u64) + Send + Sync>;

/// A stream of one blob's bytes that completes only if they are the blob's. See the module's text.
pub struct VerifiedBody {
    // `http_body` users want `Sync`, which streams are not; `get_mut` on the mutex never locks.
    stream: Mutex<BlobStream>,
    verifier: Option<Verifier>,
    remaining: u64,
    place: Error,
    watch: Arc<Watch>,
    on_progress: OnProgress,
}

impl VerifiedBody {
    /// Wraps the bytes of `blob`. `place` is what a mismatch is reported as; its cause is replaced.
    #[must_use]
    pub fn new(stream: BlobStream, blob: &Descriptor, place: Error, on_progress: OnProgress) -> Self {
        Self {
            stream: Mutex::new(stream),
            verifier: Some(Verifier::new(blob)),
            remaining: blob.size,
            place: Error { operation: Operation::ReadBlob, ..place },
            watch: Arc::default(),
            on_progress,
        }
    }

    /// A view that stays when the body has been handed over.
    #[must_use]
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// The bytes still to come.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.remaining
    }

    fn fail(&mut self, error: Error) -> Error {
        self.verifier = None;
        // Only the first failure is the reason.
        let _ = self.watch.failure.set(error.clone());
        error
    }

    fn fail_with(&mut self, cause: impl Into<Cause>) -> Error {
        let error = Error { cause: cause.into(), ..self.place.clone() };
        self.fail(error)
    }

    /// Takes a piece; gives back bytes that may be passed on.
    fn accept(&mut self, piece: Bytes) -> Result<Option<Bytes>, Error> {
        let Some(verifier) = &mut self.verifier else { return Ok(None) };
        let length = piece.len() as u64;
        let passed = verifier.push(piece);
        self.watch.moved.fetch_add(length, Ordering::Relaxed);
        (self.on_progress)(length);
        passed.map_err(|mismatch| self.fail_with(mismatch))
    }

    /// The source has ended: the last piece, if everything matches.
    fn complete(&mut self) -> Result<Option<Bytes>, Error> {
        match self.verifier.take().map(Verifier::finish) {
            None => Ok(None),
            Some(Ok(last)) => Ok(last),
            Some(Err(mismatch)) => Err(self.fail_with(mismatch)),
        }
    }
}

impl Stream for VerifiedBody {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.verifier.is_some() {
            let stream = self.stream.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            let step = match futures::ready!(stream.poll_next_unpin(context)) {
                Some(Ok(piece)) => self.accept(piece),
                Some(Err(error)) => Err(self.fail(error)),
                None => self.complete(),
            };
            match step {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
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
        // An empty blob still has a digest to be checked, but no byte by which a receiver could be told.
        self.remaining == 0 && self.verifier.is_none()
    }
}

impl std::fmt::Debug for VerifiedBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VerifiedBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}

/// Reads a blob to its end only to check it. Memory: one piece.
pub async fn drain(mut body: VerifiedBody) -> Result<u64, Error> {
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece?.len() as u64;
    }
    Ok(length)
}
