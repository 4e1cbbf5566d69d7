//! One failing image does not stop the others, and the exit code gives the kind of failure.

use super::*;
use crate::support::scripted::{Action, Gate};

/// Three images, `a`, `b` and `c`.
async fn three() -> ScriptedPair {
    let images = ["a", "b", "c"].map(SampleImage::multi_platform);
    ScriptedPair::with(&[("team/a", &images[0]), ("team/b", &images[1]), ("team/c", &images[2])]).await
}

/// Asserts the exit code, and that `c` is copied, when `a` and `b` fail in these ways.
async fn exit_code(a: Action, b: Action) -> i32 {
    let pair = three().await;
    pair.source.on("GET", "/v2/team/a/manifests/").then(a);
    pair.source.on("GET", "/v2/team/b/manifests/sha256:").then(b);
    let outcome = pair.sync(&["--output", "json"]).run().await;
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["failed", "failed", "copied"]);
    assert_eq!(pair.tags(), ["mirror/c:c"]);
    assert_eq!(document["totals"]["failed"], 2);
    outcome.status.code().unwrap()
}

#[tokio::test]
async fn missing_images_exit_with_1() {
    assert_eq!(
        exit_code(Action::error(404, "MANIFEST_UNKNOWN"), Action::error(404, "MANIFEST_UNKNOWN")).await,
        1
    );
}

#[tokio::test]
async fn refused_credentials_exit_with_4() {
    assert_eq!(exit_code(Action::error(403, "DENIED"), Action::error(403, "DENIED")).await, 4);
}

#[tokio::test]
async fn damaged_manifests_exit_with_6() {
    let flipped = || Action::flip_bit(100);
    let pair = three().await;
    pair.source.on("GET", "/manifests/sha256:").then(flipped());
    pair.sync(&[]).run().await.expect_code(6);
}

#[tokio::test]
async fn failures_of_several_kinds_exit_with_1() {
    assert_eq!(exit_code(Action::error(403, "DENIED"), Action::flip_bit(100)).await, 1);
}

#[tokio::test]
async fn an_unreadable_list_exits_with_3() {
    let pair = three().await;
    let to = mirror_at(pair.destination.address());
    let outcome = sync(&[], &to, &["--images", "nowhere.txt"]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("nowhere.txt"), "{outcome}");
}

#[tokio::test]
async fn a_list_without_images_is_an_error() {
    let pair = three().await;
    let to = mirror_at(pair.destination.address());
    let run = sync(&[], &to, &["--images", "-"]).stdin("# nothing\n\n");
    let outcome = run.run().await.expect_code(3);
    assert!(outcome.stderr.contains("no image"), "{outcome}");
}

#[tokio::test]
async fn a_password_and_a_list_cannot_both_come_from_standard_input() {
    let pair = three().await;
    let to = mirror_at(pair.destination.address());
    let more = ["--images", "-", "--to-username", "u", "--to-password-stdin"];
    let outcome = sync(&[], &to, &more).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--images -, --to-password-stdin"), "{outcome}");
}

#[tokio::test]
async fn fail_fast_starts_nothing_after_the_first_failure() {
    let pair = three().await;
    pair.source.on("GET", "/v2/team/a/manifests/").then(Action::error(404, "MANIFEST_UNKNOWN"));
    let gate = Gate::default();
    for other in ["b", "c"] {
        pair.source
            .on("GET", &format!("/v2/team/{other}/manifests/{other}"))
            .then(Action::Hold(gate.clone()));
    }
    let run = pair.sync(&["--fail-fast", "--output", "json"]).start();
    gate.reached_by(2).await;
    run.stderr_line("FAILED").await;
    gate.open();
    let outcome = run.outcome().await.expect_code(1);
    assert_eq!(statuses(&document(&outcome)), ["failed", "skipped", "skipped"]);
    assert_eq!(pair.writes(), 0);
    let lock = lock_of(&outcome);
    assert!(
        lock["images"].as_array().unwrap().iter().all(|image| image["destinations"][0]["confirmed"] == false)
    );
}

#[tokio::test]
async fn repositories_that_must_be_created_first_are_listed_once_ready_to_copy() {
    let pair = three().await;
    for missing in ["/v2/mirror/a/", "/v2/mirror/c/"] {
        pair.destination.on("POST", missing).then(Action::error(404, "NAME_UNKNOWN"));
    }
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(1);
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["failed", "copied", "failed"]);
    let to = mirror_at(pair.destination.address());
    let lines = format!("create them, then run this again:\n{to}/a\n{to}/c");
    assert_eq!(document["failures"].as_array().unwrap().len(), 1, "{outcome}");
    assert_eq!(document["failures"][0]["message"], "2 repositories do not exist at the destination");
    assert!(document["failures"][0]["hint"].as_str().unwrap().ends_with(&lines), "{outcome}");
    let shown = outcome.stderr.split("error: 2 repositories do not exist").nth(1).unwrap();
    assert!(shown.contains(&format!("\n    {to}/a\n    {to}/c")), "{outcome}");
}

/// The blobs of an image whose manifest is refused are at the destination, and a later run need not copy them again.
/// For an image that was not planned, nothing is counted.
#[tokio::test]
async fn a_failed_image_counts_the_bytes_committed_at_the_destination() {
    let pair = three().await;
    let a = SampleImage::multi_platform("a");
    pair.destination.on("PUT", "/v2/mirror/a/manifests/").then(Action::error(403, "DENIED"));
    pair.source.on("GET", "/v2/team/b/manifests/").then(Action::error(404, "MANIFEST_UNKNOWN"));
    // The layers that `c` shares with `a` are already present; otherwise either image could copy them.
    pair.destination.with_store(|store| store.insert("mirror/c", &SampleImage::multi_platform("c")));
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_code(1);
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["failed", "failed", "up-to-date"]);
    let bytes = |at: usize| &document["images"][at]["bytes"];
    let moved = |at: usize| bytes(at)["copied"].as_u64().unwrap() + bytes(at)["mounted"].as_u64().unwrap();
    let committed = pair.destination.with_store(|store| {
        store.repository("mirror/a").blobs.values().map(|blob| blob.len() as u64).sum::<u64>()
    });
    assert_eq!((moved(0), committed), (a.blob_bytes(), a.blob_bytes()), "{outcome}");
    assert_eq!(bytes(1), &serde_json::json!({ "copied": 0, "mounted": 0, "present": 0 }), "{outcome}");
    assert_eq!(moved(2), 0, "{outcome}");
    assert_eq!(document["totals"]["bytes"]["copied"].as_u64(), bytes(0)["copied"].as_u64(), "{outcome}");
}
