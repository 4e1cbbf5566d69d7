//! Ctrl-C and SIGTERM: the run stops immediately, says what to do, and leaves no incomplete image tagged.

use super::*;
use crate::support::{
    process::Running,
    scripted::{Action, Gate},
    strace::Strace,
};

/// A run that waits for a blob that never arrives.
async fn stalled_sync(more: &[&str]) -> (ScriptedPair, Running, Gate) {
    stalled_run(|pair| pair.sync(more)).await
}

async fn stalled_run(run: impl FnOnce(&ScriptedPair) -> Mirror) -> (ScriptedPair, Running, Gate) {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let gate = Gate::default();
    pair.source.on("GET", "/blobs/").nth(2).then(Action::Hold(gate.clone()));
    let running = run(&pair).start();
    gate.reached_by(1).await;
    (pair, running, gate)
}

#[tokio::test]
async fn an_interrupt_exits_with_130_and_a_second_run_finishes() {
    let (pair, running, gate) = stalled_sync(&[]).await;
    running.interrupt();
    let outcome = running.outcome().await.expect_code(130);
    assert!(outcome.stderr.contains("error: interrupted"), "{outcome}");
    assert!(outcome.stderr.contains("hint: ") && outcome.stderr.contains("again"), "{outcome}");
    assert_eq!(pair.tags(), [""; 0]);
    assert_eq!(std::fs::read_dir(outcome.folder()).unwrap().count(), 0, "half a lock is left behind");
    gate.open();

    pair.sync(&[]).run().await.expect_success();
    assert_eq!(pair.tags(), ["mirror/app:1"]);
}

#[tokio::test]
async fn sigterm_exits_with_143() {
    let (pair, running, _gate) = stalled_sync(&[]).await;
    running.terminate();
    running.outcome().await.expect_code(143);
    assert_eq!(pair.tags(), [""; 0]);
}

#[tokio::test]
async fn a_closed_terminal_and_ctrl_backslash_end_a_run_in_order_bug() {
    for (send, code) in [(Running::hang_up as fn(&Running), 129), (Running::quit, 131)] {
        let (pair, running, _gate) = stalled_sync(&[]).await;
        send(&running);
        let outcome = running.outcome().await.expect_code(code);
        assert!(outcome.stderr.contains("error: interrupted"), "{outcome}");
        assert_eq!(pair.tags(), [""; 0]);
    }
}

/// A shell without job control starts `program &` like this, so that Ctrl-C ends only what runs in the foreground.
#[tokio::test]
async fn signals_that_were_ignored_from_the_start_stay_ignored_bug() {
    let (pair, running, gate) = stalled_run(|pair| pair.sync(&[]).ignoring("HUP INT QUIT")).await;
    for send in [Running::hang_up as fn(&Running), Running::interrupt, Running::quit] {
        send(&running);
    }
    gate.open();
    let _ = running.outcome().await.expect_success();
    assert_eq!(pair.tags(), ["mirror/app:1"]);
}

#[tokio::test]
async fn an_interrupted_run_prints_a_document_too() {
    let (_pair, running, _gate) = stalled_sync(&["--output", "json"]).await;
    running.interrupt();
    let outcome = running.outcome().await.expect_code(130);
    assert_eq!(document(&outcome)["failures"][0]["kind"], "interrupted");
}

#[tokio::test]
async fn the_lock_of_an_earlier_run_survives_an_interrupt() {
    let image = SampleImage::multi_platform("1");
    let mut pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let first = pair.sync(&[]).run().await.expect_success();
    let lock = std::fs::read(lock_path(&first)).unwrap();

    pair.add("team/other", &SampleImage::multi_platform("2"));
    pair.source.on("GET", "/v2/team/other/").then(Action::Stall);
    let running = pair.sync(&[]).in_folder(&first.folder()).start();
    pair.source.wait_for(1, "GET", "/v2/team/other/").await;
    running.interrupt();
    running.outcome().await.expect_code(130);
    assert!(std::fs::read(lock_path(&first)).unwrap() == lock);
}

#[tokio::test]
async fn the_ignored_signals_are_read_once_bug() {
    let strace = Strace::new();
    let job = Mirror::new(["images", "--images", "-"]).stdin(*b"a.example/x:1\n");
    job.traced_by(&strace).run().await.expect_success();
    let calls = strace.trace().await.calls;
    let status = r#""/proc/self/status""#.to_owned();
    assert_eq!(calls.iter().filter(|call| call.arguments.contains(&status)).count(), 1);
}
