//! Events as lines: what scrolls past above the bars, or stands in a log.

use std::time::Duration;

use super::{
    progress::Progress,
    style::{Palette, Symbols},
    table, units,
};
use crate::{
    error::escape,
    event::{Event, Landing},
    outcome::{ImageOutcome, Status},
};

/// A pause that a person would notice is announced even without `-v`.
const NOTICEABLE_PAUSE: Duration = Duration::from_secs(5);

/// How much is said while the work is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: warnings and errors.
    Quiet,
    /// Progress, and how every image ends.
    #[default]
    Normal,
    /// `-v`: also every blob, every retry and every detail.
    Verbose,
}

/// How lines are worded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) verbosity: Verbosity,
    pub(super) palette: Palette,
    pub(super) symbols: Symbols,
    /// Whether bars show what begins, so that no line has to.
    pub(super) bars: bool,
}

impl Voice {
    /// The line for an event, free of control characters; `None` where nothing is said.
    pub(super) fn line(self, event: &Event, progress: &Progress) -> Option<String> {
        let line = self.warning(event, progress).or_else(|| {
            if self.verbosity == Verbosity::Quiet {
                return None;
            }
            self.milestone(event, progress)
                .or_else(|| (self.verbosity == Verbosity::Verbose).then(|| detail(event, progress)).flatten())
        })?;
        // A registry's text could carry line breaks and imitate lines of ours.
        Some(line.replace('\n', " "))
    }

    /// What is said even with `-q`. Failures are not among it: they are printed in full at the end.
    fn warning(self, event: &Event, progress: &Progress) -> Option<String> {
        let Event::Warning { image, message } = event else { return None };
        let head = self.palette.warning("warning:");
        let message = escape(message);
        Some(match image {
            Some(image) => format!("{head} {}: {message}", progress.label_of(image)),
            None => format!("{head} {message}"),
        })
    }

    fn milestone(self, event: &Event, progress: &Progress) -> Option<String> {
        match event {
            Event::Planned { image, blobs, bytes } if !self.bars && *bytes > 0 => Some(format!(
                "{}: begins, {}, {}",
                progress.label_of(&image.source),
                units::counted(*blobs, "blob"),
                units::bytes(*bytes)
            )),
            Event::Finished { outcome } => Some(self.finished(outcome, progress)),
            Event::Retrying { side, reason, pause } if *pause >= NOTICEABLE_PAUSE => {
                Some(format!("{side}: {}; again in {}", escape(reason), units::whole_seconds(*pause)))
            }
            Event::Waiting { what, bytes: 0 } => Some((*what).to_owned()),
            Event::Waiting { what, bytes } => Some(format!("{what}: {} so far", units::bytes(*bytes))),
            Event::Failed { failure } => {
                Some(format!("{} {}", self.palette.error(self.symbols.bad), escape(&failure.message)))
            }
            _ => None,
        }
    }

    fn finished(self, outcome: &ImageOutcome, progress: &Progress) -> String {
        let label = progress.label_of(&outcome.source);
        let said = match (&outcome.failure, outcome.status) {
            (Some(failure), _) => escape(&failure.message),
            (None, Status::Different) => {
                format!("different, {}", units::counted(outcome.problems.len(), "problem"))
            }
            (None, status) => table::status(status).to_owned(),
        };
        if outcome.failure_kind().is_some() {
            return format!("{} {label}: {said}", self.palette.error(self.symbols.bad));
        }
        let mut parts = vec![format!("{} {label}: {said}", self.palette.good(self.symbols.good))];
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

/// What only `-v` shows.
fn detail(event: &Event, progress: &Progress) -> Option<String> {
    let label = |image: &crate::oci::Mapping| progress.label_of(&image.source);
    Some(match event {
        Event::Resolved { image, digest, platforms } => {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            format!("{}: {digest}, {}", label(image), platforms.join(" "))
        }
        Event::BlobStarted { image, blob } => {
            format!("{}: {} begins, {}", label(image), blob.digest.short(), units::bytes(blob.size))
        }
        Event::BlobFinished { image, blob, how } => {
            let how = match how {
                Landing::Copied => "copied",
                Landing::Mounted => "mounted",
                Landing::Present => "already there",
            };
            format!("{}: {} {how}, {}", label(image), blob.digest.short(), units::bytes(blob.size))
        }
        Event::BlobRestarted { image, blob, bytes } => {
            format!("{}: {} begins anew after {}", label(image), blob.digest.short(), units::bytes(*bytes))
        }
        Event::Confirming { image } => {
            format!("{}: its manifests are pushed; reading them back", label(image))
        }
        Event::Retrying { side, reason, pause } => {
            format!("{side}: {}; again in {}", escape(reason), units::elapsed(*pause))
        }
        Event::Detail { message } => escape(message),
        Event::Started { images } => units::counted(images.len(), "image"),
        _ => return None,
    })
}
