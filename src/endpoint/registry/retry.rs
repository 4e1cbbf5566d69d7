//! What is tried again, and when. One function decides; everything that retries asks it.

use std::time::{Duration, Instant};

use crate::endpoint::Cause;

/// How often one request is tried.
pub(crate) const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// Whether the same request may succeed later without anybody changing anything.
#[must_use]
pub(crate) fn is_transient(cause: &Cause) -> bool {
    match cause {
        Cause::Broken(_) | Cause::Stalled(_) => true,
        // A certificate that is not trusted now will not be trusted in a second.
        Cause::Unreachable(reason) => !reason.contains("ertificate"),
        Cause::Refused { status, .. } => matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522),
        _ => false,
    }
}

/// Whether a blob's upload may succeed when it is opened anew. More than [`is_transient`]: a session can
/// be lost, and bytes can be damaged on the way.
#[must_use]
pub(crate) fn is_worth_a_new_upload(cause: &Cause) -> bool {
    match cause {
        // 401: the token may have expired while the bytes were streaming; the next POST gets a new one.
        Cause::Mismatch(_) | Cause::Refused { status: 401, .. } => true,
        Cause::Refused { code: Some(code), .. }
            if matches!(code.as_str(), "BLOB_UPLOAD_UNKNOWN" | "BLOB_UPLOAD_INVALID" | "DIGEST_INVALID") =>
        {
            true
        }
        other => is_transient(other),
    }
}

/// The pause before attempt number `attempt + 1`: what the registry asked for, else full jitter over a
/// doubling bound. `random` is in `0..=u32::MAX`.
#[must_use]
pub(crate) fn pause(attempt: u32, cause: &Cause, random: u32) -> Duration {
    if let Cause::Refused { retry_after: Some(asked), .. } = cause {
        return (*asked).min(LONGEST_RETRY_AFTER);
    }
    let bound = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    let share = f64::from(random) / f64::from(u32::MAX);
    bound.mul_f64(0.5 + share / 2.0)
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
}

impl Tries {
    /// Starts the clock.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), count: 0 }
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

    /// The pause before the next try, or `None` when there is none.
    #[must_use]
    pub(crate) fn next_pause(&self, cause: &Cause) -> Option<Duration> {
        (self.count < ATTEMPTS && is_transient(cause)).then(|| pause(self.count, cause, random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<&str>) -> Cause {
        Cause::Refused { status, code: code.map(str::to_owned), message: String::new(), retry_after: None }
    }

    #[test]
    fn the_table_of_what_is_tried_again() {
        let table: Vec<String> = [
            Cause::Unreachable("refused".into()),
            Cause::Unreachable("invalid peer certificate".into()),
            Cause::Broken("reset".into()),
            Cause::Stalled(Duration::from_secs(60)),
            Cause::NoSuchManifest,
            Cause::Redirect("x".into()),
        ]
        .into_iter()
        .chain(
            [400, 401, 403, 404, 405, 408, 409, 413, 416, 429, 499, 500, 501, 502, 503, 504, 522]
                .map(|status| refused(status, None)),
        )
        .chain([refused(404, Some("BLOB_UPLOAD_UNKNOWN")), refused(400, Some("DIGEST_INVALID"))])
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
        assert_eq!(pause(1, &cause, 0), FIRST_PAUSE / 2);
    }
}
