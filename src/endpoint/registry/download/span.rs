//! Reads the bytes of a blob from an offset to an end, over one connection at a time, across interruptions.
//!
//! A broken stream is resumed with a `Range` request to the registry itself (a signed URL may have expired),
//! transparently to the consumer. The response to a range is checked: it must be exactly the requested one.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::Instant;

use super::{
    super::{
        answer,
        auth::Origin,
        client_error,
        error::RegistryError,
        host::{Host, discard},
        pace::Permit,
        retry::{self, Attempts},
        trickle::Trickle,
    },
    BlobAddress,
};
use crate::{
    endpoint::{
        BlobStream, Cause, Error,
        retry::{Pause, attempts},
    },
    event::Event,
    oci::{Descriptor, verified::Mismatch},
};

/// This much progress allows one more interruption.
const BYTES_PER_INTERRUPTION: u64 = 256 * 1024;
/// The limit of interruptions without that progress.
const INTERRUPTIONS: u32 = 5;

/// The bytes of a blob from an offset to an end.
pub(super) struct Span {
    host: Arc<Host>,
    /// Released with the span, unless it is handed on.
    permit: Option<Permit>,
    /// Whether the registry supports ranges. Otherwise the blob is read again from the start.
    ranges: bool,
    address: Arc<BlobAddress>,
    blob: Descriptor,
    /// Where the consumer wants no more, in bytes from the start of the blob.
    end: u64,
    /// Whether something else reads what is before and after, so that no byte outside may be requested.
    is_part: bool,
    /// How many bytes of the blob the consumer has received.
    offset: u64,
    response: Option<Response>,
    /// Bytes to skip because the registry ignored the range and started at zero.
    skip: u64,
    tries: Attempts,
    patience: u32,
    progress: u64,
    trickle: Trickle,
    waited: Duration,
}

impl Span {
    /// From `offset` to the end of the blob, or to an earlier `end`. Sends nothing.
    pub(super) fn new(
        host: Arc<Host>,
        permit: Permit,
        address: Arc<BlobAddress>,
        blob: &Descriptor,
        (offset, end): (u64, u64),
    ) -> Self {
        let trickle = Trickle::new(host.tuning().stall);
        Self {
            host,
            permit: Some(permit),
            ranges: true,
            address,
            blob: blob.clone(),
            end,
            is_part: false,
            offset,
            response: None,
            skip: 0,
            tries: Attempts::new(attempts()),
            patience: INTERRUPTIONS,
            progress: 0,
            trickle,
            waited: Duration::ZERO,
        }
    }

    /// The same, as one of several parts that are read at once: an answer with other bytes is an error.
    pub(super) fn part(self) -> Self {
        Self { is_part: true, ..self }
    }

    /// Sends the request, unless an answer is being read.
    pub(super) async fn open(&mut self) -> Result<(), Error> {
        while self.response.is_none() {
            self.connect().await?;
        }
        Ok(())
    }

