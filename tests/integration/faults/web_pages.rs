//! Login pages, proxies and other servers that answer in place of a registry.

use super::Case;
use crate::support::scripted::{Action, Answer};

const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>";

fn page(content_type: &str) -> Answer {
    Answer::status(200).header("content-type", content_type).body(PAGE)
}

#[tokio::test]
async fn a_web_page_is_named_as_one() {
    for (method, path) in [
        ("GET", "/manifests/"),
        ("", "/v2/"),
        ("PUT", "/manifests/"),
        ("POST", "/blobs/uploads/"),
        ("PUT", "/blobs/uploads/"),
    ] {
        let case = Case::start().await;
        case.destination.on(method, path).answer(page("text/html; charset=utf-8"));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains("the response is a web page"), "{method} {path}: {failure}");
        assert!(failure.contains("captive portal"), "{method} {path}: {failure}");
        assert!(!failure.contains("tried"), "a retry does not help: {failure}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_web_page_is_recognized_whatever_its_type() {
    for content_type in ["application/json", "application/octet-stream", "text/plain"] {
        let case = Case::start().await;
        case.source.on("GET", "/manifests/").answer(page(content_type));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains("the response is a web page"), "{content_type}: {failure}");
    }
}

#[tokio::test]
async fn a_web_page_instead_of_a_blob_is_named_as_one() {
    let case = Case::start().await;
    case.source.on("GET", "/blobs/").answer(page("text/html"));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("the response is a web page"), "{failure}");
    case.converges().await;
}

#[tokio::test]
async fn a_manifest_that_is_not_json_is_described_in_words() {
    for (body, expected) in [
        ("Service temporarily moved", "invalid manifest: it is not JSON"),
        ("", "invalid manifest: it is empty"),
        (r#"{"schemaVersion":2,"config":{}"#, "invalid manifest: it ends in the middle of its JSON"),
        (r#"{"schemaVersion":2,"layers":[]}"#, "invalid manifest: the field `config` is missing"),
    ] {
        let case = Case::start().await;
        let media_type = &case.image.root().media_type;
        let answer = Answer::status(200).header("content-type", media_type).body(body);
        case.source.on("GET", "/manifests/").answer(answer);
        let failure = case.run().await.expect_failure();
        assert!(failure.contains(expected), "{failure}");
        assert!(!failure.contains("serde") && !failure.contains("line 1"), "{failure}");
    }
}

/// Wi-Fi networks redirect the first request to their login page, usually over http.
#[tokio::test]
async fn a_redirect_to_a_login_page_is_named_as_one() {
    let case = Case::start().await;
    let portal = crate::support::scripted::Scripted::start().await;
    portal.on("GET", "/login").answer(page("text/html"));
    let target = format!("{}/login", portal.address().url());
    case.source.on("GET", "/manifests/").then(Action::redirect(&target));
    let failure = case.run().await.expect_failure();
    let host = &portal.address().host_port;
    let expected = format!("{host}, to which the registry redirects: the response is a web page");
    assert!(failure.contains(&expected), "{failure}");
}
