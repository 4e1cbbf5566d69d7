//! Bodies of requests and responses as streams of small pieces, so that memory does not grow with a blob.

use std::{
    future::Future as _,
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::storage::ContentReader;
use crate::oci::{Digest, Hasher};

/// The number of bytes read from or written to a file at a time. A transfer has at most two such pieces in memory, in
/// addition to the connection's buffers.
pub(super) const PIECE: usize = 256 * 1024;

/// The body of a response: nothing, a document, or a part of stored content.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// All bytes at once; `None` once they are taken.
    Whole(Option<Bytes>),
    /// Content that is read while it is sent.
    Read(ReadBody),
}

/// A part of stored content, read one piece ahead of the connection.
#[derive(Debug)]
pub(super) struct ReadBody {
    /// Bytes that the connection has not taken yet.
    left: u64,
    /// The next piece to send, if it has been read.
    piece: Option<Bytes>,
    /// The piece after that, which is being read.
    reading: Option<JoinHandle<io::Result<Pieces>>>,
}

/// A piece of stored content, and its reader.
#[derive(Debug)]
struct Pieces {
    reader: ContentReader,
    check: Option<DigestCheck>,
    piece: Bytes,
}

/// Hashes whole content while it is read: the last piece is not sent unless the digest matches.
pub(super) struct DigestCheck {
    expected: Digest,
    hasher: Hasher,
}

impl std::fmt::Debug for DigestCheck {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DigestCheck").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl DigestCheck {
    /// For content that must have this digest.
    pub(super) fn new(expected: Digest) -> Self {
        let hasher = expected.hasher();
        Self { expected, hasher }
    }

    /// Reads all `size` bytes of a reader and compares them. Blocks.
    pub(super) fn read(self, mut reader: ContentReader, size: u64) -> io::Result<()> {
        let (mut check, mut left) = (Some(self), size);
        // Empty content is one piece as well.
        while let Some(unfinished) = check {
            let read = read_piece(reader, left, Some(unfinished))?;
            left = left.saturating_sub(read.piece.len() as u64);
            (reader, check) = (read.reader, read.check);
        }
        Ok(())
    }

    /// Takes the next bytes; after the last, compares the digests.
    fn take(mut self, piece: &[u8], is_last: bool) -> io::Result<Option<Self>> {
        self.hasher.update(piece);
        if !is_last {
            return Ok(Some(self));
        }
        let Self { expected, hasher } = self;
        if hasher.finish() == expected {
            return Ok(None);
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the stored bytes do not have the digest {expected}"),
        ))
    }
}

impl AnswerBody {
    /// No bytes.
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }

    /// These bytes.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes))
    }

    /// The next `length` bytes of a reader. The first piece is read immediately: call it where blocking is allowed.
    pub(super) fn read(reader: ContentReader, length: u64) -> io::Result<Self> {
        Self::read_checked(reader, length, None)
    }

    /// The same, comparing the bytes with a digest. Content that is larger than a piece ends with an error instead of
    /// its last piece if it differs, which cuts the connection.
    pub(super) fn read_checked(
        reader: ContentReader,
        length: u64,
        check: Option<DigestCheck>,
    ) -> io::Result<Self> {
        let Pieces { reader, check, piece } = read_piece(reader, length, check)?;
        if piece.len() as u64 == length {
            return Ok(Self::whole(piece));
        }
        let reading = read_ahead(reader, length - piece.len() as u64, check);
        Ok(Self::Read(ReadBody { left: length, piece: Some(piece), reading }))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Read(body) => {
                body.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Read(body) => body.left,
        })
    }
}

