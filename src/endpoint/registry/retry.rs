//! What is retried at a registry, and when. One function decides; everything that retries asks it.

use std::time::Duration;

use tokio::time::Instant;

use super::{error::RegistryError, refusal::Refusal};
use crate::endpoint::{
    Cause,
    retry::{ATTEMPTS, DAMAGED_ATTEMPTS, Pause, Retry, attempts},
};

/// The maximum number of attempts of a blob upload that the registry throttles while it serves other requests.
const THROTTLED_UPLOADS: u32 = 20;
/// The longest pause that is waited for. A request whose host asks for a longer one fails at once.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Connections that fail slowly (a name server or a firewall that does not answer) are tried twice, and more often only
/// within this time, unless `--retries` asks for more than the usual number.
const SLOW_CONNECTIONS: Duration = Duration::from_secs(5);

/// The reaction to a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Do not retry.
    Nothing,
    /// Retry the request after a pause: the failure may be temporary.
    SameRequest,
    /// Start a new upload at once: the session is lost, the token expired, or another method is needed. With the number
    /// of attempts.
    NewUpload(u32),
    /// Resume the upload after a pause. The registry is still busy with an earlier request of it: it may not have
    /// noticed that the client has disconnected.
    FreeUpload,
}

/// The table.
fn remedy(error: &RegistryError) -> Remedy {
    use RegistryError as Error;
    match error {
        Error::Elsewhere { error, .. } => remedy(error),
        // A certificate problem does not go away.
        Error::Unreachable { problem, .. } if problem.is_about_certificates() => Remedy::Nothing,
        Error::Broken(_)
        | Error::NotHttp(_)
        | Error::Stalled(_)
        | Error::TooSlow { .. }
        | Error::NeitherScheme { .. }
        | Error::Unreachable { .. } => Remedy::SameRequest,
        Error::ProxyRefused(status) => {
            if is_temporary(*status) {
                Remedy::SameRequest
            } else {
                Remedy::Nothing
            }
        }
        Error::Refused(refusal) if refusal.is_temporary() => match too_long_a_pause(error) {
            Some(_) => Remedy::Nothing,
            None => Remedy::SameRequest,
        },
        Error::Refused(refusal) => match (refusal.status, refusal.code.as_deref()) {
            (409, Some("BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID")) => Remedy::FreeUpload,
            // The token may have expired during the upload; the next POST gets a new one.
            (401, _) | (_, Some("DIGEST_INVALID")) => Remedy::NewUpload(DAMAGED_ATTEMPTS),
            // 413: use chunks, or smaller ones. 416: the registry has fewer or more bytes than it reported.
            (413 | 416, _) | (_, Some("BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID")) => {
                Remedy::NewUpload(ATTEMPTS)
            }
            _ => Remedy::Nothing,
        },
        Error::NoChunks(_) | Error::UploadRedirected => Remedy::NewUpload(ATTEMPTS),
        // `NotTls` is permanent, too.
        Error::NotTls
        | Error::Auth(_)
        | Error::Immutable(_)
        | Error::Referrers(_)
        | Error::DigestRefused { .. }
        | Error::TagNotSet { .. }
        | Error::Redirect(_)
        | Error::WebPage
        | Error::Protocol(_)
        | Error::Settings(_) => Remedy::Nothing,
    }
}

/// Whether a status is temporary.
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// Whether and how to retry the transfer of a blob. Covers more than [`is_transient`]: a session can be lost.
pub(super) fn of_transfer(error: &RegistryError) -> Option<Retry> {
    match remedy(error) {
        Remedy::Nothing => None,
        Remedy::SameRequest => {
            let attempts = if is_throttled_while_serving(error) { THROTTLED_UPLOADS } else { attempts() };
            Some(Retry { attempts, pause: pause(error) })
        }
        Remedy::NewUpload(attempts) => Some(Retry { attempts, pause: Pause::None }),
        Remedy::FreeUpload => Some(Retry::transient()),
    }
}

/// Whether the same request may succeed later.
pub(super) fn is_transient(error: &RegistryError) -> bool {
    remedy(error) == Remedy::SameRequest
}

