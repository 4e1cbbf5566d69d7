//! The closing tables: what a run did to every image, or would do, or found.

use std::{borrow::Borrow, time::Duration};

use super::{
    grid::{Column, Grid},
    label::Labels,
    units,
};
use crate::{
    error::escape,
    oci::{ArtifactKind, Platform},
    outcome::{BundleSummary, Bytes, ImageOutcome, Repair, Status},
};

/// Which table a run closes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing<'a> {
    /// Images were copied and confirmed.
    Sync,
    /// Images were written to a bundle and read back.
    Export {
        /// The bundle, if it was finished.
        bundle: Option<&'a BundleSummary>,
    },
    /// `--dry-run`: nothing was written.
    Plan,
    /// The destination was compared, down to this level.
    Verify {
        /// `platforms`, `blobs` or `bytes`.
        level: &'a str,
        /// What puts differences right.
        repair: Option<&'a Repair>,
    },
}

/// The closing table, what is worth a note below it, and one line that sums up. `width` is the terminal's,
/// in columns; `None` where standard output is no terminal, so that every image stays on one line.
#[must_use]
pub fn closing_text(
    closing: Closing<'_>,
    outcomes: &[impl Borrow<ImageOutcome>],
    time: Duration,
    width: Option<usize>,
) -> String {
    let outcomes: Vec<&ImageOutcome> = outcomes.iter().map(Borrow::borrow).collect();
    let labels = Labels::of(outcomes.iter().map(|outcome| &outcome.source));
    let level = if let Closing::Verify { level, .. } = closing { level } else { "" };
    let row = |outcome| Row { outcome, label: labels.label(&outcome.source), level };
    let rows: Vec<Row<'_>> = outcomes.iter().copied().map(row).collect();
    let mut lines = match closing {
        Closing::Sync => grid_lines(SYNC, &rows, width),
        Closing::Export { .. } => grid_lines(EXPORT, &rows, width),
        Closing::Plan => grid_lines(PLAN, &rows, width),
        Closing::Verify { .. } => grid_lines(VERIFY, &rows, width),
    };
    let notes = notes(closing, &outcomes, &labels);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines.push(String::new());
    lines.push(match closing {
        Closing::Sync => sync_summary(&outcomes, time),
        Closing::Export { bundle } => export_summary(&outcomes, bundle, time),
        Closing::Plan => plan_summary(&outcomes),
        Closing::Verify { level, .. } => verify_summary(&outcomes, level, time),
    });
    lines.join("\n")
}

