//! Overloaded registries.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use thoras_mirror::{
    endpoint::registry::Tuning,
    event::{Event, EventSink},
};

use super::{Case, REPOSITORY, borrowed};
use crate::support::{
    http_server::End,
    images::SampleImage,
    scripted::{Action, Answer, Gate},
};

/// How long the answers of a registry take that is far away.
const FAR_AWAY: Duration = Duration::from_millis(40);

/// Waits for requests that a test holds.
fn patient(tuning: Tuning) -> Tuning {
    Tuning { stall: Duration::from_secs(30), commit: Duration::from_secs(30), ..tuning }
}

fn too_many() -> Answer {
    Answer::error(429, "TOOMANYREQUESTS")
}

#[tokio::test]
async fn a_429_is_retried_after_its_seconds_its_date_or_a_backoff() {
    let date = |ahead: Duration| httpdate(std::time::SystemTime::now() + ahead);
    for retry_after in [Some("0".to_owned()), Some(date(Duration::from_secs(1))), None] {
        let case = Case::start().await;
        let answer = retry_after.iter().fold(too_many(), |answer, value| answer.header("retry-after", value));
        case.destination.on("POST", "/blobs/uploads/").nth(2).answer(answer.clone());
        case.destination.on("PUT", "/blobs/uploads/").nth(1).answer(answer.clone());
        case.source.on("GET", "/blobs/").nth(1).answer(answer);
        case.survives().await;
    }
}

/// The preferred format of RFC 9110, written by the library that the program parses it with.
fn httpdate(time: std::time::SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// Opens a gate once this many requests are known to be retried: by then the requested pause has begun.
struct OpenAfterRetries {
    gate: Gate,
    retries: Mutex<usize>,
    expected: usize,
}

impl EventSink for OpenAfterRetries {
    fn emit(&self, event: Event) {
        if let Event::Retrying { pause, .. } = event {
            assert_eq!(pause, PAUSE);
            let mut retries = self.retries.lock().unwrap();
            *retries += 1;
            if *retries == self.expected {
                self.gate.open();
            }
        }
    }
}

/// The pause that the destination asks for.
const PAUSE: Duration = Duration::from_secs(1);

/// Copies two images that share nothing. The first three requests of this kind for the second one are refused with this
/// status and `Retry-After`. The first image's blobs are answered only after the client has read the refusals, so its
/// manifest is still pending and must wait as well.
async fn assert_all_requests_wait_when_refused(method: &str, status: u16) {
    let case = Case::start().await;
    let second = SampleImage { tag: "1".to_owned(), ..SampleImage::single_platform("second", "arm64") };
    case.source.with_store(|store| store.insert("vendor/second", &second));
    let patient = patient(case.tuning);
    let case = Case { jobs: 8, tuning: patient, ..case };
    let (blobs, refused) = (case.image.blobs.len(), second.blobs.len());

    let (unaffected, refusals) = (Gate::default(), Gate::default());
    case.destination.on("PUT", "mirror/app/blobs/uploads/").then(Action::Hold(unaffected.clone()));
    let refusal = Answer::error(status, "TOOMANYREQUESTS").header("retry-after", "1");
    let action = Action::HoldThen(refusals.clone(), refusal);
    case.destination.on(method, "mirror/second/blobs/uploads/").first(refused).then(action);
    let retries = OpenAfterRetries { gate: unaffected.clone(), retries: Mutex::default(), expected: refused };
    let names = [("vendor/app", REPOSITORY), ("vendor/second", "mirror/second")];
    let run = case.pipeline(case.destination.address(), &names, Arc::new(retries));
    let (mirrored, (asked_at, seen)) = tokio::join!(run, async {
        unaffected.reached_by(blobs).await;
        refusals.reached_by(refused).await;
        let (asked_at, seen) = (Instant::now(), case.destination.requests().len());
        refusals.open();
        (asked_at, seen)
    });
    assert!(mirrored.iter().all(|image| image.outcome.failure.is_none()), "{mirrored:?}");

    let after = case.destination.requests().split_off(seen);
    assert!(after.iter().any(|request| request.is("PUT", "mirror/app/manifests/1")), "{after:?}");
    let too_early: Vec<_> = after.iter().filter(|request| request.at < asked_at + PAUSE).collect();
    assert!(too_early.is_empty(), "{method} {status}: {too_early:?}");
    case.converges().await;
}

#[tokio::test]
async fn retry_after_pauses_all_requests_to_the_registry() {
    assert_all_requests_wait_when_refused("POST", 429).await;
}

#[tokio::test]
async fn retry_after_on_a_blob_put_pauses_all_requests_to_the_registry() {
    assert_all_requests_wait_when_refused("PUT", 429).await;
    assert_all_requests_wait_when_refused("PUT", 503).await;
}

#[tokio::test]
async fn a_storm_of_503s_is_survived() {
    let case = Case::with(SampleImage::nested("1")).await;
    for registry in [&case.source, &case.destination] {
        for n in [1, 2, 4, 5, 6, 8, 11, 12, 15, 17, 18, 21] {
            registry.on("", "/v2/").nth(n).then(Action::error(503, "UNAVAILABLE"));
        }
    }
    case.survives().await;
}

#[tokio::test]
async fn a_registry_that_is_down_fails_after_five_attempts() {
    let case = Case::start().await;
    case.destination.on("POST", "").then(Action::error(503, "UNAVAILABLE"));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("503 UNAVAILABLE: as scripted"), "{failure}");
    assert!(failure.contains("tried 5 times in "), "{failure}");
    assert!(
        failure.contains(&format!("{REPOSITORY}@sha256:")) && failure.contains("(destination)"),
        "{failure}"
    );
    let posts = case.destination.count("POST", "");
    let blobs = case.image.blobs.len();
    assert!(posts <= blobs * (1 + 5), "a mount and five tries for each of {blobs} blobs, not {posts}");
    case.converges().await;
}

