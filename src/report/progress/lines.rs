//! Lines: events above the bars or in a log, and progress without a terminal.

use std::{io::Write, time::Duration};

use super::state::{Active, Progress, Snapshot, Stage};
use crate::{
    error::escape,
    event::{BlobOutcome, Event},
    oci::Mapping,
    outcome::{ImageOutcome, Status},
    output::Verbosity,
    report::{
        style::{Palette, Symbols},
        terminal::word,
    },
    units,
};

/// A longer pause is announced even without `-v`.
const NOTICEABLE_PAUSE: Duration = Duration::from_secs(5);
/// The time between progress lines.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time without activity after which a line says so.
pub(super) const LONG_IDLE: Duration = Duration::from_secs(60);

/// Turns events into lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventLines {
    pub(super) verbosity: Verbosity,
    pub(super) palette: Palette,
    pub(super) symbols: Symbols,
    /// Whether bars are shown. If so, no line says that an image starts.
    pub(super) bars: bool,
}

impl EventLines {
    /// The line for an event, without control characters. `None` if the event is not shown.
    pub(super) fn line(self, event: &Event, progress: &Progress) -> Option<String> {
        let line = self.warning(event, progress).or_else(|| {
            if self.verbosity == Verbosity::Quiet {
                return None;
            }
            self.milestone(event, progress)
                .or_else(|| (self.verbosity == Verbosity::Verbose).then(|| detail(event, progress)).flatten())
        })?;
        // Text from a registry could contain line breaks and imitate our lines.
        Some(line.replace('\n', " "))
    }

    /// Lines that are shown even with `-q`. Failures are not: they are printed in full at the end.
    fn warning(self, event: &Event, progress: &Progress) -> Option<String> {
        let Event::Warning { image, message } = event else { return None };
        let head = self.palette.warning("warning:");
        let message = escape(message);
        Some(match image {
            Some(image) => format!("{head} {}: {message}", progress.name_of(image)),
            None => format!("{head} {message}"),
        })
    }

    fn milestone(self, event: &Event, progress: &Progress) -> Option<String> {
        match event {
            Event::Planned { image, blobs, bytes } if !self.bars && *bytes > 0 => Some(format!(
                "{}: started, {}, {}",
                progress.name_of_copy(&image.source, &image.destination()),
                units::counted(*blobs, "blob"),
                units::bytes(*bytes)
            )),
            Event::Finished { outcome } => Some(self.finished(outcome, progress)),
            Event::Retrying { side, reason, pause } if *pause >= NOTICEABLE_PAUSE => {
                Some(format!("{side}: {}; retrying in {}", escape(reason), units::whole_seconds(*pause)))
            }
            Event::Waiting { what, bytes: 0 } => Some((*what).to_owned()),
            Event::Waiting { what, bytes } => Some(format!("{what}: {} so far", units::bytes(*bytes))),
            Event::Request { line } => Some(escape(line)),
            _ => None,
        }
    }

    fn finished(self, outcome: &ImageOutcome, progress: &Progress) -> String {
        let name = progress.name_of(&outcome.source);
        let result = match (&outcome.failure, outcome.status) {
            (Some(failure), _) => escape(&failure.message),
            (None, Status::Different) => {
                format!("different, {}", units::counted(outcome.problems.len(), "problem"))
            }
            (None, status) => word(status).to_owned(),
        };
        if outcome.failure_kind().is_some() {
            return format!("{} {name}: {result}", self.palette.error(self.symbols.bad));
        }
        let mut parts = vec![format!("{} {name}: {result}", self.palette.good(self.symbols.good))];
        if outcome.is_confirmed() {
            parts.push(format!("{} confirmed", units::counted(outcome.platforms.len(), "platform")));
        }
        if outcome.bytes.copied > 0 {
            parts.push(units::bytes(outcome.bytes.copied));
        }
        parts.push(units::elapsed(Duration::from_millis(outcome.milliseconds)));
        parts.join(", ")
    }
}

