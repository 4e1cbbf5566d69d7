//! SIGKILL at a hundred moments: no tag ever names an incomplete image, and the next run completes the mirror.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use super::*;
use crate::support::{
    dice::Dice,
    kill::{Moment, at_a_hundred_seeds, for_each_seed, kill_and_run_again},
};

/// The destination's last writes follow the source's last answer within this time.
const LATEST: Duration = Duration::from_millis(30);

async fn kill_at_seed(seed: usize, destination: &Registry) {
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
    let source = Scripted::start().await;
    source.with_store(|store| {
        store.insert("team/app", &app);
        store.insert("team/web", &web);
    });
    let images = [source.address().image("team/app", "1"), source.address().image("team/web", "2")];
    let to = format!("{}/seed-{seed}", destination.address().host_port);
    let blobs: BTreeSet<_> = app.blobs.keys().chain(web.blobs.keys()).collect();
    let requests = app.manifests.len() + web.manifests.len() + blobs.len();
    let moment = Moment::draw(&mut Dice::new(&format!("seed {seed}")), requests - 1, LATEST);
    let expected = [(format!("seed-{seed}/app:1"), &app), (format!("seed-{seed}/web:2"), &web)];
    let run = || sync(&images, &to, &[]);
    kill_and_run_again(run, moment, Some(&source), &destination.storage(), &expected).await;
}

async fn kill_at_seeds(seeds: Range<usize>) {
    let destination = Registry::start().await;
    for_each_seed(seeds, |seed| kill_at_seed(seed, &destination)).await;
}

at_a_hundred_seeds!(kill_at_seeds);
