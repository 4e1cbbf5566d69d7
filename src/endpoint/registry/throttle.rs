//! How fast requests of each action are sent to one host.
//!
//! Two limits apply to an action. The known quotas of a registry apply from the first request on. The other one is
//! learned: when the registry refuses a request because there are too many, requests of this action are sent at a
//! little less than the rate at which they were answered, and then slowly faster until the next refusal (additive
//! increase and multiplicative decrease, with a slow start below the last rate that worked, as in TCP). Other actions
//! are not affected. At a registry that refuses nothing and has no known quota, no request waits.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::window::Window;
use crate::{
    endpoint::lock,
    quota::{self, Action, Share},
};

/// The rate after the first refusal, in requests per second, if fewer were answered in the second before.
const FIRST_RATE: f64 = 10.0;
/// The slowest rate.
const MIN_RATE: f64 = 0.2;
/// The part of a rate that is kept after a refusal.
const KEPT: f64 = 0.85;
/// The same if the registry has answered no request of this action since the last refusal.
const KEPT_WITHOUT_ANSWERS: f64 = 0.5;
/// By which part a rate grows in a second, and by how much at least: below a rate that is known to work, and above.
const FAST_GROWTH: (f64, f64) = (0.2, 1.0);
const SLOW_GROWTH: (f64, f64) = (0.02, 0.2);

/// The limits of one host.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    actions: [Throttle; Action::COUNT],
    /// The quotas that count all requests.
    whole: Mutex<Vec<Quota>>,
    /// How many machines share the limits; 0 for one.
    machines: AtomicU32,
}

/// The limits of one action.
#[derive(Debug, Default)]
struct Throttle {
    /// Requests that wait, in the order in which they came.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    quotas: Vec<Quota>,
    answered: Window,
    learned: Option<Learned>,
}

/// A known quota, and the requests that count.
#[derive(Debug)]
struct Quota {
    known: quota::Quota,
    /// What this machine may use of it.
    share: Share,
    sent: Window,
}

/// A rate that the registry's refusals have taught.
#[derive(Debug)]
struct Learned {
    per_second: f64,
    /// A rate that worked; infinite before the second refusal.
    threshold: f64,
    /// When the next request may be sent.
    next: Instant,
    refused_at: Instant,
    answers_since: bool,
}

/// One request: what is counted, and since when it is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) action: Action,
    sent_at: Instant,
}

impl Turn {
    /// How long the request has been under way.
    pub(super) fn elapsed(self) -> Duration {
        self.sent_at.elapsed()
    }
}

impl Throttles {
    /// The limits of a host with these quotas, which apply from the start.
    pub(super) fn new(known: impl Iterator<Item = quota::Quota>) -> Self {
        let throttles = Self::default();
        for known in known.filter(|known| known.is_short()) {
            let quota = Quota::new(known);
            match known.action() {
                Some(action) => lock(&throttles.of(action).state).quotas.push(quota),
                None => lock(&throttles.whole).push(quota),
            }
        }
        throttles
    }

    /// This machine gets its part of each quota.
    pub(super) fn share_by(&self, machines: NonZeroU32) {
        self.machines.store(machines.get(), Ordering::Relaxed);
        for throttle in &self.actions {
            lock(&throttle.state).quotas.iter_mut().for_each(|quota| quota.share_by(machines));
        }
        lock(&self.whole).iter_mut().for_each(|quota| quota.share_by(machines));
    }

