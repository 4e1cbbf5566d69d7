//! Lines: events above the bars or in a log, and progress without a terminal.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use super::repeats::OmittedWarnings;
use super::state::{Active, Progress, Snapshot, Stage};
use crate::{
    error::{escape, hide_secrets},
    event::{BlobOutcome, Event},
    oci::Mapping,
    outcome::ImageOutcome,
    output::Verbosity,
    report::{
        log::{self, Level},
        same_cause,
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

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    /// What a person sees before the message.
    head: Option<String>,
    /// Without control characters.
    message: String,
    /// Whether a log shows its time. Warnings and errors begin with their level, and the access log has its own time.
    pub(super) has_time: bool,
}

impl Line {
    fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, head: None, message: message.into(), has_time: true }
    }

    fn with_head(self, head: String) -> Self {
        Self { head: Some(head), ..self }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match &self.head {
            Some(head) => format!("{head} {}", self.message),
            None => self.message.clone(),
        }
    }

    pub(super) fn json(&self) -> String {
        log::json_line(SystemTime::now(), self.level, &self.message)
    }
}

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
    /// The line for an event. `None` if the event is not shown.
    pub(super) fn line(self, event: &Event, progress: &Progress) -> Option<Line> {
        let line = self.warning(event, progress).or_else(|| {
            if self.verbosity == Verbosity::Quiet {
                return None;
            }
            self.milestone(event, progress).or_else(|| {
                let detail =
                    (self.verbosity == Verbosity::Verbose).then(|| detail(event, progress)).flatten();
                detail.map(|message| Line::new(Level::Debug, message))
            })
        })?;
        // Text from a registry could contain line breaks and imitate our lines.
        Some(Line { message: hide_secrets(&line.message).replace('\n', " "), ..line })
    }

    /// The line after the first lines about a cause. It replaces all further lines.
    pub(super) fn omission(self, event: &Event) -> Option<Line> {
        Some(match event {
            Event::Finished { .. } => Line::new(
                Level::Error,
                "more images fail for the same reason; they are listed at the end (-v shows each when it fails)",
            )
            .with_head(self.palette.error(self.symbols.bad)),
            Event::Retrying { .. } => {
                Line::new(Level::Info, "more requests are retried for the same reason (-v shows each)")
            }
            _ => return None,
        })
    }

    /// The line for the warnings that were left out because they repeat another.
    pub(super) fn omitted(self, warnings: &OmittedWarnings) -> Line {
        let OmittedWarnings { message, names } = warnings;
        let message = format!(
            "the same for {} ({}): {message}",
            units::counted(names.len(), "more image"),
            names.join(", ")
        );
        self.warning_line(&hide_secrets(&escape(&message)).replace('\n', " "))
    }

    fn warning_line(self, message: &str) -> Line {
        let line = Line::new(Level::Warning, message).with_head(self.palette.warning("warning:"));
        Line { has_time: false, ..line }
    }

    /// Lines that are shown even with `-q`. Failures are not: they are printed in full at the end.
    fn warning(self, event: &Event, progress: &Progress) -> Option<Line> {
        let (image, message) = match event {
            Event::Warning { image, message } => (image.as_ref(), escape(message)),
            Event::Note { message } => (None, escape(message)),
            Event::Finished { outcome } => (Some(&outcome.source), escape(&outcome.skip_message()?)),
            _ => return None,
        };
        let message = match image {
            Some(image) => format!("{}: {message}", progress.name_of(image)),
            None => message,
        };
        Some(self.warning_line(&message))
    }

    fn milestone(self, event: &Event, progress: &Progress) -> Option<Line> {
        let info = |message: String| Some(Line::new(Level::Info, message));
        match event {
            Event::Planned { image, blobs, bytes } if !self.bars && *bytes > 0 => info(format!(
                "{}: started, {}, {}",
                progress.name_of_copy(&image.source, &image.destination()),
                units::counted(*blobs, "blob"),
                units::bytes(*bytes)
            )),
            Event::Finished { outcome } => Some(self.finished(outcome, progress)),
            Event::Retrying { side, reason, pause } if *pause >= NOTICEABLE_PAUSE => {
                info(format!("{side}: {}; retrying in {}", escape(reason), units::whole_seconds(*pause)))
            }
            Event::Waiting { what, bytes: 0 } => info((*what).to_owned()),
            Event::Waiting { what, bytes } => info(format!("{what}: {} so far", units::bytes(*bytes))),
            Event::Request { line } => Some(Line { has_time: false, ..Line::new(Level::Info, escape(line)) }),
            _ => None,
        }
    }

    fn finished(self, outcome: &ImageOutcome, progress: &Progress) -> Line {
        let name = progress.name_of_copy(&outcome.source, &outcome.destination);
        if outcome.failure_kind().is_some() {
            return Line::new(Level::Error, format!("{name}: {}", failure(outcome)))
                .with_head(self.palette.error(self.symbols.bad));
        }
        let mut parts = vec![format!("{name}: {}", word(outcome.status))];
        if outcome.is_confirmed() {
            parts.push(format!("{} confirmed", units::counted(outcome.platforms.len(), "platform")));
        }
        if outcome.bytes.copied > 0 {
            parts.push(units::bytes(outcome.bytes.copied));
        }
        parts.push(units::elapsed(Duration::from_millis(outcome.milliseconds)));
        Line::new(Level::Info, parts.join(", ")).with_head(self.palette.good(self.symbols.good))
    }
}

/// What failed and why, in one line. The image's name is before it, so the message does not repeat it.
fn failure(outcome: &ImageOutcome) -> String {
    let Some(failure) = &outcome.failure else {
        let (word, cause) = (word(outcome.status), same_cause::in_one_line(outcome));
        return cause.map_or_else(|| word.to_owned(), |cause| format!("{word}: {cause}"));
    };
    let message = escape(&failure.message);
    let message = [format!(" {}", outcome.source), format!(" {}", outcome.destination)]
        .iter()
        .fold(message, |message, name| message.replace(name, ""));
    // The problems of a copy are in the table and at the end.
    match failure.causes.first() {
        Some(cause) => format!("{message}: {}", escape(cause)),
        None => message,
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
            format!("{}: pushed; reading it back", name(image))
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
    form: Form,
    last_line: Duration,
    last_copied: u64,
}

/// The form of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For a terminal.
    Text,
    /// For a file: with the time.
    TextWithTimes,
    /// For programs.
    Json,
}

impl LineWriter {
    pub(super) fn new(out: Box<dyn Write + Send>, form: Form) -> Self {
        Self { out, form, last_line: Duration::ZERO, last_copied: 0 }
    }

    /// Writes one line. If standard error is closed, the line is lost.
    pub(super) fn write(&mut self, line: &Line) {
        let text = match self.form {
            Form::Json => line.json(),
            Form::TextWithTimes if line.has_time => {
                format!("{} {}", units::timestamp(SystemTime::now(), false), line.text())
            }
            Form::Text | Form::TextWithTimes => line.text(),
        };
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
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
            self.write(&Line::new(Level::Info, line));
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
