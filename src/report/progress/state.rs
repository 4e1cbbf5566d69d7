//! The progress of a run: events change this state; bars and lines show it. No I/O.
//!
//! Only events about bytes come in large numbers: they take a shared lock and change atomics. All other events take the
//! lock exclusively for a moment. Nothing is drawn under the lock.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    event::{BlobOutcome, Event},
    oci::{Mapping, Reference},
    outcome::ImageOutcome,
    report::short_names::ShortNames,
    units,
};

/// The time since the start of the run.
pub(super) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The rate is an average over this time: long enough to be steady, short enough to show a stall.
const RATE_WINDOW: Duration = Duration::from_secs(10);
const RATE_SAMPLE: Duration = Duration::from_millis(500);

/// The stage of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its manifests are being read or will be read.
    Reading,
    /// Its transfers are waiting.
    Queued,
    /// Its blobs are being copied.
    Copying,
    /// Its manifests are being pushed and confirmed.
    Confirming,
}

/// The state of a run.
pub(super) struct Progress {
    clock: Clock,
    state: RwLock<State>,
    /// Copied bytes, including those copied again after a failure. The rate is computed from them.
    copied: AtomicU64,
}

#[derive(Default)]
struct State {
    names: ShortNames,
    longest_name: usize,
    images: HashMap<Arc<Mapping>, Image>,
    /// The unfinished copies of each image.
    by_source: HashMap<Reference, Vec<Arc<Mapping>>>,
    total: usize,
    finished: usize,
    failed: usize,
    /// Bytes of finished images.
    finished_bytes: u64,
    next_position: usize,
    last_event: Duration,
    speed: Speed,
}

struct Image {
    name: String,
    stage: Stage,
    /// Its position among the images that are or were active.
    position: Option<usize>,
    /// Blobs that are being copied.
    blobs: usize,
    planned: Option<u64>,
    /// Bytes that were mounted or already present.
    not_copied: u64,
    /// Reported bytes that no longer count, because their transfer started again.
    discarded: u64,
    reported: AtomicU64,
    /// The time of the last event, in milliseconds of the clock.
    last_event: AtomicU64,
}

impl Image {
    fn done(&self) -> u64 {
        let counted = self.reported.load(Ordering::Relaxed).saturating_add(self.not_copied);
        counted.saturating_sub(self.discarded).min(self.planned.unwrap_or_default())
    }
}

/// A snapshot of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The length of the longest name in the run, so that columns keep their width.
    pub(super) longest_name: usize,
    pub(super) total: usize,
    pub(super) finished: usize,
    pub(super) failed: usize,
    /// Images whose manifests have not been read yet.
    pub(super) reading: usize,
    /// Images whose transfers are waiting.
    pub(super) queued: usize,
    pub(super) planned: u64,
    pub(super) done: u64,
    pub(super) copied: u64,
    /// Bytes per second, once known.
    pub(super) rate: Option<u64>,
    /// Images that are being copied or confirmed, in the order in which they started.
    pub(super) active: Vec<Active>,
    /// The time since the last event.
    pub(super) idle: Duration,
}

/// One image that is being copied or confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) name: String,
    pub(super) stage: Stage,
    /// Blobs that are being copied.
    pub(super) blobs: usize,
    pub(super) planned: u64,
    pub(super) done: u64,
    pub(super) idle: Duration,
}

impl Snapshot {
    /// The remaining time at this rate. `None` while the total still grows or nothing is copied.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate > 0 && self.reading == 0)?;
        let left = self.planned.saturating_sub(self.done);
        (left > 0).then(|| Duration::from_secs(left.div_ceil(rate)))
    }
}