impl ReadBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let piece = if let Some(piece) = self.piece.take() {
            piece
        } else {
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let read = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            match read.map_err(io::Error::other).flatten() {
                Ok(Pieces { reader, check, piece }) => {
                    self.reading = read_ahead(reader, self.left.saturating_sub(piece.len() as u64), check);
                    piece
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Starts reading the next piece, if any bytes are left.
fn read_ahead(
    reader: ContentReader,
    left: u64,
    check: Option<DigestCheck>,
) -> Option<JoinHandle<io::Result<Pieces>>> {
    (left > 0).then(|| tokio::task::spawn_blocking(move || read_piece(reader, left, check)))
}

/// Reads one piece, at most `left` bytes.
fn read_piece(mut reader: ContentReader, left: u64, check: Option<DigestCheck>) -> io::Result<Pieces> {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
    let mut piece = Vec::with_capacity(length);
    reader.by_ref().take(length as u64).read_to_end(&mut piece)?;
    if piece.len() < length {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the content became shorter while it was being read",
        ));
    }
    let check = match check {
        Some(check) => check.take(&piece, length as u64 == left)?,
        None => None,
    };
    Ok(Pieces { reader, check, piece: piece.into() })
}

/// The number of bytes of a request's body that must arrive within the stall time; fewer count as a stall.
const PROGRESS: usize = 16 * 1024;

/// The body of a request. Counts the bytes that arrived, and fails when they stop arriving.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Incoming,
    received: u64,
    stall_time: Duration,
    /// The time left for the next [`PROGRESS`] bytes. The time spent storing them does not count.
    patience: Duration,
    progress: usize,
}

/// Why a request's body did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The connection broke, or the client did not send HTTP.
    #[error("the request's body ended early")]
    Broken,
    /// Too few bytes arrived in the stall time.
    #[error("the request's body stalled")]
    Stalled,
}

impl BodyError {
    /// The HTTP status of this error.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl RequestBody {
    /// Wraps hyper's body.
    pub(super) fn new(incoming: Incoming, stall_time: Duration) -> Self {
        Self { incoming, received: 0, stall_time, patience: stall_time, progress: 0 }
    }

    /// Bytes that arrived so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The length that the client announced, if any.
    pub(super) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact().map(|left| left + self.received)
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            let asked = Instant::now();
            let Ok(frame) = tokio::time::timeout(self.patience, self.incoming.frame()).await else {
                self.patience = Duration::ZERO;
                return Some(Err(BodyError::Stalled));
            };
            self.patience = self.patience.saturating_sub(asked.elapsed());
            match frame? {
                Ok(frame) => {
                    // This protocol has no trailers.
                    if let Ok(bytes) = frame.into_data() {
                        self.note(bytes.len());
                        return Some(Ok(bytes));
                    }
                }
                Err(_) => return Some(Err(BodyError::Broken)),
            }
        }
    }

    fn note(&mut self, length: usize) {
        self.received += length as u64;
        self.progress += length;
        if self.progress >= PROGRESS {
            self.progress = 0;
            self.patience = self.stall_time;
        }
    }

    /// Reads a short remainder to its end: closing the connection while the client still sends would reset it, and the
    /// client would not see the refusal.
    ///
    /// Gives up after `time`: a client must not keep the connection busy with a body that nothing reads.
    pub(super) async fn drain(&mut self, limit: u64, time: Duration) {
        let end = self.received.saturating_add(limit);
        if self.announced().is_some_and(|length| length > end) {
            return;
        }
        let reading = async {
            while self.received < end
                && let Some(Ok(_)) = self.next().await
            {}
        };
        let _ = tokio::time::timeout(time, reading).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    /// The bytes read from a file of `length` bytes after the first `skipped`, and the expected bytes.
    async fn read_and_expected(length: usize, skipped: usize) -> (Vec<u8>, Vec<u8>) {
        let mut bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(skipped as u64)).unwrap();
        let expected = bytes.split_off(skipped);
        let body = AnswerBody::read(ContentReader::File(file), expected.len() as u64).unwrap();
        assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
        (body.collect().await.unwrap().to_bytes().to_vec(), expected)
    }

    #[tokio::test]
    async fn files_of_every_size_around_a_piece_come_whole() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let (read, expected) = read_and_expected(length, 0).await;
            assert!(read == expected, "{length}");
        }
        let (read, expected) = read_and_expected(2 * PIECE, 7).await;
        assert!(read == expected);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_not_a_short_body() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; PIECE + 1]).unwrap();
        file.rewind().unwrap();
        let body = AnswerBody::read(ContentReader::File(file), PIECE as u64 + 2).unwrap();
        assert!(body.collect().await.is_err());
    }
}
