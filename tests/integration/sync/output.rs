//! What is printed where, and what a dry run does not change.

use std::process::Stdio;

use tokio::process::Command;

use super::*;

async fn one_image() -> (SampleImage, ScriptedPair) {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    (image, pair)
}

#[tokio::test]
async fn a_dry_run_counts_bytes_and_writes_nothing() {
    let images = ["a", "b"].map(SampleImage::multi_platform);
    let pair = ScriptedPair::with(&[("team/a", &images[0]), ("team/b", &images[1])]).await;
    let outcome = pair.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(statuses(&document), ["planned", "planned"]);
    let (base_layers, all) = (40_000, images[0].blob_bytes() + images[1].blob_bytes());
    assert_eq!(document["totals"]["bytes"]["copied"], all - base_layers);
    assert_eq!(document["totals"]["bytes"]["mounted"], base_layers);
    assert_eq!(pair.writes(), 0);
    assert_eq!(pair.source.count("GET", "/blobs/"), 0);
    assert!(!lock_path(&outcome).exists());
}

#[tokio::test]
async fn a_dry_run_knows_which_blobs_are_present() {
    let (image, pair) = one_image().await;
    let present = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    pair.destination.with_store(|store| {
        store.repository("mirror/app").blobs.insert(present.0.clone(), present.1.clone());
    });
    let outcome = pair.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    let bytes = &document(&outcome)["totals"]["bytes"];
    assert_eq!(bytes["present"], present.1.len());
    assert_eq!(bytes["copied"], image.blob_bytes() - present.1.len() as u64);
    assert_eq!(pair.writes(), 0);
}

#[tokio::test]
async fn a_dry_run_with_nothing_to_do_says_so() {
    let (_, pair) = one_image().await;
    pair.sync(&[]).run().await.expect_success();
    let writes = pair.writes();
    let outcome = pair.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&outcome)), ["up-to-date"]);
    assert_eq!(pair.writes(), writes);
}

#[tokio::test]
async fn results_are_on_standard_output_and_everything_else_on_standard_error() {
    let (image, pair) = one_image().await;
    let outcome = pair.sync(&["-v"]).run().await.expect_success();
    assert!(outcome.stdout.starts_with("IMAGE"), "{outcome}");
    assert!(outcome.stderr.contains("2 platforms confirmed"), "{outcome}");
    assert!(outcome.stderr.contains(image.root().digest.as_str()), "{outcome}");

    let outcome = pair.sync(&["-v", "--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    assert_eq!(document["command"], "sync");
    assert_eq!(document["destination"], mirror_at(pair.destination.address()));
    assert_eq!(document["totals"]["confirmed"], 1);
}

#[tokio::test]
async fn quiet_prints_only_failures() {
    let (_, mut pair) = one_image().await;
    let outcome = pair.sync(&["-q"]).run().await.expect_success();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));

    pair.images.push(pair.source.address().image("team/none", "1"));
    let outcome = pair.sync(&["-q"]).run().await.expect_code(1);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("team/none:1"), "{outcome}");
}

#[tokio::test]
async fn a_command_that_fails_early_prints_a_document_too() {
    let (_, pair) = one_image().await;
    let to = mirror_at(pair.destination.address());
    let missing_list = ["--images", "no-such-list", "--output", "json"];
    for (outcome, code, kind) in [
        (sync(&[], &to, &missing_list).run().await, 3, "input"),
        (pair.sync(&["--output", "json", "--lock", "no/such/folder"]).run().await, 2, "usage"),
        (sync(&pair.images, "https://x.example/y", &["--output", "json"]).run().await, 2, "usage"),
        (sync(&[], &to, &["--images", "-", "--output", "json"]).run().await, 3, "input"),
    ] {
        let outcome = outcome.expect_code(code);
        let document = document(&outcome);
        assert_eq!(document["failures"][0]["kind"], kind, "{outcome}");
        assert_eq!(document["images"], serde_json::json!([]));
        assert!(outcome.stderr.starts_with("error: "), "{outcome}");
    }
    assert_eq!(pair.source.requests().len() + pair.destination.requests().len(), 0);
}

#[tokio::test]
async fn a_closed_pipe_does_not_panic() {
    let (_, pair) = one_image().await;
    for form in ["table", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_thoras-mirror"));
        command.args([
            "sync",
            &pair.images[0],
            "--to",
            &mirror_at(pair.destination.address()),
            "--output",
            form,
        ]);
        command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert!(output.status.code().is_some_and(|code| code < 100), "{:?}: {stderr}", output.status);
        assert!(folder.path().join("thoras-mirror.lock").exists());
    }
    assert_eq!(pair.tags(), ["mirror/app:1"]);
}

#[tokio::test]
async fn text_from_a_registry_is_escaped_for_the_terminal() {
    use crate::support::scripted::Answer;
    let (_, pair) = one_image().await;
    let message = "\u{1b}[2Jgone\u{7}\u{202e}\u{9b}31m";
    let body = serde_json::json!({ "errors": [{ "code": "BAD\u{1b}[1m", "message": message }] });
    pair.source.on("GET", "/manifests/").answer(Answer::json(400, &body));
    for form in ["table", "json"] {
        let outcome = pair.sync(&["-v", "--output", form]).run().await.expect_code(1);
        let printed = format!("{}{}", outcome.stdout, outcome.stderr);
        let hostile = |character: &char| {
            (character.is_control() && *character != '\n') || ('\u{202a}'..='\u{202e}').contains(character)
        };
        assert_eq!(printed.chars().find(hostile), None, "{outcome}");
        assert!(outcome.stderr.contains("gone"), "{outcome}");
    }
}
