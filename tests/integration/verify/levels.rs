//! What each level detects, and its requests: a level does not report what it cannot detect.

use super::{Site, mirrored, own_layer, problem_kinds};
use crate::support::images::SampleImage;

#[tokio::test]
async fn a_level_does_not_report_damage_that_it_cannot_detect() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    site.mirror.storage().corrupt_data(&own_layer(&image));
    for (level, problems) in [("platforms", &[] as &[&str]), ("blobs", &[]), ("bytes", &["corrupt-blob"])] {
        let (code, document) = site.verify_json(level).await;
        assert_eq!(problem_kinds(&document, &image), problems, "{level}");
        assert_eq!(code, Some(if problems.is_empty() { 0 } else { 5 }), "{level}");
    }

    site.mirror.storage().unlink_blob(&mirrored(&image), &own_layer(&image));
    for (level, code) in [("platforms", 0), ("blobs", 5), ("bytes", 5)] {
        assert_eq!(site.verify_json(level).await.0, Some(code), "{level}");
    }

    site.mirror.storage().delete_manifest(&mirrored(&image), &image.manifests[1].digest);
    assert_eq!(site.verify_json("platforms").await.0, Some(5));
}

#[tokio::test]
async fn present_bytes_count_only_blobs_that_were_checked_and_found() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    let all = image.blob_bytes();
    for (level, present) in [("platforms", 0), ("blobs", all), ("bytes", all)] {
        let (_, document) = site.verify_json(level).await;
        assert_eq!(document["images"][0]["bytes"]["present"], present, "{level}");
        assert_eq!(document["totals"]["bytes"]["present"], present, "{level}");
    }
    let lost = own_layer(&image);
    let lost_bytes = image.blobs[&lost].len() as u64;
    site.mirror.storage().unlink_blob(&mirrored(&image), &lost);
    for level in ["blobs", "bytes"] {
        let (_, document) = site.verify_json(level).await;
        assert_eq!(document["images"][0]["bytes"]["present"], all - lost_bytes, "{level}");
    }
}

#[tokio::test]
async fn each_level_asks_for_no_more_than_it_needs() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    let blobs = image.blobs.len();
    for (level, heads, gets) in [("platforms", 0, 0), ("blobs", blobs, 0), ("bytes", 0, blobs)] {
        site.mirror.clear_requests().await;
        site.source.clear_requests().await;
        let _ = site.run(["verify", "--level", level]).await.expect_success();
        assert_eq!(site.mirror.count("HEAD", "/blobs/").await, heads, "{level}");
        assert_eq!(site.mirror.count("GET", "/blobs/").await, gets, "{level}");
        assert_eq!(site.mirror.count("GET", "/manifests/").await, image.manifests.len(), "{level}");
        assert!(site.source.requests().await.is_empty(), "a lock is enough: the source is not contacted");
        for method in ["PUT", "POST", "PATCH", "DELETE"] {
            assert_eq!(site.mirror.count(method, "").await, 0, "verify changes nothing");
        }
    }
}

#[tokio::test]
async fn the_default_level_is_blobs_and_the_environment_can_change_it() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    let outcome = site.run(["verify"]).await.expect_success();
    assert!(outcome.stdout.contains("level blobs"), "{outcome}");
    let verify = crate::support::process::Mirror::new(["verify"]).in_folder(&site.folder());
    let outcome = verify.env("THORAS_MIRROR_LEVEL", "bytes").run().await.expect_success();
    assert!(outcome.stdout.contains("level bytes"), "{outcome}");
}
