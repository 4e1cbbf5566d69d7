//! SIGKILL at moments that seeds determine, and what must hold afterwards.

use std::{fmt, future::Future, ops::Range, time::Duration};

use futures::{StreamExt, stream};

use super::{
    dice::Dice,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::Scripted,
    storage::Storage,
};

/// How many seeds run at once.
const CONCURRENCY: usize = 4;

/// Four tests that call a function for each of a hundred seeds.
macro_rules! at_a_hundred_seeds {
    ($function:path) => {
        #[tokio::test]
        async fn killed_at_seeds_0_to_24() {
            $function(0..25).await;
        }

        #[tokio::test]
        async fn killed_at_seeds_25_to_49() {
            $function(25..50).await;
        }

        #[tokio::test]
        async fn killed_at_seeds_50_to_74() {
            $function(50..75).await;
        }

        #[tokio::test]
        async fn killed_at_seeds_75_to_99() {
            $function(75..100).await;
        }
    };
}
pub(crate) use at_a_hundred_seeds;

/// Tests each seed, a few at once.
pub async fn for_each_seed<F: Future<Output = ()>>(seeds: Range<usize>, test: impl FnMut(usize) -> F) {
    stream::iter(seeds.map(test)).buffer_unordered(CONCURRENCY).collect::<()>().await;
}

/// Starts a run and kills it at `moment`, unless it has succeeded by then.
pub async fn kill(run: Mirror, moment: impl Future<Output = ()>) -> Outcome {
    let outcome = kill_or_end(run, moment).await;
    assert!(matches!(outcome.status.code(), None | Some(0)), "{outcome}");
    outcome
}

/// The same for a run that may fail before the moment.
pub async fn kill_or_end(run: Mirror, moment: impl Future<Output = ()>) -> Outcome {
    let mut running = run.start();
    tokio::select! {
        () = running.ended() => (),
        () = moment => running.kill(),
    }
    running.outcome().await
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// When its source has received this many requests …
    requests: usize,
    /// … and this much time has passed.
    delay: Duration,
}

impl Moment {
    /// Draws a moment: at most this many requests, and a delay below `latest`.
    pub fn draw(dice: &mut Dice, most_requests: usize, latest: Duration) -> Self {
        let requests = dice.below(most_requests + 1);
        let micros = dice.below(usize::try_from(latest.as_micros()).unwrap());
        Self { requests, delay: Duration::from_micros(micros as u64) }
    }

    /// Waits for it. Without a source, only time passes.
    pub async fn comes(self, source: Option<&Scripted>) {
        if let Some(source) = source {
            source.wait_for(self.requests, "GET", "").await;
        }
        // Not waiting for a condition: the seed determines the moment.
        tokio::time::sleep(self.delay).await;
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} after {} requests", self.delay, self.requests)
    }
}

/// Kills a run that fills a registry, and runs it again. Asserts that no tag ever names an incomplete image, and that
/// these tags name these images at the end.
pub async fn kill_and_run_again(
    run: impl Fn() -> Mirror,
    moment: Moment,
    source: Option<&Scripted>,
    storage: &Storage,
    expected: &[(String, &SampleImage)],
) {
    let assert_complete = || {
        let incomplete = storage.incomplete_tags();
        assert!(incomplete.is_empty(), "{}, killed {moment}: {incomplete:?}", expected[0].0);
    };
    kill(run(), moment.comes(source)).await;
    assert_complete();
    run().arg("-q").run().await.expect_success();
    assert_complete();
    let tags = storage.tags();
    for (tag, image) in expected {
        assert_eq!(tags[tag], image.root().digest, "{tag}, killed {moment}");
    }
}