/// Whether the registry is still busy with an earlier request of the same upload.
pub(super) fn is_busy_upload(error: &RegistryError) -> bool {
    remedy(error) == Remedy::FreeUpload
}

/// The pause that the registry asks for, if any.
pub(super) fn asked_for(error: &RegistryError) -> Option<Duration> {
    match error.refusal() {
        Some(Refusal { retry_after, .. }) if is_transient(error) => *retry_after,
        _ => None,
    }
}

/// The pause that the registry asks for, if it is longer than a request waits.
pub(super) fn too_long_a_pause(error: &RegistryError) -> Option<Duration> {
    let refusal = error.refusal().filter(|refusal| refusal.is_temporary())?;
    refusal.retry_after.filter(|asked| *asked > LONGEST_RETRY_AFTER)
}

/// Whether the host refuses a request because there are too many, or because it is overloaded.
pub(super) fn is_throttled(error: &RegistryError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.status == 503 || refusal.is_throttling())
}

fn is_throttled_while_serving(error: &RegistryError) -> bool {
    is_throttled(error) && error.refusal().is_some_and(|refusal| refusal.serves_others)
}

/// The pause before the same request is retried.
pub(super) fn pause(error: &RegistryError) -> Pause {
    asked_for(error).map_or(Pause::Backoff, Pause::Fixed)
}

/// Parses `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
#[must_use]
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// Counts the attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    started: Instant,
    count: u32,
    /// The maximum number of attempts without progress.
    granted: u32,
    /// The attempts since the host last made progress.
    without_progress: u32,
    /// How many of them returned wrong bytes.
    damaged: u32,
    /// The host's successful responses when the last attempt failed.
    answers_seen: u64,
}

impl Attempts {
    /// Starts the clock of an operation with this many attempts.
    pub(super) fn new(granted: u32) -> Self {
        let started = Instant::now();
        Self { started, count: 0, granted, without_progress: 0, damaged: 0, answers_seen: 0 }
    }

    /// Another attempt begins.
    pub(super) fn begin(&mut self) {
        self.count += 1;
    }

    /// The number of attempts so far.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The time since the first attempt.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The pause before the next attempt; `None` when there is none. `answers` counts the host's successful responses
    /// to any request: while a host that throttles requests makes progress, no request fails because of the number of
    /// its own attempts.
    pub(super) fn next_pause(&mut self, cause: &Cause, answers: u64) -> Option<Duration> {
        let serves_others = answers > self.answers_seen;
        self.answers_seen = answers;
        let registry = cause.downcast_ref::<RegistryError>();
        self.without_progress += 1;
        if let Some(error) = registry.filter(|error| is_throttled(error)) {
            // Such a request was not processed, so even a request with a single attempt is retried.
            if error.refusal().is_some_and(Refusal::is_throttling) {
                self.granted = self.granted.max(attempts());
            }
            if serves_others && attempts() >= ATTEMPTS && self.granted >= ATTEMPTS {
                self.without_progress = 1;
            }
        }
        let pause = if cause.is_damage() {
            self.damaged += 1;
            (self.damaged < DAMAGED_ATTEMPTS).then_some(Pause::None)
        } else {
            registry.filter(|error| is_transient(error) && !self.connects_too_slowly(error)).map(pause)
        };
        let pause = pause.filter(|_| self.without_progress < self.granted)?;
        Some(pause.duration(self.without_progress))
    }

