//! Runs: a table with a row for every image, notes below it, and a summary.

mod summary;

use std::time::Duration;

use super::{
    Column,
    fitted::{FittedColumn, Measure, fit},
    joined, lock_merge, next_steps, one_line, skipped, table_lines,
};
use crate::{
    error::escape,
    oci::ArtifactKind,
    outcome::{Command, ImageOutcome, RunOutcome, Status},
    report::{
        document::RunDocument,
        same_cause,
        short_names::ShortNames,
        style::{Palette, Symbols},
    },
    units,
};

/// The table, notes and summary, and the ID of the bundle that was read. `width` is the terminal's, in columns; `None`
/// if standard output is not a terminal: no column is left out.
pub(super) fn text(document: &RunDocument, width: Option<usize>, palette: Palette) -> Option<String> {
    text_with(document, width, palette, Symbols::of_locale())
}

fn text_with(
    document: &RunDocument,
    width: Option<usize>,
    palette: Palette,
    symbols: Symbols,
) -> Option<String> {
    let outcome = &document.outcome;
    let mut lines = Vec::new();
    if !outcome.images.is_empty() {
        let table = Table::of(outcome);
        lines = image_lines(table, outcome, width, (palette, symbols));
        lines.push(String::new());
        if !outcome.excluded.is_empty() {
            let names: Vec<String> = outcome.excluded.iter().map(ToString::to_string).collect();
            lines.push(format!("left out by --include/--exclude: {}", names.join(", ")));
        }
        lines.extend(summary::lines(table, document, width));
    }
    lines.extend(outcome.shard.iter().flat_map(|shard| lock_merge::shard_lines(shard)));
    // The summary of an export already contains the ID of its bundle.
    if let (Some(id), None) = (&outcome.bundle, &outcome.written) {
        lines.push(format!("bundle {id}"));
    }
    if !outcome.next_steps.is_empty() {
        lines.push(String::new());
        lines.push(match outcome.destinations.first() {
            None => "next steps:".to_owned(),
            Some(there) => {
                format!(
                    "next steps for {} (for the others, replace --to and the names below it):",
                    escape(&there.to)
                )
            }
        });
        lines.extend(outcome.next_steps.iter().flat_map(|step| next_steps::lines(&one_line(step), width)));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The kinds of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Images were copied and confirmed.
    Copy,
    /// Images were written to a bundle and read back.
    Export,
    /// `--dry-run`: nothing was written.
    Plan,
    /// The destination was compared.
    Verify,
}

impl Table {
    const fn of(outcome: &RunOutcome) -> Self {
        match outcome.command {
            Command::BundleExport => Self::Export,
            Command::Verify | Command::BundleVerify => Self::Verify,
            _ if outcome.dry_run => Self::Plan,
            _ => Self::Copy,
        }
    }

    /// The columns from left to right.
    fn columns<'a>(self, destinations: Destinations, has_attached: bool) -> Vec<FittedColumn<Row<'a>>> {
        let status = if self == Self::Verify { "RESULT" } else { "STATUS" };
        let listed = if matches!(self, Self::Export | Self::Plan) { platforms } else { confirmed_platforms };
        let mut columns = vec![
            (Column::left("IMAGE", |row: &Row<'a>| row.name.clone()), Measure::Shorten),
            (Column::left(status, |row| word(row.image.status).to_owned()), Measure::Keep),
        ];
        columns.extend(match destinations {
            Destinations::Hidden => None,
            Destinations::Full => Some((
                Column::left("DESTINATION", |row: &Row<'a>| escape(&row.image.destination)),
                Measure::Shorten,
            )),
            Destinations::BelowRoot => {
                Some((Column::left("DESTINATION", |row: &Row<'a>| row.below_root.clone()), Measure::Shorten))
            }
        });
        columns.push((Column::left("DIGEST", digest), Measure::Digest));
        columns.push((Column::left("PLATFORMS", listed), Measure::Lift));
        if has_attached {
            let attached = |row: &Row<'a>| row.image.attached.in_short();
            columns.push((Column::left("ATTACHED", attached), Measure::LiftIfShared));
        }
        let numbers: Vec<Column<Row<'a>>> = match self {
            Self::Copy => vec![
                Column::right("COPIED", copied),
                Column::right("MOUNTED", mounted),
                Column::right("PRESENT", present),
            ],
            Self::Export => vec![
                Column::right("COPIED", copied),
                Column::right("PRESENT", |row| {
                    units::bytes(row.image.bytes.present.saturating_add(row.image.bytes.mounted))
                }),
            ],
            Self::Plan => vec![
                Column::right("TO COPY", copied),
                Column::right("TO MOUNT", mounted),
                Column::right("PRESENT", present),
            ],
            Self::Verify => vec![
                Column::left("LEVEL", |row: &Row<'a>| row.level.to_owned()),
                Column::right("PROBLEMS", |row| row.image.problems.len().to_string()),
            ],
        };
        columns.extend(numbers.into_iter().map(|column| (column, Measure::LiftIfShared)));
        if self != Self::Plan {
            let time = Column::right("TIME", |row: &Row<'a>| {
                units::elapsed(Duration::from_millis(row.image.milliseconds))
            });
            columns.push((time, Measure::LiftIfShared));
        }
        columns.into_iter().map(|(column, measure)| FittedColumn { column, measure }).collect()
    }
}

/// How a table shows the names of images at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destinations {
    /// They are those of the source, or there are none.
    Hidden,
    /// With the registry.
    Full,
    /// Without the registry and path that all share.
    BelowRoot,
}

/// One image in the table.
struct Row<'a> {
    image: &'a ImageOutcome,
    name: String,
    /// Its name at the destination, without the destination's registry and path.
    below_root: String,
    /// Why it failed, in one line.
    cause: Option<String>,
    /// The same where it replaces the destination: after that, if there are several.
    placed_cause: Option<String>,
    /// The level of `verify`; empty otherwise.
    level: &'a str,
}

fn digest(row: &Row<'_>) -> String {
    row.image.digest.as_ref().map_or("-", |digest| digest.short()).to_owned()
}

fn platforms(row: &Row<'_>) -> String {
    match row.image.kind {
        kind @ (ArtifactKind::Chart | ArtifactKind::Wasm | ArtifactKind::Policy | ArtifactKind::Artifact) => {
            kind.to_string()
        }
        ArtifactKind::Image => joined(row.image.platforms.iter().map(|platform| &platform.platform)),
    }
}

fn confirmed_platforms(row: &Row<'_>) -> String {
    if row.image.is_confirmed() { platforms(row) } else { "-".to_owned() }
}

fn copied(row: &Row<'_>) -> String {
    units::bytes(row.image.bytes.copied)
}

fn mounted(row: &Row<'_>) -> String {
    units::bytes(row.image.bytes.mounted)
}

fn present(row: &Row<'_>) -> String {
    units::bytes(row.image.bytes.present)
}

/// The root that an image is below, if there are several.
fn one_of_several<'a>(outcome: &'a RunOutcome, image: &str) -> Option<&'a str> {
    let roots = outcome.destination.as_deref()?;
    let is_below = |root: &&str| image.strip_prefix(root).is_some_and(|below| below.starts_with('/'));
    roots.contains(", ").then(|| roots.split(", ").find(is_below))?
}

/// The rows, those that failed first.
fn rows<'a>(outcome: &'a RunOutcome) -> Vec<Row<'a>> {
    let names = ShortNames::for_outcomes(&outcome.images);
    let level = outcome.level.as_deref().unwrap_or_default();
    let row = |image: &'a ImageOutcome| {
        let ImageOutcome { source, destination, .. } = image;
        let below = outcome.destination.as_ref().and_then(|root| destination.strip_prefix(root.as_str()));
        let below = below.and_then(|below| below.strip_prefix('/')).unwrap_or(destination);
        let (name, below_root) = (names.of(source), escape(below));
        let cause = same_cause::in_one_line(image);
        let placed_cause = cause.as_ref().map(|cause| match one_of_several(outcome, destination) {
            Some(root) => format!("{}: {cause}", escape(root)),
            None => cause.clone(),
        });
        Row { image, name, below_root, cause, placed_cause, level }
    };
    let mut rows: Vec<Row<'a>> = outcome.images.iter().map(row).collect();
    // The sort is stable.
    rows.sort_by_key(|row| match row.image.status {
        Status::Failed | Status::Different => 0,
        Status::Skipped => 1,
        _ => 2,
    });
    rows
}

