//! What others write (locks, bundles, charts, files in the working directory) names hosts and never directs a credential
//! to them. Every request is recorded with its `Authorization`.

use std::path::Path;

use super::{assert_hidden, basic};
use crate::support::{
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::Scripted,
};

const USER: &str = "robot";
const PASSWORD: &str = "t0-pa55word";

/// A registry that requires the login of `--to`.
async fn private_registry() -> Scripted {
    let registry = Scripted::start().await;
    registry.demand("Basic realm=\"private\"", &[&basic(USER, PASSWORD)]);
    registry
}

/// A registry that requires some login, and records what it is offered.
async fn hostile() -> Scripted {
    let registry = Scripted::start().await;
    registry.demand("Basic realm=\"give me\"", &[]);
    registry
}

fn to(registry: &Scripted) -> String {
    format!("{}/mirror", registry.address().host_port)
}

/// The lock in a folder.
fn lock(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("thoras-mirror.lock")).unwrap()
}

/// Adds the login for `--to`, by flag and variable as pipelines do.
fn with_login(mirror: Mirror) -> Mirror {
    mirror.env("THORAS_MIRROR_TO_USERNAME", USER).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD)
}

fn assert_no_login(registry: &Scripted, outcome: &Outcome) {
    for request in registry.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}\n{outcome}");
    }
    assert_hidden(outcome, &[PASSWORD, basic(USER, PASSWORD).strip_prefix("Basic ").unwrap()], "directed");
}

/// A mirror that requires the login, the lock of its sync, and the source.
async fn mirrored() -> (Scripted, Scripted, Outcome) {
    let (source, mirror) = (Scripted::start().await, private_registry().await);
    source.with_store(|store| store.insert("vendor/web", &SampleImage::multi_platform("1")));
    let image = source.address().image("vendor/web", "1");
    let synced = with_login(Mirror::new(["sync", "--to", &to(&mirror), &image])).run().await;
    (source, mirror, synced.expect_success())
}

/// The same, with a lock that names another registry instead of the mirror.
async fn redirected() -> (Scripted, Scripted, Outcome) {
    let (_source, mirror, synced) = mirrored().await;
    let hostile = hostile().await;
    let text = lock(&synced.folder()).replace(&mirror.address().host_port, &hostile.address().host_port);
    std::fs::write(synced.folder().join("thoras-mirror.lock"), text).unwrap();
    (mirror, hostile, synced)
}

#[tokio::test]
async fn verify_with_a_login_needs_a_named_host_bug() {
    let (_mirror, hostile, synced) = redirected().await;
    for arguments in [&["verify"][..], &["verify", "--to-username", USER]] {
        let outcome =
            with_login(Mirror::new(arguments)).in_folder(&synced.folder()).run().await.expect_code(2);
        assert!(outcome.stderr.contains("neither --to nor THORAS_MIRROR_TO names it"), "{outcome}");
        assert!(outcome.stderr.contains("set THORAS_MIRROR_TO to REGISTRY/PATH"), "{outcome}");
        assert_no_login(&hostile, &outcome);
    }
    assert!(hostile.requests().is_empty());
}

#[tokio::test]
async fn a_lock_does_not_direct_the_login_of_to_bug() {
    let (mirror, hostile, synced) = redirected().await;
    let verify = Mirror::new(["verify", "--lock", "thoras-mirror.lock"]).env("THORAS_MIRROR_TO", to(&mirror));
    let outcome = with_login(verify).in_folder(&synced.folder()).run().await;
    assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    assert_no_login(&hostile, &outcome);
    for line in outcome.stderr.lines().filter(|line| line.contains("repair: ")) {
        assert!(!line.contains("--to-username"), "pasted, it would send the password there: {line}");
    }
}

#[tokio::test]
async fn an_exported_to_names_the_host_of_the_login() {
    let (_source, mirror, synced) = mirrored().await;
    let verify = Mirror::new(["verify", "--lock", "thoras-mirror.lock"]).env("THORAS_MIRROR_TO", to(&mirror));
    let outcome = with_login(verify).in_folder(&synced.folder()).run().await.expect_success();
    assert!(outcome.stdout.contains("1 image verified"), "{outcome}");
}

#[tokio::test]
async fn the_sources_of_a_lock_get_neither_login_nor_license_bug() {
    const LICENSE: &str = "bGljZW5zZS1zM2NyZXQ=";
    let (source, mirror, synced) = mirrored().await;
    let hostile = hostile().await;
    let text = lock(&synced.folder()).replace(&source.address().host_port, &hostile.address().host_port);
    std::fs::write(synced.folder().join("thoras-mirror.lock"), text).unwrap();
    mirror.with_store(|store| store.repositories.clear());
    let sync = Mirror::new(["sync", "--locked", "--to", &to(&mirror)]).env("THORAS_LICENSE", LICENSE);
    let outcome = with_login(sync).in_folder(&synced.folder()).run().await.expect_code(4);
    assert!(!hostile.requests().is_empty(), "{outcome}");
    assert_no_login(&hostile, &outcome);
    assert_hidden(&outcome, &[LICENSE], "license");
}

#[tokio::test]
async fn a_bundles_lock_does_not_direct_the_login_of_to() {
    let (source, mirror, _synced) = mirrored().await;
    let image = source.address().image("vendor/web", "1");
    let exported = Mirror::new(["bundle", "export", "-o", "b.tar", &image]).run().await.expect_success();
    let path = exported.folder().join("b.tar");
    let import = |to: String| Mirror::new(["bundle", "import", path.to_str().unwrap(), "--to", &to]);
    let outcome = with_login(import(to(&mirror))).run().await.expect_success();
    assert_no_login(&source, &outcome);
}

#[tokio::test]
async fn inspect_takes_the_login_of_to_for_that_host_only() {
    let (_source, mirror, _synced) = mirrored().await;
    let hostile = hostile().await;
    let (here, there) =
        (mirror.address().image("mirror/web", "1"), hostile.address().image("mirror/web", "1"));
    let inspect = |more: &[&str]| with_login(Mirror::new(["inspect"].iter().chain(more)));
    let _ = inspect(&["--to", &to(&mirror), &here]).run().await.expect_success();
    let _ = inspect(&[&here]).env("THORAS_MIRROR_TO", to(&mirror)).run().await.expect_success();
    let outcome = inspect(&["--to", &to(&mirror), &there]).run().await.expect_code(4);
    assert_no_login(&hostile, &outcome);
    // Exported for other commands, it is not used without a destination.
    let outcome = inspect(&[&there]).run().await.expect_code(4);
    assert_no_login(&hostile, &outcome);
    let typed = Mirror::new(["inspect", "--to-username", USER, "--to-password-stdin", &here]).stdin(PASSWORD);
    let outcome = typed.run().await.expect_code(2);
    assert!(outcome.stderr.contains("neither --to nor THORAS_MIRROR_TO names it"), "{outcome}");
    let typed = ["inspect", "--to", &to(&mirror), "--to-username", USER, "--to-password-stdin", &here];
    let _ = Mirror::new(typed).stdin(PASSWORD).run().await.expect_success();
}
