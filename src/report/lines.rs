//! Progress where there is no terminal: a plain line every few seconds, and a word about silence.

use std::{io::Write, time::Duration};

use super::{
    progress::{Active, Snapshot, Stage},
    units,
};

const INTERVAL: Duration = Duration::from_secs(5);
/// After this long without a sign of life, a person is told.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Writes lines, and remembers when it last did.
pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    last_line: Duration,
    last_moved: u64,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, last_line: Duration::ZERO, last_moved: 0 }
    }

    /// Writes one line. Nobody is left to hear that standard error is gone.
    pub(super) fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }

    /// Says how far the run is, where it is time to.
    pub(super) fn tick(&mut self, now: Duration, snapshot: &Snapshot) {
        let since = now.saturating_sub(self.last_line);
        let moves = snapshot.moved != self.last_moved;
        let line = if moves && since >= INTERVAL {
            Some(moving(snapshot))
        } else if since >= SILENCE && (snapshot.total == 0 || snapshot.finished < snapshot.total) {
            Some(still(snapshot))
        } else {
            None
        };
        if let Some(line) = line {
            self.say(&line);
            (self.last_line, self.last_moved) = (now, snapshot.moved);
        }
    }
}

/// `12.3 MiB of 146.0 MiB, 8.1 MiB/s, 17 s left; 2 of 6 images done; now services:4.53.0`
fn moving(snapshot: &Snapshot) -> String {
    let amount = format!("{} of {}", units::bytes(snapshot.done), units::bytes(snapshot.planned));
    let rate = snapshot.rate.map(units::rate);
    let left = snapshot.time_left().map(|left| format!("{} left", units::whole_seconds(left)));
    let bytes: Vec<String> = std::iter::once(amount).chain(rate).chain(left).collect();
    format!("{}; {}; now {}", bytes.join(", "), images_done(snapshot), now(snapshot))
}

/// What is said when no byte has moved for a while.
fn still(snapshot: &Snapshot) -> String {
    let silence = match snapshot.silent {
        silent if silent >= SILENCE => format!("nothing has happened for {}", units::whole_seconds(silent)),
        _ => "no byte has moved for a while".to_owned(),
    };
    if snapshot.total == 0 {
        return format!("{silence}; the images are not known yet");
    }
    format!("{silence}; {}; now {}", images_done(snapshot), now(snapshot))
}

fn images_done(snapshot: &Snapshot) -> String {
    let done = format!("{} of {} done", snapshot.finished, units::counted(snapshot.total, "image"));
    if snapshot.failed == 0 { done } else { format!("{done}, {} failed", snapshot.failed) }
}

/// The image that has been at work the longest, what is done to it, and how many others there are.
fn now(snapshot: &Snapshot) -> String {
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
        _ if image.silent >= SILENCE => format!(" (silent for {})", units::whole_seconds(image.silent)),
        Stage::Confirming => " (confirming)".to_owned(),
        Stage::Copying | Stage::Queued | Stage::Reading => String::new(),
    };
    format!("{}{what}", image.label)
}