#[tokio::test]
async fn one_job_does_not_deadlock() {
    let images =
        [("vendor/app", REPOSITORY), ("vendor/app", "mirror/second"), ("vendor/app", "mirror/third")];
    for limited in [false, true] {
        let case = Case { jobs: 1, ..Case::with(SampleImage::nested("1")).await };
        if limited {
            case.destination.on("PUT", "/blobs/uploads/").first(3).answer(too_many());
            case.source.on("GET", "/blobs/").first(3).answer(too_many());
        }
        case.run_all(&images).await.expect_success();
        for (_, repository) in images {
            case.holds_the_image(repository);
        }
        case.converges().await;
    }
}

#[tokio::test]
async fn eight_blobs_start_at_once_and_fewer_after_a_429() {
    let (case, names) = Case::with_images(12, 64).await;
    let (full, halved) = (Gate::default(), Gate::default());
    case.destination.on("PUT", "/blobs/uploads/").then(Action::Hold(halved.clone()));
    case.destination.on("PUT", "/blobs/uploads/").first(8).then(Action::HoldThen(full.clone(), too_many()));
    let names = borrowed(&names);
    let run = case.run_all(&names);
    let watch = async {
        full.reached_by(8).await;
        assert_eq!(case.destination.count("PUT", "/blobs/uploads/"), 8);
        assert_eq!(case.destination.most_at_once(), 8, "eight blobs, and nothing beside them");
        case.destination.forget_most_at_once();
        full.open();
        halved.reached_by(4).await;
        halved.open();
    };
    let (ended, ()) = tokio::join!(run, watch);
    ended.expect_success();
    let most = case.destination.most_at_once();
    assert!((4..=8).contains(&most), "{most} requests at once after it was halved");
}

#[tokio::test]
async fn concurrency_rises_at_a_registry_that_never_answers_429() {
    let (case, names) = Case::with_images(12, 64).await;
    let gate = Gate::default();
    // The first eight finish and make room for more than eight.
    case.destination.on("PUT", "/blobs/uploads/").then(Action::Hold(gate.clone()));
    case.destination.on("PUT", "/blobs/uploads/").first(8).then(Action::alter(|answer| answer));
    let names = borrowed(&names);
    let (ended, ()) = tokio::join!(case.run_all(&names), async {
        gate.reached_by(12).await;
        gate.open();
    });
    ended.expect_success();
}

#[tokio::test]
async fn more_blobs_start_at_once_at_a_registry_that_is_far_away() {
    let (mut case, names) = Case::with_images(12, 64).await;
    case.tuning = Tuning { far: FAR_AWAY, ..patient(case.tuning) };
    case.destination.delay_answers(FAR_AWAY);
    let gate = Gate::default();
    case.destination.on("PUT", "/blobs/uploads/").then(Action::Hold(gate.clone()));
    let names = borrowed(&names);
    let (ended, ()) = tokio::join!(case.run_all(&names), async {
        gate.reached_by(16).await;
        case.destination.quiet().await;
        assert_eq!(gate.reached(), 16);
        gate.open();
    });
    ended.expect_success();
}

/// How long the bytes of large blobs take.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// As little as this machine needs.
    Short,
    /// Each connection to the source is slow.
    SlowSource,
    /// The destination is far away.
    Long,
}

#[tokio::test]
async fn how_many_large_blobs_are_copied_at_once_depends_on_the_way() {
    let few = std::thread::available_parallelism().map_or(6, |processors| (processors.get() + 1).min(6));
    // A busy machine is slow too.
    for (way, images, at_once) in
        [(Way::Short, 8, few..=6), (Way::SlowSource, 8, 6..=6), (Way::Long, 14, 12..=12)]
    {
        let (mut case, names) = Case::with_images(images, 16).await;
        case.tuning = patient(case.tuning);
        if way == Way::Long {
            case.tuning.far = FAR_AWAY;
            case.destination.delay_answers(FAR_AWAY);
        }
        let gate = Gate::default();
        for (n, (from, _)) in names.iter().enumerate() {
            let image = SampleImage {
                tag: "1".to_owned(),
                ..SampleImage::with_large_layer(&format!("large-{n}"), 1_100_000 + n)
            };
            let (digest, _) = image.blobs.iter().find(|(_, bytes)| bytes.len() >= 1_048_576).unwrap();
            let (_, hash) = digest.as_str().split_once(':').unwrap();
            case.destination.on("PUT", hash).then(Action::Hold(gate.clone()));
            if way == Way::SlowSource {
                case.source.on("GET", digest.as_str()).then(Action::end(End::Paced(100_000)));
            }
            case.source.with_store(|store| store.insert(from, &image));
        }
        let names = borrowed(&names);
        let (ended, ()) = tokio::join!(case.run_all(&names), async {
            // Less than the time after which held requests are sent again.
            let reached = gate.reached_by(*at_once.start());
            let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await;
            in_time.unwrap_or_else(|_| panic!("{way:?}: only {} at once", gate.reached()));
            case.destination.quiet().await;
            assert!(at_once.contains(&gate.reached()), "{way:?}: {} at once", gate.reached());
            gate.open();
        });
        ended.expect_success();
    }
}
