//! Readers of what registries send that are private otherwise, for the targets in `fuzz/`.

use std::time::Duration;

use url::Url;

use super::{answer, download, redirect};

/// Whether a `Content-Range` is the one that was asked for.
#[must_use]
pub fn content_range(header: &str, offset: u64, size: u64) -> bool {
    download::is_range(header, &(offset..size), size)
}

/// How long a `Retry-After` asks to wait.
#[must_use]
pub fn retry_after(header: &str) -> Option<Duration> {
    answer::parse_retry_after(header)
}

/// Where a `Location` leads, unless it is refused.
#[must_use]
pub fn location(from: &Url, header: &str) -> Option<Url> {
    redirect::resolve(from, header).ok()
}

/// The code and the message of an error answer's body.
#[must_use]
pub fn refusal(body: &[u8]) -> (Option<String>, String) {
    answer::read_envelope(body, str::to_owned)
}
