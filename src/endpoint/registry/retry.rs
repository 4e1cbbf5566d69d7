//! What is retried at a registry, and when. One function decides; everything that retries asks it.

use std::time::{Duration, Instant};

use super::error::{Refusal, RegistryError};
use crate::endpoint::{
    Cause,
    retry::{ATTEMPTS, DAMAGED_ATTEMPTS, Pause, Retry, attempts},
};

/// The maximum number of attempts while an overloaded registry serves other requests.
const MOST_ATTEMPTS: u32 = 20;
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

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
        Error::Broken(_) | Error::NotHttp(_) | Error::Stalled(_) | Error::NeitherScheme { .. } => {
            Remedy::SameRequest
        }
        // A certificate problem does not go away.
        Error::Unreachable { problem, .. } if problem.is_about_certificates() => Remedy::Nothing,
        Error::Unreachable { .. } => Remedy::SameRequest,
        Error::Refused(Refusal { status, .. }) | Error::ProxyRefused(status) if is_temporary(*status) => {
            Remedy::SameRequest
        }
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
        Error::NoChunks(_) => Remedy::NewUpload(ATTEMPTS),
        // `NotTls` is permanent, too.
        Error::NotTls
        | Error::ProxyRefused(_)
        | Error::Auth(_)
        | Error::Immutable(_)
        | Error::Redirect(_)
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
        Remedy::SameRequest => Some(Retry { pause: pause(error), ..Retry::transient() }),
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
    match error {
        RegistryError::Refused(Refusal { retry_after: Some(asked), .. }) if is_transient(error) => {
            Some((*asked).min(LONGEST_RETRY_AFTER))
        }
        _ => None,
    }
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
    /// The maximum number of attempts.
    granted: u32,
    /// How many of them returned wrong bytes.
    damaged: u32,
    /// The host's successful responses when the last attempt failed.
    answers_seen: u64,
}

impl Attempts {
    /// Starts the clock of an operation with this many attempts.
    pub(super) fn new(granted: u32) -> Self {
        Self { started: Instant::now(), count: 0, granted, damaged: 0, answers_seen: 0 }
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
    /// to any request: an overloaded host that makes progress gets more attempts.
    pub(super) fn next_pause(&mut self, cause: &Cause, answers: u64) -> Option<Duration> {
        let serves_others = self.count > 1 && answers > self.answers_seen;
        self.answers_seen = answers;
        let registry = cause.downcast_ref::<RegistryError>();
        if let Some(RegistryError::Refused(Refusal { status: status @ (429 | 503), .. })) = registry {
            // A 429 means that the request was not processed, so even a request with a single attempt is retried.
            if *status == 429 {
                self.granted = self.granted.max(attempts());
            }
            if serves_others && attempts() >= ATTEMPTS && self.granted >= ATTEMPTS {
                self.granted = (self.granted + 1).min(MOST_ATTEMPTS.max(self.granted));
            }
        }
        let pause = if cause.is_damage() {
            self.damaged += 1;
            (self.damaged < DAMAGED_ATTEMPTS).then_some(Pause::None)
        } else {
            registry.filter(|error| is_transient(error)).map(pause)
        };
        let pause = pause.filter(|_| self.count < self.granted)?;
        Some(pause.duration(self.count))
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
        ])
        .map(|error| format!("{:12} {error}", format!("{:?}", remedy(&error))))
        .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn retry_after_is_honored_in_both_forms_and_capped() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        let past = retry_after("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        let retry_after = Some(Duration::from_secs(9000));
        let asked = RegistryError::Refused(Refusal { status: 429, retry_after, ..Refusal::default() });
        assert_eq!(pause(&asked), Pause::Fixed(LONGEST_RETRY_AFTER));
        assert_eq!(of_transfer(&asked).unwrap().pause, Pause::Fixed(LONGEST_RETRY_AFTER));
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

    #[test]
    fn an_overloaded_registry_that_makes_progress_gets_more_attempts() {
        let tries_until_the_end = |error: &RegistryError, answers_each_time: u64| {
            let cause = Cause::from(error.clone());
            let mut tries = Attempts::new(ATTEMPTS);
            let mut answers = 0;
            loop {
                tries.begin();
                answers += answers_each_time;
                if tries.next_pause(&cause, answers).is_none() {
                    return tries.count();
                }
            }
        };
        assert_eq!(tries_until_the_end(&refused(503, None), 0), ATTEMPTS);
        assert_eq!(tries_until_the_end(&refused(503, None), 1), MOST_ATTEMPTS);
        assert_eq!(tries_until_the_end(&refused(500, None), 1), ATTEMPTS, "it is broken, not busy");
        assert_eq!(tries_until_the_end(&refused(404, None), 1), 1);
    }
}
