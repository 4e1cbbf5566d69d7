//! Decides what is retried at a registry, and when. Everything that retries asks the one function here.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    error::RegistryError,
    refusal::{MAX_RETRY_AFTER, Refusal, is_temporary},
};
use crate::endpoint::{
    Cause,
    retry::{ATTEMPTS, DAMAGED_ATTEMPTS, Pause, Retry, attempts},
};

/// The maximum number of attempts of a blob upload that the registry throttles while it serves other requests.
const THROTTLED_UPLOADS: u32 = 20;
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
        // A PUT with bytes: use chunks.
        Error::Refused(refusal) if refusal.wants_chunks() => Remedy::NewUpload(ATTEMPTS),
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

/// Whether and how to retry the transfer of a blob. Covers more than [`is_transient`]: a session can be lost.
pub(super) fn of_transfer(error: &RegistryError) -> Option<Retry> {
    match remedy(error) {
        Remedy::Nothing => None,
        Remedy::SameRequest => {
            let has_more = is_throttled_while_serving(error) && may_exceed_attempts();
            let attempts = if has_more { THROTTLED_UPLOADS.max(attempts()) } else { attempts() };
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
    refusal.retry_after.filter(|asked| *asked > MAX_RETRY_AFTER)
}

/// Whether the host refuses a request because there are too many, or because it is overloaded.
pub(super) fn is_throttled(error: &RegistryError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.status == 503 || refusal.is_throttling())
}

fn is_throttled_while_serving(error: &RegistryError) -> bool {
    is_throttled(error) && error.refusal().is_some_and(|refusal| refusal.serves_others)
}

/// Whether a request that is throttled may have more attempts than usual: not if `--retries` asks for fewer.
fn may_exceed_attempts() -> bool {
    attempts() >= ATTEMPTS
}

/// The pause before the same request is retried.
pub(super) fn pause(error: &RegistryError) -> Pause {
    asked_for(error).map_or(Pause::Backoff, Pause::Fixed)
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
            if serves_others && may_exceed_attempts() && self.granted >= ATTEMPTS {
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
mod tests;
