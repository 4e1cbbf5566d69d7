//! Reading a blob (distribution specification, "Pulling blobs"), across interruptions.
//!
//! A broken stream is resumed with a `Range` request to the registry itself (a signed URL may have expired),
//! transparently to the consumer. The response to a range is checked: it must start at the requested offset and end at
//! the end of the blob.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use super::{
    answer,
    auth::{Origin, Scope},
    client_error,
    error::RegistryError,
    host::{Call, Host, discard},
    pace::Permit,
    retry::{self, Attempts},
    trickle::Trickle,
};
use crate::{
    endpoint::{
        BlobStream, Cause, Error, Operation,
        retry::{Pause, attempts},
    },
    event::Event,
    oci::{Descriptor, Digest, Repository, verified::Mismatch},
};

/// This much progress allows one more interruption.
const BYTES_PER_INTERRUPTION: u64 = 256 * 1024;
/// The limit of interruptions without that progress.
const INTERRUPTIONS: u32 = 5;

/// The statuses of registries and proxies that do not support HEAD. None of them says whether the blob exists.
pub(super) const HEAD_UNKNOWN: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// The size that the registry reports for a blob.
pub(super) async fn size(
    host: &Host,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    let address = BlobAddress::in_repository(host, Operation::CheckBlob, repository, digest)?;
    let call = address.call(Method::HEAD, 0);
    let mut response =
        host.send(&call, &[&[StatusCode::NOT_FOUND], HEAD_UNKNOWN.as_slice()].concat()).await?;
    if HEAD_UNKNOWN.contains(&response.status()) {
        // Fall back to GET and read only the header.
        let call = Call { method: Method::GET, ..call.clone() };
        response = host.send(&call, &[StatusCode::NOT_FOUND]).await?;
    }
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        let cause = RegistryError::Protocol("it reports no size for a blob".to_owned());
        host.error(call.operation, &call.name, &Attempts::new(1), cause)
    })
}

/// Opens a blob of a repository at an offset.
pub(super) async fn open(
    host: Arc<Host>,
    repository: &Repository,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, Error> {
    let address = BlobAddress::in_repository(&host, Operation::ReadBlob, repository, &blob.digest)?;
    open_at(host, address, blob, offset).await
}

/// Opens a blob at an offset, in a registry or at a URL.
pub(super) async fn open_at(
    host: Arc<Host>,
    address: BlobAddress,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, Error> {
    let permit = host.pace.blob().await;
    let trickle = Trickle::new(host.tuning().stall);
    let mut download = Download {
        host,
        _permit: permit,
        ranges: true,
        address,
        blob: blob.clone(),
        offset,
        response: None,
        skip: 0,
        tries: Attempts::new(attempts()),
        patience: INTERRUPTIONS,
        progress: 0,
        trickle,
    };
    while download.response.is_none() {
        download.connect().await?;
    }
    let pieces = stream::try_unfold(download, |mut download| async {
        let piece = download.next().await?;
        Ok(piece.map(|bytes| (bytes, download)))
    });
    Ok(pieces.boxed())
}

struct Download {
    host: Arc<Host>,
    _permit: Permit,
    /// Whether the registry supports ranges. Otherwise the blob is read again from the start.
    ranges: bool,
    address: BlobAddress,
    blob: Descriptor,
    /// How many bytes of the blob the consumer has received.
    offset: u64,
    response: Option<Response>,
    /// Bytes to skip because the registry ignored the range and started at zero.
    skip: u64,
    tries: Attempts,
    patience: u32,
    progress: u64,
    trickle: Trickle,
}

impl Download {
    /// The next piece, or `None` at the end of the blob. Returns at most one byte more than the blob's size, so that
    /// the reader detects the excess.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(response) = &mut self.response else {
                self.connect().await?;
                continue;
            };
            let stall = self.host.tuning().stall;
            let waiting = Instant::now();
            let cause = match tokio::time::timeout(stall, response.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    let pace = self.trickle.add(waiting.elapsed(), piece.len() as u64);
                    self.host.take_rate(piece.len()).await;
                    let piece = self.take(piece);
                    if let Err(slow) = pace
                        && self.offset < self.blob.size
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
                Ok(Ok(None)) if self.offset >= self.blob.size => {
                    self.host.pace.moved();
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

    /// Skips bytes that the consumer has, counts the rest.
    fn take(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let dropped = self.skip.min(piece.len() as u64);
        self.skip -= dropped;
        let rest = piece.split_off(usize::try_from(dropped).unwrap_or(piece.len()));
        if rest.is_empty() {
            return None;
        }
        self.offset += rest.len() as u64;
        self.progress += rest.len() as u64;
        if self.progress >= BYTES_PER_INTERRUPTION {
            self.progress = 0;
            self.patience = (self.patience + 1).min(INTERRUPTIONS);
        }
        Some(rest)
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
        let call = self.address.call(Method::GET, from);
        let expected = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.host.send(&call, &expected).await?;
        match check_answer(&response, from, &self.blob) {
            Ok(skip) => {
                self.skip = skip + (self.offset - from);
                self.response = Some(response);
                Ok(())
            }
            Err(cause) => {
                discard(response).await;
                if from == 0 || !matches!(cause.downcast_ref(), Some(RegistryError::Protocol(_))) {
                    return Err(self.error(cause));
                }
                self.ranges = false;
                self.interrupted(cause).await
            }
        }
    }

    fn error(&self, cause: Cause) -> Error {
        self.host.error(self.address.operation, &self.address.name, &self.tries, cause)
    }
}

/// Checks that the response holds the blob from `offset` on. Returns how many bytes to skip at its start.
fn check_answer(response: &Response, offset: u64, blob: &Descriptor) -> Result<u64, Cause> {
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (skip, expected) = match response.status() {
        StatusCode::NOT_FOUND => return Err(Cause::NoSuchBlob),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(RegistryError::Protocol(format!("the blob ends before byte {offset}")).into());
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = text(header::CONTENT_RANGE).unwrap_or_default();
            if !is_range_to_the_end(range, offset, blob.size) {
                let asked = format!("bytes {offset}-{}/{}", blob.size.saturating_sub(1), blob.size);
                let reason = format!("it sent `{}` instead of `{asked}`", range.escape_debug());
                return Err(RegistryError::Protocol(reason).into());
            }
            (0, blob.size - offset)
        }
        // The range was ignored: skip the bytes that the consumer has.
        _ => (offset, blob.size),
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
            found: blob.size - expected + length,
        }
        .into()),
        _ => Ok(skip),
    }
}

