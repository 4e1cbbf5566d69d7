//! State that all requests to one host share, regardless of their purpose: the pauses that it asks for, and whether it
//! can be reached at all.
//!
//! A [`HostState`] belongs to an origin, not to a side or a purpose: registries, token servers and the hosts behind
//! redirects have one each, and a host that serves several of these purposes has one for all of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{auth::Origin, error::RegistryError, refusal::MAX_RETRY_AFTER, retry, throttle::Throttles};
use crate::{
    endpoint::{lock, retry::Pause},
    quota::Quotas,
};

/// This many successes in a row shorten the next pause by one step.
const CALM: u32 = 10;
/// After this many successes between two pauses, the next pause is shorter: the host refuses some requests, but serves
/// others, and longer pauses would only slow the run down.
const PROGRESS: u32 = 3;
/// A host that answered earlier in the run is tried again after this time.
const VERDICT_OF_A_KNOWN_HOST: Duration = Duration::from_secs(10);

/// The states of all hosts of a run.
#[derive(Debug, Default)]
pub(super) struct HostStates {
    quotas: Quotas,
    states: Mutex<HashMap<Origin, Arc<HostState>>>,
}

impl HostStates {
    /// No host is known yet.
    pub(super) fn new(quotas: Quotas) -> Self {
        Self { quotas, states: Mutex::default() }
    }

    /// The state of a host.
    pub(super) fn of(&self, origin: &Origin) -> Arc<HostState> {
        let throttles = || Throttles::new(self.quotas.of(origin.host()));
        let new = || Arc::new(HostState { throttles: throttles(), ..HostState::default() });
        Arc::clone(lock(&self.states).entry(origin.clone()).or_insert_with(new))
    }
}

/// The state of one host.
#[derive(Debug, Default)]
pub(super) struct HostState {
    answers: AtomicU64,
    throttles: Throttles,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The end of the current pause.
    not_before: Option<Instant>,
    /// How often the host throttled requests, less the calm periods since. Decides the length of the next pause.
    throttles: u32,
    /// Successes since the last pause began.
    calm: u32,
    /// Why no request is sent any more, and until when.
    verdict: Option<(RegistryError, Option<Instant>)>,
}

impl HostState {
    /// Waits until the current pause is over.
    pub(super) async fn ready(&self) {
        loop {
            let until = lock(&self.inner).not_before;
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }

    /// Why no request should be sent: another request has found out that the host cannot be reached, or the host wants
    /// to be left alone for longer than a run waits.
    pub(super) fn verdict(&self) -> Option<RegistryError> {
        let inner = lock(&self.inner);
        let (error, until) = inner.verdict.as_ref()?;
        until.is_none_or(|until| Instant::now() < until).then(|| error.clone())
    }

    /// How fast requests of each action are sent.
    pub(super) fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// The number of successful requests.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Records a successful request.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let mut inner = lock(&self.inner);
        if inner.throttles == 0 {
            return;
        }
        inner.calm += 1;
        if inner.calm.is_multiple_of(CALM) {
            inner.throttles -= 1;
        }
    }

    /// Records a failed request. A throttled request pauses all requests: for the time that the host asks for, or else
    /// longer each time.
    pub(super) fn failed(&self, error: &RegistryError) {
        let now = Instant::now();
        if let Some(asked) = retry::too_long_a_pause(error) {
            lock(&self.inner).verdict = Some((error.clone(), Some(now + asked)));
            return;
        }
        let asked = retry::asked_for(error);
        if asked.is_none() && !retry::is_throttled(error) {
            return;
        }
        let mut inner = lock(&self.inner);
        // Requests that were in flight when the pause began were refused for the same reason.
        let is_new = inner.not_before.is_none_or(|until| until <= now);
        if is_new {
            inner.throttles =
                if inner.calm < PROGRESS { inner.throttles + 1 } else { inner.throttles.div_ceil(2).max(1) };
            inner.calm = 0;
        }
        let grown = if is_new { Pause::Backoff.duration(inner.throttles) } else { Duration::ZERO };
        let until = now + asked.unwrap_or_default().max(grown).min(MAX_RETRY_AFTER);
        inner.not_before = Some(inner.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    /// Records that a request gave up. If no connection could be established, other requests need not find that out
    /// again.
    pub(super) fn gave_up(&self, error: &RegistryError) {
        if matches!(error, RegistryError::Unreachable { .. } | RegistryError::ProxyRefused(_)) {
            let until = (self.answers() > 0).then(|| Instant::now() + VERDICT_OF_A_KNOWN_HOST);
            lock(&self.inner).verdict = Some((error.clone(), until));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::endpoint::registry::{connection_problem::ConnectionProblem, refusal::Refusal};

    fn throttled(status: u16, retry_after: Option<Duration>) -> RegistryError {
        RegistryError::Refused(Refusal { status, retry_after, ..Refusal::default() })
    }

    /// The time that `ready` waits, on a clock that advances automatically.
    async fn pause_of(state: &HostState) -> Duration {
        let before = Instant::now();
        state.ready().await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_the_host_throttles_and_shrink_when_it_is_calm() {
        let state = HostState::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            // A burst of refusals counts once.
            for _ in 0..20 {
                state.failed(&throttled(429, None));
            }
            pauses.push(pause_of(&state).await);
        }
        assert!(pauses.is_sorted(), "{pauses:?}");
        assert!(pauses[0] <= Duration::from_millis(250) && pauses[5] >= Duration::from_secs(3), "{pauses:?}");
        for _ in 0..CALM * 6 {
            state.answered();
        }
        state.failed(&throttled(503, None));
        assert!(pause_of(&state).await <= Duration::from_millis(250), "it was calm");
    }

    /// As from a busy registry that refuses one request in five.
    #[tokio::test(start_paused = true)]
    async fn pauses_stay_short_while_the_host_serves_other_requests_bug() {
        let state = HostState::default();
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            state.failed(&throttled(503, None));
            longest = longest.max(pause_of(&state).await);
            for _ in 0..4 {
                state.answered();
            }
        }
        assert!(longest <= Duration::from_millis(250), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_becomes_a_verdict_until_it_is_over() {
        let state = HostState::default();
        let limit = MAX_RETRY_AFTER;
        state.failed(&throttled(429, Some(limit)));
        assert!(state.verdict().is_none());
        assert!(pause_of(&state).await >= limit);
        let longer = limit + Duration::from_secs(1);
        state.failed(&throttled(503, Some(longer)));
        assert!(state.ready().now_or_never().is_some(), "no request waits for it");
        assert!(state.verdict().is_some());
        tokio::time::advance(longer).await;
        assert!(state.verdict().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_host_is_tried_again_only_if_it_answered_before() {
        let unreachable =
            RegistryError::Unreachable { problem: ConnectionProblem::Other, reason: "no route".to_owned() };
        let (never, before) = (HostState::default(), HostState::default());
        before.answered();
        for state in [&never, &before] {
            state.gave_up(&RegistryError::Broken("reset".to_owned()));
            assert!(state.verdict().is_none());
            state.gave_up(&unreachable);
            assert!(state.verdict().is_some());
        }
        tokio::time::advance(VERDICT_OF_A_KNOWN_HOST).await;
        assert!(never.verdict().is_some());
        assert!(before.verdict().is_none());
    }
}
