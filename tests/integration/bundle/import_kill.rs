//! SIGKILL at a hundred moments of an import: no tag points to an incomplete image, and the next run completes the
//! import.

use std::{ops::Range, time::Duration};

use super::importing::*;
use crate::support::{
    dice::Dice,
    kill::{Moment, at_a_hundred_seeds, for_each_seed, kill_and_run_again},
};

/// How long an import of this bundle takes, roughly.
const LATEST: Duration = Duration::from_millis(250);

/// Every other import reads from standard input.
async fn kill_at_seed(seed: usize, team: &Team, bytes: &[u8]) {
    let to = format!("{}/seed-{seed}", team.registry.address().host_port);
    let path = team.folder.path().join("bundle.tar");
    let run = || match seed % 2 {
        0 => import(&path, &to, &[]),
        _ => import(Path::new("-"), &to, &[]).stdin(bytes),
    };
    let moment = Moment::draw(&mut Dice::new(&format!("seed {seed}")), 0, LATEST);
    let expected = [(format!("seed-{seed}/app:1"), &team.app), (format!("seed-{seed}/web:2"), &team.web)];
    kill_and_run_again(run, moment, None, &team.registry.storage(), &expected).await;
}

async fn kill_at_seeds(seeds: Range<usize>) {
    let team = Team::start().await;
    let bytes = team.bundle().bytes;
    team.file(&bytes);
    for_each_seed(seeds, |seed| kill_at_seed(seed, &team, &bytes)).await;
}

at_a_hundred_seeds!(kill_at_seeds);
