//! The core (plan, resolve, transfer, confirm, the pipeline) against images in memory: properties over random image graphs
//! and random states of the destination.
//!
//! - [`generate`] draws graphs, [`world`] builds them and knows the content of each image;
//! - tokio's clock is paused, so pauses cost nothing and a deadlock fails immediately.

mod attached;
mod attached_losses;
mod damage;
mod failures;
mod generate;
mod interruption;
mod kept_tags;
mod movement;
mod planned_requests;
mod planner;
mod referrers;
mod roots;
mod survey;
mod window;
mod world;
mod wrong_bytes;

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::test_runner::Config;
use thoras_mirror::{
    event::{Event, EventSink, Silent},
    outcome::{ImageOutcome, Mirrored, Status},
    pipeline::{self, Expectation, Level, Options},
};

use self::world::World;

/// This many random cases (or `PROPTEST_CASES`), without regression files: a failure becomes a named test.
fn cases(cases: u32) -> Config {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() }
}

/// Runs to the end on one thread with a paused clock. Fails on a deadlock.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(3600), future).await });
    ended.expect("everything waits for each other")
}

/// Everything is copied, no platform is required.
fn options(check: Level, jobs: usize) -> Options {
    Options { check, jobs, ..Options::default() }
}

/// Mirrors all images of a world.
async fn mirror(world: &World, options: Options) -> Vec<Mirrored> {
    mirror_reporting(world, options, Arc::new(Silent)).await
}

async fn mirror_reporting(world: &World, options: Options, events: Arc<dyn EventSink>) -> Vec<Mirrored> {
    let (source, destination) = (Arc::new(world.source.clone()), Arc::new(world.destination.clone()));
    pipeline::mirror(source, destination, world.mappings(), options, events).await
}

/// The warnings of a run.
#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl EventSink for Warnings {
    fn emit(&self, event: Event) {
        if let Event::Warning { message, .. } = event {
            self.0.lock().unwrap().push(message);
        }
    }
}

/// Mirrors all images of a world, and returns the warnings as well.
fn mirror_with_warnings(world: &World, options: Options) -> (Vec<Mirrored>, Vec<String>) {
    let warnings = Arc::new(Warnings::default());
    let mirrored = run(mirror_reporting(world, options, warnings.clone()));
    let warnings = std::mem::take(&mut *warnings.0.lock().unwrap());
    (mirrored, warnings)
}

/// Mirrors all images of a world and asserts that none fails.
fn mirror_all(world: &World, check: Level) -> Vec<Mirrored> {
    let mirrored = run(mirror(world, options(check, world.jobs)));
    for image in &mirrored {
        assert!(image.outcome.is_confirmed(), "{:#?}", image.outcome);
    }
    mirrored
}

/// Verifies all images of a world against their source.
fn verify(world: &World, level: Level) -> Vec<ImageOutcome> {
    let expectation = |image: &world::Image| Expectation::new(image.mapping.clone(), image.root.clone());
    let expectations = world.images.iter().map(expectation).collect();
    run(pipeline::verify(Arc::new(world.destination.clone()), expectations, level, Arc::new(Silent)))
}

/// The positions of images that ended with one of these.
fn with_status(mirrored: &[Mirrored], wanted: &[Status]) -> Vec<usize> {
    let positions = mirrored.iter().enumerate();
    positions.filter(|(_, image)| wanted.contains(&image.outcome.status)).map(|(at, _)| at).collect()
}
