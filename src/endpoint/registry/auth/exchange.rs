//! A small request and its response, for the token server and `/v2/`.
//!
//! Bodies are read up to a limit. Redirects are returned, not followed: a credential must not follow one. A token server
//! is treated as a registry is: `retry` decides what is retried, and [`HostState`] holds its pauses.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request};
use serde_json::Value;

use super::{
    super::{
        answer, client_error, error::RegistryError, host_state::HostState, refusal::Refusal, retry::Attempts,
    },
    error::AuthError,
    origin::{Origin, redacted},
};
use crate::{
    endpoint::{Cause, retry::attempts},
    error::hide_repeated,
};

/// The longest token answer that is read.
pub(super) const MAX_BODY_SIZE: usize = 128 * 1024;

const MAX_MESSAGE_LENGTH: usize = 300;

/// A response. No `Debug`: it may hold a token.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Up to [`MAX_BODY_SIZE`] bytes.
    pub(super) body: Vec<u8>,
    /// Whether the body was longer.
    pub(super) is_cut: bool,
    /// How many requests it took.
    pub(super) attempts: u32,
    /// How long they took.
    pub(super) elapsed: Duration,
}

/// Sends a request whose body, if any, is in memory. Returns the last response if retries do not help. `patience` limits
/// each attempt.
pub(super) async fn send(
    client: &Client,
    host: &HostState,
    request: Request,
    patience: Duration,
) -> Result<Answer, AuthError> {
    let url = request.url().clone();
    let failed = |error: RegistryError| {
        let host = Origin::of(&url).map_or_else(|_| redacted(&url), |origin| origin.host_and_port());
        match error {
            // An earlier request got this answer; it holds for all of them.
            RegistryError::Refused(refusal) => {
                let mut bare = url.clone();
                bare.set_query(None);
                let (url, refusal) = (redacted(&bare), Box::new(refusal));
                AuthError::TokenServer { url, host, refusal, tried: (0, Duration::ZERO) }
            }
            error => AuthError::Unreachable { url: redacted(&url), host, reason: Arc::new(error) },
        }
    };
    let mut request = request;
    *request.timeout_mut() = Some(patience);
    let translate = |error: &reqwest::Error| match client_error::translate(error) {
        RegistryError::Stalled(_) => RegistryError::Stalled(patience),
        error => error,
    };
    let mut tries = Attempts::new(attempts());
    loop {
        host.ready().await;
        if let Some(verdict) = host.verdict() {
            return Err(failed(verdict));
        }
        tries.begin();
        let next = request.try_clone();
        let outcome = send_once(client, request).await;
        let error = match &outcome {
            Ok(answer) if !refusal(answer).is_temporary() => {
                host.answered();
                return outcome.map_err(|error| failed(translate(&error)));
            }
            Ok(answer) => RegistryError::Refused(refusal(answer)),
            Err(error) => translate(error),
        };
        host.failed(&error);
        // A request that cannot be built will not succeed later.
        let is_final = outcome.as_ref().is_err_and(reqwest::Error::is_builder);
        let pause = tries.next_pause(&Cause::from(error.clone()), host.answers()).filter(|_| !is_final);
        let (Some(pause), Some(next)) = (pause, next) else {
            host.gave_up(&error);
            let last = outcome.map_err(|_| failed(error))?;
            return Ok(Answer { attempts: tries.count(), elapsed: tries.elapsed(), ..last });
        };
        tokio::time::sleep(pause).await;
        request = next;
    }
}

async fn send_once(client: &Client, request: Request) -> Result<Answer, reqwest::Error> {
    let mut response = client.execute(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let mut is_cut = false;
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_BODY_SIZE - body.len();
        body.extend(chunk.iter().take(room));
        if chunk.len() > room {
            is_cut = true;
            break;
        }
    }
    Ok(Answer { status, headers, body, is_cut, ..Answer::default() })
}

/// What decides about a retry: the status, whether the server throttles, and `Retry-After`. Without the server's texts,
/// which may repeat what was sent.
pub(super) fn refusal(answer: &Answer) -> Refusal {
    let (status, retry_after) = (answer.status.as_u16(), answer::retry_after(&answer.headers));
    let bare = Refusal { status, retry_after, ..Refusal::default() };
    if bare.is_temporary() || !answer.status.is_client_error() {
        return bare;
    }
    let (code, message) = answer::read_envelope(&answer.body, str::to_owned);
    let is_throttling = Refusal { code, message, ..bare.clone() }.is_throttling();
    Refusal { code: is_throttling.then(|| "TOOMANYREQUESTS".to_owned()), ..bare }
}

/// The message in an error body: the distribution specification's envelope (`errors[].message`), `OAuth2`'s
/// `error_description`, or what other token servers use.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let errors = value.get("errors").and_then(Value::as_array);
    let source = errors.and_then(|errors| errors.first()).unwrap_or(&value);
    let text = |name: &str| source.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty());
    let names = ["message", "error_description", "details", "detail", "error", "code"];
    // Before it is cut, which could leave an unrecognized part of a secret.
    let message = hide_repeated(names.into_iter().find_map(text)?);
    Some(message.chars().take(MAX_MESSAGE_LENGTH).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(message(long.as_bytes()).unwrap().len(), MAX_MESSAGE_LENGTH);
    }
}