    fn connects_too_slowly(&self, error: &RegistryError) -> bool {
        let failed_to_connect =
            matches!(error.innermost(), RegistryError::Unreachable { .. } | RegistryError::ProxyRefused(_));
        let as_usual = attempts() <= ATTEMPTS;
        failed_to_connect && as_usual && self.count > 1 && self.elapsed() > SLOW_CONNECTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::registry::error::{CertificateProblem, ConnectionProblem};

    fn refused(status: u16, code: Option<&str>) -> RegistryError {
        let code = code.map(str::to_owned);
        RegistryError::Refused(Refusal { status, code, ..Refusal::default() })
    }

    fn unreachable(problem: ConnectionProblem, reason: &str) -> RegistryError {
        RegistryError::Unreachable { problem, reason: reason.to_owned() }
    }

    #[test]
    fn the_retry_table() {
        let table: Vec<String> = [
            unreachable(ConnectionProblem::Other, "refused"),
            unreachable(ConnectionProblem::UnknownHost, "no such name"),
            unreachable(ConnectionProblem::Tunnel, "tunnel error"),
            unreachable(ConnectionProblem::ClientCertificate, "received fatal alert"),
            unreachable(ConnectionProblem::Certificate(CertificateProblem::Expired), "expired"),
            RegistryError::NotTls,
            RegistryError::NotHttp("invalid".into()),
            RegistryError::NeitherScheme { http: "cut".into(), https: "cut".into() },
            RegistryError::ProxyRefused(403),
            RegistryError::ProxyRefused(407),
            RegistryError::ProxyRefused(503),
            RegistryError::Broken("reset".into()),
            RegistryError::Stalled(Duration::from_secs(60)),
            RegistryError::Redirect("x".into()),
            RegistryError::Protocol("x".into()),
            RegistryError::Settings("x".into()),
            RegistryError::Immutable(crate::oci::Digest::sha256(b"")),
            RegistryError::NoChunks(405),
            RegistryError::TooSlow { bytes: 3000, time: Duration::from_secs(60) },
            RegistryError::WebPage,
            RegistryError::UploadRedirected,
            RegistryError::Elsewhere { host: "cdn".into(), error: Box::new(refused(503, None)) },
            RegistryError::Elsewhere {
                host: "cdn".into(),
                error: Box::new(unreachable(ConnectionProblem::Other, "refused")),
            },
        ]
        .into_iter()
        .chain(
            [400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 501, 502, 503, 504, 522]
                .map(|status| refused(status, None)),
        )
        .chain([
            refused(404, Some("BLOB_UPLOAD_UNKNOWN")),
            refused(409, Some("BLOB_UPLOAD_INVALID")),
            refused(409, Some("BLOB_UPLOAD_UNKNOWN")),
            refused(400, Some("DIGEST_INVALID")),
            refused(400, Some("ThrottlingException")),
        ])
        .map(|error| format!("{:12} {error}", format!("{:?}", remedy(&error))))
        .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn retry_after_is_honored_in_both_forms_up_to_five_minutes() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        let past = retry_after("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        let asked = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            RegistryError::Refused(Refusal { status: 429, retry_after, ..Refusal::default() })
        };
        assert_eq!(pause(&asked(300)), Pause::Fixed(LONGEST_RETRY_AFTER));
        assert_eq!(of_transfer(&asked(300)).unwrap().pause, Pause::Fixed(LONGEST_RETRY_AFTER));
        assert_eq!(of_transfer(&asked(301)), None, "it fails at once");
        assert!(asked(9000).to_string().ends_with("it asks to wait 2 h 30 min"), "{}", asked(9000));
        let lasting =
            Refusal { status: 403, retry_after: Some(Duration::from_secs(9000)), ..Refusal::default() };
        assert_eq!(too_long_a_pause(&RegistryError::Refused(lasting)), None, "it is not temporary");
    }

    #[test]
    fn only_a_temporary_failure_may_ask_for_a_pause() {
        let asking = |status| {
            let retry_after = Some(Duration::from_secs(7));
            RegistryError::Refused(Refusal { status, retry_after, ..Refusal::default() })
        };
        assert_eq!(asked_for(&asking(503)), Some(Duration::from_secs(7)));
        assert_eq!(asked_for(&asking(403)), None);
    }

    #[test]
    fn an_upload_has_more_attempts_only_if_the_registry_serves_others() {
        let attempts_of = |status, serves_others| {
            let refusal = Refusal { status, serves_others, ..Refusal::default() };
            of_transfer(&RegistryError::Refused(refusal)).unwrap().attempts
        };
        assert_eq!(attempts_of(429, true), THROTTLED_UPLOADS);
        assert_eq!(attempts_of(429, false), attempts());
        assert_eq!(attempts_of(500, true), attempts(), "it is broken, not busy");
    }

    #[test]
    fn a_damaged_answer_is_requested_once_more() {
        let damaged = Cause::from(crate::oci::Mismatch::TooLong {
            digest: crate::oci::Digest::sha256(b""),
            expected: 1,
        });
        assert!(damaged.is_damage());
        let mut tries = Attempts::new(ATTEMPTS);
        tries.begin();
        assert_eq!(tries.next_pause(&damaged, 0), Some(Duration::ZERO));
        tries.begin();
        assert_eq!(tries.next_pause(&damaged, 0), None);
    }

    #[test]
    fn throttling_is_recognized_by_status_and_by_code() {
        for (status, code, expected) in [
            (429, None, true),
            (503, None, true),
            (400, Some("ThrottlingException"), true),
            (400, Some("TOOMANYREQUESTS"), true),
            (403, Some("TOOMANYREQUESTS"), true),
            (400, Some("RequestLimitExceeded"), true),
            (400, Some("SlowDown"), true),
            (400, Some("MANIFEST_INVALID"), false),
            (403, Some("DENIED"), false),
            (500, None, false),
        ] {
            let error = refused(status, code);
            assert_eq!(is_throttled(&error), expected, "{error}");
            assert_eq!(is_transient(&error), expected || status == 500, "{error}");
        }
    }

    #[test]
    fn an_upload_is_retried_at_once_unless_the_registry_is_busy() {
        for error in [refused(413, None), refused(404, Some("BLOB_UPLOAD_UNKNOWN")), refused(401, None)] {
            assert_eq!(of_transfer(&error).unwrap().pause, Pause::None, "{error}");
        }
        let busy = refused(409, Some("BLOB_UPLOAD_INVALID"));
        assert_eq!(of_transfer(&busy).unwrap().pause, Pause::Backoff, "an upload becomes free by itself");
        assert_eq!(of_transfer(&refused(401, None)).unwrap().attempts, DAMAGED_ATTEMPTS);
        assert_eq!(of_transfer(&refused(403, None)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_fail_slowly_are_tried_twice() {
        let cause = Cause::from(unreachable(ConnectionProblem::Other, "name or service not known"));
        let broken = Cause::from(RegistryError::Broken("reset".to_owned()));
        for (cause, milliseconds, expected) in [
            (&cause, 0, ATTEMPTS),
            (&cause, 1000, ATTEMPTS),
            // The third attempt begins at the limit, which is not beyond it.
            (&cause, 2500, 3),
            (&cause, 4000, 2),
            (&cause, 30_000, 2),
            (&broken, 30_000, ATTEMPTS),
        ] {
            let mut tries = Attempts::new(ATTEMPTS);
            loop {
                tries.begin();
                tokio::time::advance(Duration::from_millis(milliseconds)).await;
                if tries.next_pause(cause, 0).is_none() {
                    break;
                }
            }
            assert_eq!(tries.count(), expected, "{milliseconds} ms: {cause}");
        }
    }

    #[test]
    fn a_throttled_request_fails_only_when_the_registry_makes_no_progress() {
        const LONG: u32 = 500;
        // The registry serves other requests during the first `LONG` attempts.
        let tries_until_the_end = |error: &RegistryError, answers_each_time: u64| {
            let cause = Cause::from(error.clone());
            let mut tries = Attempts::new(ATTEMPTS);
            let mut answers = 0;
            loop {
                tries.begin();
                answers += if tries.count() <= LONG { answers_each_time } else { 0 };
                match tries.next_pause(&cause, answers) {
                    None => return tries.count(),
                    Some(pause) => assert!(pause <= Duration::from_secs(5), "{pause:?}"),
                }
            }
        };
        for throttled in [refused(503, None), refused(429, None), refused(400, Some("ThrottlingException"))] {
            assert_eq!(tries_until_the_end(&throttled, 0), ATTEMPTS, "{throttled}");
            assert_eq!(tries_until_the_end(&throttled, 1), LONG + ATTEMPTS - 1, "{throttled}");
        }
        assert_eq!(tries_until_the_end(&refused(500, None), 1), ATTEMPTS, "it is broken, not busy");
        assert_eq!(tries_until_the_end(&refused(404, None), 1), 1);
    }
}
