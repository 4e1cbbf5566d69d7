//! Registries that have too much to do.

use std::time::{Duration, Instant};

use thoras_mirror::event::Event;

use super::{Case, REPOSITORY};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer, Gate},
};

fn too_many() -> Answer {
    Answer::error(429, "TOOMANYREQUESTS")
}

/// When each request arrived, counted from the first.
fn arrivals(case: &Case) -> Vec<(String, Duration)> {
    let requests = case.destination.requests();
    let first: Instant = requests[0].at;
    requests
        .iter()
        .map(|request| (format!("{} {}", request.method, request.path), request.at - first))
        .collect()
}

#[tokio::test]
async fn a_429_with_seconds_a_date_or_nothing_is_waited_out() {
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

/// RFC 9110's preferred form, written by the library that the product reads it with.
fn httpdate(time: std::time::SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

#[tokio::test]
async fn a_pause_that_the_registry_asks_for_is_kept_by_all_requests_to_it() {
    let images =
        [("vendor/app", REPOSITORY), ("vendor/app", "mirror/second"), ("vendor/app", "mirror/third")];
    let case = Case::start().await;
    case.destination
        .on("POST", "mirror/second/blobs/uploads/")
        .nth(1)
        .answer(too_many().header("retry-after", "1"));
    let ended = case.run_all(&images).await.expect_success();
    let arrivals = arrivals(&case);
    let refused =
        arrivals.iter().find(|(request, _)| request.starts_with("POST /v2/mirror/second/")).unwrap().1;
    // Those that were on their way when the answer was written had not heard of it.
    let during: Vec<_> = arrivals
        .iter()
        .filter(|(_, at)| {
            *at > refused + Duration::from_millis(300) && *at < refused + Duration::from_millis(950)
        })
        .collect();
    assert!(during.is_empty(), "{during:?}");
    let pauses = ended
        .events
        .iter()
        .filter(|event| matches!(event, Event::Retrying { pause, .. } if *pause == Duration::from_secs(1)));
    assert_eq!(pauses.count(), 1);
    case.converges().await;
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
async fn a_registry_that_is_down_is_given_up_after_five_tries() {
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
async fn one_job_does_not_wait_for_itself() {
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

/// Twelve images of two blobs each that nobody else has.
async fn many_blobs() -> (Case, Vec<(String, String)>) {
    let case = Case { jobs: 64, ..Case::start().await };
    let names: Vec<(String, String)> =
        (0..12).map(|n| (format!("vendor/app{n}"), format!("mirror/app{n}"))).collect();
    for (n, (from, _)) in names.iter().enumerate() {
        let image = SampleImage {
            tag: "1".to_owned(),
            ..SampleImage::single_platform(&format!("image-{n}"), "amd64")
        };
        case.source.with_store(|store| store.insert(from, &image));
    }
    (case, names)
}

fn borrowed(names: &[(String, String)]) -> Vec<(&str, &str)> {
    names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect()
}

#[tokio::test]
async fn blobs_begin_eight_at_once_and_fewer_after_a_429() {
    let (case, names) = many_blobs().await;
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
async fn a_registry_that_never_complains_gets_more_at_once() {
    let (case, names) = many_blobs().await;
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
