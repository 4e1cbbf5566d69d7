//! Rate limits for one registry. When it asks for a pause, or is overloaded, all requests to it pause: see [`HostState`].
//! When it refuses a request because there are too many, requests of the same action slow down: see [`Throttles`].
//!
//! Two [`Lane`]s limit concurrency: one for requests, one for blob transfers. Each adapts its width by additive
//! increase and multiplicative decrease (Chiu and Jain, 1989). Until the first decrease, every success widens a lane: the
//! registry is probably far from its limit.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    error::RegistryError,
    host_state::HostState,
    limits::{self, Tuning},
    refusal::Refusal,
    retry,
    throttle::{Throttles, Turn},
};
use crate::{endpoint::lock, oci::Digest, quota::Action};

/// All throttled requests within this time have the same cause and halve a lane once.
const EPOCH: Duration = Duration::from_millis(100);

/// The rate limits of one host.
#[derive(Debug)]
pub(super) struct Pace {
    requests: Arc<Lane>,
    blobs: Arc<Lane>,
    state: Arc<HostState>,
    /// How many blobs had been transferred when the upload of a blob was last refused.
    refused_uploads: Mutex<HashMap<Digest, u64>>,
    moved: AtomicU64,
    /// The time that the quickest answer took, in microseconds.
    quickest: AtomicU64,
    /// If that took so long, the host is far away.
    far: Duration,
}

impl Pace {
    /// The initial limits, of which this machine gets its part.
    pub(super) fn new(state: Arc<HostState>, tuning: &Tuning) -> Self {
        state.throttles().share_by(tuning.machines);
        let machines = tuning.machines.get() as usize;
        Self {
            requests: Lane::new(limits::REQUESTS_PER_HOST, machines),
            blobs: Lane::new(limits::BLOBS_PER_HOST, machines),
            state,
            refused_uploads: Mutex::default(),
            moved: AtomicU64::new(0),
            quickest: AtomicU64::new(u64::MAX),
            far: tuning.far,
        }
    }

    /// Waits for a permit to send a request. While it waits for the rate of its action, it holds nothing that requests of
    /// other actions need.
    pub(super) async fn request(&self, action: Action) -> (Turn, Permit) {
        self.turn(action, || self.requests.enter()).await
    }

    /// Waits until bytes of a blob may be sent, whose transfer has a permit.
    pub(super) async fn bytes(&self, action: Action) -> Turn {
        self.turn(action, || std::future::ready(())).await.0
    }

    /// Waits for the rate of an action, then for what `enter` gives, and then for the end of a pause.
    async fn turn<P: Future>(&self, action: Action, enter: impl Fn() -> P) -> (Turn, P::Output) {
        let throttles = self.throttles();
        let _queue = throttles.queue(action).await;
        loop {
            throttles.ready(action).await;
            let permit = enter().await;
            self.state.ready().await;
            if let Some(turn) = throttles.take(action) {
                return (turn, permit);
            }
        }
    }

    /// Waits for a permit to transfer a blob. A transfer takes the destination's permit before the source's, so that
    /// two transfers cannot deadlock.
    pub(super) async fn blob(&self) -> Permit {
        if self.is_far() {
            self.blobs.start_with(limits::BLOBS_PER_FAR_HOST);
        }
        self.blobs.enter().await
    }

    /// Whether every answer of the host so far took long.
    pub(super) fn is_far(&self) -> bool {
        let quickest = self.quickest.load(Ordering::Relaxed);
        quickest != u64::MAX && Duration::from_micros(quickest) >= self.far
    }

    /// A permit for one more transfer of a blob that is in progress, if there are few others.
    pub(super) fn blob_part(&self) -> Option<Permit> {
        let inner =
            self.has_room_for_parts().then(|| Arc::clone(&self.blobs.permits).try_acquire_owned().ok())??;
        Some(Permit { lane: Arc::clone(&self.blobs), inner: Some(inner) })
    }

    /// Whether there are so few transfers that several connections may read one blob.
    pub(super) fn has_room_for_parts(&self) -> bool {
        self.blobs.in_use() < limits::MAX_CONCURRENT_PARTS
    }

    fn throttles(&self) -> &Throttles {
        self.state.throttles()
    }

    /// Why no request should be sent to the host: see [`HostState::verdict`].
    pub(super) fn verdict(&self) -> Option<RegistryError> {
        self.state.verdict()
    }

