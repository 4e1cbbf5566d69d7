//! A third kind of endpoint, written outside the crate: everything that its errors say reaches the outcome.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use thoras_mirror::{
    error::Kind,
    event::{BlobOutcome, Event, EventSink},
    oci::{Digest, Mapping},
    outcome::{Bytes, Mirrored, Status},
    pipeline::{Options, mirror},
    problem::Side,
};

use crate::support::{
    images::SampleImage,
    memory_registry::{
        Act, Memory, Settings,
        faults::{Effect, Fault},
    },
};

const SOURCE: &str = "from.example.com/app";
const DESTINATION: &str = "to.example.com/app";
const STRICT: Settings = Settings { mounts: true, resumes: false, strict: true, latency: 0, seed: 1 };

/// The events of a run, as short lines, with the number of writes that the destination had received by then.
struct RecordedEvents {
    destination: Memory,
    lines: Mutex<Vec<(String, usize)>>,
    /// The bytes that count as transferred.
    progress: AtomicU64,
}

impl RecordedEvents {
    fn times(&self, wanted: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|(line, _)| line == wanted).count()
    }
}

impl EventSink for RecordedEvents {
    fn emit(&self, event: Event) {
        let line = match event {
            Event::Retrying { .. } => "retry".to_owned(),
            Event::Confirming { .. } => "confirming".to_owned(),
            Event::Warning { message, .. } => message,
            Event::BlobFinished { how: BlobOutcome::Copied, .. } => "copied".to_owned(),
            Event::BlobProgress { bytes, .. } => {
                self.progress.fetch_add(bytes, Ordering::Relaxed);
                return;
            }
            Event::BlobRestarted { bytes, .. } => {
                self.progress.fetch_sub(bytes, Ordering::Relaxed);
                return;
            }
            _ => return,
        };
        self.lines.lock().unwrap().push((line, self.destination.history().stored().len()));
    }
}

struct Run {
    image: SampleImage,
    destination: Memory,
    events: Arc<RecordedEvents>,
}

impl Run {
    fn new() -> Self {
        let destination = Memory::new(Side::Destination, STRICT);
        let events = Arc::new(RecordedEvents {
            destination: destination.clone(),
            lines: Mutex::default(),
            progress: AtomicU64::default(),
        });
        Self { image: SampleImage::multi_platform("1"), destination, events }
    }

    async fn mirror(&self) -> Mirrored {
        let source = Memory::new(Side::Source, STRICT);
        source.insert(&SOURCE.parse().unwrap(), &self.image);
        let mapping = Mapping {
            pinned: None,
            source: format!("{SOURCE}:{}", self.image.tag).parse().unwrap(),
            repository: DESTINATION.parse().unwrap(),
            tag: self.image.tag.clone(),
        };
        let options = Options {
            platforms: vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()],
            jobs: 1,
            ..Options::default()
        };
        let events: Arc<dyn EventSink> = Arc::clone(&self.events) as _;
        let destination = Arc::new(self.destination.clone());
        mirror(Arc::new(source), destination, vec![mapping], options, events).await.remove(0)
    }

    /// Plans a fault for each of the next `times` commits of the later blob.
    fn plan(&self, effect: Effect, times: usize) {
        let fault = Fault::always(Side::Destination, Act::CommitBlob, &self.later_blob(), effect);
        self.destination.plan(fault.times(times));
    }

    /// A blob that is transferred late: the config of the last platform.
    fn later_blob(&self) -> Digest {
        let [.., manifest, _index] = self.image.manifests.as_slice() else { panic!("no index") };
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        manifest["config"]["digest"].as_str().unwrap().parse().unwrap()
    }

    fn all_bytes(&self) -> u64 {
        self.image.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }
}

#[tokio::test]
async fn an_image_is_mirrored_between_custom_endpoints() {
    let run = Run::new();
    let Mirrored { outcome, .. } = run.mirror().await;
    assert_eq!((outcome.status, outcome.failure), (Status::Copied, None));
    assert_eq!(outcome.bytes, Bytes { copied: run.all_bytes(), ..Bytes::default() });
    let written = run.destination.history().stored();
    assert_eq!(written.len(), run.image.blobs.len() + run.image.manifests.len());
    assert_eq!(written.last(), Some(&run.image.tag), "the tag comes last");
    assert_eq!(run.mirror().await.outcome.status, Status::UpToDate, "the second run is idle");
    assert_eq!(run.destination.history().stored(), written);
}

/// The event comes after all manifests have been pushed.
#[tokio::test]
async fn confirming_is_announced_after_everything_is_pushed() {
    let run = Run::new();
    let _ = run.mirror().await;
    let lines = run.events.lines.lock().unwrap().clone();
    let confirming: Vec<usize> =
        lines.iter().filter(|(line, _)| line == "confirming").map(|(_, written)| *written).collect();
    assert_eq!(confirming, [run.destination.history().stored().len()], "{lines:?}");
}

#[tokio::test]
async fn an_error_that_the_endpoint_calls_transient_is_retried() {
    let run = Run::new();
    run.plan(Effect::Break, 2);
    assert_eq!(run.mirror().await.outcome.status, Status::Copied);
    assert_eq!(run.events.times("retry"), 2);
    let progress = run.events.progress.load(Ordering::Relaxed);
    assert_eq!(progress, run.all_bytes(), "what was sent in vain no longer counts");
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_never_arrives_is_tried_five_times() {
    let run = Run::new();
    run.plan(Effect::Break, usize::MAX);
    let failure = run.mirror().await.outcome.failure.unwrap();
    assert!(failure.message.contains(", tried 5 times in "), "{}", failure.message);
    assert!(!failure.message.contains(" 0.0 s"), "{}", failure.message);
    assert_eq!(run.events.times("retry"), 4);
}

/// Bytes that were planned, or sent and rejected, do not count as copied.
#[tokio::test]
async fn a_failed_image_counts_only_the_blobs_that_arrived() {
    let run = Run::new();
    let refused = run.later_blob();
    run.plan(Effect::WearOut, usize::MAX);
    let Mirrored { outcome, .. } = run.mirror().await;
    let failure = outcome.failure.unwrap();
    assert_eq!((outcome.status, failure.kind), (Status::Failed, Kind::Usage));
    assert!(
        failure.message.starts_with(&format!("cannot upload blob {DESTINATION}@{refused} (destination)"))
    );
    assert_eq!(failure.causes, ["the memory is worn out"]);
    assert_eq!(failure.hint.as_deref(), Some("replace the memory of the destination"));
    assert_eq!(run.events.times("retry"), 0, "it said that no other attempt helps");
    assert_eq!(run.events.times("confirming"), 0);
    let written = run.destination.history().stored();
    let arrived = written.iter().map(|digest| run.image.blobs[&digest.parse().unwrap()].len() as u64).sum();
    assert!(0 < arrived && arrived < run.all_bytes(), "{written:?}");
    assert_eq!(outcome.bytes, Bytes { copied: arrived, ..Bytes::default() });
    assert_eq!(run.events.times("copied"), written.len());
}

#[tokio::test]
async fn content_that_the_destination_lost_is_transferred_again() {
    let run = Run::new();
    run.plan(Effect::Forget, 1);
    assert_eq!(run.mirror().await.outcome.status, Status::Copied);
    let digest = run.later_blob().to_string();
    let written = run.destination.history().stored();
    assert_eq!(written.iter().filter(|line| **line == digest).count(), 2, "{written:?}");
    let warning = format!("{DESTINATION} lost blob {digest} after its upload; uploading it again");
    assert_eq!(run.events.times(&warning), 1);
}
