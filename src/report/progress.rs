//! How far a run is: the state that events change and that bars and lines are drawn from. No I/O.
//!
//! Bytes are the only events that come by the thousand: they take a shared lock and touch atomics.
//! Everything else takes the lock alone for a moment, and nobody draws while holding it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::label::Labels;
use crate::{
    event::{Event, Landing},
    oci::{Mapping, Reference},
    outcome::ImageOutcome,
};

/// The time since the run began.
pub(super) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The span over which the rate is taken: long enough to be calm, short enough to notice a stall.
const RATE_WINDOW: Duration = Duration::from_secs(10);
const RATE_SAMPLE: Duration = Duration::from_millis(500);

/// What is being done to an image now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its manifests are being read, or it waits for that.
    Reading,
    /// Its transfers wait for their turn.
    Queued,
    /// Blobs are moving.
    Copying,
    /// Its manifests are being pushed and read back.
    Confirming,
}

/// The state of a run.
pub(super) struct Progress {
    clock: Clock,
    state: RwLock<State>,
    /// Bytes that passed, those that had to pass twice included: what the rate is taken from.
    moved: AtomicU64,
}

#[derive(Default)]
struct State {
    labels: Labels,
    longest_label: usize,
    images: HashMap<Arc<Mapping>, Image>,
    total: usize,
    finished: usize,
    failed: usize,
    /// Bytes of finished images.
    settled: u64,
    next_place: usize,
    last_event: Duration,
    speed: Speed,
}

struct Image {
    label: String,
    stage: Stage,
    /// The order in which images began to move.
    place: Option<usize>,
    blobs_moving: usize,
    planned: Option<u64>,
    landed: u64,
    withdrawn: u64,
    reported: AtomicU64,
    /// When something last happened to it, in milliseconds of the clock.
    last_sign: AtomicU64,
}

impl Image {
    fn done(&self) -> u64 {
        let counted = self.reported.load(Ordering::Relaxed).saturating_add(self.landed);
        counted.saturating_sub(self.withdrawn).min(self.planned.unwrap_or_default())
    }
}

/// A run at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Characters of the longest label of the run, so that columns need not move.
    pub(super) longest_label: usize,
    pub(super) total: usize,
    pub(super) finished: usize,
    pub(super) failed: usize,
    /// Images whose manifests are not read yet.
    pub(super) reading: usize,
    /// Images whose transfers wait.
    pub(super) queued: usize,
    pub(super) planned: u64,
    pub(super) done: u64,
    pub(super) moved: u64,
    /// Bytes per second, once it can be told.
    pub(super) rate: Option<u64>,
    /// Images that move or are confirmed now, the longest first.
    pub(super) active: Vec<Active>,
    /// How long nothing at all has happened.
    pub(super) silent: Duration,
}

/// One image that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) label: String,
    pub(super) stage: Stage,
    pub(super) blobs_moving: usize,
    pub(super) planned: u64,
    pub(super) done: u64,
    pub(super) silent: Duration,
}

impl Snapshot {
    /// How long the rest takes at this rate; `None` while the total still grows or nothing moves.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate > 0 && self.reading == 0)?;
        let left = self.planned.saturating_sub(self.done);
        (left > 0).then(|| Duration::from_secs(left.div_ceil(rate)))
    }
}

