//! The queue of blobs: limits concurrent transfers, and chooses the next.
//!
//! The image with the smallest [`Rank`] comes first, so that images finish one after another. Of its blobs, the largest
//! starts first, because a large blob that starts last delays the end.
//!
//! Two lanes share the slots. Large blobs are limited by bandwidth, so a few at a time suffice; small blobs are limited
//! by round trips and fill the other slots. How few suffice depends on what the bandwidth is limited by: see [`Bottleneck`].

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

/// The size in bytes from which a blob counts as large.
const LARGE: u64 = 1024 * 1024;

/// The queue of one run. Its clones are the same queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    state: Arc<Mutex<State>>,
    slots: usize,
    /// How many processors this machine has.
    processors: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// How many large blobs may be in progress, and how many more than are.
    most_large: usize,
    free_large: usize,
    small: BinaryHeap<Waiter>,
    large: BinaryHeap<Waiter>,
    next: u64,
}

/// What limits the bandwidth of large blobs. Each kind admits more of them than the one before.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bottleneck {
    /// This machine. More blobs than keep its processors busy would only take memory.
    Machine,
    /// Something that may limit each connection.
    Connection,
    /// The way to a destination far away: each connection needs many round trips to reach its share.
    Distance,
}

impl Bottleneck {
    /// How many of the slots large blobs may have.
    fn most_large(self, slots: usize, processors: usize) -> usize {
        let eighths = |eighths: usize| (slots * eighths).div_ceil(8);
        match self {
            Self::Machine => eighths(3).min(processors.saturating_add(1)),
            Self::Connection => eighths(3),
            Self::Distance => eighths(6),
        }
    }
}

/// When the blobs of an image are copied: images with a smaller rank come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    group: u64,
    /// The largest number less the size, so that larger images come first.
    smallness: u64,
    number: u64,
}

impl Rank {
    /// Groups come in order. In a group, the image with the most bytes comes first; among equals, the smallest number.
    #[must_use]
    pub(crate) const fn new(group: u64, bytes: u64, number: u64) -> Self {
        Self { group, smallness: u64::MAX - bytes, number }
    }
}

#[derive(Debug)]
struct Waiter {
    rank: Rank,
    size: u64,
    order: u64,
    wake: oneshot::Sender<Slot>,
}

/// Permission to transfer one blob. On drop it passes to the next waiter.
#[derive(Debug)]
pub(super) struct Slot {
    state: Arc<Mutex<State>>,
    large: bool,
}

impl Queue {
    /// `at_once` concurrent blobs, at least one. Unless told otherwise, large ones are limited by this machine.
    pub(super) fn new(at_once: usize) -> Self {
        Self::on(at_once, thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn on(at_once: usize, processors: usize) -> Self {
        let slots = at_once.max(1);
        let most_large = Bottleneck::Machine.most_large(slots, processors);
        let state = State { free: slots, most_large, free_large: most_large, ..State::empty() };
        Self { state: Arc::new(Mutex::new(state)), slots, processors }
    }

    /// Admits as many large blobs as this bottleneck requires, if they are more than before.
    pub(super) fn limited_by(&self, bottleneck: Bottleneck) {
        let most = bottleneck.most_large(self.slots, self.processors);
        let more = {
            let mut state = lock(&self.state);
            let more = most.saturating_sub(state.most_large);
            state.most_large += more;
            state.free_large += more;
            more
        };
        if more > 0 {
            hand_out(&self.state);
        }
    }

    /// Waits for a slot for a blob of `size` bytes of an image with this rank.
    pub(super) async fn acquire(&self, rank: Rank, size: u64) -> Slot {
        let (wake, woken) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            let order = state.next;
            state.next += 1;
            let lane = if size >= LARGE { &mut state.large } else { &mut state.small };
            lane.push(Waiter { rank, size, order, wake });
        }
        hand_out(&self.state);
        match woken.await {
            Ok(slot) => slot,
            // A waiter is only dropped together with its slots.
            Err(_) => Slot { state: Arc::new(Mutex::new(State::empty())), large: false },
        }
    }
}

impl State {
    fn empty() -> Self {
        let (small, large) = (BinaryHeap::new(), BinaryHeap::new());
        Self { free: 0, most_large: 0, free_large: 0, small, large, next: 0 }
    }

    /// The first waiter that a free slot may serve.
    fn next_waiter(&mut self) -> Option<Waiter> {
        if self.free == 0 {
            return None;
        }
        if self.free_large > 0 && self.small.peek() < self.large.peek() {
            return self.large.pop();
        }
        self.small.pop()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.state);
            state.free += 1;
            state.free_large += usize::from(self.large);
        }
        hand_out(&self.state);
    }
}

