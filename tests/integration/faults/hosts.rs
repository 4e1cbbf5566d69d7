//! Redirects and other hosts: uploads are redirected within a registry, and errors name the host where they happened.

use super::{Case, requests};
use crate::support::{
    ClosedPort,
    images::SampleImage,
    scripted::{Action, Answer, Recorded, Scripted},
};

const UPLOADS: &str = "/blobs/uploads/";

/// Redirects a request once, to itself with one more parameter.
fn elsewhere(status: u16) -> impl Fn(&Recorded) -> Option<Answer> {
    move |request| {
        let joint = if request.path.contains('?') { '&' } else { '?' };
        let target = format!("{}{joint}moved=1", request.path);
        (!request.path.contains("moved=1")).then(|| Answer::status(status).header("location", &target))
    }
}

#[tokio::test]
async fn writing_requests_are_redirected_within_the_registry() {
    for status in [307, 308] {
        for (method, path) in [("POST", UPLOADS), ("PUT", "/manifests/"), ("PUT", UPLOADS), ("", "/v2/")] {
            let case = Case::with(SampleImage::nested("1")).await;
            case.destination.on(method, path).then(Action::decide(elsewhere(status)));
            case.run().await.expect_success();
            let moved = requests(&case.destination, method, "moved=1");
            assert!(!moved.is_empty(), "{method} {path} {status}");
            case.converges().await;
        }
    }
}

/// A server in front of a registry may read a whole body before it redirects.
#[tokio::test]
async fn an_upload_that_is_redirected_after_its_body_is_sent_again() {
    let case = Case::with(SampleImage::nested("1")).await;
    case.destination.on("PUT", UPLOADS).then(Action::decide_after_body(elsewhere(307)));
    case.run().await.expect_success();
    let (sent, moved) =
        (requests(&case.destination, "PUT", UPLOADS), requests(&case.destination, "PUT", "moved=1"));
    assert_eq!(moved.iter().filter(|request| request.path.contains(UPLOADS)).count() * 2, sent.len());
    case.converges().await;
}

#[tokio::test]
async fn chunks_are_redirected_as_well() {
    let case = Case::resumable().await;
    case.destination.on("PUT", UPLOADS).then(Action::decide(|request| {
        let length: usize = request.header("content-length")?.parse().ok()?;
        (length > 0).then(|| Answer::status(413))
    }));
    case.destination.on("PATCH", UPLOADS).then(Action::decide(elsewhere(307)));
    case.run().await.expect_success();
    assert!(case.destination.count("PATCH", "moved=1") > 0);
    case.converges().await;
}

#[tokio::test]
async fn a_chunk_that_is_redirected_after_its_body_is_copied_completely() {
    let case = Case::resumable().await;
    case.destination.on("PUT", UPLOADS).then(Action::decide(|request| {
        let length: usize = request.header("content-length")?.parse().ok()?;
        (length > 0).then(|| Answer::status(413))
    }));
    case.destination.on("PATCH", UPLOADS).nth(1).then(Action::decide_after_body(elsewhere(307)));
    case.run().await.expect_success();
    assert!(case.destination.count("PATCH", UPLOADS) > 1);
    case.converges().await;
}

#[tokio::test]
async fn a_body_is_not_redirected_to_another_host() {
    for (method, path) in [("POST", UPLOADS), ("PUT", "/manifests/"), ("PUT", UPLOADS)] {
        let (case, other) = (Case::start().await, Scripted::start().await);
        let target = format!("{}/v2/stolen", other.address().url());
        case.destination.on(method, path).then(Action::redirect(&target));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains(&format!("it redirects a {method} to another host: {target}")), "{failure}");
        assert!(other.requests().is_empty());
        case.converges().await;
    }
}

#[tokio::test]
async fn a_redirect_that_changes_the_method_of_a_write_is_refused() {
    let case = Case::start().await;
    let answer = Answer::status(302).header("location", "/v2/x");
    case.destination.on("PUT", "/manifests/").answer(answer);
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("it redirects a PUT with status 302"), "{failure}");
    case.converges().await;
}

#[tokio::test]
async fn errors_name_the_host_to_which_a_download_was_redirected() {
    let port = ClosedPort::new();
    let closed = &port.host_port;
    let storage = Scripted::start().await;
    storage.on("GET", "").then(Action::error(403, "AccessDenied"));
    let answering = storage.address().host_port.clone();
    for (host, expected) in [
        (closed, format!("{closed}, to which the registry redirects: no connection")),
        (&answering, format!("{answering}, to which the registry redirects, answered 403 AccessDenied")),
    ] {
        let case = Case::start().await;
        case.source.on("GET", "/blobs/").then(Action::redirect(&format!("http://{host}/blob?sig=5ecret")));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains(&expected), "{failure}");
        let hint = failure.lines().last().unwrap();
        assert!(hint.contains(host.as_str()), "the hint names it as well: {failure}");
        case.converges().await;
    }
}

#[tokio::test]
async fn errors_name_the_host_of_an_upload_session() {
    let port = ClosedPort::new();
    let closed = &port.host_port;
    let case = Case::start().await;
    let location = format!("http://{closed}/upload?sig=5ecret");
    case.destination.on("POST", UPLOADS).then(Action::header("location", &location));
    let failure = case.run().await.expect_failure();
    assert!(
        failure.contains(&format!("{closed}, to which the registry redirects: no connection")),
        "{failure}"
    );
    case.converges().await;
}

#[tokio::test]
async fn a_storage_host_that_throttles_is_waited_for() {
    let (case, storage) = (Case::start().await, Scripted::start().await);
    storage.with_store(|store| store.insert("vendor/app", &case.image));
    let base = storage.address().url();
    case.source.on("GET", "/blobs/").then(Action::decide(move |request| {
        Some(Answer::status(307).header("location", &format!("{base}{}", request.path)))
    }));
    storage.on("GET", "/blobs/").first(4).then(Action::error(503, "SlowDown"));
    case.run().await.expect_success();
    case.converges().await;
}

/// Neither HEAD nor GET tells whether a blob exists.
#[tokio::test]
async fn an_existence_check_that_is_not_supported_does_not_stop_an_upload() {
    for status in [400, 405, 501] {
        let case = Case::with(SampleImage::multi_platform("1")).await;
        // Not a registry like distribution, which is not asked.
        case.destination.on("POST", UPLOADS).then(Action::alter(|mut answer| {
            let location = answer.headers.remove("location").unwrap();
            let location = location.to_str().unwrap().split('?').next().unwrap().to_owned();
            answer.header("location", &location)
        }));
        case.destination.on("HEAD", "/blobs/").then(Action::error(status, "UNSUPPORTED"));
        case.survives().await;
        for method in ["HEAD", "GET"] {
            case.destination.on(method, "/blobs/").then(Action::error(status, "UNSUPPORTED"));
        }
        case.destination.with_store(|store| store.repositories.clear());
        case.run().await.expect_success();
    }
}
