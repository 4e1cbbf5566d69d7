//! SIGKILL at a hundred moments: whatever the destination holds then, no tag names an incomplete image, and the next
//! run finishes the work.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};

use super::*;
use crate::support::images::pseudo_random;

const SEEDS: u64 = 25;
const AT_ONCE: usize = 4;
/// The destination's last writes follow the source's last answer within this many microseconds.
const LATEST: u64 = 30_000;

/// Kills one run when the source has seen some number of requests, and a little later than that; both numbers follow
/// from the seed.
async fn kill_and_run_again(seed: u64, destination: &Registry) {
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
    let source = Scripted::start().await;
    source.with_store(|store| {
        store.insert("team/app", &app);
        store.insert("team/web", &web);
    });
    let images = [source.address().image("team/app", "1"), source.address().image("team/web", "2")];
    let to = format!("{}/seed-{seed}", destination.address().host_port);

    let random = pseudo_random(&format!("seed {seed}"), 16);
    let number = |at: usize| u64::from_le_bytes(random[at..at + 8].try_into().unwrap());
    let blobs: BTreeSet<_> = app.blobs.keys().chain(web.blobs.keys()).collect();
    let requests =
        usize::try_from(number(0)).unwrap() % (app.manifests.len() + web.manifests.len() + blobs.len());
    let delay = Duration::from_micros(number(8) % LATEST);
    let running = sync(&images, &to, &[]).start();
    source.wait_for(requests, "GET", "").await;
    // Not to wait for anything: the moment is the seed's.
    tokio::time::sleep(delay).await;
    running.kill();
    running.outcome().await;

    let storage = destination.storage();
    let incomplete = storage.incomplete_tags();
    assert!(incomplete.is_empty(), "seed {seed}, after {requests} requests and {delay:?}: {incomplete:?}");
    sync(&images, &to, &["-q"]).run().await.expect_success();
    assert!(storage.incomplete_tags().is_empty(), "seed {seed}");
    let tags = storage.tags();
    assert_eq!(tags[&format!("seed-{seed}/app:1")], app.root().digest);
    assert_eq!(tags[&format!("seed-{seed}/web:2")], web.root().digest);
}

async fn kill_at_the_seeds_from(first: u64) {
    let destination = Registry::start().await;
    let runs = (first..first + SEEDS).map(|seed| kill_and_run_again(seed, &destination));
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