/// A column, and what stands in it for an image.
type Field = (Column, fn(&Row<'_>) -> String);

const SYNC: [Field; 8] = [
    (Column::Left("IMAGE"), label),
    (Column::Left("STATUS"), end),
    (Column::Left("DIGEST"), digest),
    (Column::Left("PLATFORMS"), confirmed_platforms),
    (Column::Right("COPIED"), |row| units::bytes(row.outcome.bytes.copied)),
    (Column::Right("MOUNTED"), |row| units::bytes(row.outcome.bytes.mounted)),
    (Column::Right("THERE"), |row| units::bytes(row.outcome.bytes.present)),
    (Column::Right("TIME"), time),
];

const EXPORT: [Field; 7] = [
    (Column::Left("IMAGE"), label),
    (Column::Left("STATUS"), end),
    (Column::Left("DIGEST"), digest),
    (Column::Left("PLATFORMS"), platforms),
    (Column::Right("COPIED"), |row| units::bytes(row.outcome.bytes.copied)),
    (Column::Right("THERE"), |row| units::bytes(row.outcome.bytes.present + row.outcome.bytes.mounted)),
    (Column::Right("TIME"), time),
];

const PLAN: [Field; 7] = [
    (Column::Left("IMAGE"), label),
    (Column::Left("STATUS"), end),
    (Column::Left("DIGEST"), digest),
    (Column::Left("PLATFORMS"), platforms),
    (Column::Right("TO COPY"), |row| units::bytes(row.outcome.bytes.copied)),
    (Column::Right("TO MOUNT"), |row| units::bytes(row.outcome.bytes.mounted)),
    (Column::Right("THERE"), |row| units::bytes(row.outcome.bytes.present)),
];

const VERIFY: [Field; 7] = [
    (Column::Left("IMAGE"), label),
    (Column::Left("RESULT"), end),
    (Column::Left("DIGEST"), digest),
    (Column::Left("PLATFORMS"), confirmed_platforms),
    (Column::Left("LEVEL"), |row| row.level.to_owned()),
    (Column::Right("PROBLEMS"), |row| row.outcome.problems.len().to_string()),
    (Column::Right("TIME"), time),
];

/// The columns that stay in a row's first line where the terminal is too narrow for one.
const HEAD: usize = 3;

/// The table with these fields, a row for every image.
fn grid_lines<const FIELDS: usize>(
    fields: [Field; FIELDS],
    rows: &[Row<'_>],
    width: Option<usize>,
) -> Vec<String> {
    let mut grid = Grid::new(fields.map(|(column, _)| column), HEAD);
    for row in rows {
        grid.push(fields.map(|(_, cell)| cell(row)));
    }
    grid.lines(width)
}

/// What a table says about an image.
struct Row<'a> {
    outcome: &'a ImageOutcome,
    label: String,
    /// How closely it was verified; empty where nothing was.
    level: &'a str,
}

fn label(row: &Row<'_>) -> String {
    row.label.clone()
}

fn end(row: &Row<'_>) -> String {
    status(row.outcome.status).to_owned()
}

fn digest(row: &Row<'_>) -> String {
    row.outcome.digest.as_ref().map_or("-", |digest| digest.short()).to_owned()
}

/// `linux/amd64,linux/arm64`: no blank, so that a column is one word for `awk` and `cut`.
fn platforms(row: &Row<'_>) -> String {
    if row.outcome.kind == ArtifactKind::Chart {
        return "chart".to_owned();
    }
    if row.outcome.platforms.is_empty() {
        return "-".to_owned();
    }
    row.outcome.platforms.iter().map(|one| one.platform.to_string()).collect::<Vec<_>>().join(",")
}

fn confirmed_platforms(row: &Row<'_>) -> String {
    if row.outcome.is_confirmed() { platforms(row) } else { "-".to_owned() }
}

fn time(row: &Row<'_>) -> String {
    units::elapsed(Duration::from_millis(row.outcome.milliseconds))
}

/// What a table has no column for: tags that were moved, platforms that are missing with leave.
fn notes(closing: Closing<'_>, outcomes: &[&ImageOutcome], labels: &Labels) -> Vec<String> {
    let mut notes = Vec::new();
    for outcome in outcomes {
        let label = labels.label(&outcome.source);
        if let (Some(old), Some(new)) = (&outcome.moved_from, &outcome.digest) {
            let verb = if closing == Closing::Plan { "would be moved" } else { "moved" };
            notes.push(format!("{}: {verb} {old} -> {new}", escape(&outcome.destination)));
        }
        if !outcome.waived.is_empty() {
            notes.push(format!("{label}: waived {}", join(&outcome.waived)));
        }
    }
    notes
}

fn sync_summary(outcomes: &[&ImageOutcome], time: Duration) -> String {
    let bytes = total(outcomes);
    let speed = units::average(bytes.copied, time)
        .filter(|_| bytes.copied > 0)
        .map(|average| format!(" ({})", units::rate(average)))
        .unwrap_or_default();
    format!(
        "{} in {}{speed}: {} copied, {} mounted, {} there already{}",
        count_of(outcomes, "confirmed", ImageOutcome::is_confirmed),
        units::elapsed(time),
        units::bytes(bytes.copied),
        units::bytes(bytes.mounted),
        units::bytes(bytes.present),
        not_done(outcomes),
    )
}

/// The bundle's name, size and id, or that there is none.
fn export_summary(outcomes: &[&ImageOutcome], bundle: Option<&BundleSummary>, time: Duration) -> String {
    let Some(bundle) = bundle else {
        return format!("no bundle was written in {}{}", units::elapsed(time), not_done(outcomes));
    };
    let name = |file: &str| escape(file).replace('\n', " ");
    let place = match bundle.files.as_slice() {
        [] => "standard output".to_owned(),
        [file] => name(file),
        [volume, index] => format!("{} with {}", name(volume), name(index)),
        [first, .., last, index] => format!("{} to {} with {}", name(first), name(last), name(index)),
    };
    let mut parts = vec![format!("{} copied", units::bytes(total(outcomes).copied))];
    parts.extend((bundle.kept > 0).then(|| format!("{} kept from before", units::bytes(bundle.kept))));
    parts.extend((bundle.left_out > 0).then(|| format!("{} left out", units::bytes(bundle.left_out))));
    format!(
        "{} in {place}, {} in {}: {}{}\nid {}",
        count_of(outcomes, "whole", ImageOutcome::is_confirmed),
        units::bytes(bundle.length),
        units::elapsed(time),
        parts.join(", "),
        not_done(outcomes),
        bundle.id,
    )
}

fn plan_summary(outcomes: &[&ImageOutcome]) -> String {
    let bytes = total(outcomes);
    format!(
        "{}: {} to copy, {} to mount, {} there already; nothing was written{}",
        count_of(outcomes, "planned", |outcome| outcome.failure_kind().is_none()),
        units::bytes(bytes.copied),
        units::bytes(bytes.mounted),
        units::bytes(bytes.present),
        not_done(outcomes),
    )
}

fn verify_summary(outcomes: &[&ImageOutcome], level: &str, time: Duration) -> String {
    let counted = count_of(outcomes, "verified", ImageOutcome::is_confirmed);
    format!("{counted} in {}, level {level}{}", units::elapsed(time), not_done(outcomes))
}

/// `5 images confirmed` or `4 of 5 images confirmed`.
fn count_of(outcomes: &[&ImageOutcome], verb: &str, counts: impl Fn(&ImageOutcome) -> bool) -> String {
    let all = outcomes.len();
    let counted = outcomes.iter().filter(|outcome| counts(outcome)).count();
    let images = units::counted(all, "image");
    if counted == all { format!("{images} {verb}") } else { format!("{counted} of {images} {verb}") }
}

/// `; 1 failed, 2 different, 3 skipped`, or nothing.
fn not_done(outcomes: &[&ImageOutcome]) -> String {
    let counts: Vec<String> = [Status::Failed, Status::Different, Status::Skipped]
        .into_iter()
        .map(|kind| (kind, outcomes.iter().filter(|outcome| outcome.status == kind).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {}", status(kind)))
        .collect();
    if counts.is_empty() { String::new() } else { format!("; {}", counts.join(", ")) }
}

fn total(outcomes: &[&ImageOutcome]) -> Bytes {
    outcomes.iter().map(|outcome| outcome.bytes).fold(Bytes::default(), Bytes::plus)
}

fn join(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// An image's end in one word.
pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Copied => "copied",
        Status::Repaired => "repaired",
        Status::UpToDate => "up-to-date",
        Status::Planned => "planned",
        Status::Verified => "verified",
        Status::Different => "different",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::samples;

    const TIME: Duration = Duration::from_millis(34_200);

    fn sync(width: Option<usize>) -> String {
        let outcomes = [samples::copied(), samples::up_to_date(), samples::failed()];
        closing_text(Closing::Sync, &outcomes, TIME, width)
    }

    #[test]
    fn sync_on_a_wide_terminal() {
        assert_snapshot!(sync(None), @r#"
        IMAGE                         STATUS      DIGEST               PLATFORMS                   COPIED   MOUNTED     THERE    TIME
        services:4.53.0               copied      sha256:916d2876cd08  linux/amd64,linux/arm64  146.0 MiB  30.0 MiB       0 B  12.4 s
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                    0 B       0 B  61.0 MiB   0.8 s
        timescaledb:2.21.3-pg16       failed      -                    -                              0 B       0 B       0 B   0.8 s

        registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 of 3 images confirmed in 34.2 s (4.3 MiB/s): 146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB there already; 1 failed
        "#);
    }

    #[test]
    fn sync_fits_a_hundred_columns() {
        assert_snapshot!(sync(Some(100)), @r#"
        IMAGE                         STATUS      DIGEST
          PLATFORMS                   COPIED   MOUNTED     THERE    TIME
        services:4.53.0               copied      sha256:916d2876cd08
          linux/amd64,linux/arm64  146.0 MiB  30.0 MiB       0 B  12.4 s
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634
          linux/amd64                    0 B       0 B  61.0 MiB   0.8 s
        timescaledb:2.21.3-pg16       failed      -
          -                              0 B       0 B       0 B   0.8 s

        registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 of 3 images confirmed in 34.2 s (4.3 MiB/s): 146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB there already; 1 failed
        "#);
        assert_eq!(sync(Some(80)), sync(Some(100)), "two lines a row fit the narrowest terminal too");
    }

    #[test]
    fn a_dry_run_shows_what_would_move() {
        let outcomes = [samples::planned(), samples::up_to_date()];
        assert_snapshot!(closing_text(Closing::Plan, &outcomes, TIME, None), @r#"
        IMAGE                         STATUS      DIGEST               PLATFORMS                TO COPY  TO MOUNT     THERE
        thoras-forecast:4.53.0        planned     sha256:263cf5a4d686  linux/amd64,linux/arm64  1.3 GiB   3.0 MiB     512 B
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                  0 B       0 B  61.0 MiB

        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 images planned: 1.3 GiB to copy, 3.0 MiB to mount, 61.0 MiB there already; nothing was written
        "#);
    }

    #[test]
    fn verify_counts_problems() {
        let outcomes = [samples::verified(), samples::different()];
        let closing = Closing::Verify { level: "blobs", repair: None };
        assert_snapshot!(closing_text(closing, &outcomes, TIME, None), @r#"
        IMAGE                       RESULT     DIGEST               PLATFORMS                LEVEL  PROBLEMS   TIME
        thoras-dashboard-v2:4.53.0  verified   sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s
        services:4.53.0             different  sha256:916d2876cd08  -                        blobs         4  0.8 s

        1 of 2 images verified in 34.2 s, level blobs; 1 different
        "#);
    }

    #[test]
    fn one_image_is_not_plural() {
        let closing = Closing::Verify { level: "bytes", repair: None };
        let text = closing_text(closing, &[samples::verified()], TIME, None);
        assert!(text.ends_with("1 image verified in 34.2 s, level bytes"), "{text}");
    }
}