/// Lines that only `-v` shows.
fn detail(event: &Event, progress: &Progress) -> Option<String> {
    let name = |image: &Mapping| progress.name_of_copy(&image.source, &image.destination());
    Some(match event {
        Event::Resolved { image, digest, platforms } => {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            format!("{}: {digest}, {}", name(image), platforms.join(" "))
        }
        Event::BlobStarted { image, blob } => {
            format!("{}: {} started, {}", name(image), blob.digest.short(), units::bytes(blob.size))
        }
        Event::BlobFinished { image, blob, how } => {
            let how = match how {
                BlobOutcome::Copied => "copied",
                BlobOutcome::Mounted => "mounted",
                BlobOutcome::Present => "already present",
            };
            format!("{}: {} {how}, {}", name(image), blob.digest.short(), units::bytes(blob.size))
        }
        Event::BlobRestarted { image, blob, bytes } => {
            format!("{}: {} restarted after {}", name(image), blob.digest.short(), units::bytes(*bytes))
        }
        Event::Confirming { image } => {
            format!("{}: manifests pushed; reading them back", name(image))
        }
        Event::Retrying { side, reason, pause } => {
            format!("{side}: {}; retrying in {}", escape(reason), units::elapsed(*pause))
        }
        Event::Detail { message } => escape(message),
        Event::Started { images } => units::counted(images.len(), "image"),
        _ => return None,
    })
}

/// Writes lines, and remembers the time of the last line.
pub(super) struct LineWriter {
    out: Box<dyn Write + Send>,
    last_line: Duration,
    last_copied: u64,
}

impl LineWriter {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, last_line: Duration::ZERO, last_copied: 0 }
    }

    /// Writes one line. If standard error is closed, the line is lost.
    pub(super) fn write(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// Writes a progress line, if it is due.
    pub(super) fn tick(&mut self, now: Duration, snapshot: &Snapshot) {
        let since = now.saturating_sub(self.last_line);
        let moves = snapshot.copied != self.last_copied;
        let line = if moves && since >= INTERVAL {
            Some(moving(snapshot))
        } else if since >= LONG_IDLE && (snapshot.total == 0 || snapshot.finished < snapshot.total) {
            Some(stalled(snapshot))
        } else {
            None
        };
        if let Some(line) = line {
            self.write(&line);
            (self.last_line, self.last_copied) = (now, snapshot.copied);
        }
    }
}

/// `12.3 MiB of 146.0 MiB, 8.1 MiB/s, 17 s left; 2 of 6 images done; now services:4.53.0`
fn moving(snapshot: &Snapshot) -> String {
    let amount = format!("{} of {}", units::bytes(snapshot.done), units::bytes(snapshot.planned));
    let rate = snapshot.rate.map(units::rate);
    let left = snapshot.time_left().map(|left| format!("{} left", units::whole_seconds(left)));
    let bytes: Vec<String> = std::iter::once(amount).chain(rate).chain(left).collect();
    format!("{}; {}; now {}", bytes.join(", "), images_done(snapshot), active(snapshot))
}

/// The line if no byte has been copied for a while.
fn stalled(snapshot: &Snapshot) -> String {
    let idle = match snapshot.idle {
        time if time >= LONG_IDLE => format!("no activity for {}", units::whole_seconds(time)),
        _ => "nothing copied for a while".to_owned(),
    };
    if snapshot.total == 0 {
        return format!("{idle}; still finding the images");
    }
    format!("{idle}; {}; now {}", images_done(snapshot), active(snapshot))
}

fn images_done(snapshot: &Snapshot) -> String {
    let done = format!("{} of {} done", snapshot.finished, units::counted(snapshot.total, "image"));
    if snapshot.failed == 0 { done } else { format!("{done}, {} failed", snapshot.failed) }
}

/// The image that has been active the longest, its activity, and the number of other active images.
fn active(snapshot: &Snapshot) -> String {
    match snapshot.active.split_first() {
        None if snapshot.reading > 0 => {
            format!("reading the manifests of {}", units::counted(snapshot.reading, "image"))
        }
        None => format!("{} waiting", units::counted(snapshot.queued, "image")),
        Some((first, [])) => doing(first),
        Some((first, rest)) => format!("{} and {} more", doing(first), rest.len()),
    }
}

fn doing(image: &Active) -> String {
    let what = match image.stage {
        _ if image.idle >= LONG_IDLE => format!(" (idle for {})", units::whole_seconds(image.idle)),
        Stage::Confirming => " (confirming)".to_owned(),
        Stage::Copying | Stage::Queued | Stage::Reading => String::new(),
    };
    format!("{}{what}", image.name)
}
