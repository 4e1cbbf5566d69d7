//! Decides how long reads wait for a destination without room.
//!
//! Transfers that share a machine do not take bytes at exactly the same time: a destination that is fast enough can be
//! behind for a moment, and reading a blob twice would cost more than a short wait. A slow destination costs the others a
//! twentieth of their time at most.

use std::time::Duration;

use tokio::time::Instant;

/// The time that every destination has at the start.
const INITIAL: Duration = Duration::from_millis(100);
/// The time grows by this fraction of the run's time.
const RUN_FRACTION: u32 = 20;
/// The longest single wait.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// The time that the others may still wait for one destination.
#[derive(Debug)]
pub(super) struct Patience {
    started: Instant,
    used: Duration,
    waits_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), used: Duration::ZERO, waits_since: None }
    }

    /// Until when to wait; `None` if the time is used up.
    pub(super) fn wait(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let granted = INITIAL + now.duration_since(self.started) / RUN_FRACTION;
        // Unused time does not add up.
        self.used = self.used.max(granted.saturating_sub(MAX_WAIT));
        let since = *self.waits_since.get_or_insert(now);
        let until = since + granted.saturating_sub(self.used);
        if until > now {
            return Some(until);
        }
        self.ended();
        None
    }

    /// No read waits any longer.
    pub(super) fn ended(&mut self) {
        if let Some(since) = self.waits_since.take() {
            self.used += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_never_has_room_costs_a_twentieth_of_the_time() {
        let (started, mut patience) = (Instant::now(), Patience::new());
        let mut waited = Duration::ZERO;
        while started.elapsed() < Duration::from_secs(60) {
            match patience.wait() {
                Some(until) => {
                    let before = Instant::now();
                    tokio::time::sleep_until(until).await;
                    waited += before.elapsed();
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        assert!(waited <= Duration::from_millis(3200), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_single_wait_is_long_even_after_an_hour_without_waits() {
        let mut patience = Patience::new();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let until = patience.wait().unwrap();
        assert!(until.duration_since(Instant::now()) <= MAX_WAIT, "{until:?}");
    }
}
