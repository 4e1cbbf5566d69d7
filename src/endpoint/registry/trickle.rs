//! Detects bodies that arrive, or are sent, too slowly: a connection that brings a few bytes a minute never stalls, and
//! never ends.
//!
//! Only the time in which the network is waited for counts. A stream whose consumer is slow is not slow itself.

use std::time::Duration;

use super::{error::RegistryError, limits};

/// Measures a transfer in windows of one stall timeout: each must bring [`limits::MIN_BYTES_PER_SECOND`] bytes per second.
#[derive(Debug)]
pub(super) struct Trickle {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Trickle {
    /// Starts the first window.
    pub(super) fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// The network was waited for this long, and this many bytes passed. Fails at the end of a window with too few.
    pub(super) fn add(&mut self, waited: Duration, bytes: u64) -> Result<(), RegistryError> {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waited < self.window {
            return Ok(());
        }
        let enough = u128::from(limits::MIN_BYTES_PER_SECOND) * self.waited.as_millis() / 1000;
        let Self { waited: time, bytes, .. } = std::mem::replace(self, Self::new(self.window));
        if u128::from(bytes) < enough { Err(RegistryError::TooSlow { bytes, time }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_needs_its_bytes_and_waiting_elsewhere_does_not_count() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut trickle = Trickle::new(SECOND * 60);
        for _ in 0..600 {
            trickle.add(SECOND, 2 * limits::MIN_BYTES_PER_SECOND).unwrap();
        }
        let mut waits = (0..600).map(|_| trickle.add(SECOND, 100));
        let error = waits.find_map(Result::err).unwrap();
        assert_eq!(error.to_string(), "only 5.9 KiB arrived in 1 min 0 s");
        // A consumer that takes an hour for each piece: the network brings it at once.
        let mut trickle = Trickle::new(SECOND);
        (0..10_000).for_each(|_| trickle.add(Duration::ZERO, 1).unwrap());
    }
}
