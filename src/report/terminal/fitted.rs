//! Tables that fit the terminal with one line for each row.
//!
//! If the whole table is too wide, [`fit`] takes these measures one after the other, until it fits: what all rows share
//! moves to a line above the table, also the registry and the path of the images; digests are shortened to twelve digits;
//! long names lose their middle; and the least important columns are left out. A row with a cause shows it instead of
//! its other cells.

use console::{Alignment, measure_text_width, pad_str};

use super::columns::Column;

const GAP: usize = 2;
/// The columns of a row with a cause: its name and its status.
const HEAD: usize = 2;
/// The width to which names are shortened before a column is left out, and after that.
const NAME_WIDTHS: [usize; 2] = [26, 8];

/// The digits of a shortened digest.
const DIGITS: usize = 12;
/// A cause has at least this width.
const CAUSE_WIDTH: usize = 20;

/// A column of a fitted table.
pub(super) struct FittedColumn<Row> {
    pub(super) column: Column<Row>,
    /// What to do with it in a narrow terminal.
    pub(super) measure: Measure,
}

/// How a column saves space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// It stays.
    Keep,
    /// Its names lose their middle.
    Shorten,
    /// The registry and the path that all its names share move above the table; then the names lose their middle.
    LiftPath,
    /// The digest is shortened, then the column is left out.
    Digest,
    /// Its most frequent value moves above the table; other values are exceptions.
    Lift,
    /// If all rows have the same value, it moves above the table.
    LiftIfShared,
}

/// A table that fits.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FittedTable {
    /// What all rows share, such as `platforms: linux/amd64`.
    pub(super) shared: Vec<String>,
    /// The rows that have other values.
    pub(super) exceptions: Vec<OtherValue>,
    /// The headings and a line for each row.
    pub(super) lines: Vec<String>,
}

/// What a row has instead of a shared value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherValue {
    /// The position of the row.
    pub(super) row: usize,
    pub(super) value: String,
}

impl FittedTable {
    /// The shared values, the lines, and a line for each exception; `name` names a row. The shared values take as few
    /// lines as fit.
    pub(super) fn into_lines(
        self,
        first: Option<String>,
        width: usize,
        name: impl Fn(usize) -> String,
    ) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for fact in first.into_iter().chain(self.shared) {
            match lines.last_mut() {
                Some(line) if measure_text_width(line) + fact.len() + 2 <= width => {
                    line.push_str("; ");
                    line.push_str(&fact);
                }
                _ => lines.push(fact),
            }
        }
        lines.extend(self.lines);
        let exceptions = self.exceptions.into_iter();
        lines.extend(exceptions.map(|other| format!("{}: platforms {}", name(other.row), other.value)));
        lines
    }
}

/// The lines of a table that is at most `width` columns wide. `cause` is shown instead of all cells but the first two.
pub(super) fn fit<Row>(
    columns: Vec<FittedColumn<Row>>,
    rows: &[Row],
    cause: fn(&Row) -> Option<&str>,
    width: usize,
    ellipsis: &str,
) -> FittedTable {
    let mut table = Table::new(columns, rows, cause, width, ellipsis);
    table.lift();
    table.lift_paths();
    table.cut_digests();
    for narrowest in NAME_WIDTHS {
        table.narrowest = narrowest;
        loop {
            if table.width_with(narrowest) <= width {
                return table.finish();
            }
            if !table.leave_out(narrowest == NAME_WIDTHS[0]) {
                break;
            }
        }
    }
    table.finish()
}

struct Shown {
    heading: &'static str,
    is_right: bool,
    measure: Measure,
    cells: Vec<String>,
}

struct Table<'a> {
    columns: Vec<Shown>,
    causes: Vec<Option<&'a str>>,
    width: usize,
    ellipsis: &'a str,
    narrowest: usize,
    fitted: FittedTable,
}