impl Progress {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: RwLock::default(), copied: AtomicU64::new(0) }
    }

    /// The time since the start of the run.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// The short name of an image.
    pub(super) fn name_of(&self, source: &Reference) -> String {
        self.read().names.of(source)
    }

    /// The short name of an image at one of its destinations.
    pub(super) fn name_of_copy(&self, source: &Reference, destination: &str) -> String {
        self.read().names.of_copy(source, destination)
    }

    /// Updates the state.
    pub(super) fn update(&self, event: &Event) {
        if let Event::BlobProgress { image, bytes } = event {
            self.copied.fetch_add(*bytes, Ordering::Relaxed);
            if let Some(image) = self.read().images.get(image) {
                image.reported.fetch_add(*bytes, Ordering::Relaxed);
                image.last_event.store(milliseconds(self.now()), Ordering::Relaxed);
            }
            return;
        }
        let now = self.now();
        let mut state = self.write();
        state.last_event = now;
        match event {
            Event::Started { images } => state.start(images, now),
            Event::Finished { outcome } => state.finish(outcome),
            Event::Resolved { image, .. } => state.change(image, now, |image| image.stage = Stage::Queued),
            Event::Planned { image, bytes, .. } => state.change(image, now, |image| {
                image.planned = Some(*bytes);
                image.stage = Stage::Queued;
            }),
            Event::BlobStarted { image, .. } => {
                state.activate(image);
                state.change(image, now, |image| {
                    image.blobs += 1;
                    image.stage = Stage::Copying;
                });
            }
            Event::BlobFinished { image, blob, how } => state.change(image, now, |image| {
                image.blobs = image.blobs.saturating_sub(1);
                if *how != BlobOutcome::Copied {
                    image.not_copied = image.not_copied.saturating_add(blob.size);
                }
            }),
            Event::BlobRestarted { image, bytes, .. } => {
                state.change(image, now, |image| image.discarded = image.discarded.saturating_add(*bytes));
            }
            Event::Confirming { image } => {
                state.activate(image);
                state.change(image, now, |image| image.stage = Stage::Confirming);
            }
            Event::BlobProgress { .. }
            | Event::Retrying { .. }
            | Event::Waiting { .. }
            | Event::Warning { .. }
            | Event::Note { .. }
            | Event::Detail { .. }
            | Event::Serving { .. }
            | Event::Request { .. } => {}
        }
    }

    /// The current state. Each call also adds a sample to the rate.
    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let copied = self.copied.load(Ordering::Relaxed);
        let mut state = self.write();
        let rate = state.speed.sample(now, copied);
        state.snapshot(now, copied, rate)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self, images: &[Arc<Mapping>], now: Duration) {
        self.names = ShortNames::for_images(images.iter().map(|image| &image.source));
        self.total += images.len();
        for image in images {
            let name = self.names.of_copy(&image.source, &image.destination());
            self.longest_name = self.longest_name.max(name.len());
            let started = Image {
                name,
                stage: Stage::Reading,
                position: None,
                blobs: 0,
                planned: None,
                not_copied: 0,
                discarded: 0,
                reported: AtomicU64::new(0),
                last_event: AtomicU64::new(milliseconds(now)),
            };
            self.images.insert(Arc::clone(image), started);
            self.by_source.entry(image.source.clone()).or_default().push(Arc::clone(image));
        }
    }

    fn change(&mut self, image: &Arc<Mapping>, now: Duration, change: impl FnOnce(&mut Image)) {
        if let Some(image) = self.images.get_mut(image) {
            image.last_event.store(milliseconds(now), Ordering::Relaxed);
            change(image);
        }
    }

    /// Gives an image its position among the active images, once.
    fn activate(&mut self, image: &Arc<Mapping>) {
        if let Some(image) = self.images.get_mut(image).filter(|image| image.position.is_none()) {
            image.position = Some(self.next_position);
            self.next_position += 1;
        }
    }

    /// Removes the bytes that a finished (failed) image did not copy from the total.
    fn finish(&mut self, outcome: &ImageOutcome) {
        // The same image can have several destinations.
        let copies = self.by_source.get_mut(&outcome.source);
        let key = copies.filter(|copies| !copies.is_empty()).map(|copies| {
            let at = copies.iter().position(|image| image.destination() == outcome.destination);
            copies.swap_remove(at.unwrap_or_default())
        });
        if key.is_some() && self.by_source.get(&outcome.source).is_some_and(Vec::is_empty) {
            self.by_source.remove(&outcome.source);
        }
        if let Some(image) = key.and_then(|key| self.images.remove(&key)) {
            let whole = image.planned.unwrap_or_default();
            let bytes = if outcome.failure_kind().is_none() { whole } else { image.done() };
            self.finished_bytes = self.finished_bytes.saturating_add(bytes);
        }
        self.finished += 1;
        self.failed += usize::from(outcome.failure_kind().is_some());
    }

    fn snapshot(&self, now: Duration, copied: u64, rate: Option<u64>) -> Snapshot {
        let in_stage = |stage| self.images.values().filter(|image| image.stage == stage).count();
        let mut started: Vec<(usize, &Image)> =
            self.images.values().filter_map(|image| Some((image.position?, image))).collect();
        started.sort_unstable_by_key(|(position, _)| *position);
        let active: Vec<Active> = started.into_iter().map(|(_, image)| Active::at(image, now)).collect();
        let sum = |bytes: fn(&Image) -> u64| {
            self.images.values().map(bytes).fold(self.finished_bytes, u64::saturating_add)
        };
        let last_byte = self.images.values().map(|image| image.last_event.load(Ordering::Relaxed)).max();
        let last_event = Duration::from_millis(last_byte.unwrap_or_default()).max(self.last_event);
        Snapshot {
            longest_name: self.longest_name,
            total: self.total,
            finished: self.finished,
            failed: self.failed,
            reading: in_stage(Stage::Reading),
            queued: in_stage(Stage::Queued),
            planned: sum(|image| image.planned.unwrap_or_default()),
            done: sum(Image::done),
            copied,
            rate,
            active,
            idle: now.saturating_sub(last_event),
        }
    }
}

impl Active {
    fn at(image: &Image, now: Duration) -> Self {
        let last_event = Duration::from_millis(image.last_event.load(Ordering::Relaxed));
        Self {
            name: image.name.clone(),
            stage: image.stage,
            blobs: image.blobs,
            planned: image.planned.unwrap_or_default(),
            done: image.done(),
            idle: now.saturating_sub(last_event),
        }
    }
}

/// The rate over the last seconds, from samples of a growing counter.
#[derive(Debug, Default)]
struct Speed {
    samples: VecDeque<(Duration, u64)>,
}

impl Speed {
    fn sample(&mut self, now: Duration, copied: u64) -> Option<u64> {
        let due = self.samples.back().is_none_or(|(last, _)| now.saturating_sub(*last) >= RATE_SAMPLE);
        if due {
            self.samples.push_back((now, copied));
        }
        while self.samples.get(1).is_some_and(|(time, _)| now.saturating_sub(*time) >= RATE_WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let span = now.saturating_sub(since);
        (copied > 0 && span >= Duration::from_secs(1))
            .then(|| units::average(copied.saturating_sub(before), span))
            .flatten()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
