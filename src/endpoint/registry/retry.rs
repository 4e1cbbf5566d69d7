//! What is tried again, and when. One function decides; everything that retries asks it.

use std::time::{Duration, Instant};

use crate::{endpoint::Cause, oci::manifest::ManifestError};

/// How often one request is tried.
pub(crate) const ATTEMPTS: u32 = 5;
/// How often something is read or sent that arrives as other bytes: they may have been damaged on the way, once;
/// after that they are wrong where they come from.
const DAMAGED_ATTEMPTS: u32 = 2;
/// How often one request is tried at a registry that is overloaded but serves others in between.
const MOST_ATTEMPTS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Whether the same request may succeed later without anybody changing anything.
#[must_use]
pub(crate) fn is_transient(cause: &Cause) -> bool {
    match cause {
        Cause::Broken(_) | Cause::Stalled(_) | Cause::NeitherScheme { .. } => true,
        // A certificate that is not trusted now will not be trusted in a second.
        Cause::Unreachable(reason) => !reason.contains("ertificate"),
        Cause::Refused { status, .. } | Cause::ProxyRefused(status) => {
            matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
        }
        // Of `NotTls`: a server does not learn TLS in a second either.
        _ => false,
    }
}

/// Whether the registry says that it has too much to do, not that something is wrong.
#[must_use]
pub(crate) fn is_overload(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused { status: 429 | 503, .. })
}

/// How long nobody should ask this registry anything, if it says so.
#[must_use]
pub(crate) fn asked_for(cause: &Cause) -> Option<Duration> {
    match cause {
        Cause::Refused { retry_after: Some(asked), .. } if is_transient(cause) => {
            Some((*asked).min(LONGEST_RETRY_AFTER))
        }
        _ => None,
    }
}

/// Whether bytes came that are not those that were asked for.
#[must_use]
fn is_damage(cause: &Cause) -> bool {
    matches!(cause, Cause::Mismatch(_) | Cause::Manifest(ManifestError::Digest { .. }))
}

/// How often a blob is brought in vain before that counts as failure.
#[must_use]
pub(crate) fn attempts_for(cause: &Cause) -> u32 {
    match cause {
        Cause::Refused { status: 401, .. } => DAMAGED_ATTEMPTS,
        Cause::Refused { code: Some(code), .. } if code == "DIGEST_INVALID" => DAMAGED_ATTEMPTS,
        cause if is_damage(cause) => DAMAGED_ATTEMPTS,
        _ => ATTEMPTS,
    }
}

/// Whether a blob's upload may succeed when it is opened anew. More than [`is_transient`]: a session can
/// be lost, and bytes can be damaged on the way.
#[must_use]
pub(crate) fn is_worth_a_new_upload(cause: &Cause) -> bool {
    match cause {
        // 401: the token may have expired while the bytes were streaming; the next POST gets a new one.
        // 413: chunks, or smaller ones. 416: the registry has fewer or more bytes than it said.
        Cause::NoChunks(_) | Cause::Refused { status: 401 | 413 | 416, .. } => true,
        Cause::Refused { code: Some(code), .. }
            if matches!(code.as_str(), "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" | "DIGEST_INVALID") =>
        {
            true
        }
        other => is_damage(other) || is_transient(other),
    }
}

/// Whether the registry is still busy with an earlier request about the same upload. It may not have noticed yet
/// that the client of that request is gone.
#[must_use]
pub(crate) fn is_busy_upload(cause: &Cause) -> bool {
    matches!(cause, Cause::Refused { status: 409, code: Some(code), .. } if code.starts_with("BLOB_UPLOAD_"))
}

/// The pause before attempt number `attempt + 1`: what the registry asked for, else full jitter over a
/// doubling bound. None where waiting changes nothing: another way to upload is taken, or a new session.
/// `random` is in `0..=u32::MAX`.
#[must_use]
pub(crate) fn pause(attempt: u32, cause: &Cause, random: u32) -> Duration {
    if let Some(asked) = asked_for(cause) {
        return asked;
    }
    if !is_transient(cause) && is_worth_a_new_upload(cause) && !is_busy_upload(cause) {
        return Duration::ZERO;
    }
    let bound = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    let share = f64::from(random) / f64::from(u32::MAX);
    bound.mul_f64(share).max(SHORTEST_PAUSE)
}

/// A random number for the jitter: unpredictable enough that many clients do not come back together.
#[must_use]
pub(crate) fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Every `RandomState` is keyed anew by the standard library.
    let hash = RandomState::new().build_hasher().finish();
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

/// Reads `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
#[must_use]
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// Counts the tries of one operation.
#[derive(Debug)]
pub(crate) struct Tries {
    begun: Instant,
    count: u32,
    /// How often it may be tried before that counts as failure.
    granted: u32,
    /// How many of them brought other bytes than those that were asked for.
    damaged: u32,
    /// Answers that the host had given when the last try failed.
    answers_seen: u64,
}