/// Assigns free slots to waiters. A slot for a canceled waiter is dropped and thus returned at once.
fn hand_out(shared: &Arc<Mutex<State>>) {
    loop {
        let (waiter, large) = {
            let mut state = lock(shared);
            let Some(waiter) = state.next_waiter() else { return };
            let large = waiter.size >= LARGE;
            state.free -= 1;
            state.free_large -= usize::from(large);
            (waiter, large)
        };
        let slot = Slot { state: Arc::clone(shared), large };
        drop(waiter.wake.send(slot));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    /// The next is the greatest: by rank, then by size, then first come, first served.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_size = self.size.cmp(&other.size).then(other.order.cmp(&self.order));
        other.rank.cmp(&self.rank).then(by_size)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    const RANK: Rank = Rank::new(0, 0, 0);

    fn waiting(queue: &Arc<Queue>, size: u64) -> BoxFuture<'static, Slot> {
        waiting_in(queue, RANK, size)
    }

    fn waiting_in(queue: &Arc<Queue>, rank: Rank, size: u64) -> BoxFuture<'static, Slot> {
        let queue = Arc::clone(queue);
        let mut future = async move { queue.acquire(rank, size).await }.boxed();
        assert!((&mut future).now_or_never().is_none(), "no slot may be free");
        future
    }

    #[test]
    fn the_largest_comes_next() {
        let queue = Arc::new(Queue::new(1));
        let first = queue.acquire(RANK, 1).now_or_never().expect("free");
        let mut small = waiting(&queue, 2);
        let mut large = waiting(&queue, 3);
        drop(first);
        assert!((&mut small).now_or_never().is_none());
        let slot = (&mut large).now_or_never().expect("the largest");
        drop(slot);
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn large_blobs_leave_room_for_small_ones() {
        let queue = Arc::new(Queue::new(2));
        let _large = queue.acquire(RANK, 1_048_576).now_or_never().expect("free");
        let _other = waiting(&queue, 1_048_576);
        assert!(queue.acquire(RANK, 1_048_575).now_or_never().is_some());
    }

    #[test]
    fn one_slot_serves_large_blobs_too() {
        let queue = Queue::new(1);
        assert!(queue.acquire(RANK, u64::MAX).now_or_never().is_some());
        assert!(Queue::new(0).acquire(RANK, 1).now_or_never().is_some(), "zero would never move anything");
    }

    #[test]
    fn how_many_large_blobs_are_in_progress_depends_on_the_bottleneck() {
        let admitted = |processors| {
            let queue = Queue::on(16, processors);
            let mut held = Vec::new();
            let mut total = |bottleneck| {
                queue.limited_by(bottleneck);
                held.extend(std::iter::from_fn(|| queue.acquire(RANK, LARGE).now_or_never()));
                held.len()
            };
            let order = [Bottleneck::Machine, Bottleneck::Connection, Bottleneck::Distance];
            let totals = order.map(&mut total);
            assert_eq!(total(Bottleneck::Machine), totals[2], "never fewer again");
            assert!(queue.acquire(RANK, 1).now_or_never().is_some(), "small blobs have room");
            totals
        };
        assert_eq!([1, 2, 64].map(admitted), [[2, 6, 12], [3, 6, 12], [6, 6, 12]]);
    }

    #[test]
    fn slots_that_a_bottleneck_adds_serve_those_who_wait() {
        let queue = Arc::new(Queue::new(2));
        let _large = queue.acquire(RANK, LARGE).now_or_never().expect("free");
        let mut next = waiting(&queue, LARGE);
        queue.limited_by(Bottleneck::Distance);
        assert!((&mut next).now_or_never().is_some());
        let queue = Queue::new(1);
        queue.limited_by(Bottleneck::Distance);
        assert!(queue.acquire(RANK, LARGE).now_or_never().is_some());
    }

    #[test]
    fn a_canceled_wait_takes_no_slot() {
        let queue = Arc::new(Queue::new(1));
        let first = queue.acquire(RANK, 1).now_or_never().expect("free");
        drop(waiting(&queue, 9));
        drop(first);
        assert!(queue.acquire(RANK, 1).now_or_never().is_some());
    }

    #[test]
    fn waiters_of_one_size_come_in_the_order_of_their_requests() {
        let queue = Arc::new(Queue::new(1));
        let waiters = [5, 3, 9, 3, 1, 9, 3].map(|size| (RANK, size));
        assert_eq!(served(&queue, &waiters), [2, 5, 0, 1, 3, 6, 4]);
    }

    #[test]
    fn a_returned_large_slot_serves_a_large_blob_again() {
        let queue = Queue::new(1);
        for _ in 0..3 {
            assert!(queue.acquire(RANK, LARGE).now_or_never().is_some());
        }
    }

    /// Serves the waiters one after another. Returns the order.
    fn served(queue: &Arc<Queue>, waiters: &[(Rank, u64)]) -> Vec<usize> {
        let mut held = queue.acquire(RANK, 1).now_or_never().expect("free");
        let wait = |&(rank, size): &(Rank, u64)| Some(waiting_in(queue, rank, size));
        let mut futures: Vec<_> = waiters.iter().map(wait).collect();
        let mut order = Vec::new();
        for _ in waiters {
            drop(held);
            let next = futures.iter_mut().enumerate().find_map(|(at, future)| {
                let slot = future.as_mut()?.now_or_never()?;
                Some((at, slot))
            });
            let (at, slot) = next.expect("one waiter gets the slot");
            (futures[at], held) = (None, slot);
            order.push(at);
        }
        order
    }

    #[test]
    fn images_come_in_groups_the_largest_first_and_each_with_its_largest_blob_first() {
        let rank = Rank::new;
        let waiters = [
            (rank(1, 900, 16), 3 * LARGE),
            (rank(0, 50, 0), 5),
            (rank(0, 70, 2), 6),
            (rank(0, 70, 1), 2 * LARGE),
            (rank(0, 50, 0), LARGE),
            (rank(0, 70, 1), 1),
        ];
        assert_eq!(served(&Arc::new(Queue::new(1)), &waiters), [3, 5, 2, 4, 1, 0]);
    }

    #[test]
    fn a_large_blob_of_an_earlier_image_does_not_block_small_ones() {
        let queue = Arc::new(Queue::new(2));
        let _large = queue.acquire(RANK, LARGE).now_or_never().expect("free");
        let _next = waiting_in(&queue, RANK, LARGE);
        assert!(queue.acquire(Rank::new(9, 1, 9), 1).now_or_never().is_some());
    }
}
