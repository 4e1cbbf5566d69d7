//! The number of attempts and the pauses between them. Each endpoint decides what is retried.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The usual maximum number of attempts; that of an upload which is sent again in another way.
pub(crate) const ATTEMPTS: u32 = 5;
/// `--retries` is a setting of the process: transfers, requests and logins of both sides follow it.
static LIMIT: AtomicU32 = AtomicU32::new(ATTEMPTS);

/// The maximum number of attempts after temporary failures.
pub(crate) fn attempts() -> u32 {
    LIMIT.load(Ordering::Relaxed)
}

/// Sets how often a failed request or transfer is retried.
pub(crate) fn set_retries(retries: u16) {
    LIMIT.store(u32::from(retries) + 1, Ordering::Relaxed);
}

/// The maximum number of attempts when wrong bytes arrive. The first time they may have been damaged in transit; the
/// second time the source is wrong.
pub(crate) const DAMAGED_ATTEMPTS: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The maximum number of attempts without progress.
    pub attempts: u32,
    /// The pause before a retry.
    pub pause: Pause,
}

/// How long to wait before another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// No pause: waiting does not help.
    None,
    /// Exponential backoff.
    Backoff,
    /// The pause that the endpoint asked for, or exponential backoff if that is longer.
    Fixed(Duration),
}

impl Retry {
    /// For wrong bytes.
    pub const DAMAGED: Self = Self { attempts: DAMAGED_ATTEMPTS, pause: Pause::None };
    /// For temporary failures.
    pub const TRANSIENT: Self = Self { attempts: ATTEMPTS, pause: Pause::Backoff };

    /// For temporary failures, as often as `--retries` permits.
    pub(crate) fn transient() -> Self {
        Self { attempts: attempts(), ..Self::TRANSIENT }
    }
}

impl Pause {
    /// The pause after this many failed attempts.
    #[must_use]
    pub(crate) fn duration(self, failed: u32) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            // Without random numbers all clients pause equally long, which is not a reason to fail.
            Self::Backoff => backoff(failed, getrandom::u32().unwrap_or(u32::MAX)),
            Self::Fixed(asked) => asked.max(Self::Backoff.duration(failed)),
        }
    }
}

/// Jitter between half of a bound and all of it. The bound doubles with every failed attempt. `random` is in
/// `0..=u32::MAX`.
fn backoff(failed: u32, random: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(MAX_PAUSE);
    let share = f64::from(random) / f64::from(u32::MAX);
    bound.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        assert_eq!(backoff(1, u32::MAX), FIRST_PAUSE);
        assert_eq!(backoff(3, u32::MAX), FIRST_PAUSE * 4);
        assert_eq!(backoff(40, u32::MAX), MAX_PAUSE);
        assert_eq!(backoff(3, 0), FIRST_PAUSE * 2, "the floor grows as well");
        assert_eq!(backoff(40, 0), MAX_PAUSE / 2);
    }

    #[test]
    fn only_backoff_depends_on_the_attempt() {
        assert_eq!(Pause::None.duration(4), Duration::ZERO);
        assert_eq!(Pause::Fixed(MAX_PAUSE * 2).duration(1), MAX_PAUSE * 2);
        assert!(Pause::Backoff.duration(1) >= FIRST_PAUSE / 2);
        assert!(Pause::Fixed(Duration::ZERO).duration(1) >= FIRST_PAUSE / 2, "it does not hammer");
    }
}