/// `bytes START-END/SIZE` (RFC 9110, section 14.4) from exactly `offset` to exactly the end.
pub(super) fn is_range_to_the_end(range: &str, offset: u64, size: u64) -> bool {
    let parse = || {
        let (unit, rest) = range.trim().split_once(' ')?;
        let (span, total) = rest.split_once('/')?;
        let (start, end) = span.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let total_agrees = total.trim() == "*" || number(total) == Some(size);
        Some(
            unit.eq_ignore_ascii_case("bytes")
                && number(start)? == offset
                && number(end)?.checked_add(1)? == size
                && total_agrees,
        )
    };
    parse().unwrap_or(false)
}

/// Where to download a blob.
pub(super) struct BlobAddress {
    /// The operation, for errors.
    pub(super) operation: Operation,
    /// The repository that it belongs to.
    pub(super) repository: Repository,
    pub(super) url: Url,
    /// The permissions that a request needs.
    pub(super) scopes: Vec<Scope>,
    /// Its name in errors.
    pub(super) name: String,
}

impl BlobAddress {
    /// The blob in its own registry.
    fn in_repository(
        host: &Host,
        operation: Operation,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Self, Error> {
        let name = format!("{repository}@{digest}");
        let url = host
            .url(repository, &format!("blobs/{digest}"))
            .map_err(|cause| host.error(operation, &name, &Attempts::new(1), cause))?;
        let scopes = vec![Scope::pull(repository)];
        Ok(Self { operation, repository: repository.clone(), url, scopes, name })
    }

    /// The request for everything from `offset` on.
    fn call(&self, method: Method, offset: u64) -> Call<'_> {
        let range = (offset > 0).then(|| HeaderValue::from_str(&format!("bytes={offset}-")).ok()).flatten();
        Call {
            operation: self.operation,
            repository: &self.repository,
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            method,
            url: self.url.clone(),
            headers: range.map(|value| (header::RANGE, value)).into_iter().collect::<HeaderMap>(),
            body: None,
            attempts: attempts(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_requested_range_is_accepted() {
        assert!(is_range_to_the_end("bytes 3-9/10", 3, 10));
        assert!(is_range_to_the_end("Bytes 3-9/*", 3, 10));
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
            assert!(!is_range_to_the_end(range, 3, 10), "{range}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_range_never_panics(text in "\\PC{0,40}", offset: u64, size: u64) {
            let _ = is_range_to_the_end(&text, offset, size);
        }
    }
}