    /// Records a successful request.
    pub(super) fn answered(&self, turn: Turn) {
        let time = u64::try_from(turn.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.quickest.fetch_min(time, Ordering::Relaxed);
        self.throttles().answered(turn);
        self.state.answered();
        self.requests.widen();
    }

    /// Records that bytes of a blob were received.
    pub(super) fn received(&self, turn: Turn) {
        self.throttles().answered(turn);
    }

    /// Records a successful blob transfer.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.state.answered();
        self.blobs.widen();
    }

    /// Records that the upload of a blob was refused. Whether other blobs have been transferred since it was refused
    /// before.
    pub(super) fn serves_other_uploads(&self, refused: &Digest) -> bool {
        let moved = self.moved.load(Ordering::Relaxed);
        let before = lock(&self.refused_uploads).insert(refused.clone(), moved);
        before.is_none_or(|before| moved > before)
    }

    /// The number of successful requests.
    pub(super) fn answers(&self) -> u64 {
        self.state.answers()
    }

    /// Records a failed request. If there were too many, its action slows down. If the host asks for a pause or is
    /// overloaded, all requests pause.
    pub(super) fn failed(&self, error: &RegistryError, turn: Turn) {
        let now = Instant::now();
        let is_throttling = error.refusal().is_some_and(Refusal::is_throttling);
        if is_throttling {
            self.throttles().refused(turn);
        }
        if !is_throttling || retry::asked_for(error).is_some() || retry::too_long_a_pause(error).is_some() {
            self.state.failed(error);
        }
        if retry::is_throttled(error) && !is_throttling {
            self.requests.halve(now);
        }
        if retry::is_throttled(error) && (!is_throttling || turn.action.moves_blobs()) {
            self.blobs.halve(now);
        }
    }
}

/// Permission for one request or transfer.
#[derive(Debug)]
pub(super) struct Permit {
    lane: Arc<Lane>,
    inner: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut width = lock(&self.lane.width);
        if width.excess > 0
            && let Some(permit) = self.inner.take()
        {
            width.excess -= 1;
            permit.forget();
        }
    }
}

/// A fair semaphore with an adaptive limit.
#[derive(Debug)]
struct Lane {
    permits: Arc<Semaphore>,
    width: Mutex<Width>,
    widest: usize,
    /// How many machines share the registry. After a 429, all of them together widen as one would.
    machines: usize,
}

#[derive(Debug)]
struct Width {
    now: usize,
    /// Permits in use beyond the current limit. They are dropped on return.
    excess: usize,
    /// Successes since the last change of the limit.
    earned: usize,
    halved_at: Option<Instant>,
}

impl Lane {
    fn new((start, widest): (usize, usize), machines: usize) -> Arc<Self> {
        let start = (start / machines.max(1)).max(1);
        let width = Width { now: start, excess: 0, earned: 0, halved_at: None };
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(start)),
            width: Mutex::new(width),
            widest,
            machines,
        })
    }

    async fn enter(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed. Without a permit, concurrency is merely unlimited.
        let inner = Arc::clone(&self.permits).acquire_owned().await.ok();
        Permit { lane: Arc::clone(self), inner }
    }

    fn in_use(&self) -> usize {
        lock(&self.width).now.saturating_sub(self.permits.available_permits())
    }

    fn widen(&self) {
        let mut width = lock(&self.width);
        width.earned += 1;
        let needed = if width.halved_at.is_some() { width.now * self.machines } else { 1 };
        if width.now >= self.widest || width.earned < needed {
            return;
        }
        width.earned = 0;
        width.now += 1;
        if width.excess > 0 {
            width.excess -= 1;
        } else {
            self.permits.add_permits(1);
        }
    }

    /// Widens the lane to what it would have started with, unless it has been halved.
    fn start_with(&self, start: usize) {
        let mut width = lock(&self.width);
        let start = (start / self.machines.max(1)).clamp(1, self.widest);
        if width.halved_at.is_none() && width.now < start {
            self.permits.add_permits(start - width.now);
            width.now = start;
        }
    }

    fn halve(&self, now: Instant) {
        let mut width = lock(&self.width);
        if width.halved_at.is_some_and(|at| now.saturating_duration_since(at) < EPOCH) {
            return;
        }
        let narrower = (width.now / 2).max(1);
        let too_many = width.now - narrower;
        width.excess += too_many - self.permits.forget_permits(too_many);
        width.now = narrower;
        width.earned = 0;
        width.halved_at = Some(now);
    }
}

#[cfg(test)]
mod tests;
