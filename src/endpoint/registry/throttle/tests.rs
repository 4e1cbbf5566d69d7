use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::join_all;

use super::*;
use crate::{
    endpoint::registry::{
        NetworkSettings, Tuning,
        auth::{Origin, Scheme},
        network::Network,
        pace::Pace,
    },
    quota::Quotas,
};

/// How long a request takes.
const LATENCY: Duration = Duration::from_millis(25);

/// A registry that allows this many requests of each action per second, as a bucket of the same size.
struct Registry {
    permitted: f64,
    buckets: Mutex<[(f64, Option<Instant>); Action::COUNT]>,
    refused: AtomicUsize,
}

impl Registry {
    fn new(permitted: f64) -> Self {
        let buckets = Mutex::new([(permitted, None); Action::COUNT]);
        Self { permitted, buckets, refused: AtomicUsize::new(0) }
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    async fn answer(&self, action: Action) -> bool {
        tokio::time::sleep(LATENCY / 2).await;
        let is_served = {
            let (tokens, last) = &mut self.buckets.lock().unwrap()[action as usize];
            let now = Instant::now();
            let passed = last.replace(now).map_or(0.0, |last| (now - last).as_secs_f64());
            *tokens = (*tokens + passed * self.permitted).min(self.permitted);
            let is_served = *tokens >= 1.0;
            *tokens -= if is_served { 1.0 } else { 0.0 };
            is_served
        };
        self.refused.fetch_add(usize::from(!is_served), Ordering::Relaxed);
        tokio::time::sleep(LATENCY / 2).await;
        is_served
    }
}

/// Sends this many requests, at most `at_once` at the same time, each until it is served. Returns the seconds.
async fn send(
    throttles: &Throttles,
    registry: &Registry,
    action: Action,
    count: usize,
    at_once: usize,
) -> f64 {
    let (start, permits) = (Instant::now(), tokio::sync::Semaphore::new(at_once));
    let request = async || {
        loop {
            let queue = throttles.queue(action).await;
            throttles.ready(action).await;
            let permit = permits.acquire().await.unwrap();
            let Some(turn) = throttles.take(action) else { continue };
            drop(queue);
            if registry.answer(action).await {
                return throttles.answered(turn);
            }
            throttles.refused(turn);
            drop(permit);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    join_all((0..count).map(|_| request())).await;
    start.elapsed().as_secs_f64()
}

/// The limits of ECR, changed in this way, for one of so many machines.
fn ecr(changes: &[&str], machines: u32) -> Throttles {
    let quotas = Quotas::new(changes.iter().map(|change| change.parse().unwrap()).collect()).unwrap();
    let throttles = Throttles::new(quotas.of("1.dkr.ecr.eu-west-1.amazonaws.com"));
    throttles.share_by(NonZeroU32::new(machines).unwrap());
    throttles
}

fn rate_of(throttles: &Throttles, action: Action) -> Option<f64> {
    lock(&throttles.of(action).state).learned.as_ref().map(|learned| learned.per_second)
}

#[tokio::test(start_paused = true)]
async fn a_known_quota_is_kept_from_the_first_request_on() {
    let (throttles, registry) = (ecr(&[], 1), Registry::new(10.0));
    let seconds = send(&throttles, &registry, Action::PushManifest, 100, 24).await;
    assert_eq!(registry.refused(), 0);
    assert!((9.0..11.0).contains(&seconds), "{seconds} s for 100 requests at 10 per second");
}

/// How many requests are sent in each of the first seconds, if there are always more.
async fn sent_per_second(changes: &[&str], action: Action, machines: u32) -> [u32; 3] {
    let quotas = Quotas::new(changes.iter().map(|change| change.parse().unwrap()).collect()).unwrap();
    let network = Network::new(NetworkSettings { quotas, ..NetworkSettings::default() });
    let origin = Origin::of_registry("1.dkr.ecr.eu-west-1.amazonaws.com", Scheme::Https).unwrap();
    let tuning = Tuning { machines: NonZeroU32::new(machines).unwrap(), ..Tuning::default() };
    let pace = Pace::new(network.states().of(&origin), &tuning);
    // Both sides of a copy may have the same registry.
    let _other_side = Pace::new(network.states().of(&origin), &tuning);
    let (mut sent, start) = ([0; 3], Instant::now());
    loop {
        let (_, permit) = pace.request(action).await;
        drop(permit);
        let second = usize::try_from(start.elapsed().as_secs()).unwrap();
        let Some(count) = sent.get_mut(second) else { return sent };
        *count += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_quota_is_kept_from_the_first_request_on() {
    let (pushes, uploads) = (Action::PushManifest, Action::BeginUpload);
    for (changes, action, machines, expected) in [
        (&[][..], pushes, 1, [10, 10, 10]),
        (&["PutImage=100"], pushes, 1, [100, 100, 100]),
        (&["PutImage=2"], pushes, 1, [2, 2, 2]),
        (&["PutImage=2", "1.dkr.ecr.eu-west-1.amazonaws.com/PutImage=30"], pushes, 1, [30, 30, 30]),
        (&["InitiateLayerUpload=7"], uploads, 1, [7, 7, 7]),
        (&["InitiateLayerUpload=7", "requests=1"], pushes, 1, [10, 10, 10]),
        (&["PutImage=100"], pushes, 4, [25, 25, 25]),
        // One every two seconds: four machines send two per second.
        (&["PutImage=2"], pushes, 4, [1, 0, 1]),
    ] {
        let sent = sent_per_second(changes, action, machines).await;
        assert_eq!(sent, expected, "{changes:?} {action:?}, {machines} machines");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_quota_is_learned_with_few_refusals() {
    for permitted in [10, 50, 300] {
        let (throttles, registry) = (Throttles::default(), Registry::new(f64::from(permitted)));
        let count = usize::try_from(permitted).unwrap() * 30;
        let seconds = send(&throttles, &registry, Action::PushManifest, count, 24).await;
        // The first burst fills the lane before the first refusal arrives.
        assert!((1..=24 + 20).contains(&registry.refused()), "{permitted}/s: {}", registry.refused());
        assert!((29.0..45.0).contains(&seconds), "{permitted}/s: {seconds} s instead of 30");
    }
}

#[tokio::test(start_paused = true)]
async fn other_actions_are_not_slowed() {
    let (throttles, narrow, wide) = (Throttles::default(), Registry::new(10.0), Registry::new(1e9));
    let slowed = send(&throttles, &narrow, Action::PushManifest, 100, 24);
    let other = send(&throttles, &wide, Action::BeginUpload, 960, 24);
    let (slowed, other) = tokio::join!(slowed, other);
    assert!(narrow.refused() > 0 && rate_of(&throttles, Action::PushManifest).is_some(), "{slowed} s");
    assert!(other <= 1.1, "{other} s: 40 rounds of 25 ms");
    assert_eq!(rate_of(&throttles, Action::BeginUpload), None);
}

/// Another client used the quota up, and then stops.
#[tokio::test(start_paused = true)]
async fn a_rate_recovers_when_the_registry_permits_more() {
    let throttles = Throttles::default();
    send(&throttles, &Registry::new(10.0), Action::ReadManifest, 300, 24).await;
    let before = rate_of(&throttles, Action::ReadManifest).unwrap();
    assert!((6.0..14.0).contains(&before), "{before} per second");
    send(&throttles, &Registry::new(1e9), Action::ReadManifest, 3000, 24).await;
    let after = rate_of(&throttles, Action::ReadManifest).unwrap();
    assert!(after > before * 3.0, "{before} per second, then {after}");
}

/// The requests that were refused together have one cause.
#[tokio::test(start_paused = true)]
async fn a_burst_of_refusals_counts_once() {
    let throttles = Throttles::default();
    let turns: Vec<Turn> = (0..50).map(|_| throttles.take(Action::BeginUpload).unwrap()).collect();
    tokio::time::advance(LATENCY).await;
    for turn in turns {
        throttles.refused(turn);
    }
    assert_eq!(rate_of(&throttles, Action::BeginUpload), Some(FIRST_RATE));
    throttles.ready(Action::BeginUpload).await;
    let later = throttles.take(Action::BeginUpload).unwrap();
    assert!(throttles.take(Action::BeginUpload).is_none(), "one at a time");
    tokio::time::advance(LATENCY).await;
    throttles.refused(later);
    assert_eq!(rate_of(&throttles, Action::BeginUpload), Some(FIRST_RATE * KEPT_WITHOUT_ANSWERS));
}

#[tokio::test(start_paused = true)]
async fn a_quota_for_all_requests_covers_every_action() {
    let throttles = Throttles::new(Quotas::default().of("ghcr.io"));
    let actions = [Action::ReadManifest, Action::BeginUpload, Action::Other, Action::CheckBlob];
    for at in 0..2000 {
        assert!(throttles.take(actions[at % actions.len()]).is_some(), "{at}: a burst is permitted");
    }
    assert!(throttles.take(Action::PushManifest).is_none());
    let before = Instant::now();
    throttles.ready(Action::PushManifest).await;
    assert!((60..=63).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn machines_share_a_quota() {
    let registry = Registry::new(10.0);
    let machines: Vec<Throttles> = (0..5).map(|_| ecr(&[], 5)).collect();
    let runs = machines.iter().map(|machine| send(machine, &registry, Action::PushManifest, 20, 24));
    let seconds = join_all(runs).await.into_iter().fold(0.0, f64::max);
    assert_eq!(registry.refused(), 0);
    assert!((9.0..11.0).contains(&seconds), "{seconds} s for 100 requests at 10 per second");
}

#[tokio::test]
async fn nothing_waits_without_a_quota_and_without_a_refusal() {
    let throttles = Arc::new(Throttles::default());
    for _ in 0..10_000 {
        assert!(throttles.queue(Action::BeginUpload).await.is_none());
        assert!(throttles.wait(Action::BeginUpload).is_none());
        throttles.answered(throttles.take(Action::BeginUpload).unwrap());
    }
}