    /// Waits for the requests of this action that came earlier, if its rate is limited.
    pub(super) async fn queue(&self, action: Action) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.is_limited(action) { Some(self.of(action).queue.lock().await) } else { None }
    }

    /// Waits until a request of this action may be sent.
    pub(super) async fn ready(&self, action: Action) {
        while let Some(until) = self.wait(action) {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Records a successful request.
    pub(super) fn answered(&self, turn: Turn) {
        let mut state = lock(&self.of(turn.action).state);
        state.answered.add(Instant::now());
        let share = self.share();
        if let Some(learned) = &mut state.learned {
            learned.answers_since |= turn.sent_at > learned.refused_at;
            learned.grow(share);
        }
    }

    /// Records a request that was refused because there are too many.
    pub(super) fn refused(&self, turn: Turn) {
        let now = Instant::now();
        let mut state = lock(&self.of(turn.action).state);
        match &mut state.learned {
            // Requests that were under way together were refused for the same reason.
            Some(learned) if turn.sent_at <= learned.refused_at => {}
            Some(learned) => learned.shrink(now),
            None => {
                let recent = f64::from(state.answered.count(now));
                let per_second = (recent * KEPT).max(FIRST_RATE * self.share());
                let (threshold, next) = (f64::INFINITY, now);
                let learned = Learned { per_second, threshold, next, refused_at: now, answers_since: false };
                state.learned = Some(Learned { next: now + learned.spacing(), ..learned });
            }
        }
    }

    fn is_limited(&self, action: Action) -> bool {
        let state = lock(&self.of(action).state);
        !state.quotas.is_empty() || state.learned.is_some() || !lock(&self.whole).is_empty()
    }

    /// Until when a request of this action has to wait.
    fn wait(&self, action: Action) -> Option<Instant> {
        let mut state = lock(&self.of(action).state);
        state.wait(&mut lock(&self.whole), Instant::now())
    }

    /// Counts a request; `None` if it has to wait.
    pub(super) fn take(&self, action: Action) -> Option<Turn> {
        let now = Instant::now();
        let mut state = lock(&self.of(action).state);
        let mut whole = lock(&self.whole);
        if state.wait(&mut whole, now).is_some() {
            return None;
        }
        for quota in state.quotas.iter_mut().chain(whole.iter_mut()) {
            quota.sent.add(now);
        }
        if let Some(learned) = &mut state.learned {
            learned.next = now + learned.spacing();
        }
        Some(Turn { action, sent_at: now })
    }

    fn share(&self) -> f64 {
        1.0 / f64::from(self.machines.load(Ordering::Relaxed).max(1))
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each action")]
    fn of(&self, action: Action) -> &Throttle {
        &self.actions[action as usize]
    }
}

impl State {
    /// Until when a request has to wait for the limits of its action and for those of the `whole` host.
    fn wait(&mut self, whole: &mut [Quota], now: Instant) -> Option<Instant> {
        let quotas = self.quotas.iter_mut().chain(whole).filter_map(|quota| quota.wait(now));
        let learned = self.learned.iter().map(|learned| learned.next).filter(|next| *next > now);
        quotas.chain(learned).max()
    }
}

impl Quota {
    fn new(known: quota::Quota) -> Self {
        let share = known.shared_by(NonZeroU32::MIN);
        Self { known, share, sent: Window::new(share.window) }
    }

    /// Both sides of a copy set the same number; what was sent still counts.
    fn share_by(&mut self, machines: NonZeroU32) {
        let share = self.known.shared_by(machines);
        if share != self.share {
            *self = Self { share, sent: Window::new(share.window), ..*self };
        }
    }

    fn wait(&mut self, now: Instant) -> Option<Instant> {
        (self.sent.count(now) >= self.share.most).then(|| self.sent.next_change(now))
    }
}

impl Learned {
    /// The time between two requests.
    fn spacing(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.per_second)
    }

    /// One answer's part of the growth of a second.
    fn grow(&mut self, share: f64) {
        let (part, least) = if self.per_second < self.threshold { FAST_GROWTH } else { SLOW_GROWTH };
        let growth = (self.per_second * part).max(least) * share;
        self.per_second += (growth / self.per_second).min(self.per_second);
    }

    fn shrink(&mut self, now: Instant) {
        if self.answers_since {
            self.per_second *= KEPT;
            self.threshold = self.per_second;
        } else {
            self.per_second *= KEPT_WITHOUT_ANSWERS;
        }
        self.per_second = self.per_second.max(MIN_RATE);
        (self.refused_at, self.answers_since) = (now, false);
    }
}

#[cfg(test)]
mod tests;
