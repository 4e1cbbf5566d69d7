//! Leaves out lines if others with the same cause have been shown.

use std::time::Duration;

use crate::{
    event::Event,
    oci::Reference,
    report::same_cause::{SharedCause, name_in},
};

/// The most lines about one cause.
const LINES: u32 = 3;
/// A cause that was not met for this long is shown again.
const RESET: Duration = Duration::from_secs(60);

/// The causes of failures, retries and warnings so far.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    seen: Vec<ShownCause>,
    /// Whether the run has ended, so that nothing more is left out.
    is_over: bool,
}

#[derive(Debug)]
struct ShownCause {
    cause: SharedCause,
    about: EventKind,
    lines: u32,
    last: Duration,
    /// The images whose warnings were left out.
    omitted: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventKind {
    Failure,
    Retry,
    Warning,
}

/// Warnings that were left out because they repeat another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OmittedWarnings {
    /// What they say about each image.
    pub(super) message: String,
    pub(super) names: Vec<String>,
}

/// What to show of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// Its line.
    Line,
    /// That further lines are left out.
    Omission,
    /// Nothing.
    Nothing,
}

impl Repeats {
    /// Decides for an event whose line would be shown. `name_of` shortens the name of an image.
    pub(super) fn decide(
        &mut self,
        event: &Event,
        now: Duration,
        name_of: impl Fn(&Reference) -> String,
    ) -> Show {
        let Some(Repeatable { cause, about, image }) = repeatable(event, name_of).filter(|_| !self.is_over)
        else {
            return Show::Line;
        };
        let known = self.seen.iter_mut().find(|seen| seen.about == about && seen.cause == cause);
        let Some(seen) = known else {
            self.seen.push(ShownCause { cause, about, lines: 1, last: now, omitted: Vec::new() });
            return Show::Line;
        };
        if about == EventKind::Retry && now.saturating_sub(seen.last) >= RESET {
            seen.lines = 0;
        }
        seen.last = now;
        seen.lines += 1;
        match (seen.lines, image) {
            (..=LINES, _) => Show::Line,
            // The end of the run names them.
            (_, Some(image)) => {
                if !seen.omitted.contains(&image) {
                    seen.omitted.push(image);
                }
                Show::Nothing
            }
            (lines, None) if lines == LINES + 1 => Show::Omission,
            _ => Show::Nothing,
        }
    }

    /// Ends the run: returns the warnings that were left out, and leaves out no more.
    pub(super) fn end(&mut self) -> Vec<OmittedWarnings> {
        self.is_over = true;
        let omitted = self.seen.drain(..).filter(|seen| !seen.omitted.is_empty());
        omitted
            .map(|ShownCause { cause, mut omitted, .. }| {
                omitted.sort();
                OmittedWarnings { message: cause.message(), names: omitted }
            })
            .collect()
    }
}

/// An event that may repeat another.
struct Repeatable {
    cause: SharedCause,
    about: EventKind,
    /// The image that a warning concerns.
    image: Option<String>,
}

fn repeatable(event: &Event, name_of: impl Fn(&Reference) -> String) -> Option<Repeatable> {
    match event {
        Event::Finished { outcome } => {
            if let Some(message) = outcome.skip_message() {
                return warning(Some(&outcome.source), &message, name_of);
            }
            let cause = SharedCause::of_outcome(outcome).filter(|_| outcome.failure_kind().is_some())?;
            Some(Repeatable { cause, about: EventKind::Failure, image: None })
        }
        Event::Retrying { side, reason, .. } => Some(Repeatable {
            cause: SharedCause::of_retry(*side, reason),
            about: EventKind::Retry,
            image: None,
        }),
        Event::Warning { image, message } => warning(image.as_ref(), message, name_of),
        _ => None,
    }
}

/// A warning that concerns an image. Others are always shown.
fn warning(
    image: Option<&Reference>,
    message: &str,
    name_of: impl Fn(&Reference) -> String,
) -> Option<Repeatable> {
    let name = image.map(name_of).or_else(|| name_in(message))?;
    let cause = SharedCause::of_warning(image, message);
    Some(Repeatable { cause, about: EventKind::Warning, image: Some(name) })
}