impl<'a> Table<'a> {
    fn new<Row>(
        columns: Vec<FittedColumn<Row>>,
        rows: &'a [Row],
        cause: fn(&Row) -> Option<&str>,
        width: usize,
        ellipsis: &'a str,
    ) -> Self {
        let cells = |FittedColumn { column, measure }: FittedColumn<Row>| Shown {
            heading: column.heading(),
            is_right: column.is_right(),
            measure,
            cells: rows.iter().map(|row| column.cell(row)).collect(),
        };
        Self {
            columns: columns.into_iter().map(cells).collect(),
            causes: rows.iter().map(cause).collect(),
            width,
            ellipsis,
            narrowest: NAME_WIDTHS[0],
            fitted: FittedTable::default(),
        }
    }

    /// Moves shared values above the table, while it is too wide.
    fn lift(&mut self) {
        let mut position = 0;
        while self.natural_width() > self.width {
            let Some(column) = self.columns.get(position) else { return };
            let Some((value, exceptions)) = self.most_frequent(position) else { return };
            let heading = column.heading;
            let lifted = match column.measure {
                Measure::Lift => true,
                Measure::LiftIfShared => exceptions.is_empty(),
                _ => false,
            };
            if !lifted {
                position += 1;
                continue;
            }
            self.fitted.shared.push(format!("{}: {value}", heading.to_lowercase()));
            self.fitted.exceptions.extend(exceptions);
            self.columns.remove(position);
        }
    }

    /// The most frequent value of a column, and the rows with other values. Rows with a cause do not count.
    fn most_frequent(&self, position: usize) -> Option<(String, Vec<OtherValue>)> {
        let column = self.columns.get(position)?;
        let counted = || {
            column
                .cells
                .iter()
                .enumerate()
                .filter(|(row, _)| self.causes.get(*row).is_none_or(Option::is_none))
        };
        let frequency = |value: &str| counted().filter(|(_, cell)| *cell == value).count();
        let (_, value) = counted().max_by_key(|(row, cell)| (frequency(cell), std::cmp::Reverse(*row)))?;
        let exceptions = counted().filter(|(_, cell)| *cell != value);
        Some((value.clone(), exceptions.map(|(row, cell)| OtherValue { row, value: cell.clone() }).collect()))
    }

    fn lift_paths(&mut self) {
        if self.natural_width() <= self.width {
            return;
        }
        for column in self.columns.iter_mut().filter(|column| column.measure == Measure::LiftPath) {
            let Some(path) = shared_path(&column.cells).map(str::to_owned) else { continue };
            for cell in &mut column.cells {
                if let Some(rest) = cell.strip_prefix(&path).and_then(|rest| rest.strip_prefix('/')) {
                    *cell = rest.to_owned();
                }
            }
            self.fitted.shared.push(format!("{}s from: {path}", column.heading.to_lowercase()));
        }
    }

    fn cut_digests(&mut self) {
        if self.natural_width() <= self.width {
            return;
        }
        for column in self.columns.iter_mut().filter(|column| column.measure == Measure::Digest) {
            for cell in &mut column.cells {
                if let Some((_, hexadecimal)) = cell.split_once(':') {
                    *cell = hexadecimal.chars().take(DIGITS).collect();
                }
            }
        }
    }

    /// Leaves out the least important column: digests, then the last column that may be left out.
    fn leave_out(&mut self, only_digests: bool) -> bool {
        let may = |column: &Shown| match column.measure {
            Measure::Digest => true,
            Measure::Lift | Measure::LiftIfShared => !only_digests,
            Measure::Keep | Measure::Shorten | Measure::LiftPath => false,
        };
        let digest = self.columns.iter().position(|column| column.measure == Measure::Digest);
        match digest.or_else(|| self.columns.iter().rposition(may)) {
            Some(position) => {
                self.columns.remove(position);
                true
            }
            None => false,
        }
    }

    fn is_shortened(&self, position: usize) -> bool {
        self.columns
            .get(position)
            .is_some_and(|column| matches!(column.measure, Measure::Shorten | Measure::LiftPath))
    }

