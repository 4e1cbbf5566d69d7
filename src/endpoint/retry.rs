//! How often and after which pause something is tried again. What is worth it, each endpoint decides.

use std::time::Duration;

/// How often anything is tried before it counts as failed.
pub(crate) const ATTEMPTS: u32 = 5;
/// How often something is tried that arrives as other bytes: they may have been damaged on the way, once; after that
/// they are wrong where they come from.
pub(crate) const DAMAGED_ATTEMPTS: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How another attempt helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts may fail in a row.
    pub attempts: u32,
    /// What to wait for.
    pub pause: Pause,
}

/// How long to wait before another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Not at all: waiting changes nothing.
    None,
    /// Longer with every attempt.
    Backoff,
    /// As long as the endpoint asked for.
    Fixed(Duration),
}

impl Retry {
    /// For bytes that arrived as others.
    pub const DAMAGED: Self = Self { attempts: DAMAGED_ATTEMPTS, pause: Pause::None };
    /// For what may pass by itself.
    pub const TRANSIENT: Self = Self { attempts: ATTEMPTS, pause: Pause::Backoff };
}

impl Pause {
    /// The pause after so many failed attempts.
    #[must_use]
    pub(crate) fn duration(self, failed: u32) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            // Without random numbers all clients pause equally long, which is no reason to fail.
            Self::Backoff => backoff(failed, getrandom::u32().unwrap_or(u32::MAX)),
            Self::Fixed(asked) => asked,
        }
    }
}

/// Full jitter over a bound that doubles with every failed attempt. `random` is in `0..=u32::MAX`.
fn backoff(failed: u32, random: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    let share = f64::from(random) / f64::from(u32::MAX);
    bound.mul_f64(share).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        assert_eq!(backoff(1, u32::MAX), FIRST_PAUSE);
        assert_eq!(backoff(3, u32::MAX), FIRST_PAUSE * 4);
        assert_eq!(backoff(40, u32::MAX), LONGEST_PAUSE);
        assert_eq!(backoff(3, 0), SHORTEST_PAUSE, "full jitter");
    }

    #[test]
    fn only_backoff_depends_on_the_attempt() {
        assert_eq!(Pause::None.duration(4), Duration::ZERO);
        assert_eq!(Pause::Fixed(LONGEST_PAUSE * 2).duration(1), LONGEST_PAUSE * 2);
        assert!(Pause::Backoff.duration(1) >= SHORTEST_PAUSE);
    }
}
