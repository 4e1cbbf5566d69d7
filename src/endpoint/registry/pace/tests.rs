use futures::FutureExt;

use super::*;

fn enter(lane: &Arc<Lane>) -> Option<Permit> {
    lane.enter().now_or_never()
}

fn too_many(asked: Duration) -> RegistryError {
    RegistryError::Refused(Refusal { status: 429, retry_after: Some(asked), ..Refusal::default() })
}

#[test]
fn a_lane_is_halved_once_per_epoch_and_shrinks_as_permits_return() {
    let lane = Lane::new((8, 16), 1);
    let now = Instant::now();
    let mut out: Vec<Permit> = std::iter::from_fn(|| enter(&lane)).collect();
    assert_eq!(out.len(), 8);
    lane.halve(now);
    lane.halve(now);
    out.truncate(4);
    assert!(enter(&lane).is_none(), "four are still out, and four is the width");
    out.truncate(3);
    out.extend(enter(&lane));
    assert_eq!(out.len(), 4);
    lane.halve(now + EPOCH);
    out.clear();
    assert_eq!(std::iter::from_fn(|| enter(&lane)).collect::<Vec<_>>().len(), 2);
}

#[test]
fn a_halved_lane_keeps_one_permit_and_widens_by_one_per_window() {
    let lane = Lane::new((2, 4), 1);
    for epoch in 0..5 {
        lane.halve(Instant::now() + EPOCH * epoch);
    }
    assert_eq!(lock(&lane.width).now, 1);
    let widen = || {
        lane.widen();
        lock(&lane.width).now
    };
    assert_eq!(std::iter::repeat_with(widen).take(7).collect::<Vec<_>>(), [2, 2, 3, 3, 3, 4, 4]);
    assert_eq!(std::iter::from_fn(|| enter(&lane)).collect::<Vec<_>>().len(), 4);
}

#[test]
fn a_lane_to_a_far_host_starts_wider_and_never_after_a_refusal() {
    let lane = Lane::new((8, 128), 1);
    (0..3).for_each(|_| lane.start_with(16));
    assert_eq!(std::iter::from_fn(|| enter(&lane)).take(99).collect::<Vec<_>>().len(), 16);
    lane.halve(Instant::now());
    lane.start_with(16);
    assert_eq!(lock(&lane.width).now, 8);
    let shared = Lane::new((8, 128), 4);
    shared.start_with(16);
    assert_eq!(lock(&shared.width).now, 4);
}

#[tokio::test(start_paused = true)]
async fn the_quickest_answer_tells_whether_a_host_is_far_away() {
    let pace = Pace::new(Arc::default(), &Tuning::default());
    let width = || lock(&pace.blobs.width).now;
    for (time, is_far) in [(40, true), (90, true), (3, false), (90, false)] {
        let (turn, permit) = pace.request(Action::ReadManifest).await;
        tokio::time::advance(Duration::from_millis(time)).await;
        drop(permit);
        pace.answered(turn);
        assert_eq!(pace.is_far(), is_far, "{time}");
    }
    drop(pace.blob().await);
    assert_eq!(width(), limits::BLOBS_PER_HOST.0);
}

#[tokio::test(start_paused = true)]
async fn more_blobs_at_once_are_transferred_from_a_host_that_is_far_away() {
    let pace = Pace::new(Arc::default(), &Tuning::default());
    let (turn, permit) = pace.request(Action::ReadManifest).await;
    tokio::time::advance(Duration::from_millis(40)).await;
    drop(permit);
    pace.answered(turn);
    let started = std::iter::from_fn(|| pace.blob().now_or_never()).take(99).collect::<Vec<_>>();
    assert_eq!(started.len(), limits::BLOBS_PER_FAR_HOST);
}

#[test]
fn machines_share_the_start_and_what_is_won_back() {
    let start = |machines| lock(&Lane::new((24, 48), machines).width).now;
    assert_eq!([1, 4, 100].map(start), [24, 6, 1]);
    let lane = Lane::new((8, 16), 4);
    lane.widen();
    assert_eq!(lock(&lane.width).now, 3, "no limit is known yet");
    lane.halve(Instant::now());
    let widen = || {
        lane.widen();
        lock(&lane.width).now
    };
    assert_eq!(std::iter::repeat_with(widen).take(5).collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
}

/// Both are longer than the pause that follows a refusal anyway.
#[tokio::test(start_paused = true)]
async fn a_pause_applies_to_all_requests_and_the_longest_wins() {
    let seconds = |seconds: &[u64; 2]| seconds.map(Duration::from_secs);
    for [first, second] in [[60, 20], [20, 60]].iter().map(seconds) {
        let pace = Pace::new(Arc::default(), &Tuning::default());
        let (turn, permit) = pace.request(Action::ReadManifest).await;
        drop(permit);
        let before = Instant::now();
        pace.failed(&too_many(first), turn);
        pace.failed(&too_many(second), turn);
        drop(pace.request(Action::PushManifest).await);
        assert!((60..61).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
        assert!(pace.request(Action::PushManifest).now_or_never().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_slow_one_action_and_an_overload_pauses_all() {
    let pace = Pace::new(Arc::default(), &Tuning::default());
    let refused = |status| RegistryError::Refused(Refusal { status, ..Refusal::default() });
    let width = || lock(&pace.requests.width).now;
    let (turn, permit) = pace.request(Action::PushManifest).await;
    drop(permit);
    pace.failed(&refused(429), turn);
    assert!(pace.request(Action::PushManifest).now_or_never().is_none());
    assert!(pace.request(Action::BeginUpload).now_or_never().is_some());
    assert_eq!(width(), limits::REQUESTS_PER_HOST.0);
    pace.failed(&refused(503), turn);
    assert!(pace.request(Action::BeginUpload).now_or_never().is_none());
    assert_eq!(width(), limits::REQUESTS_PER_HOST.0 / 2);
}