    fn natural_width(&self) -> usize {
        self.width_with(usize::MAX)
    }

    /// The width of the table if names are shortened to this width where they must be.
    fn width_with(&self, names: usize) -> usize {
        let width = |position: usize| {
            let width = self.content_width(position);
            if self.is_shortened(position) { width.min(names) } else { width }
        };
        let columns = self.columns.len();
        let whole = (0..columns).map(width).sum::<usize>() + GAP * columns.saturating_sub(1);
        if self.causes.iter().all(Option::is_none) {
            return whole;
        }
        whole.max((0..HEAD.min(columns)).map(width).sum::<usize>() + GAP * HEAD + CAUSE_WIDTH)
    }

    fn content_width(&self, position: usize) -> usize {
        let Some(column) = self.columns.get(position) else { return 0 };
        let shown = column
            .cells
            .iter()
            .enumerate()
            .filter(|(row, _)| position < HEAD || self.causes.get(*row).is_none_or(Option::is_none));
        let widest = shown.map(|(_, cell)| measure_text_width(cell)).max().unwrap_or_default();
        widest.max(column.heading.len())
    }

    fn finish(mut self) -> FittedTable {
        self.shorten_names();
        let widths: Vec<usize> =
            (0..self.columns.len()).map(|position| self.content_width(position)).collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).zip(&self.columns).map(|((cell, width), column)| {
                let side = if column.is_right { Alignment::Right } else { Alignment::Left };
                pad_str(cell, *width, side, None)
            });
            padded.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let mut lines = vec![line(self.columns.iter().map(|column| column.heading).collect())];
        for (row, cause) in self.causes.iter().enumerate() {
            let cells = self.columns.iter().filter_map(|column| column.cells.get(row).map(String::as_str));
            lines.push(match cause {
                None => line(cells.collect()),
                Some(cause) => {
                    let before: usize = widths.iter().take(HEAD).map(|width| width + GAP).sum();
                    let cause =
                        console::truncate_str(cause, self.width.saturating_sub(before), self.ellipsis);
                    let head = line(cells.take(HEAD).collect());
                    format!("{}{cause}", pad_str(&head, before, Alignment::Left, None))
                }
            });
        }
        self.fitted.lines = lines;
        self.fitted
    }

    /// Shortens the widest column of names until the table fits.
    fn shorten_names(&mut self) {
        loop {
            let excess = self.natural_width().saturating_sub(self.width);
            let names = (0..self.columns.len()).filter(|position| {
                self.is_shortened(*position) && self.content_width(*position) > self.narrowest
            });
            let Some(widest) = names.max_by_key(|position| self.content_width(*position)) else { return };
            if excess == 0 {
                return;
            }
            // Half at a time, so that two columns of names share the loss.
            let cut = self.content_width(widest).saturating_sub(excess.div_ceil(2)).max(self.narrowest);
            let ellipsis = self.ellipsis;
            for cell in self.columns.get_mut(widest).into_iter().flat_map(|column| &mut column.cells) {
                *cell = without_middle(cell, cut, ellipsis);
            }
        }
    }
}

/// What stands before the last `/` that all names share. Empty cells have no name.
fn shared_path(names: &[String]) -> Option<&str> {
    let mut names = names.iter().map(String::as_str).filter(|name| !name.is_empty());
    let first = names.next()?;
    let others: Vec<&str> = names.collect();
    let is_shared = |path: &&str| {
        others.iter().all(|name| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    };
    first.rmatch_indices('/').filter_map(|(end, _)| first.get(..end)).find(is_shared)
}

/// A name of at most `width` columns. Its end, with the tag, keeps the most.
fn without_middle(name: &str, width: usize, ellipsis: &str) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(measure_text_width(ellipsis));
    let head = kept / 3;
    let begin: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - (kept - head)).collect();
    format!("{begin}{ellipsis}{end}")
}

#[cfg(test)]
mod tests;
