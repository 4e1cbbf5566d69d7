//! Everything that registries do to a client, one test for each.
//!
//! A [`Case`] copies images from one scripted registry to another in this process, with bounds that are small enough
//! for tests. [`Case::converges`] checks what must be true after every fault: nothing wrong is stored, a second run
//! moves nothing, and no secret was printed. The registries check that children arrive before parents.

mod ahead;
mod damage;
mod death;
mod download;
mod foreign;
mod hosts;
mod inline_data;
mod large_manifests;
mod manifests;
mod parts;
mod rate;
mod resume;
mod throttling;
mod upload;
mod web_pages;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use thoras_mirror::{
    endpoint::registry::{
        Connector, NetworkSettings, Registries, Tuning,
        auth::{Credentials, Environment},
    },
    event::{Event, EventSink, Silent},
    graph::ForeignLayers,
    oci::{Digest, Mapping, Reference, Repository},
    outcome::{ImageOutcome, Status},
    pipeline::{self, Options},
    problem::Side,
};

use crate::support::{
    Address,
    images::SampleImage,
    scripted::{Recorded, Scripted},
};

/// Part of everything that no output may repeat.
const SECRET: &str = "5ecret";

/// The destination repository.
const REPOSITORY: &str = "mirror/app";

/// A copy of one image between two scripted registries.
struct Case {
    source: Scripted,
    destination: Scripted,
    image: SampleImage,
    tuning: Tuning,
    state: TempDir,
    jobs: usize,
    foreign_layers: ForeignLayers,
}