    /// Where the answer ends. After the answer of a registry that ignores ranges, this is the end of the blob.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Hands on the permission for the transfer. A transfer that waited for another one, and kept its own, could wait for ever.
    pub(super) fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// How long the network was waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    pub(super) fn into_stream(self) -> BlobStream {
        let pieces = stream::try_unfold(self, |mut span| async {
            let piece = span.next().await?;
            Ok(piece.map(|bytes| (bytes, span)))
        });
        pieces.boxed()
    }

    /// The next piece, or `None` at the end. Returns at most one byte more than the blob's size, so that the reader
    /// detects the excess.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(response) = &mut self.response else {
                self.connect().await?;
                continue;
            };
            let stall = self.host.tuning().stall;
            let waiting = Instant::now();
            let cause = match tokio::time::timeout(stall, response.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    let waited = waiting.elapsed();
                    self.waited += waited;
                    let pace = self.trickle.add(waited, piece.len() as u64);
                    self.host.take_rate(piece.len()).await;
                    let piece = self.take(piece)?;
                    if let Err(slow) = pace
                        && self.offset < self.end
                    {
                        // The rest comes over another connection.
                        let cause = self.at_its_host(slow).into();
                        self.interrupted(cause).await?;
                    }
                    match piece {
                        Some(piece) => return Ok(Some(piece)),
                        None => continue,
                    }
                }
                Ok(Ok(None)) if self.offset >= self.end => {
                    if self.end == self.blob.size {
                        self.host.pace.moved();
                    }
                    return Ok(None);
                }
                Ok(Ok(None)) => Cause::Mismatch(Mismatch::TooShort {
                    digest: self.blob.digest.clone(),
                    expected: self.blob.size,
                    found: self.offset,
                }),
                Ok(Err(error)) => self.at_its_host(client_error::translate(&error)).into(),
                Err(_) => self.at_its_host(RegistryError::Stalled(stall)).into(),
            };
            self.interrupted(cause).await?;
        }
    }

    /// Names the host that sends the bytes, if it is not the registry.
    fn at_its_host(&self, error: RegistryError) -> RegistryError {
        let sender = self.response.as_ref().and_then(|response| Origin::of(response.url()).ok());
        match sender.filter(|sender| *sender != self.host.origin) {
            Some(sender) => error.at(&sender),
            None => error,
        }
    }

    /// Skips bytes that the consumer has, counts the rest. What follows a blob is left to the reader; what follows a part
    /// of one would be taken for the next part.
    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, Error> {
        let dropped = self.skip.min(piece.len() as u64);
        self.skip -= dropped;
        let rest = piece.split_off(usize::try_from(dropped).unwrap_or(piece.len()));
        if rest.is_empty() {
            return Ok(None);
        }
        if self.end < self.blob.size && rest.len() as u64 > self.end - self.offset {
            let (digest, expected) = (self.blob.digest.clone(), self.end);
            return Err(self.error(Cause::Mismatch(Mismatch::TooLong { digest, expected })));
        }
        self.offset += rest.len() as u64;
        self.progress += rest.len() as u64;
        if self.progress >= BYTES_PER_INTERRUPTION {
            self.progress = 0;
            self.patience = (self.patience + 1).min(INTERRUPTIONS);
        }
        Ok(Some(rest))
    }

    /// Waits before the download resumes, or fails.
    async fn interrupted(&mut self, cause: Cause) -> Result<(), Error> {
        self.response = None;
        let pause = match (&cause, cause.downcast_ref()) {
            (Cause::Mismatch(Mismatch::TooShort { .. }), _) => Pause::None,
            (_, Some(RegistryError::Protocol(_))) => Pause::Backoff,
            (_, Some(error)) if retry::is_transient(error) => retry::pause(error),
            _ => return Err(self.error(cause)),
        };
        if self.patience == 0 {
            return Err(self.error(cause));
        }
        self.patience -= 1;
        let pause = pause.duration(INTERRUPTIONS - self.patience);
        self.host.events().emit(Event::Retrying {
            side: self.host.side,
            reason: format!(
                "{} was interrupted after {} of {} bytes: {cause}",
                self.address.name, self.offset, self.blob.size
            ),
            pause,
        });
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Requests the bytes from `offset` on. After an invalid response to a range, the blob is read from its start, and
    /// bytes that the consumer has are skipped.
    async fn connect(&mut self) -> Result<(), Error> {
        self.tries.begin();
        let from = if self.ranges { self.offset } else { 0 };
        let call = self.address.call(Method::GET, range_header(&(from..self.end), self.blob.size));
        let expected = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.host.send(&call, &expected).await?;
        let is_bounded = self.end < self.blob.size;
        match check_answer(&response, from..self.end, &self.blob) {
            Ok(Answer { skip, end }) if !self.is_part || end == self.end => {
                self.skip = skip + (self.offset - from);
                self.end = end;
                self.response = Some(response);
                Ok(())
            }
            Ok(_) => {
                discard(response).await;
                Err(self.error(RegistryError::Protocol("it ignored a range".to_owned()).into()))
            }
            Err(cause) => {
                discard(response).await;
                let is_about_range = (from > 0 || is_bounded)
                    && matches!(cause.downcast_ref(), Some(RegistryError::Protocol(_)));
                if !is_about_range || self.is_part {
                    return Err(self.error(cause));
                }
                self.ranges = false;
                self.end = self.blob.size;
                self.interrupted(cause).await
            }
        }
    }

    fn error(&self, cause: Cause) -> Error {
        self.host.error(self.address.operation, &self.address.name, &self.tries, cause)
    }
}

