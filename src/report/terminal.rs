//! The reporter: takes events while the work is done, and shows them as bars or as lines.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    bars::Bars,
    lines::Lines,
    message::Voice,
    progress::{Clock, Progress},
    style::{Palette, Symbols},
};
use crate::{
    event::{Event, EventSink},
    output::Verbosity,
};

/// Shows a run on standard error.
///
/// On a terminal it draws bars, elsewhere it writes plain lines. It draws only when [`Reporter::tick`] is
/// called, so an event costs next to nothing. [`Reporter::finish`], or dropping it, takes the bars off the
/// terminal: drop it before anything else is printed, also after Ctrl-C.
pub struct Reporter {
    progress: Progress,
    voice: Voice,
    display: Mutex<Display>,
}

/// Where progress goes.
enum Display {
    Bars(Bars),
    Lines(Lines),
    /// After the end: lines are still written, progress is not.
    Ended(Lines),
}

impl Reporter {
    /// How often [`Reporter::tick`] is best called.
    pub const TICK: Duration = Duration::from_millis(100);

    /// A reporter for this process's standard error.
    #[must_use]
    pub fn new(verbosity: Verbosity) -> Self {
        let started = Instant::now();
        let symbols = Symbols::of_locale();
        // A terminal that cannot move its cursor (`TERM=dumb`, as in editors) takes lines.
        let terminal = console::Term::stderr();
        let bars = terminal.is_term() && !console::is_dumb() && verbosity > Verbosity::Quiet;
        let display =
            if bars { Display::Bars(Bars::on_stderr(symbols)) } else { Display::Lines(stderr_lines()) };
        let voice = Voice { verbosity, palette: Palette::of_stderr(), symbols, bars };
        Self::assemble(voice, display, Box::new(move || started.elapsed()))
    }

    fn assemble(voice: Voice, display: Display, clock: Clock) -> Self {
        Self { progress: Progress::new(clock), voice, display: Mutex::new(display) }
    }

    /// Shows how far the run is. It may write to the terminal, so call it from a task of its own.
    pub fn tick(&self) {
        if self.voice.verbosity == Verbosity::Quiet {
            return;
        }
        let snapshot = self.progress.snapshot();
        match &mut *self.display() {
            Display::Bars(bars) => bars.draw(&snapshot),
            Display::Lines(lines) => lines.tick(self.progress.now(), &snapshot),
            Display::Ended(_) => {}
        }
    }

    /// Takes the bars off the terminal. Events that come later are still written as lines.
    pub fn finish(&self) {
        let mut display = self.display();
        let before = std::mem::replace(&mut *display, Display::Ended(stderr_lines()));
        match before {
            Display::Bars(mut bars) => bars.clear(),
            Display::Lines(lines) | Display::Ended(lines) => *display = Display::Ended(lines),
        }
    }

    /// Writes that a server is ready to standard output, where a script reads it, and what to do next to standard error.
    fn announce(&self, what: &str, url: &str, next_steps: &[String]) {
        if let Err(failure) = super::print::result(&format!("serving {what} on {url}")) {
            super::print::print_failure(&failure);
        }
        if self.voice.verbosity > Verbosity::Quiet {
            for step in next_steps {
                super::print::log(step);
            }
        }
    }

    fn display(&self) -> MutexGuard<'_, Display> {
        self.display.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stderr_lines() -> Lines {
    Lines::new(Box::new(io::stderr()))
}

impl EventSink for Reporter {
    fn emit(&self, event: Event) {
        if let Event::Serving { what, url, next_steps } = &event {
            return self.announce(what, url, next_steps);
        }
        self.progress.note(&event);
        let Some(line) = self.voice.line(&event, &self.progress) else { return };
        match &mut *self.display() {
            Display::Bars(bars) => bars.say(&line),
            Display::Lines(lines) | Display::Ended(lines) => lines.say(&line),
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
        formatter.debug_struct("Reporter").field("voice", &self.voice).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