/// How a run ended, and its events.
struct Ended {
    outcomes: Vec<ImageOutcome>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Case {
    /// `count` images of two blobs each, none shared, and their repositories.
    async fn with_images(count: usize, jobs: usize) -> (Self, Vec<(String, String)>) {
        let case = Self { jobs, ..Self::start().await };
        let names: Vec<(String, String)> =
            (0..count).map(|n| (format!("vendor/app{n}"), format!("mirror/app{n}"))).collect();
        for (n, (from, _)) in names.iter().enumerate() {
            let image = SampleImage {
                tag: "1".to_owned(),
                ..SampleImage::single_platform(&format!("image-{n}"), "amd64")
            };
            case.source.with_store(|store| store.insert(from, &image));
        }
        (case, names)
    }

    /// An image of one config and two layers of 20 kB, too small to be resumed.
    async fn start() -> Self {
        Self::with(SampleImage::single_platform("1", "amd64")).await
    }

    /// The same with layers large enough to be resumed.
    async fn resumable() -> Self {
        let mut case = Self::with(SampleImage::with_layer_size("1", 400_000)).await;
        case.tuning.resume_from = 100_000;
        case.tuning.snapshot_every = 50_000;
        case
    }

    async fn with(image: SampleImage) -> Self {
        let (source, destination) = (Scripted::start().await, Scripted::start().await);
        source.with_store(|store| store.insert("vendor/app", &image));
        let tuning = Tuning {
            stall: Duration::from_secs(1),
            commit: Duration::from_secs(2),
            resume_from: u64::MAX,
            // A busy machine answers late as well.
            far: Duration::MAX,
            ..Tuning::default()
        };
        let (state, foreign_layers) = (tempfile::tempdir().unwrap(), ForeignLayers::Optional);
        Self { source, destination, image, tuning, state, jobs: 4, foreign_layers }
    }

    /// The largest blob.
    fn layer(&self) -> (Digest, Vec<u8>) {
        let (digest, bytes) = self.image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        (digest.clone(), bytes.to_vec())
    }

    /// Makes it the only blob missing at the destination, and returns it, so that scripts can count requests for this
    /// blob alone.
    fn only_one_layer_is_missing(&self) -> (Digest, Vec<u8>) {
        let layer = self.layer();
        self.destination.with_store(|store| {
            let contents = store.repository(REPOSITORY);
            contents.blobs = self.image.blobs.clone();
            contents.blobs.remove(&layer.0);
        });
        layer
    }

    /// Copies the image.
    async fn run(&self) -> Ended {
        self.run_all(&[("vendor/app", REPOSITORY)]).await
    }

    /// Copies the image from several repositories into several.
    async fn run_all(&self, names: &[(&str, &str)]) -> Ended {
        let destination = self.destination.address().clone();
        self.run_to(&destination, names).await
    }

    async fn run_to(&self, destination: &Address, names: &[(&str, &str)]) -> Ended {
        let recorder = Arc::new(Recorder::default());
        let mirrored = self.pipeline(destination, names, Arc::<Recorder>::clone(&recorder)).await;
        let outcomes = mirrored.into_iter().map(|mirrored| mirrored.outcome).collect();
        Ended { outcomes, events: std::mem::take(&mut recorder.0.lock().unwrap()) }
    }

    async fn pipeline(
        &self,
        destination: &Address,
        names: &[(&str, &str)],
        events: Arc<dyn EventSink>,
    ) -> Vec<thoras_mirror::outcome::Mirrored> {
        let mappings = names.iter().map(|(from, to)| self.mapping(destination, from, to)).collect();
        let source = self.registries(Side::Source, &events).with_foreign_layers(self.foreign_layers);
        let source = Arc::new(source);
        let destination =
            Arc::new(self.registries(Side::Destination, &events).with_state(Some(self.state())));
        let options = Options { foreign_layers: self.foreign_layers, jobs: self.jobs, ..Options::default() };
        pipeline::mirror(source, destination, mappings, options, events).await
    }

    /// Copies the image and drops the copy when `moment` completes.
    async fn drop_when(&self, moment: impl Future<Output = ()>) {
        let destination = self.destination.address().clone();
        let names = [("vendor/app", REPOSITORY)];
        tokio::select! {
            _ = self.pipeline(&destination, &names, Arc::new(Silent)) => panic!("it ended before"),
            () = moment => (),
        }
    }

    fn mapping(&self, destination: &Address, from: &str, to: &str) -> Mapping {
        let source: Reference = self.source.address().image(from, &self.image.tag).parse().unwrap();
        let repository: Repository = format!("{}/{to}", destination.host_port).parse().unwrap();
        Mapping { source, pinned: None, repository, tag: self.image.tag.clone() }
    }

    fn registries(&self, side: Side, events: &Arc<dyn EventSink>) -> Registries {
        let connector =
            Connector::new(NetworkSettings::default(), Arc::clone(events)).with_tuning(self.tuning);
        connector.open(side, Credentials::new(&Environment::default()))
    }

    fn state(&self) -> PathBuf {
        self.state.path().join("uploads")
    }

    /// Journals of uploads that could be resumed.
    fn journals(&self) -> usize {
        std::fs::read_dir(self.state()).map_or(0, Iterator::count)
    }

    /// Asserts that a run succeeds and converges.
    async fn survives(&self) -> Ended {
        let ended = self.run().await.expect_success();
        self.converges().await;
        ended
    }

    /// Asserts what must hold once a fault is over.
    async fn converges(&self) {
        self.assert_nothing_wrong_is_stored();
        for registry in [&self.source, &self.destination] {
            registry.clear();
        }
        self.run().await.expect_success();
        self.holds_the_image(REPOSITORY);
        assert_eq!(self.journals(), 0);
        self.destination.clear();
        let again = self.run().await.expect_success();
        assert_eq!(again.outcomes[0].status, Status::UpToDate);
        for method in ["POST", "PATCH", "PUT", "DELETE"] {
            assert_eq!(self.destination.count(method, ""), 0, "a second run is idle");
        }
    }

    /// For scripts in which the registry loses a blob: asserts that manifests were refused only because of that blob.
    fn expect_violations_for(&self, blob: &Digest) {
        let violations = self.destination.take_violations();
        assert!(!violations.is_empty(), "nothing was refused");
        for violation in violations {
            assert!(violation.ends_with(&format!("before {blob}")), "{violation}");
        }
    }

    fn assert_nothing_wrong_is_stored(&self) {
        self.destination.with_store(|store| {
            for contents in store.repositories.values() {
                for (digest, bytes) in &contents.blobs {
                    assert!(digest.matches(bytes), "{digest}");
                }
            }
        });
    }

    fn holds_the_image(&self, repository: &str) {
        self.destination.with_store(|store| {
            let contents = store.repository(repository);
            assert_eq!(contents.tags.get(&self.image.tag), Some(&self.image.root().digest));
            for (digest, bytes) in &self.image.blobs {
                assert!(contents.blobs.get(digest) == Some(bytes), "{digest}");
            }
        });
    }
}

impl Ended {
    /// What a user sees of it: failures, warnings, and reasons for retries.
    fn text(&self) -> String {
        let failures: Vec<_> = self.outcomes.iter().filter_map(|outcome| outcome.failure.clone()).collect();
        let events: Vec<&String> = self.events.iter().filter_map(message).collect();
        format!("{failures:#?}\n{events:#?}")
    }

    fn assert_no_secret(&self) {
        let text = format!("{:?} {:?}", self.outcomes, self.events);
        for secret in [SECRET, "_state=a", "Authorization"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[track_caller]
    fn expect_success(self) -> Self {
        self.assert_no_secret();
        for outcome in &self.outcomes {
            assert!(outcome.failure.is_none(), "{}", self.text());
        }
        self
    }

    /// The failure of the only image: message, causes and hint, joined.
    #[track_caller]
    fn expect_failure(&self) -> String {
        self.assert_no_secret();
        let failure =
            self.outcomes[0].failure.as_ref().unwrap_or_else(|| panic!("no failure in {}", self.text()));
        let hint = failure.hint.iter().cloned();
        [failure.message.clone()]
            .into_iter()
            .chain(failure.causes.clone())
            .chain(hint)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The number of retries.
    fn retries(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Retrying { .. })).count()
    }
}

fn message(event: &Event) -> Option<&String> {
    match event {
        Event::Retrying { reason: message, .. }
        | Event::Warning { message, .. }
        | Event::Detail { message } => Some(message),
        _ => None,
    }
}

fn borrowed(names: &[(String, String)]) -> Vec<(&str, &str)> {
    names.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect()
}

/// The requests of a method (any, if empty) whose path contains a text.
fn requests(registry: &Scripted, method: &str, path: &str) -> Vec<Recorded> {
    registry.requests().into_iter().filter(|request| request.is(method, path)).collect()
}
