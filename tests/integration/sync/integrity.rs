//! Bytes that do not match their digest are never committed; a tag never appears before its children.

use super::*;
use crate::support::scripted::{Action, Answer, End};

/// Asserts that an image whose largest blob is always served with `action` fails, and that nothing of it is visible.
async fn assert_refused(action: Action, code: i32) {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let bad = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    pair.source.on("GET", &format!("/blobs/{bad}")).then(action);
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(code);
    assert_eq!(statuses(&document(&outcome)), ["failed"]);
    let blobs = pair.destination.with_store(|store| store.repository("mirror/app").blobs.clone());
    assert!(!blobs.contains_key(bad), "the damaged blob is at the destination");
    assert_eq!(pair.tags(), [""; 0]);
    assert_eq!(pair.destination.count("PUT", "/manifests/"), 0);
    assert_eq!(lock_of(&outcome)["images"][0]["destinations"][0]["confirmed"], false);
}

#[tokio::test]
async fn a_flipped_bit_is_refused() {
    assert_refused(Action::flip_bit(10_000), 6).await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_byte_is_refused() {
    assert_refused(Action::flip_bit(19_999), 6).await;
}

#[tokio::test]
async fn a_short_body_is_refused() {
    let short = Action::alter(|answer| {
        let body = answer.body.slice(..answer.body.len() - 1);
        answer.body(body)
    });
    assert_refused(short, 6).await;
}

#[tokio::test]
async fn a_long_body_is_refused() {
    let long = Action::alter(|answer| {
        let body = [answer.body.as_ref(), b"!"].concat();
        answer.body(body)
    });
    assert_refused(long, 6).await;
}

#[tokio::test]
async fn bytes_damaged_once_are_fetched_again() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.source.on("GET", "/blobs/").nth(1).then(Action::flip_bit(5));
    pair.source.on("GET", "/blobs/").nth(2).then(Action::end(End::CutAfter(7)));
    pair.sync(&[]).run().await.expect_success();
    client::assert_present(&image, pair.destination.address(), "mirror/app").await;
}

#[tokio::test]
async fn a_manifest_that_does_not_match_its_digest_is_refused() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let child = &image.manifests[0].digest;
    pair.source.on("GET", &format!("/manifests/{child}")).then(Action::flip_bit(100));
    let outcome = pair.sync(&[]).run().await.expect_code(6);
    assert!(outcome.stderr.contains(child.as_str()), "{outcome}");
    assert_eq!(pair.writes(), 0);
}

#[tokio::test]
async fn a_destination_that_serves_wrong_bytes_is_detected() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let child = &image.manifests[0].digest;
    pair.destination.on("GET", &format!("/manifests/{child}")).then(Action::flip_bit(100));
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(6);
    assert_eq!(document(&outcome)["images"][0]["problems"][0]["kind"], "bad-manifest");
}

#[tokio::test]
async fn no_tag_appears_before_its_children_even_if_the_destination_fails() {
    let image = SampleImage::nested("1");
    for (method, path) in [("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        for nth in 1..=3 {
            let pair = ScriptedPair::with(&[("team/app", &image)]).await;
            pair.destination
                .on(method, path)
                .nth(nth)
                .then(Action::Answer(Answer::error(400, "UNSUPPORTED")));
            pair.sync(&[]).run().await.expect_code(1);
            assert_eq!(pair.tags(), [""; 0], "{method} {path} {nth}");
            pair.sync(&[]).run().await.expect_success();
            assert_eq!(pair.tag("mirror/app", "1"), Some(image.root().digest.to_string()));
        }
    }
}
