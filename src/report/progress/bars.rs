//! Progress on a terminal: bars for a few images, a bar for the whole run, and a line about the rest.

use console::{measure_text_width, pad_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::{
    lines::{LONG_IDLE, Line},
    state::{Active, Snapshot, Stage},
};
use crate::{
    report::{log::Level, style::Symbols},
    units,
};

/// The most images with a bar; more would be hard to follow. The rest are counted below the total.
const ROWS: usize = 6;
/// The redraw rate: a higher rate would flicker.
const DRAWS_PER_SECOND: u8 = 10;

/// The bars. Finished images become lines above them.
pub(super) struct Bars {
    multi: MultiProgress,
    terminal: Box<dyn TermLike>,
    symbols: Symbols,
    rows: Vec<ProgressBar>,
    total: ProgressBar,
    note: ProgressBar,
}

impl Bars {
    /// On standard error.
    pub(super) fn on_stderr(symbols: Symbols) -> Self {
        let terminal = console::Term::buffered_stderr();
        let target = ProgressDrawTarget::term(terminal.clone(), DRAWS_PER_SECOND);
        Self::new(target, Box::new(terminal), symbols)
    }

    pub(super) fn new(target: ProgressDrawTarget, terminal: Box<dyn TermLike>, symbols: Symbols) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let total = multi.add(bar(symbols, "{prefix} {wide_bar:.green} {msg}"));
        let note = multi.add(bar(symbols, "{msg}"));
        Self { multi, terminal, symbols, rows: Vec::new(), total, note }
    }

    /// Prints a line above the bars. A failure is cut to the terminal's width: it is printed in full at the end.
    pub(super) fn print_above(&self, line: &Line) {
        let text = line.text();
        let cut = match line.level {
            Level::Error => {
                console::truncate_str(&text, self.terminal.width().into(), self.symbols.ellipsis).into_owned()
            }
            _ => text,
        };
        // `println` rather than `suspend`, which panics if the terminal is gone.
        let _ = self.multi.println(cut);
    }

    /// Draws the current state.
    pub(super) fn draw(&mut self, snapshot: &Snapshot) {
        if snapshot.total == 0 {
            return;
        }
        let (width, height) = (self.terminal.width(), self.terminal.height());
        let layout = Layout::of(width.into(), height.into(), snapshot.longest_name);
        let shown: Vec<&Active> = snapshot.active.iter().take(layout.rows).collect();
        while self.rows.len() < shown.len() {
            let row = bar(self.symbols, "{prefix} {wide_bar:.cyan} {msg}");
            self.rows.push(self.multi.insert_before(&self.total, row));
        }
        for row in self.rows.split_off(shown.len()) {
            self.multi.remove(&row);
        }
        for (row, image) in self.rows.iter().zip(&shown) {
            let message = layout.message(image.done, image.planned, &doing(image));
            set(row, image.done, image.planned, layout.name(&image.name, self.symbols), message);
        }
        let rate = snapshot.rate.map(units::rate).unwrap_or_default();
        let message = layout.message(snapshot.done, snapshot.planned, &rate);
        let images = format!("{} of {}", snapshot.finished, units::counted(snapshot.total, "image"));
        set(&self.total, snapshot.done, snapshot.planned, layout.name(&images, self.symbols), message);
        self.note.set_message(layout.cut(&note(snapshot, shown.len()), self.symbols));
    }

    /// Removes the bars from the terminal; the lines above stay.
    pub(super) fn clear(&mut self) {
        for row in self.rows.drain(..) {
            row.finish_and_clear();
        }
        self.total.finish_and_clear();
        self.note.finish_and_clear();
        let _ = self.multi.clear();
    }
}

/// A bar in our style, hidden until it is added.
fn bar(symbols: Symbols, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(symbols.bar);
    ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::hidden()).with_style(style)
}

fn set(bar: &ProgressBar, done: u64, planned: u64, name: String, message: String) {
    bar.update(|state| {
        // A bar of length zero would be drawn as full.
        state.set_len(planned.max(1));
        state.set_pos(done.min(planned));
    });
    bar.set_prefix(name);
    bar.set_message(message);
}

fn doing(image: &Active) -> String {
    match (image.stage, image.blobs) {
        _ if image.idle >= LONG_IDLE => format!("idle {}", units::whole_seconds(image.idle)),
        (Stage::Confirming, _) => "confirming".to_owned(),
        (_, 0) => "waiting".to_owned(),
        (_, blobs) => format!("copying {}", units::counted(blobs, "blob")),
    }
}

