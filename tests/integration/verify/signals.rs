//! Signals end a stalled verification.

use super::own_layer;
use crate::support::{
    images::SampleImage,
    process::{Mirror, Running},
    scripted::{Action, End, Scripted},
};

/// A verification that waits for the rest of a blob.
async fn stalled() -> (Scripted, Running) {
    stalled_as(|run| run).await
}

async fn stalled_as(change: impl FnOnce(Mirror) -> Mirror) -> (Scripted, Running) {
    let web = SampleImage::multi_platform("web");
    let registry = Scripted::start().await;
    for repository in ["vendor/web", "mirror/web"] {
        registry.with_store(|store| store.insert(repository, &web));
    }
    registry.on("GET", own_layer(&web).as_str()).then(Action::end(End::StallAfter(1000)));
    let to = format!("{}/mirror", registry.address().host_port);
    let reference = registry.address().image("vendor/web", "web");
    let running = change(Mirror::new(["verify", "--level", "bytes", "--to", &to, &reference])).start();
    registry.wait_for(1, "GET", own_layer(&web).as_str()).await;
    (registry, running)
}

#[tokio::test]
async fn sigint_ends_it_immediately() {
    let (_registry, running) = stalled().await;
    running.interrupt();
    let outcome = running.outcome().await.expect_code(130);
    assert!(outcome.stderr.contains("error: interrupted"), "{outcome}");
}

#[tokio::test]
async fn sigterm_ends_it_immediately() {
    let (_registry, running) = stalled().await;
    running.terminate();
    let _ = running.outcome().await.expect_code(143);
}

/// A shell without job control starts `program &` like this, so that Ctrl-C ends only what runs in the foreground.
#[tokio::test]
async fn signals_that_were_ignored_from_the_start_stay_ignored_bug() {
    let (_registry, running) = stalled_as(|run| run.ignoring("INT QUIT")).await;
    running.interrupt();
    running.quit();
    running.terminate();
    // The others would have ended it before.
    let _ = running.outcome().await.expect_code(143);
}

#[tokio::test]
async fn a_command_that_copies_nothing_mentions_no_tags_bug() {
    let (_registry, running) = stalled().await;
    running.terminate();
    let outcome = running.outcome().await.expect_code(143);
    assert!(!outcome.stderr.contains("tagged"), "{outcome}");
}
