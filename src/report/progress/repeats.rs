//! Which lines are left out, because others with the same cause have been shown.

use std::time::Duration;

use crate::{event::Event, report::same_cause::Cause};

/// The most lines about one cause.
const LINES: u32 = 3;
/// A cause that was not met for this long is shown again.
const RESET: Duration = Duration::from_secs(60);

/// The causes of failures and retries so far.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    cause: Cause,
    is_retry: bool,
    lines: u32,
    last: Duration,
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
    /// Decides for an event whose line would be shown.
    pub(super) fn decide(&mut self, event: &Event, now: Duration) -> Show {
        let (cause, is_retry) = match event {
            Event::Finished { outcome } if outcome.failure_kind().is_some() => {
                (Cause::of_outcome(outcome), false)
            }
            Event::Retrying { side, reason, .. } => (Some(Cause::of_retry(*side, reason)), true),
            _ => return Show::Line,
        };
        let Some(cause) = cause else { return Show::Line };
        let known = self.seen.iter_mut().find(|seen| seen.is_retry == is_retry && seen.cause == cause);
        let Some(seen) = known else {
            self.seen.push(Seen { cause, is_retry, lines: 1, last: now });
            return Show::Line;
        };
        if is_retry && now.saturating_sub(seen.last) >= RESET {
            seen.lines = 0;
        }
        seen.last = now;
        seen.lines += 1;
        match seen.lines {
            ..=LINES => Show::Line,
            lines if lines == LINES + 1 => Show::Omission,
            _ => Show::Nothing,
        }
    }
}