/// `27 s left; 6 more active, 4 waiting, 8 not read yet, 1 failed`
fn note(snapshot: &Snapshot, shown: usize) -> String {
    let counts: Vec<String> = [
        (snapshot.active.len().saturating_sub(shown), "more active"),
        (snapshot.queued, "waiting"),
        (snapshot.reading, "not read yet"),
        (snapshot.failed, "failed"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let left = match snapshot.time_left() {
        Some(left) => Some(format!("{} left", units::whole_seconds(left))),
        None if snapshot.idle >= LONG_IDLE => {
            Some(format!("no activity for {}", units::whole_seconds(snapshot.idle)))
        }
        None => None,
    };
    left.into_iter().chain((!counts.is_empty()).then(|| counts.join(", "))).collect::<Vec<_>>().join("; ")
}

/// Widths in columns, to align all bars.
#[derive(Debug, Clone, Copy)]
struct Layout {
    width: usize,
    rows: usize,
    name: usize,
    /// Whether `146.0 MiB of 146.0 MiB` fits; otherwise a percentage is shown.
    roomy: bool,
}

impl Layout {
    const AMOUNT: usize = 22;
    const PERCENTAGE: usize = 4;
    /// The width of `copying 100 blobs`.
    const ACTIVITY: usize = 17;
    const MIN_BAR_WIDTH: usize = 10;
    /// The width of `30 of 30 images`, on most terminals.
    const MIN_NAME_WIDTH: usize = 15;
    const MAX_NAME_WIDTH: usize = 40;

    fn of(width: usize, height: usize, longest_name: usize) -> Self {
        let roomy = width >= 70;
        let amount = if roomy { Self::AMOUNT } else { Self::PERCENTAGE };
        // Two spaces around the bar, two before the activity.
        let beside = amount + Self::ACTIVITY + Self::MIN_BAR_WIDTH + 4;
        Self {
            width,
            // The total, the note and the scrolling lines also need space.
            rows: ROWS.min(height.saturating_sub(4)),
            name: width
                .saturating_sub(beside)
                .min(longest_name)
                .clamp(Self::MIN_NAME_WIDTH, Self::MAX_NAME_WIDTH),
            roomy,
        }
    }

    fn message(self, done: u64, planned: u64, what: &str) -> String {
        let amount = match (planned, self.roomy) {
            (0, _) => String::new(),
            (_, true) => format!("{} of {}", units::bytes(done), units::bytes(planned)),
            (_, false) => format!("{}%", u128::from(done) * 100 / u128::from(planned)),
        };
        let width = if self.roomy { Self::AMOUNT } else { Self::PERCENTAGE };
        format!("{amount:>width$}  {what:<activity_width$}", activity_width = Self::ACTIVITY)
    }

    /// A name in its column. Long names are cut at the beginning, because the end identifies the image.
    fn name(self, name: &str, symbols: Symbols) -> String {
        let excess = measure_text_width(name).saturating_sub(self.name);
        if excess == 0 {
            return pad_str(name, self.name, console::Alignment::Left, None).into_owned();
        }
        let kept = name.chars().skip(excess + measure_text_width(symbols.ellipsis));
        std::iter::once(symbols.ellipsis.to_owned()).chain(kept.map(String::from)).collect()
    }

    fn cut(self, text: &str, symbols: Symbols) -> String {
        console::truncate_str(text, self.width.saturating_sub(1), symbols.ellipsis).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        let layout = Layout::of(80, 24, 60);
        let name = layout.name("prometheus-operator/prometheus-config-reloader:v0.80.0", Symbols::UNICODE);
        assert_eq!(name, "…us-config-reloader:v0.80.0");
        assert_eq!(measure_text_width(&name), layout.name);
    }

    #[test]
    fn every_width_leaves_room_for_a_bar() {
        for width in 50..200 {
            let layout = Layout::of(width, 24, 60);
            let beside = layout.name + measure_text_width(&layout.message(5, 10, "idle 9 min 59 s")) + 2;
            assert!(beside + 5 <= width, "{width}");
        }
    }

    #[test]
    fn silence_is_shown() {
        let image = Active {
            name: String::new(),
            stage: Stage::Copying,
            blobs: 2,
            planned: 0,
            done: 0,
            idle: Duration::from_secs(75),
        };
        assert_eq!(doing(&image), "idle 1 min 15 s".to_owned());
    }
}
