//! The progress of a run as the user sees it, drawn into a terminal in memory or written as lines.

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

/// Thirty images: three are done, nine active, the other planned images are waiting, the rest unread.
fn thirty(columns: u16, rows: u16, planned: usize) -> (Stage, InMemoryTerm) {
    let (stage, terminal) = Stage::on_terminal(&names(30), columns, rows);
    (0..planned).for_each(|index| stage.plan(index, 100 + 3 * index as u64));
    stage.reporter.tick();
    (0..12).for_each(|index| stage.begin(index, 1 + index % 3));
    for second in 0..8 {
        (0..12).for_each(|index| stage.advance(index, 1 + (7 * index as u64 + second) % (2 + index as u64)));
        stage.pass(1);
    }
    stage.finish(1, ImageOutcome { problems: Vec::new(), ..samples::copied() });
    stage.finish(4, samples::failed());
    stage.finish(5, samples::up_to_date());
    stage.reporter.emit(Event::Confirming { image: stage.image(3) });
    stage.pass(1);
    (stage, terminal)
}

#[test]
fn thirty_images_on_a_small_terminal() {
    let (_stage, terminal) = thirty(80, 24, 22);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-04:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg1…
    ✓ service-05:4.53.0: up-to-date, 1 platform confirmed, 0.8 s
    …th-a-very-long-name:4.53.0 ━╸────────  12.0 MiB of 100.0 MiB  copying 1 blob
    service-02:4.53.0           ━╸────────  20.0 MiB of 106.0 MiB  copying 3 blobs
    service-03:4.53.0           ━━╸───────  24.0 MiB of 109.0 MiB  confirming
    service-06:4.53.0           ━━━╸──────  36.0 MiB of 118.0 MiB  copying 1 blob
    service-07:4.53.0           ━━━╸──────  41.0 MiB of 121.0 MiB  copying 2 blobs
    service-08:4.53.0           ━━━╸──────  44.0 MiB of 124.0 MiB  copying 3 blobs
    3 of 30 images              ━╸────────   557.0 MiB of 2.7 GiB  42.8 MiB/s
    3 more active, 10 waiting, 8 not read yet, 1 failed
    "#);
}

#[test]
fn thirty_images_on_a_large_terminal() {
    let (_stage, terminal) = thirty(120, 40, 30);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-04:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg16: the registry answered 403 Forbidden: …
    ✓ service-05:4.53.0: up-to-date, 1 platform confirmed, 0.8 s
    …-dashboard-with-a-very-long-name:4.53.0 ━━━━╸────────────────────────────────  12.0 MiB of 100.0 MiB  copying 1 blob
    service-02:4.53.0                        ━━━━━━╸──────────────────────────────  20.0 MiB of 106.0 MiB  copying 3 blobs
    service-03:4.53.0                        ━━━━━━━━╸────────────────────────────  24.0 MiB of 109.0 MiB  confirming
    service-06:4.53.0                        ━━━━━━━━━━━╸─────────────────────────  36.0 MiB of 118.0 MiB  copying 1 blob
    service-07:4.53.0                        ━━━━━━━━━━━━╸────────────────────────  41.0 MiB of 121.0 MiB  copying 2 blobs
    service-08:4.53.0                        ━━━━━━━━━━━━━╸───────────────────────  44.0 MiB of 124.0 MiB  copying 3 blobs
    3 of 30 images                           ━━━━╸────────────────────────────────   557.0 MiB of 4.1 GiB  42.8 MiB/s
    1 min 26 s left; 3 more active, 18 waiting, 1 failed
    "#);
}

#[test]
fn thirty_images_on_a_sliver() {
    let (_stage, terminal) = thirty(50, 8, 22);
    assert_snapshot!(terminal.contents(), @r#"
    ✓ service-05:4.53.0: up-to-date, 1 platform confir
    med, 0.8 s
    …ng-name:4.53.0 ━╸────────  12%  copying 1 blob
    …vice-02:4.53.0 ━╸────────  18%  copying 3 blobs
    …vice-03:4.53.0 ━━╸───────  22%  confirming
    …vice-06:4.53.0 ━━━╸──────  30%  copying 1 blob
    3 of 30 images  ━╸────────  19%  42.8 MiB/s
    5 more active, 10 waiting, 8 not read yet, 1 fai…
    "#);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns in 50..130 {
        let (stage, terminal) = Stage::on_terminal(&names(9), columns, 40);
        (0..9).for_each(|index| stage.plan(index, 900));
        (0..9).for_each(|index| stage.begin(index, 3));
        stage.advance(0, 500);
        stage.pass(1);
        // Six rows, the total and the note: a wrapped line would add rows.
        assert_eq!(terminal.contents().lines().count(), 8, "{columns}:\n{}", terminal.contents());
    }
}

