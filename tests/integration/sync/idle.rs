//! A second run with nothing to do: it reads little and writes nothing.

use super::*;

#[tokio::test]
async fn an_idle_run_makes_one_request_to_the_source_and_only_reads_the_destination() {
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
    let pair = RealPair::with(&[("team/app", &app), ("team/web", &web)]).await;
    let first = pair.sync(&[]).run().await.expect_success();
    let lock = std::fs::read(lock_path(&first)).unwrap();
    pair.forget_requests().await;

    let second = pair.sync(&["--output", "json"]).in_folder(&first.folder()).run().await.expect_success();
    let document = document(&second);
    assert_eq!(statuses(&document), ["up-to-date", "up-to-date"]);
    assert_eq!(document["totals"]["bytes"]["copied"], 0);
    assert_eq!(document["totals"]["bytes"]["present"], app.blob_bytes() + web.blob_bytes());

    // Signatures may have appeared since the last run. Asking for them reads no image.
    let mut asked = pair.source.requests().await;
    let about_attached = |path: &str| {
        ["/referrers/", "/tags/list", "/manifests/sha256-"].iter().any(|part| path.contains(part))
    };
    asked.retain(|request| !about_attached(&request.path));
    let heads =
        asked.iter().filter(|request| request.method == "HEAD" && request.path.contains("/manifests/"));
    assert_eq!(heads.count(), 2, "{asked:?}");
    assert!(asked.iter().all(|request| request.method == "HEAD" || request.path == "/v2/"), "{asked:?}");

    let asked = pair.destination.requests().await;
    assert!(asked.iter().all(|request| !is_write(&request.method)), "{asked:?}");
    assert_eq!(pair.destination.count("GET", "/manifests/").await, app.manifests.len() + web.manifests.len());
    assert!(asked.iter().all(|request| !request.path.contains("/blobs/")), "{asked:?}");

    assert!(std::fs::read(lock_path(&first)).unwrap() == lock, "the lock changed");
}

#[tokio::test]
async fn an_idle_run_that_checks_blobs_requests_each_once() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.sync(&[]).run().await.expect_success();
    let (reads, writes) = (pair.source.count("GET", "/blobs/"), pair.writes());
    let looks = pair.destination.count("HEAD", "/blobs/");

    pair.sync(&["--check", "blobs"]).run().await.expect_success();
    assert_eq!(pair.destination.count("HEAD", "/blobs/"), looks + image.blobs.len());
    assert_eq!(pair.source.count("GET", "/blobs/"), reads);
    assert_eq!(pair.writes(), writes);
}

#[tokio::test]
async fn an_image_pinned_by_digest_needs_no_request_to_the_source_if_present() {
    let image = SampleImage::multi_platform("1");
    let mut pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.images = vec![format!("{}@{}", pair.images[0], image.root().digest)];
    pair.sync(&["--referrers", "none"]).run().await.expect_success();
    let asked = pair.source.requests().len();
    pair.sync(&["--referrers", "none"]).run().await.expect_success();
    assert_eq!(pair.source.requests().len(), asked);
}

#[tokio::test]
async fn the_first_run_reads_and_writes_everything_once() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.sync(&[]).run().await.expect_success();
    let (blobs, manifests) = (image.blobs.len(), image.manifests.len());
    assert_eq!(pair.source.count("GET", "/blobs/"), blobs);
    assert_eq!(pair.source.count("GET", "/manifests/"), manifests);
    assert_eq!(pair.source.count("HEAD", "/"), 0);
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), blobs);
    assert_eq!(pair.destination.count("PUT", "/manifests/"), manifests);
    // Once to see that nothing is there, and the complete image to confirm it.
    assert_eq!(pair.destination.count("GET", "/manifests/"), 1 + manifests);
}
