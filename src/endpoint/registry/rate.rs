//! `--limit-rate`: how many bytes per second are exchanged with each side of a copy.
//!
//! A token is a byte. All requests to the registries of one side take their tokens from one bucket, in the order in
//! which they ask, so that no blob starves. Received bytes take tokens after they have been read and before the next
//! ones are: TCP then slows the sender down. Sent bytes take them before they are sent.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use leaky_bucket::RateLimiter;

use crate::problem::Side;

/// How often tokens are added.
const INTERVAL: Duration = Duration::from_millis(100);
/// The intervals in a second.
const PER_SECOND: u64 = 10;

/// The largest rates, in bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Of what is exchanged with the registries that images come from.
    pub source: Option<NonZeroU64>,
    /// Of what is exchanged with the registries that images go to.
    pub destination: Option<NonZeroU64>,
}

impl RateLimits {
    /// The part of each of several machines.
    #[must_use]
    pub(crate) fn shared_by(self, machines: NonZeroU32) -> Self {
        let part = |rate: NonZeroU64| {
            NonZeroU64::new(rate.get() / u64::from(machines.get())).unwrap_or(NonZeroU64::MIN)
        };
        Self { source: self.source.map(part), destination: self.destination.map(part) }
    }
}

/// The buckets of a run.
#[derive(Debug, Default)]
pub(super) struct Rates {
    source: Option<Rate>,
    destination: Option<Rate>,
}

impl Rates {
    pub(super) fn new(limits: RateLimits) -> Self {
        Self { source: limits.source.map(Rate::new), destination: limits.destination.map(Rate::new) }
    }

    /// The bucket of a side, if its rate is limited.
    pub(super) fn of(&self, side: Side) -> Option<&Rate> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Destination => self.destination.as_ref(),
        }
    }
}

/// A bucket that everything shares whose rate is limited together.
#[derive(Clone)]
pub(super) struct Rate(Arc<RateLimiter>);

impl Rate {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        let tokens = usize::try_from(bytes_per_second.get() / PER_SECOND).unwrap_or(usize::MAX).max(1);
        let mut bucket = RateLimiter::builder();
        bucket.initial(0).interval(INTERVAL).refill(tokens);
        // After a pause, the bucket holds the tokens of two intervals: no burst exceeds the rate for long.
        Self(Arc::new(bucket.max(tokens.saturating_mul(2)).build()))
    }

    /// Waits until this many bytes may pass.
    pub(super) async fn take(&self, bytes: usize) {
        self.0.acquire(bytes).await;
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::Instant;

    use super::*;

    fn rate(bytes_per_second: u64) -> Rate {
        Rate::new(NonZeroU64::new(bytes_per_second).unwrap())
    }

    /// Seconds until pieces of these sizes have passed, eight transfers at once.
    async fn seconds(rate: Rate, pieces: &[usize]) -> f64 {
        let start = Instant::now();
        join_all(pieces.chunks(pieces.len().div_ceil(8)).map(async |pieces| {
            for piece in pieces {
                rate.take(*piece).await;
            }
        }))
        .await;
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_within_five_percent_over_ten_seconds() {
        for per_second in [1_000, 64_000, 1_000_000, 20_000_000, 1_250_000_000] {
            let piece = usize::try_from(per_second / 100).unwrap().min(256 * 1024);
            let pieces = vec![piece; usize::try_from(per_second * 10).unwrap() / piece];
            let took = seconds(rate(per_second), &pieces).await;
            assert!((9.5..=10.5).contains(&took), "{per_second} B/s: {took} s instead of 10");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_larger_than_the_bucket_passes_and_a_pause_saves_little() {
        let slow = rate(10_000);
        assert!((4.9..=5.3).contains(&seconds(slow.clone(), &[50_000]).await));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let took = seconds(slow, &[10_000; 5]).await;
        assert!(took >= 4.7, "{took} s: a minute without transfers was saved up");
    }

    #[test]
    fn machines_share_a_rate() {
        let limits = RateLimits { source: None, destination: NonZeroU64::new(10) };
        let part = |machines| limits.shared_by(NonZeroU32::new(machines).unwrap());
        assert_eq!(
            [1, 4, 100].map(|machines| part(machines).destination.map(NonZeroU64::get)),
            [10, 2, 1].map(Some)
        );
        assert_eq!(part(4).source, None);
    }

    #[test]
    fn each_side_has_a_bucket_of_its_own_or_none() {
        let rates = Rates::new(RateLimits { destination: NonZeroU64::new(1_000), ..RateLimits::default() });
        assert!(rates.of(Side::Source).is_none() && rates.of(Side::Destination).is_some());
    }
}
