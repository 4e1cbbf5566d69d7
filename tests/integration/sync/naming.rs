//! Names at the destination.

use super::*;

/// `team/app:1` and `team/deep/web:2`, pushed with these flags: the tags at the destination.
async fn tags_after(more: &[&str]) -> Vec<String> {
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::multi_platform("2"));
    let pair = ScriptedPair::with(&[("team/app", &app), ("team/deep/web", &web)]).await;
    let port = pair.source.address().host_port.rsplit_once(':').unwrap().1.to_owned();
    let more: Vec<String> = more.iter().map(|flag| flag.replace("PORT", &port)).collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    pair.sync(&more).run().await.expect_success();
    pair.tags().into_iter().map(|tag| tag.replace(&port, "PORT")).collect()
}

#[tokio::test]
async fn relative_names_keep_the_path_below_the_common_prefix() {
    assert_eq!(tags_after(&[]).await, ["mirror/app:1", "mirror/deep/web:2"]);
}

#[tokio::test]
async fn last_keeps_the_last_component() {
    assert_eq!(tags_after(&["--naming", "last"]).await, ["mirror/app:1", "mirror/web:2"]);
}

#[tokio::test]
async fn full_keeps_host_and_path() {
    let expected = ["mirror/127.0.0.1-PORT/team/app:1", "mirror/127.0.0.1-PORT/team/deep/web:2"];
    assert_eq!(tags_after(&["--naming", "full"]).await, expected);
}

#[tokio::test]
async fn a_source_prefix_is_removed_and_images_outside_it_keep_their_path() {
    let expected = ["mirror/team/app:1", "mirror/web:2"];
    assert_eq!(tags_after(&["--source-prefix", "127.0.0.1:PORT/team/deep"]).await, expected);
}

#[tokio::test]
async fn names_do_not_depend_on_filters() {
    assert_eq!(tags_after(&["--include", "*web*"]).await, ["mirror/deep/web:2"]);
    assert_eq!(tags_after(&["--exclude", "*app*"]).await, ["mirror/deep/web:2"]);
}

/// Mirrors `team/app` with this suffix (`:TAG`, `@DIGEST` or both). Returns its tags at the destination.
async fn tags_for(suffix: &str, image: &SampleImage) -> ScriptedPair {
    let mut pair = ScriptedPair::with(&[("team/app", image)]).await;
    pair.images = vec![format!("{}/team/app{suffix}", pair.source.address().host_port)];
    pair.sync(&[]).run().await.expect_success();
    pair
}

#[tokio::test]
async fn an_image_pinned_by_digest_alone_gets_a_generated_tag() {
    let image = SampleImage::multi_platform("1");
    let digest = &image.root().digest;
    let pair = tags_for(&format!("@{digest}"), &image).await;
    assert_eq!(pair.tags(), [format!("mirror/app:mirror-{}", &digest.hex()[..16])]);
    client::RepositoryClient::new(pair.destination.address(), "mirror/app")
        .await
        .manifest_by_digest(digest)
        .await
        .unwrap();
}

#[tokio::test]
async fn tag_and_digest_pull_by_digest_and_push_under_the_tag() {
    let image = SampleImage::multi_platform("1");
    let digest = &image.root().digest;
    // The source has no such tag: the digest alone is pulled.
    let pair = tags_for(&format!(":stable@{digest}"), &image).await;
    assert_eq!(pair.tags(), ["mirror/app:stable"]);
    assert_eq!(pair.tag("mirror/app", "stable"), Some(digest.to_string()));
    let asked = pair.source.requests();
    assert!(asked.iter().all(|request| !request.path.contains("/manifests/stable")), "{asked:?}");
}

#[tokio::test]
async fn a_collision_is_found_before_any_request() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("one/app", &image), ("two/app", &image)]).await;
    let outcome = pair.sync(&["--naming", "last", "--output", "json"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("mirror/app:1"), "{outcome}");
    assert!(outcome.stderr.contains("--naming full"), "{outcome}");
    assert_eq!(document(&outcome)["failures"][0]["kind"], "usage");
    assert_eq!(pair.source.requests().len() + pair.destination.requests().len(), 0);
}

#[tokio::test]
async fn a_registry_without_a_path_can_be_a_destination() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    sync(&pair.images, &pair.destination.address().host_port, &[]).run().await.expect_success();
    assert_eq!(pair.tags(), ["app:1"]);
}

/// Such a prefix was silently ignored, and images went to unexpected names.
#[tokio::test]
async fn a_source_prefix_that_matches_no_image_is_refused_bug() {
    for prefix in ["https://registry.example.com/team", "registry.example.com/a b", "/team", ""] {
        for command in [&["sync", "--images", "-", "--to", "127.0.0.1:1/x"] as &[&str], &["serve", "nowhere"]]
        {
            let run = Mirror::new(command.iter().copied()).arg("--source-prefix").arg(prefix).run().await;
            let outcome = run.expect_code(2);
            assert!(outcome.stderr.contains("--source-prefix <HOST[/PATH]>"), "{outcome}");
        }
    }
}
