//! SIGKILL at a hundred moments of an import: no tag names an incomplete image, and the next run finishes the work.

use std::time::Duration;

use futures::{StreamExt, stream};

use super::importing::*;
use crate::support::images::pseudo_random;

const SEEDS: u64 = 25;
const AT_ONCE: usize = 4;
/// An import of this bundle is over after about so many microseconds.
const LATEST: u64 = 250_000;

/// Kills one import after a time that follows from the seed; every other one reads from standard input.
async fn kill_and_run_again(seed: u64, team: &Team, bytes: &[u8]) {
    let to = format!("{}/seed-{seed}", team.registry.address().host_port);
    let path = team.folder.path().join("bundle.tar");
    let start = |more: &[&str]| match seed % 2 {
        0 => import(&path, &to, more),
        _ => import(Path::new("-"), &to, more).stdin(bytes),
    };
    let random = pseudo_random(&format!("seed {seed}"), 8);
    let delay = Duration::from_micros(u64::from_le_bytes(random.try_into().unwrap()) % LATEST);
    let running = start(&[]).start();
    // Not to wait for anything: the moment is the seed's.
    tokio::time::sleep(delay).await;
    running.kill();
    running.outcome().await;

    let storage = team.registry.storage();
    let incomplete = storage.incomplete_tags();
    assert!(incomplete.is_empty(), "seed {seed}, after {delay:?}: {incomplete:?}");
    start(&["-q"]).run().await.expect_success();
    assert!(storage.incomplete_tags().is_empty(), "seed {seed}");
    let tags = storage.tags();
    assert_eq!(tags[&format!("seed-{seed}/app:1")], team.app.root().digest);
    assert_eq!(tags[&format!("seed-{seed}/web:2")], team.web.root().digest);
}

async fn kill_at_the_seeds_from(first: u64) {
    let team = Team::start().await;
    let bytes = team.bundle().bytes;
    team.file(&bytes);
    let runs = (first..first + SEEDS).map(|seed| kill_and_run_again(seed, &team, &bytes));
    stream::iter(runs).buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test]
async fn killed_at_seeds_0_to_24() {
    kill_at_the_seeds_from(0).await;
}

#[tokio::test]
async fn killed_at_seeds_25_to_49() {
    kill_at_the_seeds_from(25).await;
}

#[tokio::test]
async fn killed_at_seeds_50_to_74() {
    kill_at_the_seeds_from(50).await;
}

#[tokio::test]
async fn killed_at_seeds_75_to_99() {
    kill_at_the_seeds_from(75).await;
}
