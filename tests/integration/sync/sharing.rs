//! A blob is read and sent once, however many images share it.

use std::collections::BTreeSet;

use super::*;
use crate::support::scripted::{Action, Answer};

/// How many blobs a CNCF registry linked from another of its repositories. A mount from a repository into itself only
/// checks whether the blob is present.
async fn mounted(registry: &Registry) -> usize {
    let requests = registry.requests().await;
    let links = requests.iter().filter(|request| {
        let (path, query) = request.path.split_once('?').unwrap_or_default();
        let from = query.split_once("from=").map(|(_, from)| from.replace("%2F", "/"));
        let itself = path.strip_prefix("/v2/").and_then(|path| path.strip_suffix("/blobs/uploads/"));
        request.method == "POST" && request.status == 201 && from.as_deref() != itself
    });
    links.count()
}

#[tokio::test]
async fn shared_blobs_are_read_once_and_mounted() {
    let images = ["a", "b", "c"].map(SampleImage::multi_platform);
    let pair =
        RealPair::with(&[("team/a", &images[0]), ("team/b", &images[1]), ("team/c", &images[2])]).await;
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();

    let distinct: BTreeSet<_> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    for digest in &distinct {
        assert_eq!(pair.source.count("GET", &format!("/blobs/{digest}")).await, 1, "{digest}");
    }
    let all: usize = images.iter().map(|image| image.blobs.len()).sum();
    let shared = all - distinct.len();
    assert_eq!(shared, 4, "two base layers, each in two images more");
    assert_eq!(mounted(&pair.destination).await, shared);
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/").await, distinct.len());
    let document = document(&outcome);
    let base_bytes = 20_000;
    assert_eq!(document["totals"]["bytes"]["mounted"], shared * base_bytes);
    for (name, image) in ["a", "b", "c"].iter().zip(&images) {
        client::assert_present(image, pair.destination.address(), &format!("mirror/{name}")).await;
    }
}

#[tokio::test]
async fn two_tags_of_one_repository_share_blobs_without_a_second_request() {
    let (one, two) = (SampleImage::multi_platform("1"), SampleImage::multi_platform("2"));
    let pair = ScriptedPair::with(&[("team/app", &one), ("team/app", &two)]).await;
    pair.sync(&[]).run().await.expect_success();
    let distinct: BTreeSet<_> = one.blobs.keys().chain(two.blobs.keys()).collect();
    assert_eq!(pair.source.count("GET", "/blobs/"), distinct.len());
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), distinct.len());
    assert_eq!(pair.tags(), ["mirror/app:1", "mirror/app:2"]);
}

#[tokio::test]
async fn within_one_registry_blobs_are_mounted_and_not_read() {
    let image = SampleImage::multi_platform("1");
    let registry = Registry::start().await;
    client::push(&image, registry.address(), "team/app").await;
    registry.clear_requests().await;
    let from = [registry.address().image("team/app", "1")];
    let outcome =
        sync(&from, &mirror_at(registry.address()), &["--output", "json"]).run().await.expect_success();

    assert_eq!(registry.count("GET", "/blobs/").await, 0);
    assert_eq!(mounted(&registry).await, image.blobs.len());
    assert_eq!(registry.count("PUT", "/blobs/").await, 0);
    assert_eq!(document(&outcome)["totals"]["bytes"]["mounted"], image.blob_bytes());
    client::assert_present(&image, registry.address(), "mirror/app").await;
}

#[tokio::test]
async fn a_registry_that_refuses_to_mount_gets_the_bytes() {
    let images = ["a", "b"].map(SampleImage::multi_platform);
    for answer in
        [Answer::error(403, "DENIED"), Answer::error(404, "BLOB_UNKNOWN"), Answer::error(405, "UNSUPPORTED")]
    {
        let pair = ScriptedPair::with(&[("team/a", &images[0]), ("team/b", &images[1])]).await;
        let refuse = move |ours: Answer| if ours.status == 201 { answer.clone() } else { ours };
        pair.destination.on("POST", "?mount=").then(Action::alter(refuse));
        pair.sync(&[]).run().await.expect_success();
        assert_eq!(pair.tags(), ["mirror/a:a", "mirror/b:b"]);
    }
}

#[tokio::test]
async fn one_job_does_not_deadlock_on_shared_blobs() {
    let images = ["a", "b", "c", "d"].map(SampleImage::multi_platform);
    let repositories = ["team/a", "team/b", "team/c", "team/d"];
    let named: Vec<(&str, &SampleImage)> = repositories.into_iter().zip(&images).collect();
    let pair = ScriptedPair::with(&named).await;
    pair.sync(&["--jobs", "1"]).run().await.expect_success();
    assert_eq!(pair.tags().len(), 4);
}

#[tokio::test]
async fn when_the_image_that_sends_a_shared_blob_fails_another_image_sends_it() {
    let images = ["a", "b"].map(SampleImage::multi_platform);
    let pair = ScriptedPair::with(&[("team/a", &images[0]), ("team/b", &images[1])]).await;
    // Nothing can be uploaded for `a`, whichever image is elected to send the shared layers.
    pair.destination.on("POST", "/v2/mirror/a/").then(Action::error(403, "DENIED"));
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(4);
    assert_eq!(statuses(&document(&outcome)), ["failed", "copied"]);
    assert_eq!(pair.tags(), ["mirror/b:b"]);
}
