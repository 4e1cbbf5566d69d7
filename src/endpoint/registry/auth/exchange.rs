//! A small request and its response, for the token server and `/v2/`.
//!
//! Bodies are read up to a limit. Redirects are returned, not followed: a credential must not follow one. The
//! registry's `retry` decides what is retried.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use reqwest::{Client, Request};
use serde_json::Value;

use super::{
    super::{client_error, retry},
    error::AuthError,
    origin::redacted,
};
use crate::endpoint::retry::attempts;

/// The longest token answer that is read.
pub(super) const LONGEST_BODY: usize = 128 * 1024;

const LONGEST_MESSAGE: usize = 300;
const TIME_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A response. No `Debug`: it may hold a token.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Up to [`LONGEST_BODY`] bytes.
    pub(super) body: Vec<u8>,
    /// Whether the body was longer.
    pub(super) is_cut: bool,
}

/// Sends a request whose body, if any, is in memory, up to three times.
pub(super) async fn send(client: &Client, request: Request) -> Result<Answer, AuthError> {
    let url = redacted(request.url());
    let mut request = request;
    request.timeout_mut().get_or_insert(TIME_LIMIT);
    let mut attempt = 1;
    loop {
        let next = request.try_clone();
        let outcome = send_once(client, request).await;
        let (Some(pause), Some(next)) = (pause_before_retry(&outcome, attempt), next) else {
            // The error's own URL may hold a secret; ours is redacted.
            let hidden = |error: reqwest::Error| Arc::new(error.without_url());
            return outcome.map_err(|error| AuthError::Unreachable { url, source: hidden(error) });
        };
        tokio::time::sleep(pause).await;
        request = next;
        attempt += 1;
    }
}

async fn send_once(client: &Client, request: Request) -> Result<Answer, reqwest::Error> {
    let mut response = client.execute(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let mut is_cut = false;
    while let Some(chunk) = response.chunk().await? {
        let room = LONGEST_BODY - body.len();
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            is_cut = true;
            break;
        }
    }
    Ok(Answer { status, headers, body, is_cut })
}

/// The pause before a retry; `None` when a retry does not help.
fn pause_before_retry(outcome: &Result<Answer, reqwest::Error>, attempt: u32) -> Option<Duration> {
    if attempt >= ATTEMPTS.min(attempts()) {
        return None;
    }
    let usual = FIRST_PAUSE * 2_u32.pow(attempt - 1);
    match outcome {
        // A request that cannot be built will not succeed later.
        Err(error) if error.is_builder() => None,
        Err(error) => retry::is_transient(&client_error::translate(error)).then_some(usual),
        Ok(answer) if retry::is_temporary(answer.status.as_u16()) => {
            let asked = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Some(asked.and_then(retry::retry_after).unwrap_or(usual).min(LONGEST_PAUSE))
        }
        Ok(_) => None,
    }
}

/// The message in an error body: the distribution specification's envelope (`errors[].message`), `OAuth2`'s
/// `error_description`, or what other token servers use.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let errors = value.get("errors").and_then(Value::as_array);
    let source = errors.and_then(|errors| errors.first()).unwrap_or(&value);
    let text = |name: &str| source.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty());
    let names = ["message", "error_description", "details", "detail", "error", "code"];
    let message = names.into_iter().find_map(text)?;
    Some(message.chars().take(LONGEST_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn pause(status: u16, retry_after: Option<&str>, attempt: u32) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        pause_before_retry(&Ok(Answer { status, headers, body: Vec::new(), is_cut: false }), attempt)
    }

    #[test]
    fn temporary_statuses_are_tried_three_times() {
        for status in [408, 429, 499, 500, 502, 503, 504, 522] {
            assert_eq!(pause(status, None, 1), Some(FIRST_PAUSE), "{status}");
            assert_eq!(pause(status, None, 2), Some(FIRST_PAUSE * 2), "{status}");
            assert_eq!(pause(status, None, 3), None, "{status}");
        }
        for status in [200, 302, 400, 401, 403, 404, 405, 501] {
            assert_eq!(pause(status, None, 1), None, "{status}");
        }
    }

    #[test]
    fn retry_after_is_honored_up_to_a_limit() {
        assert_eq!(pause(429, Some("3"), 1), Some(Duration::from_secs(3)));
        assert_eq!(pause(503, Some("86400"), 1), Some(LONGEST_PAUSE));
        assert_eq!(pause(503, Some("soon"), 1), Some(FIRST_PAUSE));
    }

    #[test]
    fn the_message_is_found_in_every_known_format() {
        for (body, expected) in [
            (r#"{"errors":[{"code":"DENIED","message":"no right"}]}"#, Some("no right")),
            (r#"{"errors":[{"code":"DENIED"}]}"#, Some("DENIED")),
            (r#"{"error":"invalid_grant","error_description":"token expired"}"#, Some("token expired")),
            (r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password")),
            (r#"{"errors":[]}"#, None),
            (r#"{"message":""}"#, None),
            ("<html>", None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(message(body.as_bytes()).as_deref(), expected, "{body}");
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(9000));
        assert_eq!(message(long.as_bytes()).unwrap().len(), LONGEST_MESSAGE);
    }
}
