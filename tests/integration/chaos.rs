//! Syncs under random faults between real registries: no tag ever names an incomplete graph, and a run without faults
//! completes a mirror with every byte correct.
//!
//! `scripts/chaos [SEEDS] [FIRST_SEED]` runs any number of seeds; the normal tests run a few.

use std::{collections::BTreeMap, env, ffi::OsString, sync::Arc, thread};

use futures::{StreamExt, stream};
use tempfile::TempDir;

use crate::support::{
    client,
    dice::Dice,
    fault_proxy::FaultProxy,
    images::SampleImage,
    kill::kill_or_end,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// How many seeds run at once. They spend most of their time in pauses before retries.
const CONCURRENCY: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_mirror_converges_whatever_the_faults() {
    let first = number("THORAS_MIRROR_CHAOS_FIRST").unwrap_or(0);
    let count = number("THORAS_MIRROR_CHAOS_SEEDS").unwrap_or(10);
    let corpus = Arc::new(Corpus::push().await);
    let runs = stream::iter(first..first + count).map(|seed| {
        let corpus = Arc::clone(&corpus);
        async move { tokio::spawn(run_seed(seed, corpus)).await.err().map(|_| seed) }
    });
    let failed: Vec<usize> =
        runs.buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await;
    assert_eq!(failed, Vec::<usize>::new(), "these seeds failed, for the reasons above");
}

fn number(variable: &str) -> Option<usize> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The images that every seed mirrors, and the registry that holds them.
struct Corpus {
    registry: Registry,
    images: Vec<SampleImage>,
}

impl Corpus {
    /// Different shapes, shared layers, and one image with blobs larger than socket buffers.
    async fn push() -> Self {
        let registry = Registry::start().await;
        let images = vec![
            SampleImage::multi_platform("app"),
            SampleImage::docker("web"),
            SampleImage::with_attestations("attested"),
            SampleImage::nested("nested"),
            SampleImage::with_layer_size("large", 300_000),
        ];
        for image in &images {
            client::push(image, registry.address(), &format!("vendor/{}", image.tag)).await;
        }
        Self { registry, images }
    }
}

/// Several syncs with faults, then one without, which must succeed.
async fn run_seed(seed: usize, corpus: Arc<Corpus>) {
    let mut dice = Dice::new(&format!("seed {seed}"));
    let mut run = Run::start(seed, corpus, &mut dice).await;
    for _ in 0..2 + dice.below(2) {
        run.sync_with_faults(&mut dice).await;
    }
    run.sync_without_faults().await;
    run.verify_every_byte().await;
}

/// What happens during a sync when the destination has received this many requests.
#[derive(Debug, Clone, Copy)]
enum Event {
    Kill(usize),
    Restart(usize),
    Nothing,
}

impl Event {
    fn draw(dice: &mut Dice) -> Self {
        // A complete sync makes about a hundred requests to the destination.
        let request = 1 + dice.below(100);
        match dice.below(5) {
            0 | 1 => Self::Kill(request),
            2 | 3 => Self::Restart(request),
            _ => Self::Nothing,
        }
    }
}

/// One seed's registry, the proxies around it, and what has happened.
struct Run {
    seed: usize,
    corpus: Arc<Corpus>,
    registry: Registry,
    source: FaultProxy,
    destination: FaultProxy,
    folder: TempDir,
    log: Vec<String>,
}

impl Run {
    async fn start(seed: usize, corpus: Arc<Corpus>, dice: &mut Dice) -> Self {
        let registry = Registry::start().await;
        let percent = [5, 15, 30][dice.below(3)];
        let [from, to] = ["source", "destination"].map(|side| format!("{seed}/{side}"));
        let source = FaultProxy::start(corpus.registry.address(), &from, percent).await;
        let destination = FaultProxy::start(registry.address(), &to, percent).await;
        let folder = tempfile::tempdir().unwrap();
        let log = vec![format!("{percent} of 100 requests suffer a fault")];
        Self { seed, corpus, registry, source, destination, folder, log }
    }

    /// A sync that may succeed or fail, or be killed; the registry behind it may be restarted.
    async fn sync_with_faults(&mut self, dice: &mut Dice) {
        let event = Event::draw(dice);
        self.log.push(format!("sync, {event:?}"));
        let sync = self.sync();
        let outcome = match event {
            Event::Kill(request) => kill_or_end(sync, self.destination.requests(request)).await,
            Event::Restart(request) => {
                let mut running = sync.start();
                tokio::select! {
                    () = running.ended() => (),
                    () = self.destination.requests(request) => self.registry.restart().await,
                }
                running.outcome().await
            }
            Event::Nothing => sync.run().await,
        };
        self.check(&outcome);
        // 1: an image failed; 6: bytes were damaged on the way; none: killed.
        assert!(matches!(outcome.status.code(), None | Some(0 | 1 | 6)), "{outcome}");
    }

    async fn sync_without_faults(&mut self) {
        self.log.push("calm sync".to_owned());
        self.source.calm();
        self.destination.calm();
        let outcome = self.sync().run().await.expect_success();
        self.check(&outcome);
    }

    async fn verify_every_byte(&mut self) {
        self.log.push("verify".to_owned());
        let arguments = ["verify", "--level", "bytes", "--lock"].map(OsString::from);
        let verify = self.mirror(arguments.into_iter().chain([self.lock()]));
        let _ = verify.run().await.expect_success();
    }

    fn sync(&self) -> Mirror {
        let to = format!("{}/mirror", self.destination.address().host_port);
        let options = ["sync", "--to", &to, "--lock"].map(OsString::from);
        let images =
            self.corpus.images.iter().map(|image| {
                self.source.address().image(&format!("vendor/{}", image.tag), &image.tag).into()
            });
        self.mirror(options.into_iter().chain([self.lock()]).chain(images))
    }

    /// Runs the program with plain http: a connection that breaks at the first request must not make it try https.
    fn mirror(&self, arguments: impl Iterator<Item = OsString>) -> Mirror {
        let plain = [&self.source, &self.destination].map(|proxy| proxy.address().host_port.clone());
        Mirror::new(arguments).env("THORAS_MIRROR_PLAIN_HTTP", plain.join(","))
    }

    fn lock(&self) -> OsString {
        self.folder.path().join("lock").into()
    }

    /// Checks what must hold after every run.
    fn check(&mut self, outcome: &Outcome) {
        self.log.push(format!("ended with {}", outcome.status));
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        let storage = self.registry.storage();
        assert_eq!(storage.incomplete_tags(), BTreeMap::new(), "{outcome}");
        if outcome.status.success() {
            let expected = self
                .corpus
                .images
                .iter()
                .map(|image| (format!("mirror/{0}:{0}", image.tag), image.root().digest.clone()));
            assert_eq!(storage.tags(), expected.collect(), "{outcome}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test machinery shows it with the failure")]
impl Drop for Run {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let seed = self.seed;
        eprintln!("seed {seed} failed; alone: scripts/chaos 1 {seed}");
        for (what, lines) in [
            ("what happened", self.log.clone()),
            ("requests to the source", self.source.history()),
            ("requests to the destination", self.destination.history()),
        ] {
            eprintln!("--- seed {seed}: {what}\n{}", lines.join("\n"));
        }
        eprintln!("--- seed {seed}: what the registry said\n{}", self.registry.error_log());
    }
}