fn image_lines(
    table: Table,
    outcome: &RunOutcome,
    width: Option<usize>,
    (palette, symbols): (Palette, Symbols),
) -> Vec<String> {
    let rows = rows(outcome);
    let has_destinations = outcome.destination.is_some()
        && matches!(outcome.command, Command::Sync | Command::BundleImport | Command::Verify);
    let differ = rows.iter().any(|row| row.below_root != row.name);
    let destinations = if has_destinations && (table == Table::Plan || differ) {
        Destinations::Full
    } else {
        Destinations::Hidden
    };
    let has_attached = rows.iter().any(|row| !row.image.attached.is_empty());
    let mut notes = notes(table, &rows);
    let mut lines = whole(table.columns(destinations, has_attached), &rows);
    let fits = |width| lines.iter().all(|line| console::measure_text_width(line) <= width);
    if let Some(width) = width.filter(|width| !fits(*width)) {
        let short = match destinations {
            Destinations::Full if differ => Destinations::BelowRoot,
            _ => Destinations::Hidden,
        };
        let columns = table.columns(short, has_attached);
        let mut fitted =
            fit(columns, &rows, |row: &Row<'_>| row.placed_cause.as_deref(), width, symbols.ellipsis);
        let root = outcome.destination.as_ref().filter(|_| destinations == Destinations::Full);
        let root = root.map(|root| format!("to: {}", escape(root)));
        paint_failures(&mut fitted.lines, &rows, palette);
        for other in std::mem::take(&mut fitted.exceptions) {
            notes.extend(rows.get(other.row).map(|row| format!("{}: platforms {}", row.name, other.value)));
        }
        lines = fitted.into_lines(root, width, |_| String::new());
    } else {
        paint_failures(&mut lines, &rows, palette);
    }
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

/// All columns, and the causes if there are any.
fn whole<'a>(columns: Vec<FittedColumn<Row<'a>>>, rows: &[Row<'a>]) -> Vec<String> {
    let mut columns: Vec<Column<Row<'a>>> = columns.into_iter().map(|fitting| fitting.column).collect();
    if rows.iter().any(|row| row.cause.is_some()) {
        columns.push(Column::left("CAUSE", |row: &Row<'a>| row.cause.clone().unwrap_or_default()));
    }
    table_lines(&columns, rows, 0..0, None)
}

/// The first line is the headings.
fn paint_failures(lines: &mut [String], rows: &[Row<'_>], palette: Palette) {
    for (line, row) in lines.iter_mut().skip(1).zip(rows) {
        if row.image.failure_kind().is_some() {
            *line = palette.bad(line);
        }
    }
}

/// Facts without a column: moved tags, waived platforms and why images were skipped.
fn notes(table: Table, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    for Row { image, name, .. } in rows {
        if let (Some(old), Some(new)) = (&image.moved_from, &image.digest) {
            let verb = if table == Table::Plan { "would be moved" } else { "moved" };
            notes.push(format!("{}: {verb} {old} -> {new}", escape(&image.destination)));
        }
        if image.status == Status::Repaired && !image.attached_new.is_empty() {
            notes.push(format!("{name}: +{}", image.attached_new.in_words()));
        }
        for kept in &image.kept_tags {
            let entries = match kept.entries {
                1 => "1 entry".to_owned(),
                count => format!("{count} entries"),
            };
            notes.push(format!("{name}: kept {}: it has {entries} that the source lacks", escape(&kept.tag)));
        }
        if !image.waived.is_empty() {
            let waived: Vec<String> = image.waived.iter().map(ToString::to_string).collect();
            notes.push(format!("{name}: waived {}", waived.join(", ")));
        }
    }
    notes.extend(skipped::notes(rows.iter().map(|row| (row.image, row.name.as_str()))));
    notes
}

/// The status of an image in one word.
pub(in crate::report) const fn word(status: Status) -> &'static str {
    match status {
        Status::Copied => "copied",
        Status::Repaired => "repaired",
        Status::UpToDate => "up-to-date",
        Status::Planned => "planned",
        Status::Verified => "verified",
        Status::Different => "different",
        Status::Failed => "failed",
        Status::Skipped | Status::SkippedOptional => "skipped",
    }
}

#[cfg(test)]
mod tests;
