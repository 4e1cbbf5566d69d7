//! The reporter: receives events during a job and shows them as bars or as lines.
//!
//! [`state`] counts, [`bars`] draws on a terminal, [`lines`] writes elsewhere, [`repeats`] leaves out repeated lines.

mod bars;
mod lines;
mod repeats;
mod state;

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{
    bars::Bars,
    lines::{EventLines, Form, LineWriter},
    repeats::{Repeats, Show},
    state::{Clock, Progress},
};
use super::{
    log,
    style::{Palette, Symbols},
};
use crate::{
    event::{Event, EventSink},
    output::Verbosity,
};

/// Shows a run on standard error.
///
/// On a terminal it draws bars, elsewhere it writes lines. It draws only in [`Reporter::tick`], so events are cheap.
/// [`Reporter::finish`], or dropping it, removes the bars from the terminal: call it before printing anything else,
/// also after Ctrl-C.
pub(crate) struct Reporter {
    progress: Progress,
    event_lines: EventLines,
    repeats: Mutex<Repeats>,
    display: Mutex<Display>,
}

/// Where progress goes.
enum Display {
    Bars(Bars),
    Lines(LineWriter),
    /// After the end: events are still written as lines, but no progress.
    Ended(LineWriter),
}

impl Reporter {
    /// The time between calls of [`Reporter::tick`].
    pub(crate) const TICK: Duration = Duration::from_millis(100);

    /// A reporter for this process's standard error.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let started = Instant::now();
        let symbols = Symbols::of_locale();
        // A terminal that cannot move its cursor (`TERM=dumb`, as in editors) gets lines.
        let terminal = console::Term::stderr();
        let bars =
            terminal.is_term() && !console::is_dumb() && verbosity > Verbosity::Quiet && !log::is_json();
        let display =
            if bars { Display::Bars(Bars::on_stderr(symbols)) } else { Display::Lines(stderr_lines()) };
        let event_lines = EventLines { verbosity, palette: Palette::of_stderr(), symbols, bars };
        Self::assemble(event_lines, display, Box::new(move || started.elapsed()))
    }

    fn assemble(event_lines: EventLines, display: Display, clock: Clock) -> Self {
        Self {
            progress: Progress::new(clock),
            event_lines,
            repeats: Mutex::default(),
            display: Mutex::new(display),
        }
    }

    /// Shows the progress of the run. It may block on the terminal.
    pub(crate) fn tick(&self) {
        if self.event_lines.verbosity == Verbosity::Quiet {
            return;
        }
        let snapshot = self.progress.snapshot();
        match &mut *self.display() {
            Display::Bars(bars) => bars.draw(&snapshot),
            Display::Lines(lines) => lines.tick(self.progress.now(), &snapshot),
            Display::Ended(_) => {}
        }
    }

    /// Removes the bars from the terminal. Later events are still written as lines.
    pub(crate) fn finish(&self) {
        let omitted = self.repeats().end();
        let mut display = self.display();
        let before = std::mem::replace(&mut *display, Display::Ended(stderr_lines()));
        match before {
            Display::Bars(mut bars) => bars.clear(),
            Display::Lines(lines) | Display::Ended(lines) => *display = Display::Ended(lines),
        }
        if let Display::Ended(lines) = &mut *display {
            for warnings in &omitted {
                lines.write(&self.event_lines.omitted(warnings));
            }
        }
    }

    /// Writes the server's address to standard output, where a script can read it, and the next steps to standard
    /// error.
    fn announce(&self, what: &str, url: &str, next_steps: &[String]) {
        if let Err(failure) = crate::report::print::result(&format!("serving {what} on {url}")) {
            crate::report::print::print_failure(&failure);
        }
        if self.event_lines.verbosity > Verbosity::Quiet {
            for step in next_steps {
                crate::report::print::log(step);
            }
        }
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn display(&self) -> MutexGuard<'_, Display> {
        self.display.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stderr_lines() -> LineWriter {
    let form = match (log::is_json(), console::Term::stderr().is_term()) {
        (true, _) => Form::Json,
        (false, true) => Form::Text,
        (false, false) => Form::TextWithTimes,
    };
    LineWriter::new(Box::new(io::stderr()), form)
}

impl EventSink for Reporter {
    fn emit(&self, event: Event) {
        if let Event::Serving { what, url, next_steps } = &event {
            return self.announce(what, url, next_steps);
        }
        self.progress.update(&event);
        let Some(mut line) = self.event_lines.line(&event, &self.progress) else { return };
        if self.event_lines.verbosity < Verbosity::Verbose {
            let now = self.progress.now();
            let decision = self.repeats().decide(&event, now, |image| self.progress.name_of(image));
            match decision {
                Show::Line => {}
                Show::Omission => match self.event_lines.omission(&event) {
                    Some(omission) => line = omission,
                    None => return,
                },
                Show::Nothing => return,
            }
        }
        match &mut *self.display() {
            Display::Bars(bars) => bars.print_above(&line),
            Display::Lines(lines) | Display::Ended(lines) => lines.write(&line),
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reporter").field("event_lines", &self.event_lines).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
