//! Registries that limit requests: every image arrives, only later.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use thoras_mirror::{
    endpoint::{
        Source,
        registry::{
            Connector, NetworkSettings,
            auth::{Credentials, Environment},
        },
    },
    event::Event,
    problem::Side,
};

use super::{Case, REPOSITORY, Recorder, borrowed, requests};
use crate::support::{
    ClosedPort,
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Answer, End},
};

/// What registries answer when there are too many requests.
fn refusals() -> Vec<Answer> {
    let exception = json!({ "__type": "com.amazonaws.ecr#ThrottlingException", "message": "Rate exceeded" });
    vec![
        Answer::error(429, "TOOMANYREQUESTS"),
        Answer::error(503, "UNAVAILABLE"),
        Answer::error(400, "ThrottlingException"),
        Answer::error(400, "TOOMANYREQUESTS"),
        Answer::error(403, "TOOMANYREQUESTS"),
        Answer::json(400, &exception),
        Answer::status(429),
    ]
}

/// Requests above a limit are refused, and the eleventh in any case: a slow machine may not reach the limit.
async fn all_thirty_arrive(method: &str, path: &str, refusal: Answer) {
    let (mut case, names) = Case::with_images(30, 16).await;
    // Several runs share the machine.
    case.tuning.stall = Duration::from_secs(30);
    let text = format!("{method} {path}: {refusal:?}");
    case.destination.on(method, path).then(Action::limit(10, refusal.clone()));
    case.destination.on(method, path).nth(11).answer(refusal);
    case.run_all(&borrowed(&names)).await.expect_success();
    let sent = case.destination.count(method, path);
    assert!((31..400).contains(&sent), "{sent} requests for {text}");
}

#[tokio::test]
async fn a_destination_that_takes_ten_manifests_a_second_receives_all_thirty_images() {
    let runs = refusals().into_iter().map(|refusal| all_thirty_arrive("PUT", "/manifests/", refusal));
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn other_limited_requests_arrive_as_well() {
    let limited = [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("GET", "/manifests/")];
    let runs = limited.map(|(method, path)| all_thirty_arrive(method, path, Answer::status(429)));
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn without_retries_a_refused_upload_is_not_sent_again_bug() {
    let case = Case::start().await;
    case.destination.on("PUT", "/blobs/uploads/").answer(Answer::status(429));
    let to = format!("{}/mirror", case.destination.address().host_port);
    let source = case.source.address().image("vendor/app", "1");
    let sync = Mirror::new(["sync", "--platform", "linux/amd64", "--retries", "0", "--to", &to, &source]);
    sync.run().await.expect_code(1);
    assert!(case.destination.count("PUT", "/blobs/uploads/") <= case.image.blobs.len());
}

#[tokio::test]
async fn a_retry_after_of_more_than_five_minutes_fails_at_once_and_names_the_time() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3 * 3600 + 60));
    for (retry_after, expected) in [("3600", "it asks to wait 1 h 0 min"), (&date, "it asks to wait 3 h ")] {
        for (method, path, status) in
            [("PUT", "/manifests/", 429), ("POST", "/blobs/uploads/", 503), ("GET", "/manifests/", 429)]
        {
            let case = Case::start().await;
            let answer = Answer::error(status, "TOOMANYREQUESTS").header("retry-after", retry_after);
            case.destination.on(method, path).answer(answer);
            let before = Instant::now();
            let failure = case.run().await.expect_failure();
            assert!(before.elapsed() < Duration::from_secs(240), "it does not wait");
            assert!(failure.contains(expected), "{failure}");
            assert!(failure.contains("run the command again after that time"), "{failure}");
            // Blobs are sent at the same time.
            let sent = case.destination.count(method, path);
            assert!(sent <= case.image.blobs.len(), "{sent} requests: none is sent again");
            case.destination.clear();
            case.converges().await;
        }
    }
}

#[tokio::test]
async fn a_blob_that_trickles_is_resumed_on_another_connection() {
    let case = Case::resumable().await;
    let (layer, bytes) = case.only_one_layer_is_missing();
    let whole = bytes.len();
    case.source.on("GET", layer.as_str()).nth(1).then(Action::end(End::TrickleAfter(whole / 2)));
    let ended = case.survives().await;
    assert!(ended.text().contains(" arrived in "), "{}", ended.text());
    case.destination.with_store(|store| assert_eq!(store.repository(REPOSITORY).blobs[&layer], bytes));
}

#[tokio::test]
async fn a_blob_that_only_trickles_fails_with_its_speed() {
    let case = Case::start().await;
    let (layer, _) = case.only_one_layer_is_missing();
    case.source.on("GET", layer.as_str()).then(Action::end(End::TrickleAfter(1)));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("only ") && failure.contains(" arrived in "), "{failure}");
    assert!(failure.contains("--stall-timeout"), "{failure}");
    let ranges = requests(&case.source, "GET", layer.as_str());
    assert!(ranges.len() > 2 && ranges[1].header("range").is_some(), "it was resumed");
}

#[tokio::test]
async fn a_manifest_that_trickles_is_read_again() {
    let case = Case::with(SampleImage::with_large_manifest("1", 5000)).await;
    case.source.on("GET", "/manifests/").nth(1).then(Action::end(End::TrickleAfter(10)));
    case.survives().await;
}

/// Forty requests to a registry that does not listen: the first finds out for all.
#[tokio::test]
async fn an_unreachable_registry_costs_its_retries_once() {
    let port = ClosedPort::new();
    let closed = port.host_port.clone();
    let recorder = std::sync::Arc::new(Recorder::default());
    // With plain http, the scheme need not be detected, as for registries on other machines.
    let settings =
        NetworkSettings { plain_http: [closed.clone()].into_iter().collect(), ..NetworkSettings::default() };
    let connector = Connector::new(settings, std::sync::Arc::<Recorder>::clone(&recorder));
    let open = |side| connector.open(side, Credentials::new(&Environment::default()));
    for side in [Side::Source, Side::Destination] {
        let registries = open(side);
        for n in 0..20 {
            let repository = format!("{closed}/team/app{n}").parse().unwrap();
            let error = registries.digest(&repository, "1").await.unwrap_err();
            assert!(error.cause.to_string().starts_with("no connection: "), "{error}: {}", error.cause);
        }
    }
    let retries =
        recorder.0.lock().unwrap().iter().filter(|event| matches!(event, Event::Retrying { .. })).count();
    assert_eq!(retries, 4, "five attempts in all");
}