impl Progress {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: RwLock::default(), moved: AtomicU64::new(0) }
    }

    /// The time since the run began.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// How this run calls an image.
    pub(super) fn label_of(&self, source: &Reference) -> String {
        self.read().labels.label(source)
    }

    /// Takes an event into account.
    pub(super) fn note(&self, event: &Event) {
        if let Event::BlobProgress { image, bytes } = event {
            self.moved.fetch_add(*bytes, Ordering::Relaxed);
            if let Some(image) = self.read().images.get(image) {
                image.reported.fetch_add(*bytes, Ordering::Relaxed);
                image.last_sign.store(milliseconds(self.now()), Ordering::Relaxed);
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
                state.place(image);
                state.change(image, now, |image| {
                    image.blobs_moving += 1;
                    image.stage = Stage::Copying;
                });
            }
            Event::BlobFinished { image, blob, how } => state.change(image, now, |image| {
                image.blobs_moving = image.blobs_moving.saturating_sub(1);
                if *how != Landing::Copied {
                    image.landed = image.landed.saturating_add(blob.size);
                }
            }),
            Event::BlobRestarted { image, bytes, .. } => {
                state.change(image, now, |image| image.withdrawn = image.withdrawn.saturating_add(*bytes));
            }
            Event::Confirming { image } => {
                state.place(image);
                state.change(image, now, |image| image.stage = Stage::Confirming);
            }
            Event::BlobProgress { .. }
            | Event::Retrying { .. }
            | Event::Waiting { .. }
            | Event::Warning { .. }
            | Event::Detail { .. }
            | Event::Serving { .. }
            | Event::Request { .. } => {}
        }
    }

    /// The run as it is now. Called at every tick, it also feeds the rate.
    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let moved = self.moved.load(Ordering::Relaxed);
        let mut state = self.write();
        let rate = state.speed.sample(now, moved);
        state.snapshot(now, moved, rate)
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
        self.labels = Labels::of(images.iter().map(|image| &image.source));
        self.total += images.len();
        for image in images {
            let label = self.labels.label(&image.source);
            self.longest_label = self.longest_label.max(label.len());
            let started = Image {
                label,
                stage: Stage::Reading,
                place: None,
                blobs_moving: 0,
                planned: None,
                landed: 0,
                withdrawn: 0,
                reported: AtomicU64::new(0),
                last_sign: AtomicU64::new(milliseconds(now)),
            };
            self.images.insert(Arc::clone(image), started);
        }
    }

    fn change(&mut self, image: &Arc<Mapping>, now: Duration, change: impl FnOnce(&mut Image)) {
        if let Some(image) = self.images.get_mut(image) {
            image.last_sign.store(milliseconds(now), Ordering::Relaxed);
            change(image);
        }
    }

    /// Gives an image its place among those that move, once.
    fn place(&mut self, image: &Arc<Mapping>) {
        if let Some(image) = self.images.get_mut(image).filter(|image| image.place.is_none()) {
            image.place = Some(self.next_place);
            self.next_place += 1;
        }
    }

    /// What a finished image did not move will not move any more, so it leaves the total.
    fn finish(&mut self, outcome: &ImageOutcome) {
        let key = self.images.keys().find(|image| image.source == outcome.source).cloned();
        if let Some(image) = key.and_then(|key| self.images.remove(&key)) {
            let whole = image.planned.unwrap_or_default();
            let settled = if outcome.failure_kind().is_none() { whole } else { image.done() };
            self.settled = self.settled.saturating_add(settled);
        }
        self.finished += 1;
        self.failed += usize::from(outcome.failure_kind().is_some());
    }

    fn snapshot(&self, now: Duration, moved: u64, rate: Option<u64>) -> Snapshot {
        let in_stage = |stage| self.images.values().filter(|image| image.stage == stage).count();
        let mut placed: Vec<(usize, &Image)> =
            self.images.values().filter_map(|image| Some((image.place?, image))).collect();
        placed.sort_unstable_by_key(|(place, _)| *place);
        let active: Vec<Active> = placed.into_iter().map(|(_, image)| Active::at(image, now)).collect();
        let sum = |bytes: fn(&Image) -> u64| {
            self.images.values().map(bytes).fold(self.settled, u64::saturating_add)
        };
        let last_sign = self.images.values().map(|image| image.last_sign.load(Ordering::Relaxed)).max();
        let last_sign = Duration::from_millis(last_sign.unwrap_or_default()).max(self.last_event);
        Snapshot {
            longest_label: self.longest_label,
            total: self.total,
            finished: self.finished,
            failed: self.failed,
            reading: in_stage(Stage::Reading),
            queued: in_stage(Stage::Queued),
            planned: sum(|image| image.planned.unwrap_or_default()),
            done: sum(Image::done),
            moved,
            rate,
            active,
            silent: now.saturating_sub(last_sign),
        }
    }
}

impl Active {
    fn at(image: &Image, now: Duration) -> Self {
        let last_sign = Duration::from_millis(image.last_sign.load(Ordering::Relaxed));
        Self {
            label: image.label.clone(),
            stage: image.stage,
            blobs_moving: image.blobs_moving,
            planned: image.planned.unwrap_or_default(),
            done: image.done(),
            silent: now.saturating_sub(last_sign),
        }
    }
}

/// The rate over the last seconds, from samples of a counter that only grows.
#[derive(Debug, Default)]
struct Speed {
    samples: VecDeque<(Duration, u64)>,
}

impl Speed {
    fn sample(&mut self, now: Duration, moved: u64) -> Option<u64> {
        let due = self.samples.back().is_none_or(|(last, _)| now.saturating_sub(*last) >= RATE_SAMPLE);
        if due {
            self.samples.push_back((now, moved));
        }
        while self.samples.get(1).is_some_and(|(time, _)| now.saturating_sub(*time) >= RATE_WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let span = now.saturating_sub(since);
        (moved > 0 && span >= Duration::from_secs(1))
            .then(|| super::units::average(moved.saturating_sub(before), span))
            .flatten()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
