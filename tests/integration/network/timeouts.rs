//! How long a registry is waited for.

use crate::support::{
    images::SampleImage,
    process::Mirror,
    registry::Registry,
    scripted::{Action, End, Scripted},
};

async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    source
}

#[tokio::test]
async fn what_stands_still_for_the_stall_timeout_is_tried_again_and_heals() {
    let (source, mirror) = (source().await, Registry::start().await);
    source.on("GET", "/blobs/sha256:").nth(1).then(Action::end(End::StallAfter(100)));
    source.on("GET", "/blobs/sha256:").nth(2).then(Action::Stall);
    let to = &mirror.address().host_port;
    let run = Mirror::new(["sync", &source.address().image("app", "1"), "--to", to, "-v"])
        .env("THORAS_MIRROR_STALL_TIMEOUT", "1");
    let outcome = run.run().await.expect_success();
    assert!(outcome.stderr.matches("nothing moved for 1 s").count() >= 2, "{outcome}");
    assert_eq!(mirror.count("PUT", "/manifests/1").await, 1);
}

#[tokio::test]
async fn a_dead_line_is_told_with_how_long_it_was_dead_and_what_to_change() {
    let source = source().await;
    source.on("GET", "/manifests/").then(Action::Stall);
    let image = source.address().image("app", "1");
    let outcome = Mirror::new(["inspect", &image, "--stall-timeout", "1"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("tried 5 times in "), "{outcome}");
    assert!(outcome.stderr.contains("because nothing moved for 1 s\nhint: check "), "{outcome}");
    assert!(outcome.stderr.contains("--stall-timeout SECONDS"), "{outcome}");
}
