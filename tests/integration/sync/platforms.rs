//! Required platforms, and waivers for missing ones.

use super::*;

/// An image for both platforms, and one for linux/amd64 alone.
async fn one_lacks_arm64() -> ScriptedPair {
    let (both, one) = (SampleImage::multi_platform("1"), SampleImage::single_platform("2", "amd64"));
    ScriptedPair::with(&[("team/both", &both), ("team/one", &one)]).await
}

#[tokio::test]
async fn an_image_without_a_required_platform_fails_and_the_others_do_not() {
    let pair = one_lacks_arm64().await;
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(1);
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["copied", "failed"]);
    let problem = &document["images"][1]["problems"][0];
    assert_eq!(problem["kind"], "missing-platform");
    assert_eq!(problem["platform"], "linux/arm64");
    assert_eq!(problem["available"], serde_json::json!(["linux/amd64"]));
    assert!(outcome.stderr.contains("linux/arm64 is missing (available: linux/amd64"), "{outcome}");
    assert_eq!(pair.tags(), ["mirror/both:1"]);
    assert_eq!(pair.source.count("GET", "/v2/team/one/blobs/"), 1, "its config, to learn its platform");
}

#[tokio::test]
async fn a_waived_platform_is_shown_everywhere() {
    for leave in ["one", "one=linux/arm64", "*/team/one:2"] {
        let pair = one_lacks_arm64().await;
        let outcome = pair.sync(&["--allow-missing-platform", leave]).run().await.expect_success();
        assert!(outcome.stdout.contains("one:2: waived linux/arm64"), "{outcome}");
        let lock = lock_of(&outcome);
        assert_eq!(lock["images"][1]["waived"], serde_json::json!(["linux/arm64"]));
        assert!(lock["images"][0].get("waived").is_none());

        let run = pair.sync(&["--output", "json"]).env("THORAS_MIRROR_ALLOW_MISSING_PLATFORM", leave);
        let outcome = run.run().await.expect_success();
        let images = &document(&outcome)["images"];
        assert_eq!(images[1]["waived"], serde_json::json!(["linux/arm64"]));
    }
}

#[tokio::test]
async fn a_waiver_for_another_image_or_platform_does_not_apply() {
    for leave in ["both", "one=linux/s390x", "on"] {
        let pair = one_lacks_arm64().await;
        pair.sync(&["--allow-missing-platform", leave]).run().await.expect_code(1);
    }
}

#[tokio::test]
async fn requested_platforms_replace_the_default() {
    let pair = one_lacks_arm64().await;
    pair.sync(&["--platform", "linux/amd64"]).run().await.expect_success();
    let both =
        pair.sync(&["--platform", "linux/amd64", "--platform", "linux/s390x"]).run().await.expect_code(1);
    assert!(both.stderr.contains("linux/s390x is missing (available: linux/amd64"), "{both}");
    let listed = pair.sync(&[]).env("THORAS_MIRROR_PLATFORM", "linux/amd64,linux/s390x").run().await;
    listed.expect_code(1);
}

#[tokio::test]
async fn every_platform_is_copied_not_only_those_required() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.sync(&["--platform", "linux/amd64"]).run().await.expect_success();
    client::assert_present(&image, pair.destination.address(), "mirror/app").await;
}

#[tokio::test]
async fn arm64_is_satisfied_by_its_variant_v8() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let outcome = pair.sync(&["--platform", "linux/arm64", "--output", "json"]).run().await.expect_success();
    assert_eq!(document(&outcome)["images"][0]["platforms"][1]["platform"], "linux/arm64/v8");
}

#[tokio::test]
async fn a_single_manifests_platform_is_read_from_its_config() {
    let image = SampleImage::single_platform("1", "arm64");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let outcome = pair.sync(&["--platform", "linux/arm64", "--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(document["images"][0]["platforms"][0]["platform"], "linux/arm64");
    assert_eq!(document["images"][0]["platforms"][0]["digest"], image.root().digest.as_str());
}

/// A misspelled pattern waives nothing, and without a warning the mistake would show only when a platform is missing.
#[tokio::test]
async fn a_waiver_that_matches_no_image_is_reported() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    let arguments = ["--allow-missing-platform", "ap=linux/arm64", "--allow-missing-platform", "app"];
    let warning = "warning: `--allow-missing-platform ap=linux/arm64` matches no image";
    let synced = pair.sync(&arguments).run().await.expect_success();
    let verify = || Mirror::new(["verify"]).arguments(arguments).in_folder(&synced.folder());
    let from_lock = verify().run().await.expect_success();
    let to = mirror_at(pair.destination.address());
    let from_source = verify().arguments(["--to", &to]).arguments(pair.images.clone()).run().await;
    for outcome in [synced, from_lock, from_source.expect_success()] {
        assert!(outcome.stderr.contains(warning), "{outcome}");
        assert_eq!(outcome.stderr.matches("matches no image").count(), 1, "{outcome}");
    }
}
