//! Decides how many connections read one blob.

use std::time::Duration;

use tokio::time::Instant;

use super::super::limits::MAX_CONCURRENT_PARTS;

/// The throughput that more connections must reach to be worth it, in percent of the previous throughput.
const GAIN_PERCENT: u128 = 125;

/// Doubles the connections as long as that pays. The first part, over one connection, sets the rate to beat.
#[derive(Debug)]
pub(super) struct Width {
    connections: usize,
    is_settled: bool,
    /// The bytes that still come before the rate is measured: they were requested over fewer connections.
    ahead: u64,
    since: Instant,
    bytes: u64,
    /// The bytes per second before the last doubling.
    rate: Option<u128>,
}

impl Default for Width {
    fn default() -> Self {
        Self { connections: 1, is_settled: false, ahead: 0, since: Instant::now(), bytes: 0, rate: None }
    }
}

impl Width {
    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Whether one connection reads the rest.
    pub(super) fn is_one(&self) -> bool {
        self.connections == 1
    }

    /// Whether more connections have not been tried.
    pub(super) fn is_untried(&self) -> bool {
        self.rate.is_none() && !self.is_settled
    }

    /// This many bytes reached the consumer.
    pub(super) fn count(&mut self, bytes: u64) {
        if self.ahead > 0 {
            self.ahead = self.ahead.saturating_sub(bytes);
            self.since = Instant::now();
        } else {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn settle_at_one(&mut self) {
        (self.connections, self.is_settled) = (1, true);
    }

    /// Decides at the end of a part of this usual size. `waited` is how long the network was waited for in a part that
    /// was read directly.
    pub(super) fn adapt(&mut self, part: u64, waited: Option<Duration>) {
        if self.is_settled {
            return;
        }
        let elapsed = self.since.elapsed();
        let least = part.saturating_mul(self.connections as u64);
        if self.bytes < least {
            return;
        }
        let rate = u128::from(self.bytes) * 1000 / elapsed.as_millis().max(1);
        match self.rate {
            // The consumer, or this machine, is what is slow.
            None if waited.is_some_and(|waited| waited < elapsed / 2) => return self.settle_at_one(),
            Some(before) if rate * 100 < before * GAIN_PERCENT => {
                self.connections /= 2;
                self.is_settled = true;
                return;
            }
            _ => {}
        }
        self.rate = Some(rate);
        self.bytes = 0;
        if self.connections >= MAX_CONCURRENT_PARTS {
            self.is_settled = true;
        } else {
            self.connections = (self.connections * 2).min(MAX_CONCURRENT_PARTS);
            self.ahead = part.saturating_mul(self.connections as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 1000;

    /// The connections after each part, where `rate` gives the parts per second for a number of connections.
    async fn widths(waits: bool, rate: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut width = Width::default();
        let mut seen = Vec::new();
        for part in 0..40 {
            let time = Duration::from_millis(60_000 / rate(width.connections()));
            tokio::time::advance(time).await;
            width.count(PART);
            let waited = if waits { time } else { Duration::ZERO };
            width.adapt(PART, (part == 0).then_some(waited));
            if seen.last() != Some(&width.connections()) {
                seen.push(width.connections());
            }
        }
        seen
    }

    #[tokio::test(start_paused = true)]
    async fn connections_double_as_long_as_that_pays() {
        assert_eq!(
            widths(true, |connections| 20 * connections as u64).await,
            [2, 4, 8],
            "limited connections"
        );
        assert_eq!(widths(true, |_| 60).await, [2, 1], "a limited network");
        assert_eq!(
            widths(true, |connections| 20 * connections.min(3) as u64).await,
            [2, 4, 8, 4],
            "limited to 3"
        );
        assert_eq!(widths(false, |connections| 20 * connections as u64).await, [1], "a slow consumer");
    }
}
