//! Destination tags that point to another digest.

use super::*;

/// A source whose tag `1` has moved on from what was mirrored: the old image and the new one.
async fn moved() -> (SampleImage, SampleImage, ScriptedPair) {
    let old = SampleImage::multi_platform("1");
    let new = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("next") };
    let pair = ScriptedPair::with(&[("team/app", &old)]).await;
    pair.sync(&[]).run().await.expect_success();
    pair.source.with_store(|store| store.insert("team/app", &new));
    (old, new, pair)
}

#[tokio::test]
async fn a_tag_that_moved_is_moved_and_reported() {
    let (old, new, pair) = moved().await;
    let outcome = pair.sync(&[]).run().await.expect_success();
    let (old, new) = (&old.root().digest, &new.root().digest);
    let host = &pair.destination.address().host_port;
    let note = format!("{host}/mirror/app:1: moved {old} -> {new}");
    assert!(outcome.stdout.contains(&note), "{outcome}");
    assert_eq!(pair.tag("mirror/app", "1"), Some(new.to_string()));
}

#[tokio::test]
async fn the_json_names_the_previous_digest_of_a_moved_tag() {
    let (old, new, pair) = moved().await;
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(document["images"][0]["movedFrom"], old.root().digest.as_str());
    assert_eq!(document["images"][0]["digest"], new.root().digest.as_str());
    assert_eq!(statuses(&document), ["copied"]);
}

#[tokio::test]
async fn no_overwrite_fails_a_moved_tag_and_changes_nothing() {
    let (old, _, pair) = moved().await;
    let writes = pair.writes();
    let outcome = pair.sync(&["--no-overwrite"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("--no-overwrite"), "{outcome}");
    assert_eq!(pair.writes(), writes);
    assert_eq!(pair.tag("mirror/app", "1"), Some(old.root().digest.to_string()));
}

#[tokio::test]
async fn no_overwrite_can_be_set_in_the_environment_with_1_or_true() {
    let (old, _, pair) = moved().await;
    for value in ["1", "true", "yes"] {
        pair.sync(&[]).env("THORAS_MIRROR_NO_OVERWRITE", value).run().await.expect_code(1);
        assert_eq!(pair.tag("mirror/app", "1"), Some(old.root().digest.to_string()));
    }
    pair.sync(&[]).env("THORAS_MIRROR_NO_OVERWRITE", "0").run().await.expect_success();
}

#[tokio::test]
async fn no_overwrite_leaves_correct_tags_alone() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    for status in ["copied", "up-to-date"] {
        let outcome = pair.sync(&["--no-overwrite", "--output", "json"]).run().await.expect_success();
        assert_eq!(statuses(&document(&outcome)), [status]);
    }
}
