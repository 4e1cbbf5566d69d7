//! A small request and its response, for the token server and `/v2/`.
//!
//! Bodies are read up to a limit. Redirects are returned, not followed: a credential must not follow one. A token server
//! is treated as a registry is: `retry` decides what is retried, and [`HostState`] holds its pauses.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request};
use serde_json::Value;

use super::{
    super::{
        answer, client_error, connecting, error::RegistryError, host_state::HostState, refusal::Refusal,
        retry::Attempts, trickle::Trickle,
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

/// Why an attempt got no response.
struct NoAnswer {
    error: RegistryError,
    /// A request that cannot be built will not succeed later.
    is_final: bool,
}

impl From<RegistryError> for NoAnswer {
    fn from(error: RegistryError) -> Self {
        Self { error, is_final: false }
    }
}

impl From<reqwest::Error> for NoAnswer {
    fn from(error: reqwest::Error) -> Self {
        Self { error: client_error::translate(&error), is_final: error.is_builder() }
    }
}

/// Sends a request whose body, if any, is in memory. Returns the last response if retries do not help. `stall` limits how
/// long each attempt waits for data after the connection is established.
pub(super) async fn send(
    client: &Client,
    host: &HostState,
    request: Request,
    stall: Duration,
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
    let mut tries = Attempts::new(attempts());
    loop {
        host.ready().await;
        if let Some(verdict) = host.verdict() {
            return Err(failed(verdict));
        }
        tries.begin();
        let next = request.try_clone();
        let (answer, NoAnswer { error, is_final }) = match send_once(client, request, stall).await {
            Ok(answer) if !refusal(&answer).is_temporary() => {
                host.answered();
                return Ok(answer);
            }
            Ok(answer) => {
                let error = RegistryError::Refused(refusal(&answer));
                (Some(answer), error.into())
            }
            Err(no_answer) => (None, no_answer),
        };
        host.failed(&error);
        let pause = tries.next_pause(&Cause::from(error.clone()), host.answers()).filter(|_| !is_final);
        let (Some(pause), Some(next)) = (pause, next) else {
            host.gave_up(&error);
            let last = answer.ok_or_else(|| failed(error))?;
            return Ok(Answer { attempts: tries.count(), elapsed: tries.elapsed(), ..last });
        };
        tokio::time::sleep(pause).await;
        request = next;
    }
}

async fn send_once(client: &Client, request: Request, stall: Duration) -> Result<Answer, NoAnswer> {
    let mut response = connecting::response(stall, client.execute(request)).await??;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let mut is_cut = false;
    let mut trickle = Trickle::new(stall);
    loop {
        let waiting = Instant::now();
        let chunk = tokio::time::timeout(stall, response.chunk()).await;
        let Some(chunk) = chunk.map_err(|_| RegistryError::Stalled(stall))?? else { break };
        trickle.add(waiting.elapsed(), chunk.len() as u64)?;
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
    use http::Method;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::endpoint::registry::{
        connection_problem::ConnectionProblem,
        network::{Network, NetworkSettings},
    };

    const BRIEF: Duration = Duration::from_millis(50);

    /// Why there is no token from `address`, with a connect timeout of twice [`BRIEF`], and whether that is remembered.
    async fn failure(url: &str, stall: Duration) -> (RegistryError, bool) {
        let (url, host) = (url.parse::<url::Url>().unwrap(), HostState::default());
        let settings = NetworkSettings { connect_timeout: Some(BRIEF * 2), ..NetworkSettings::default() };
        let client = Network::new(settings).client(&Origin::of(&url).unwrap()).unwrap();
        let outcome = send(&client, &host, Request::new(Method::GET, url), stall).await;
        let Err(AuthError::Unreachable { reason, .. }) = outcome else { panic!("there is an answer") };
        (RegistryError::clone(&reason), host.verdict().is_some())
    }

    /// The kernel accepts the connection, but no TLS handshake follows.
    #[tokio::test]
    async fn the_connect_timeout_decides_about_connecting_to_a_token_server_bug() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/token", silent.local_addr().unwrap());
        for stall in [BRIEF / 10, BRIEF, BRIEF * 20] {
            let (error, is_kept) = failure(&url, stall).await;
            let problem = ConnectionProblem::TimedOut;
            assert!(
                matches!(error, RegistryError::Unreachable { problem: found, .. } if found == problem),
                "{error}"
            );
            assert!(is_kept, "later requests need not find that out again");
        }
    }

    #[tokio::test]
    async fn a_token_server_that_is_silent_or_trickles_is_reported_as_such_bug() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", silent.local_addr().unwrap());
        let (error, is_kept) = failure(&url, BRIEF).await;
        assert!(matches!(error, RegistryError::Stalled(BRIEF)), "{error}");
        assert!(!is_kept);
        let trickling = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", trickling.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = trickling.accept().await {
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n").await;
                    while stream.write_all(b" ").await.is_ok() {
                        tokio::time::sleep(BRIEF / 10).await;
                    }
                });
            }
        });
        // Long enough that a busy machine does not stop the bytes for that time: this would be silence.
        let (error, _) = failure(&url, BRIEF * 6).await;
        assert!(matches!(error, RegistryError::TooSlow { .. }), "{error}");
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
        assert_eq!(message(long.as_bytes()).unwrap().len(), MAX_MESSAGE_LENGTH);
    }
}