#[test]
fn the_end_leaves_a_clean_terminal() {
    let (stage, terminal) = thirty(80, 24, 22);
    stage.reporter.finish();
    let lines = terminal.contents();
    assert_eq!(lines.lines().count(), 3, "only the finished images stay:\n{lines}");
    stage.reporter.tick();
    drop(stage);
    assert_eq!(terminal.contents(), lines);
}

#[test]
fn idle_time_is_shown_beside_the_bar() {
    let (stage, terminal) = Stage::on_terminal(&names(2), 80, 24);
    stage.plan(1, 100);
    stage.begin(1, 1);
    stage.advance(1, 50);
    stage.pass(75);
    assert_snapshot!(terminal.contents(), @r#"
    service-01:4.53.0           ━━━━━╸────  50.0 MiB of 100.0 MiB  idle 1 min 15 s
    0 of 2 images               ━━━━━╸────  50.0 MiB of 100.0 MiB  0 B/s
    no activity for 1 min 15 s; 1 not read yet
    "#);
}

#[test]
fn a_log_gets_a_line_every_few_seconds() {
    let (stage, log) = Stage::in_a_log(&names(6), Verbosity::Normal);
    (0..6).for_each(|index| stage.plan(index, 100));
    (0..2).for_each(|index| stage.begin(index, 1));
    for _ in 0..12 {
        stage.advance(0, 8);
        stage.pass(1);
    }
    stage.finish(0, samples::copied());
    stage.finish(1, samples::failed());
    stage.advance(2, 1);
    stage.pass(1);
    assert_snapshot!(log.text(), @r#"
    thoras-dashboard-with-a-very-long-name:4.53.0: started, 4 blobs, 100.0 MiB
    service-01:4.53.0: started, 4 blobs, 100.0 MiB
    service-02:4.53.0: started, 4 blobs, 100.0 MiB
    service-03:4.53.0: started, 4 blobs, 100.0 MiB
    service-04:4.53.0: started, 4 blobs, 100.0 MiB
    service-05:4.53.0: started, 4 blobs, 100.0 MiB
    40.0 MiB of 600.0 MiB, 8.0 MiB/s, 1 min 10 s left; 0 of 6 images done; now thoras-dashboard-with-a-very-long-name:4.53.0 and 1 more
    80.0 MiB of 600.0 MiB, 8.0 MiB/s, 1 min 5 s left; 0 of 6 images done; now thoras-dashboard-with-a-very-long-name:4.53.0 and 1 more
    ✓ thoras-dashboard-with-a-very-long-name:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    ✗ service-01:4.53.0: source: cannot read the manifest of timescaledb:2.21.3-pg16: the registry answered 403 Forbidden: DENIED: no rights
    "#);
}

#[test]
fn a_log_shows_idle_time() {
    let (stage, log) = Stage::in_a_log(&names(3), Verbosity::Normal);
    stage.pass(61);
    stage.plan(1, 100);
    stage.begin(1, 1);
    stage.reporter.emit(Event::Confirming { image: stage.image(1) });
    stage.pass(125);
    assert_snapshot!(log.text(), @r#"
    no activity for 1 min 0 s; 0 of 3 images done; now reading the manifests of 3 images
    service-01:4.53.0: started, 4 blobs, 100.0 MiB
    nothing copied for a while; 0 of 3 images done; now service-01:4.53.0 (confirming)
    no activity for 1 min 59 s; 0 of 3 images done; now service-01:4.53.0 (idle for 1 min 59 s)
    "#);
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

fn talk(stage: &Stage) {
    let image = Some(stage.image(1).source.clone());
    let retrying = |pause| Event::Retrying {
        side: Side::Source,
        reason: "503 Service\u{1b}[2J Unavailable\nok fake: done".to_owned(),
        pause: Duration::from_secs(pause),
    };
    for event in [
        Event::Warning { image, message: "the tag moved\u{202e} while it was read".to_owned() },
        Event::Warning { image: None, message: "no lock is written".to_owned() },
        retrying(1),
        retrying(30),
        Event::Detail { message: "token for a\u{9b}b".to_owned() },
        Event::Request { line: "GET /v2/ 200".to_owned() },
    ] {
        stage.reporter.emit(event);
    }
    stage.plan(1, 10);
    stage.begin(1, 1);
    let finished =
        Event::BlobFinished { image: stage.image(1), blob: blob("1 0", MEBIBYTE), how: BlobOutcome::Copied };
    stage.reporter.emit(finished);
    stage.finish(1, samples::copied());
    stage.pass(70);
}

#[test]
fn quiet_shows_warnings_only() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Quiet);
    talk(&stage);
    assert_snapshot!(log.text(), @r#"
    warning: service-01:4.53.0: the tag moved\u{202e} while it was read
    warning: no lock is written
    "#);
}

#[test]
fn verbose_shows_everything() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Verbose);
    talk(&stage);
    assert_snapshot!(log.text(), @r#"
    2 images
    warning: service-01:4.53.0: the tag moved\u{202e} while it was read
    warning: no lock is written
    source: 503 Service\u{1b}[2J Unavailable ok fake: done; retrying in 1.0 s
    source: 503 Service\u{1b}[2J Unavailable ok fake: done; retrying in 30 s
    token for a\u{9b}b
    GET /v2/ 200
    service-01:4.53.0: sha256:4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2, linux/amd64
    service-01:4.53.0: started, 4 blobs, 10.0 MiB
    service-01:4.53.0: sha256:8fad34bbb0c1 started, 1.0 MiB
    service-01:4.53.0: sha256:8fad34bbb0c1 copied, 1.0 MiB
    ✓ service-01:4.53.0: copied, 2 platforms confirmed, 146.0 MiB, 12.4 s
    no activity for 1 min 0 s; 1 of 2 images done; now reading the manifests of 1 image
    "#);
}

#[test]
fn no_outside_text_reaches_a_log_unescaped() {
    let (stage, log) = Stage::in_a_log(&names(2), Verbosity::Verbose);
    talk(&stage);
    assert_eq!(crate::error::escape(&log.text()), log.text());
    assert!(!log.text().contains("\nok fake"));
}

#[test]
fn a_log_in_a_file_shows_times() {
    let capture = Capture::default();
    let mut lines = LineWriter::new(Box::new(capture.clone()), Form::TextWithTimes);
    let progress = Progress::new(Box::new(|| Duration::ZERO));
    let (palette, symbols) = (Palette::plain(), Symbols::UNICODE);
    let event_lines = EventLines { verbosity: Verbosity::Normal, palette, symbols, bars: false };
    for event in [
        Event::Finished { outcome: Arc::new(samples::verified()) },
        Event::Warning { image: None, message: "no lock is written".to_owned() },
    ] {
        lines.write(&event_lines.line(&event, &progress).unwrap());
    }
    let text = capture.text();
    let (first, second) = text.split_once('\n').unwrap();
    let (time, rest) = first.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 20, "{time}");
    assert!(rest.starts_with("✓ "), "{rest}");
    assert_eq!(second, "warning: no lock is written\n");
}

#[test]
fn forty_images_with_one_cause_are_a_few_lines() {
    let names: Vec<String> = (0..40).map(|number| format!("img{number}:1")).collect();
    for (verbosity, expected) in [(Verbosity::Normal, 4), (Verbosity::Verbose, 41)] {
        let (stage, log) = Stage::in_a_log(&names, verbosity);
        for index in 0..40 {
            stage.finish(index, samples::failed());
        }
        assert_eq!(log.text().lines().count(), expected, "{}", log.text());
    }
    let (stage, log) = Stage::in_a_log(&names, Verbosity::Normal);
    for index in 0..40 {
        let reason = format!("cannot read manifest quay.io/a/img{index}:1: the registry answered 503");
        let pause = Duration::from_secs(30);
        stage.reporter.emit(Event::Retrying { side: Side::Source, reason, pause });
    }
    assert_snapshot!(log.text(), @r#"
    source: cannot read manifest quay.io/a/img0:1: the registry answered 503; retrying in 30 s
    source: cannot read manifest quay.io/a/img1:1: the registry answered 503; retrying in 30 s
    source: cannot read manifest quay.io/a/img2:1: the registry answered 503; retrying in 30 s
    more requests are retried for the same reason (-v shows each)
    "#);
}

#[test]
fn forty_warnings_with_one_cause_are_a_few_lines_that_name_every_image() {
    let names: Vec<String> = (0..40).map(|number| format!("img{number}:1")).collect();
    let warn = |stage: &Stage, index: usize| {
        let image = Some(samples::source(&format!("img{index}:1")));
        let digest = format!("{index:064x}");
        let message = format!("registry.example.com/m/img{index} lost blob sha256:{digest} after its upload");
        stage.reporter.emit(Event::Warning { image, message });
    };
    for (verbosity, expected) in [(Verbosity::Quiet, 4), (Verbosity::Normal, 4), (Verbosity::Verbose, 40)] {
        let (stage, log) = Stage::in_a_log(&names, verbosity);
        (0..40).for_each(|index| warn(&stage, index));
        stage.reporter.finish();
        let lines = log.text().lines().filter(|line| line.contains("lost blob")).count();
        assert_eq!(lines, expected, "{}", log.text());
        for name in &names {
            assert!(log.text().contains(name), "{name} is missing in {}", log.text());
        }
        // After the end, nothing is left out: no later line would name it.
        warn(&stage, 39);
        assert_eq!(log.text().matches("img39 lost blob").count(), usize::from(expected == 40) + 1);
    }
}

#[test]
fn what_is_not_mirrored_is_never_left_out() {
    let (stage, log) = Stage::in_a_log(&[], Verbosity::Normal);
    for index in 0..40 {
        let message = format!("not mirrored: quay.io/a/img{index}:1 (ConfigMap c), because it is a pattern");
        stage.reporter.emit(Event::Note { message });
    }
    assert_eq!(log.text().lines().count(), 40);
}
