//! An upload session: its URL, its progress, and canceling it.

use http::{Method, StatusCode, header};
use reqwest::Response;
use url::Url;

use super::{
    super::{error::RegistryError, host::discard, redirect},
    Push,
};
use crate::{endpoint::Operation, oci::Descriptor};

/// The smallest chunk that a registry takes, in bytes.
const CHUNK_MINIMUM: &str = "oci-chunk-min-length";

/// The session's URL, which is a capability: it grants write access.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) location: Url,
    /// The smallest chunk that the registry accepts, except for the last.
    pub(super) chunk_minimum: u64,
}

impl Session {
    /// The session in the response to a POST.
    pub(super) fn opened(response: &Response) -> Result<Self, RegistryError> {
        let location = location_of(response)?
            .ok_or_else(|| RegistryError::Protocol("it opened an upload without a `Location`".to_owned()))?;
        let minimum = response.headers().get(CHUNK_MINIMUM).and_then(|value| value.to_str().ok());
        let chunk_minimum = minimum.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Self { location, chunk_minimum })
    }

    /// Whether the registry looks like CNCF distribution: then the session's URL has a `_state` parameter.
    pub(super) fn is_of_distribution(&self) -> bool {
        self.location.query_pairs().any(|(name, _)| name == "_state")
    }

    /// After a chunk: the next one may have another URL.
    pub(super) fn moved_by(&mut self, response: &Response) -> Result<(), RegistryError> {
        if let Some(location) = location_of(response)? {
            self.location = location;
        }
        Ok(())
    }

    /// The URL that commits the session. Only appends `digest=`: the query may be signed or hold the session's state.
    pub(super) fn closing_url(&self, blob: &Descriptor) -> Url {
        let mut url = self.location.clone();
        let query = match url.query() {
            Some(query) if !query.is_empty() => format!("{query}&digest={}", blob.digest),
            _ => format!("digest={}", blob.digest),
        };
        url.set_query(Some(&query));
        url
    }

    /// How many bytes it has; 0 if it cannot be resumed. Updates the session's URL.
    pub(super) async fn received(&mut self, push: &Push, sent: u64) -> u64 {
        let call = push.call(Operation::UploadBlob, Method::GET, self.location.clone());
        let Ok(response) = push.host.send(&call, &[StatusCode::NOT_FOUND]).await else { return 0 };
        let is_alive = response.status() == StatusCode::NO_CONTENT && self.moved_by(&response).is_ok();
        let range = response.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let received = range.filter(|_| is_alive).and_then(bytes_received);
        discard(response).await;
        received.filter(|received| *received <= sent).unwrap_or(0)
    }

    /// Cancels it. Best effort: registries remove dead sessions themselves.
    pub(super) async fn cancel(&self, push: &Push) {
        let mut call = push.call(Operation::UploadBlob, Method::DELETE, self.location.clone());
        call.attempts = 1;
        if let Ok(response) = push.host.send(&call, &[StatusCode::NOT_FOUND]).await {
            discard(response).await;
        }
    }
}

/// The `Location` of a response, resolved against the URL that returned it.
fn location_of(response: &Response) -> Result<Option<Url>, RegistryError> {
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    let location = location
        .to_str()
        .map_err(|_| RegistryError::Protocol("the upload's `Location` is not valid text".to_owned()))?;
    redirect::resolve(response.url(), location).map(Some)
}

/// Parses a session's `Range`: `0-LAST`, optionally with a `bytes=` prefix. `0-0` counts as nothing: the specification
/// cannot express "nothing yet", so registries send it for that.
fn bytes_received(range: &str) -> Option<u64> {
    let range = range.trim();
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let last: u64 = last.parse().ok()?;
    if first != "0" || last == 0 { None } else { last.checked_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn the_query_of_a_session_is_kept_unchanged() {
        let blob = Descriptor::new("x/y".into(), Digest::sha256(b""), 0);
        let url = |text: &str| {
            let session = Session { location: Url::parse(text).unwrap(), chunk_minimum: 0 };
            session.closing_url(&blob).to_string()
        };
        let digest = blob.digest.as_str();
        assert_eq!(
            url("https://r/u?_state=a%2Bb==&z=+"),
            format!("https://r/u?_state=a%2Bb==&z=+&digest={digest}")
        );
        assert_eq!(url("https://r/u"), format!("https://r/u?digest={digest}"));
        assert_eq!(url("https://r/u?"), format!("https://r/u?digest={digest}"));
    }

    #[test]
    fn only_a_range_from_zero_tells_the_progress() {
        for (range, expected) in [
            ("0-99", Some(100)),
            (" bytes=0-99 ", Some(100)),
            ("0-0", None),
            ("0--1", None),
            ("5-99", None),
            ("0-18446744073709551615", None),
            ("0-", None),
            ("", None),
            ("99", None),
        ] {
            assert_eq!(bytes_received(range), expected, "{range}");
        }
    }
}
