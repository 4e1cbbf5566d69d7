//! The progress of a run as the user sees it, drawn into a terminal in memory or written as lines.

mod log;
mod terminal;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use insta::assert_snapshot;

use super::*;
use crate::{
    event::BlobOutcome,
    oci::{Descriptor, Mapping, media_type::OCI_INDEX},
    outcome::{ImageOutcome, Status},
    problem::Side,
    report::samples,
};

const MEBIBYTE: u64 = 1024 * 1024;

/// A reporter, the clock that it reads and what it shows.
struct Stage {
    reporter: Reporter,
    seconds: Arc<AtomicU64>,
    images: Vec<Arc<Mapping>>,
}

/// Standard error, for the lines.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Capture {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Stage {
    fn new(names: &[String], verbosity: Verbosity, bars: bool, display: Display) -> Self {
        let seconds = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&seconds);
        let event_lines =
            EventLines { verbosity, palette: Palette::plain(), symbols: Symbols::UNICODE, bars };
        let reporter = Reporter::assemble(
            event_lines,
            display,
            Box::new(move || Duration::from_secs(clock.load(Ordering::Relaxed))),
        );
        let images: Vec<Arc<Mapping>> = names.iter().map(|name| mapping(name)).collect();
        reporter.emit(Event::Started { images: images.clone() });
        Self { reporter, seconds, images }
    }

    fn on_terminal(names: &[String], columns: u16, rows: u16) -> (Self, InMemoryTerm) {
        let terminal = InMemoryTerm::new(rows, columns);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bars = Bars::new(target, Box::new(terminal.clone()), Symbols::UNICODE);
        (Self::new(names, Verbosity::Normal, true, Display::Bars(bars)), terminal)
    }

    fn in_a_log(names: &[String], verbosity: Verbosity) -> (Self, Capture) {
        let capture = Capture::default();
        let lines = LineWriter::new(Box::new(capture.clone()), Form::Text);
        (Self::new(names, verbosity, false, Display::Lines(lines)), capture)
    }

    fn image(&self, index: usize) -> Arc<Mapping> {
        Arc::clone(&self.images[index])
    }

    /// Lets time pass with a tick every second, like the real ticker.
    fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.seconds.fetch_add(1, Ordering::Relaxed);
            self.reporter.tick();
        }
    }

    fn plan(&self, index: usize, mebibytes: u64) {
        let image = self.image(index);
        let (digest, platforms) = (samples::digest("root"), vec!["linux/amd64".parse().unwrap()]);
        self.reporter.emit(Event::Resolved { image: Arc::clone(&image), digest, platforms });
        self.reporter.emit(Event::Planned { image, blobs: 4, bytes: mebibytes * MEBIBYTE });
    }

    fn begin(&self, index: usize, blobs: usize) {
        for number in 0..blobs {
            let blob = blob(&format!("{index} {number}"), MEBIBYTE);
            self.reporter.emit(Event::BlobStarted { image: self.image(index), blob });
        }
    }

    fn advance(&self, index: usize, mebibytes: u64) {
        let bytes = mebibytes * MEBIBYTE;
        self.reporter.emit(Event::BlobProgress { image: self.image(index), bytes });
    }

    fn finish(&self, index: usize, outcome: ImageOutcome) {
        let source = self.image(index).source.clone();
        self.reporter.emit(Event::Finished { outcome: Arc::new(ImageOutcome { source, ..outcome }) });
    }
}

fn mapping(name: &str) -> Arc<Mapping> {
    let source = samples::source(name);
    let repository = source.repository().clone();
    Arc::new(Mapping { repository, tag: source.tag().unwrap().to_owned(), source, pinned: None })
}

fn blob(seed: &str, size: u64) -> Descriptor {
    Descriptor::new(OCI_INDEX.into(), samples::digest(seed), size)
}

fn names(count: usize) -> Vec<String> {
    let long = "thoras-dashboard-with-a-very-long-name:4.53.0".to_owned();
    std::iter::once(long).chain((1..count).map(|number| format!("service-{number:02}:4.53.0"))).collect()
}

#[test]
fn a_restart_takes_its_bytes_back_and_mounted_blobs_count_as_done() {
    let (stage, _log) = Stage::in_a_log(&names(2), Verbosity::Quiet);
    stage.plan(0, 100);
    stage.begin(0, 1);
    stage.advance(0, 30);
    let image = stage.image(0);
    let restarted =
        Event::BlobRestarted { image: Arc::clone(&image), blob: blob("x", 0), bytes: 20 * MEBIBYTE };
    stage.reporter.emit(restarted);
    let mounted = blob("y", 40 * MEBIBYTE);
    stage.reporter.emit(Event::BlobFinished { image, blob: mounted, how: BlobOutcome::Mounted });
    let snapshot = stage.reporter.progress.snapshot();
    assert_eq!(snapshot.done, 50 * MEBIBYTE);
    assert_eq!(snapshot.copied, 30 * MEBIBYTE, "the rate knows what the network did");

    stage.finish(0, ImageOutcome { status: Status::Skipped, ..samples::verified() });
    let snapshot = stage.reporter.progress.snapshot();
    assert_eq!((snapshot.done, snapshot.planned), (50 * MEBIBYTE, 50 * MEBIBYTE), "the rest left the total");
}

#[test]
fn time_left_waits_until_the_total_is_known() {
    let (stage, _log) = Stage::in_a_log(&names(2), Verbosity::Quiet);
    stage.plan(0, 100);
    stage.begin(0, 1);
    stage.reporter.progress.snapshot();
    stage.advance(0, 20);
    stage.seconds.fetch_add(2, Ordering::Relaxed);
    assert_eq!(stage.reporter.progress.snapshot().time_left(), None);
    stage.plan(1, 100);
    let snapshot = stage.reporter.progress.snapshot();
    assert_eq!(snapshot.rate, Some(10 * MEBIBYTE));
    assert_eq!(snapshot.time_left(), Some(Duration::from_secs(18)));
}