/// The `Range` of a request; `None` for a whole blob. Without an end if that is the blob's, as the fewest servers get
/// that wrong.
fn range_header(range: &Range<u64>, size: u64) -> Option<HeaderValue> {
    let text = match (range.start, range.end) {
        (0, end) if end == size => return None,
        (start, end) if end == size => format!("bytes={start}-"),
        (start, end) => format!("bytes={start}-{}", end.saturating_sub(1)),
    };
    HeaderValue::from_str(&text).ok()
}

/// What a response holds of a blob.
struct Answer {
    /// How many bytes to skip at its start.
    skip: u64,
    /// Where it ends, in bytes from the start of the blob.
    end: u64,
}

/// Checks that the response holds this range of the blob, or the whole blob.
fn check_answer(response: &Response, range: Range<u64>, blob: &Descriptor) -> Result<Answer, Cause> {
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (answer, expected) = match response.status() {
        StatusCode::NOT_FOUND => return Err(Cause::NoSuchBlob),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(RegistryError::Protocol(format!("the blob ends before byte {}", range.start)).into());
        }
        StatusCode::PARTIAL_CONTENT => {
            let sent = text(header::CONTENT_RANGE).unwrap_or_default();
            if !is_range(sent, &range, blob.size) {
                let asked = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), blob.size);
                let reason = format!("it sent `{}` instead of `{asked}`", sent.escape_debug());
                return Err(RegistryError::Protocol(reason).into());
            }
            (Answer { skip: 0, end: range.end }, range.end - range.start)
        }
        // The range was ignored: skip the bytes that the consumer has.
        _ => (Answer { skip: range.start, end: blob.size }, blob.size),
    };
    // A blob may be a web page, but then it has the blob's size.
    let is_page = answer::is_web_page(response.headers());
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match announced {
        Some(length) if length != expected && is_page => Err(RegistryError::WebPage.into()),
        Some(length) if length > expected => {
            Err(Mismatch::TooLong { digest: blob.digest.clone(), expected: blob.size }.into())
        }
        Some(length) if length < expected => Err(Mismatch::TooShort {
            digest: blob.digest.clone(),
            expected: blob.size,
            found: answer.end - expected + length,
        }
        .into()),
        _ => Ok(answer),
    }
}

/// `bytes START-END/SIZE` (RFC 9110, section 14.4) with exactly this range.
pub(in super::super) fn is_range(text: &str, range: &Range<u64>, size: u64) -> bool {
    let parse = || {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (span, total) = rest.split_once('/')?;
        let (start, end) = span.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let total_agrees = total.trim() == "*" || number(total) == Some(size);
        Some(
            unit.eq_ignore_ascii_case("bytes")
                && number(start)? == range.start
                && number(end)?.checked_add(1)? == range.end
                && total_agrees,
        )
    };
    parse().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_requested_range_is_accepted() {
        assert!(is_range("bytes 3-9/10", &(3..10), 10));
        assert!(is_range("Bytes 3-9/*", &(3..10), 10));
        for range in [
            "",
            "bytes 0-9/10",
            "bytes 3-8/10",
            "bytes 3-9/11",
            "bytes 4-9/10",
            "items 3-9/10",
            "bytes */10",
            "bytes 3-18446744073709551615/10",
        ] {
            assert!(!is_range(range, &(3..10), 10), "{range}");
        }
        assert!(is_range("bytes 3-5/10", &(3..6), 10) && !is_range("bytes 3-9/10", &(3..6), 10));
    }

    proptest! {
        #[test]
        fn reading_a_range_never_panics(text in "\\PC{0,40}", offset: u64, size: u64) {
            let _ = is_range(&text, &(offset..size), size);
        }
    }
}
