//! Notices that the bytes of a blob come more slowly than this machine could move them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// How long bytes are counted before the rate says anything: the first ones wait for both ends.
const LEAST_TIME: Duration = Duration::from_millis(100);
/// The rate, in bytes per second, below which a transfer is slow. One processor hashes and copies many times as much.
const SLOW: u128 = 40 * 1024 * 1024;

/// The rate of one transfer.
#[derive(Debug)]
pub(super) struct Speed {
    since: Instant,
    bytes: AtomicU64,
}

impl Speed {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bytes: AtomicU64::new(0) }
    }

    /// Counts bytes that came. Whether the transfer has been slow so far.
    pub(super) fn is_slow_after(&self, bytes: u64) -> bool {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let time = self.since.elapsed();
        time >= LEAST_TIME && u128::from(bytes) * 1000 < SLOW * time.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_transfer_is_slow_if_it_moved_little_for_a_while() {
        let slow_after = |millis, bytes| async move {
            let speed = Speed::new();
            tokio::time::advance(Duration::from_millis(millis)).await;
            speed.is_slow_after(bytes)
        };
        assert!(!slow_after(99, 1).await, "too early to tell");
        assert!(slow_after(100, 1).await);
        assert!(slow_after(1000, 40 * 1024 * 1024 - 1).await);
        assert!(!slow_after(1000, 40 * 1024 * 1024).await);
    }

    #[tokio::test(start_paused = true)]
    async fn all_its_bytes_count() {
        let speed = Speed::new();
        assert!(!speed.is_slow_after(30 * 1024 * 1024));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(speed.is_slow_after(0));
        assert!(!speed.is_slow_after(10 * 1024 * 1024));
    }
}
