//! Signals end a stalled verification.

use super::own_layer;
use crate::support::{
    images::SampleImage,
    process::{Mirror, Running},
    scripted::{Action, End, Scripted},
};

/// A verification that waits for the rest of a blob.
async fn stalled() -> (Scripted, Running) {
    let web = SampleImage::multi_platform("web");
    let registry = Scripted::start().await;
    for repository in ["vendor/web", "mirror/web"] {
        registry.with_store(|store| store.insert(repository, &web));
    }
    registry.on("GET", own_layer(&web).as_str()).then(Action::end(End::StallAfter(1000)));
    let to = format!("{}/mirror", registry.address().host_port);
    let reference = registry.address().image("vendor/web", "web");
    let running = Mirror::new(["verify", "--level", "bytes", "--to", &to, &reference]).start();
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

#[tokio::test]
async fn a_command_that_copies_nothing_mentions_no_tags_bug() {
    let (_registry, running) = stalled().await;
    running.terminate();
    let outcome = running.outcome().await.expect_code(143);
    assert!(!outcome.stderr.contains("tagged"), "{outcome}");
}