impl Tries {
    /// Starts the clock of an operation that is tried so often.
    #[must_use]
    pub(crate) fn new(granted: u32) -> Self {
        Self { begun: Instant::now(), count: 0, granted, damaged: 0, answers_seen: 0 }
    }

    /// One more try begins.
    pub(crate) fn begin(&mut self) {
        self.count += 1;
    }

    /// How many tries there were.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How long they took altogether.
    #[must_use]
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The pause before the next try, or `None` when there is none. `answers` counts what the same host has
    /// answered well, to anybody: an overloaded one that works through its queue is given more time.
    #[must_use]
    pub(crate) fn next_pause(&mut self, cause: &Cause, answers: u64) -> Option<Duration> {
        let serves_others = self.count > 1 && answers > self.answers_seen;
        self.answers_seen = answers;
        // "Later" is an answer to nothing that was asked: a request that is to be tried once has not been.
        if matches!(cause, Cause::Refused { status: 429, .. }) {
            self.granted = self.granted.max(ATTEMPTS);
        }
        if is_overload(cause) && serves_others && self.granted >= ATTEMPTS {
            self.granted = (self.granted + 1).min(MOST_ATTEMPTS);
        }
        let may_pass = if is_damage(cause) {
            self.damaged += 1;
            self.damaged < DAMAGED_ATTEMPTS
        } else {
            is_transient(cause)
        };
        (self.count < self.granted && may_pass).then(|| pause(self.count, cause, random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn refused(status: u16, code: Option<&str>) -> Cause {
        Cause::Refused { status, code: code.map(str::to_owned), message: String::new(), retry_after: None }
    }

    #[test]
    fn the_table_of_what_is_tried_again() {
        let table: Vec<String> = [
            Cause::Unreachable("refused".into()),
            Cause::Unreachable("invalid peer certificate".into()),
            Cause::NotTls,
            Cause::NeitherScheme { http: "cut".into(), https: "cut".into() },
            Cause::ProxyRefused(403),
            Cause::ProxyRefused(407),
            Cause::ProxyRefused(503),
            Cause::Broken("reset".into()),
            Cause::Stalled(Duration::from_secs(60)),
            Cause::NoSuchManifest,
            Cause::NoSuchChild(Some(Box::new("linux/arm64".parse().unwrap()))),
            Cause::Redirect("x".into()),
            Cause::Protocol("x".into()),
            Cause::NoChunks(405),
            Cause::Manifest(ManifestError::Digest {
                expected: Digest::sha256(b"a"),
                found: Digest::sha256(b"b"),
            }),
            Cause::Manifest(ManifestError::Ambiguous),
        ]
        .into_iter()
        .chain(
            [400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 501, 502, 503, 504, 522]
                .map(|status| refused(status, None)),
        )
        .chain([
            refused(404, Some("BLOB_UPLOAD_UNKNOWN")),
            refused(409, Some("BLOB_UPLOAD_INVALID")),
            refused(400, Some("DIGEST_INVALID")),
        ])
        .map(|cause| format!("{:5} {:5} {cause}", is_transient(&cause), is_worth_a_new_upload(&cause)))
        .collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn retry_after_in_both_forms_is_obeyed_and_capped() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        let past = retry_after("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        let asked = Cause::Refused {
            status: 429,
            code: None,
            message: String::new(),
            retry_after: Some(Duration::from_secs(9000)),
        };
        assert_eq!(pause(1, &asked, 0), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn pauses_double_and_stay_bounded() {
        let cause = Cause::Broken(String::new());
        assert_eq!(pause(1, &cause, u32::MAX), FIRST_PAUSE);
        assert_eq!(pause(3, &cause, u32::MAX), FIRST_PAUSE * 4);
        assert_eq!(pause(40, &cause, u32::MAX), LONGEST_PAUSE);
        assert_eq!(pause(3, &cause, 0), SHORTEST_PAUSE, "full jitter");
    }

    #[test]
    fn what_waiting_does_not_change_is_not_waited_for() {
        for cause in [refused(413, None), refused(404, Some("BLOB_UPLOAD_UNKNOWN")), refused(401, None)] {
            assert_eq!(pause(1, &cause, u32::MAX), Duration::ZERO, "{cause}");
        }
        let busy = refused(409, Some("BLOB_UPLOAD_INVALID"));
        assert_eq!(pause(1, &busy, u32::MAX), FIRST_PAUSE, "an upload becomes free by itself");
    }

    #[test]
    fn an_overloaded_registry_that_serves_others_is_given_more_tries_but_not_endlessly() {
        let tries_until_the_end = |cause: &Cause, answers_each_time: u64| {
            let mut tries = Tries::new(ATTEMPTS);
            let mut answers = 0;
            loop {
                tries.begin();
                answers += answers_each_time;
                if tries.next_pause(cause, answers).is_none() {
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
