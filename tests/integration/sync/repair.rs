//! Missing content below a correct tag: which check finds it, and that it is restored.

use super::*;

/// A mirrored image in a CNCF registry.
async fn mirrored() -> (SampleImage, RealPair) {
    let image = SampleImage::multi_platform("1");
    let pair = RealPair::with(&[("team/app", &image)]).await;
    pair.sync(&[]).run().await.expect_success();
    pair.forget_requests().await;
    (image, pair)
}

#[tokio::test]
async fn a_deleted_child_manifest_is_restored() {
    let (image, pair) = mirrored().await;
    pair.destination.storage().delete_manifest("mirror/app", &image.manifests[1].digest);
    assert!(!pair.destination.storage().incomplete_tags().is_empty());

    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&outcome)), ["repaired"]);
    client::assert_present(&image, pair.destination.address(), "mirror/app").await;
    assert!(pair.destination.storage().incomplete_tags().is_empty());
    assert_eq!(pair.destination.count("PUT", "/manifests/").await, 1, "the child, and nothing else");
    assert_eq!(pair.source.count("GET", "/blobs/").await, 0, "no blob that is there is read again");

    let again = pair.sync(&["--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&again)), ["up-to-date"]);
}

#[tokio::test]
async fn a_deleted_blob_is_restored_by_a_blob_check() {
    let (image, pair) = mirrored().await;
    let (digest, bytes) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    pair.destination.storage().unlink_blob("mirror/app", digest);
    pair.destination.storage().delete_data(digest);

    let outcome = pair.sync(&["--check", "blobs", "--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["repaired"]);
    assert_eq!(document["images"][0]["bytes"]["copied"], bytes.len());
    assert_eq!(pair.source.count("GET", "/blobs/").await, 1);
    client::assert_present(&image, pair.destination.address(), "mirror/app").await;
}

#[tokio::test]
async fn the_default_check_does_not_detect_a_deleted_blob() {
    let (image, pair) = mirrored().await;
    let digest = image.blobs.keys().next().unwrap();
    pair.destination.storage().unlink_blob("mirror/app", digest);
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["up-to-date"]);
    assert_eq!(document["level"], "manifests", "the document says how deep it looked");
    assert!(!pair.destination.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn restoring_a_deleted_tag_copies_no_blob() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.sync(&[]).run().await.expect_success();
    let uploads = pair.destination.count("PUT", "/blobs/");
    pair.destination.with_store(|store| store.repository("mirror/app").tags.clear());
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&outcome)), ["copied"]);
    assert_eq!(pair.destination.count("PUT", "/blobs/"), uploads, "no byte is uploaded again");
    assert_eq!(pair.tags(), ["mirror/app:1"]);
}

#[tokio::test]
async fn a_registry_that_loses_accepted_content_is_detected() {
    use crate::support::scripted::{Action, Answer};
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let lost = &image.manifests[0].digest;
    // It accepts the child and then answers 404 to every read of it.
    pair.destination
        .on("GET", &format!("/manifests/{lost}"))
        .then(Action::Answer(Answer::error(404, "MANIFEST_UNKNOWN")));
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(1);
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["failed"]);
    assert_eq!(document["images"][0]["problems"][0]["kind"], "missing-manifest");
    assert_eq!(lock_of(&outcome)["images"][0]["destinations"][0]["confirmed"], false);
}
