//! A blob in chunks: PATCH requests, each with its length, then a PUT without bytes.
//!
//! Used for registries and proxies that refuse large requests, and for the rest of an interrupted upload. A chunk is a
//! section of the stream, so its size costs no memory. `capabilities` chooses it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, Method};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

use super::{
    super::{capabilities::UploadMethod, error::RegistryError, host::discard, refusal::Refusal},
    Push,
    send::{self, Outgoing, UploadRecord, transmit},
    session::Session,
};
use crate::endpoint::{Error, VerifiedBody, body::Watch};

/// Sends the bytes from `offset` on.
pub(super) async fn all(
    push: &Push,
    session: &mut Session,
    (method, offset): (UploadMethod, u64),
    body: VerifiedBody,
    watch: &Watch,
    record: &mut UploadRecord,
) -> Result<(), RegistryError> {
    let pieces = Pieces::new(body);
    let mut offset = offset;
    while offset < push.blob.size {
        let length = length_of_next(method, session.chunk_minimum, push.blob.size - offset);
        let range = format!("{offset}-{}", offset + length - 1);
        let outgoing = Outgoing {
            method: Method::PATCH,
            url: session.location.clone(),
            range: HeaderValue::from_str(&range).ok(),
            length,
            pieces: Some(Arc::clone(&pieces)),
        };
        let response = transmit(push, outgoing, watch, record).await.map_err(unless_chunks_are_unknown)?;
        // Ignore its `Range`: ECR's is stale (aws/containers-roadmap#2831), and the digest is checked anyway.
        session.moved_by(&response)?;
        discard(response).await;
        offset += length;
        if let Some(journal) = &mut record.journal {
            journal.record_session(session, &push.host.origin);
        }
    }
    send::close(push, session, watch, record).await
}

/// Distinguishes a registry without PATCH (Artifact Registry documents none) from one that has lost a session.
fn unless_chunks_are_unknown(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::Refused(Refusal { status: status @ (404 | 405 | 501), ref code, .. })
            if !code.as_deref().is_some_and(|code| code.starts_with("BLOB_UPLOAD_")) =>
        {
            RegistryError::NoChunks(status)
        }
        other => other,
    }
}

/// At least the registry's minimum, at most the rest of the blob.
fn length_of_next(method: UploadMethod, minimum: u64, remaining: u64) -> u64 {
    match method {
        UploadMethod::Whole => remaining,
        UploadMethod::Chunks(size) => size.max(minimum).min(remaining),
    }
}

/// The body that is split into chunks.
pub(super) struct Pieces {
    body: VerifiedBody,
    /// The rest of the piece in which the last chunk ended.
    left: Bytes,
}

impl Pieces {
    pub(super) fn new(body: VerifiedBody) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { body, left: Bytes::new() }))
    }
}

/// Holds a body back until the registry has had the time to redirect the request.
#[derive(Debug, Clone)]
pub(super) struct Release {
    after: Duration,
    is_over: Arc<AtomicBool>,
}

impl Release {
    /// Releases the body after this time.
    pub(super) fn after(after: Duration) -> Self {
        Self { after, is_over: Arc::default() }
    }

    /// Whether the body has been released, so that bytes may have been sent.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// A section of a body, as a body of its own.
pub(super) struct Chunk {
    source: Arc<Mutex<Pieces>>,
    remaining: u64,
    held: Option<(Release, Pin<Box<Sleep>>)>,
}

impl Chunk {
    /// The next `length` bytes, if wanted only after a pause.
    pub(super) fn new(source: Arc<Mutex<Pieces>>, length: u64, release: Option<Release>) -> Self {
        let held = release.map(|release| {
            let pause = Box::pin(tokio::time::sleep(release.after));
            (release, pause)
        });
        Self { source, remaining: length, held }
    }
}

impl http_body::Body for Chunk {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        if let Some((release, pause)) = &mut self.held {
            ready!(pause.as_mut().poll(context));
            release.is_over.store(true, Ordering::Relaxed);
            self.held = None;
        }
        let source = Arc::clone(&self.source);
        // Never contended: chunks are sent one after the other.
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.left.is_empty() {
            match ready!(Pin::new(&mut source.body).poll_next(context)) {
                Some(Ok(piece)) => source.left = piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = source.left.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(source.left.split_to(length)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_respects_the_registrys_minimum_and_the_end_of_the_blob() {
        const TIB: u64 = 1 << 40;
        assert_eq!(length_of_next(UploadMethod::Chunks(5), 0, 12), 5);
        assert_eq!(length_of_next(UploadMethod::Chunks(5), 8, 12), 8);
        assert_eq!(length_of_next(UploadMethod::Chunks(5), 8, 4), 4);
        assert_eq!(length_of_next(UploadMethod::Chunks(5), TIB, 12), 12);
        assert_eq!(length_of_next(UploadMethod::Whole, 0, 12), 12);
    }
}
