//! Decides how large the parts of a blob are.
//!
//! Parts are small if the registry answers quickly: then little waits in memory. If it is far away, a connection would be
//! idle for too long between small parts. Only the quickest answer tells: the first one may wait for a registry that
//! fetches or verifies the blob.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How many times as large the parts from a registry are that is far away.
const FAR: u64 = 2;
/// A registry is far away if its answer takes more than this fraction of the time that a small part takes.
const NEAR: u128 = 8;

/// The time that the quickest answer took, in microseconds.
#[derive(Debug)]
pub(super) struct QuickestAnswer(AtomicU64);

impl Default for QuickestAnswer {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl QuickestAnswer {
    /// Waits for an answer. If it is an error, its time says nothing.
    pub(super) async fn time<T, E>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let asked = Instant::now();
        let answer = answer.await?;
        self.0.fetch_min(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(answer)
    }

    fn micros(&self) -> u128 {
        u128::from(self.0.load(Ordering::Relaxed))
    }
}

/// The size of the parts of one blob.
#[derive(Debug)]
pub(super) struct PartSize {
    /// The size of small parts, in bytes.
    small: u64,
    /// Where the first part begins.
    offset: u64,
    /// When its bytes began to come.
    since: Instant,
    /// How long a small part takes over one connection.
    takes: Duration,
    quickest_answer: Arc<QuickestAnswer>,
}

impl PartSize {
    /// For a blob whose first part begins at `offset`, and now.
    pub(super) fn new(small: u64, offset: u64, quickest_answer: Arc<QuickestAnswer>) -> Self {
        Self { small, offset, since: Instant::now(), takes: Duration::ZERO, quickest_answer }
    }

    /// The consumer has received the bytes before `end`, over one connection.
    pub(super) fn first_part_took(&mut self, end: u64) {
        let bytes = u128::from(end.saturating_sub(self.offset).max(1));
        let micros = self.since.elapsed().as_micros() * u128::from(self.small) / bytes;
        self.takes = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    }

    /// What times the answers to requests for parts.
    pub(super) fn quickest_answer(&self) -> Arc<QuickestAnswer> {
        Arc::clone(&self.quickest_answer)
    }

    /// The size of the next part, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let is_near = self.quickest_answer.micros() * NEAR <= self.takes.as_micros();
        if is_near { self.small } else { self.small.saturating_mul(FAR) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size after answers that took so many milliseconds, in MiB, where a small part of 2 MiB takes 100 ms.
    async fn size_after(answers: &[u64]) -> u64 {
        let quickest = Arc::new(QuickestAnswer::default());
        for &millis in answers {
            let answer = async {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok::<(), ()>(())
            };
            quickest.time(answer).await.unwrap();
        }
        let mut size = PartSize::new(2 << 20, 1 << 20, quickest);
        tokio::time::advance(Duration::from_millis(800)).await;
        size.first_part_took(17 << 20);
        size.bytes() >> 20
    }

    #[tokio::test(start_paused = true)]
    async fn parts_are_small_if_an_answer_came_quickly() {
        assert_eq!(size_after(&[1]).await, 2);
        assert_eq!(size_after(&[12]).await, 2);
        assert_eq!(size_after(&[14]).await, 4);
        assert_eq!(size_after(&[50, 40]).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_answer_that_took_long_does_not_make_a_registry_far_away() {
        assert_eq!(size_after(&[1200, 1]).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_says_nothing_about_the_distance() {
        let quickest = QuickestAnswer::default();
        assert_eq!(quickest.time(async { Err::<(), _>("refused") }).await, Err("refused"));
        assert_eq!(quickest.micros(), u128::from(u64::MAX));
    }
}
