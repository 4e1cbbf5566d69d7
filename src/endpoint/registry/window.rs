//! Counts the requests of the last second or minute.

use std::time::Duration;

use tokio::time::Instant;

/// Into how many slots a window is divided. It covers up to one slot more than its length, and never less.
const SLOTS: u32 = 20;

/// Counts what happened in the time before now.
#[derive(Debug)]
pub(super) struct Window {
    slot: Duration,
    begun: Option<Instant>,
    /// The number of the current slot, counted from `begun`.
    newest: u64,
    counts: [u32; SLOTS as usize + 1],
}

impl Default for Window {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl Window {
    /// Of this length.
    pub(super) fn new(length: Duration) -> Self {
        Self { slot: length / SLOTS, begun: None, newest: 0, counts: [0; SLOTS as usize + 1] }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, now: Instant) {
        self.advance(now);
        if let Some(count) = self.counts.get_mut(place(self.newest)) {
            *count = count.saturating_add(1);
        }
    }

    /// How many there were.
    pub(super) fn count(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// When the oldest leave the window.
    pub(super) fn next_change(&mut self, now: Instant) -> Instant {
        self.advance(now);
        let length = u64::from(SLOTS);
        let oldest = (self.newest.saturating_sub(length)..=self.newest)
            .find(|slot| self.counts.get(place(*slot)).is_some_and(|count| *count > 0));
        let leaves = oldest.unwrap_or(self.newest) + length + 1;
        self.begun.unwrap_or(now) + self.slot.saturating_mul(u32::try_from(leaves).unwrap_or(u32::MAX))
    }

    fn advance(&mut self, now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        let passed = now.saturating_duration_since(begun).as_nanos() / self.slot.as_nanos().max(1);
        let current = u64::try_from(passed).unwrap_or(u64::MAX).max(self.newest);
        let over = current.saturating_sub(self.newest).min(self.counts.len() as u64);
        for slot in self.newest + 1..=self.newest + over {
            if let Some(count) = self.counts.get_mut(place(slot)) {
                *count = 0;
            }
        }
        self.newest = current;
    }
}

/// Where the count of a slot is.
#[expect(clippy::cast_possible_truncation, reason = "it is less than the number of slots")]
fn place(slot: u64) -> usize {
    (slot % (u64::from(SLOTS) + 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let (mut window, start) = (Window::default(), Instant::now());
        for _ in 0..3 {
            window.add(start);
        }
        window.add(start + 500 * MILLISECOND);
        assert_eq!(window.count(start + 1000 * MILLISECOND), 4);
        let leave = window.next_change(start + 1000 * MILLISECOND);
        assert_eq!(leave, start + 1050 * MILLISECOND, "never less than its length");
        assert_eq!(window.count(leave), 1);
        assert_eq!(window.next_change(leave), start + 1550 * MILLISECOND);
        assert_eq!(window.count(start + 1550 * MILLISECOND), 0);
        window.add(start + 9_000_000 * MILLISECOND);
        assert_eq!(window.count(start + 9_000_999 * MILLISECOND), 1, "after a long pause");
    }
}
