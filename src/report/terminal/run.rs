//! Runs: a table with a row for every image, notes below it, and a summary.

use std::time::Duration;

use super::{Column, joined, one_line, table_lines};
use crate::{
    error::escape,
    oci::ArtifactKind,
    outcome::{BundleSummary, Command, ImageOutcome, RunOutcome, Status},
    report::{
        document::{RunDocument, Totals},
        short_names::ShortNames,
    },
    units,
};

/// The columns on a row's first line if the terminal is too narrow for a single line.
const HEAD: usize = 3;

/// The table, notes and summary, and the ID of the bundle that was read. `width` is the terminal's, in columns; `None`
/// if standard output is not a terminal: every image stays on one line.
pub(super) fn text(document: &RunDocument, width: Option<usize>) -> Option<String> {
    let outcome = &document.outcome;
    let mut lines = Vec::new();
    if !outcome.images.is_empty() {
        let table = Table::of(outcome);
        lines = image_lines(table, outcome, width);
        lines.push(String::new());
        lines.push(summary(table, document));
    }
    // The summary of an export already contains the ID of its bundle.
    if let (Some(id), None) = (&outcome.bundle, &outcome.written) {
        lines.push(format!("bundle {id}"));
    }
    if !outcome.next_steps.is_empty() {
        lines.push(String::new());
        lines.push("next steps:".to_owned());
        lines.extend(outcome.next_steps.iter().map(|step| format!("  {}", one_line(step))));
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
    fn columns<'a>(self) -> Vec<Column<Row<'a>>> {
        let status = if self == Self::Verify { "RESULT" } else { "STATUS" };
        let listed = if matches!(self, Self::Export | Self::Plan) { platforms } else { confirmed_platforms };
        let mut columns = vec![
            Column::left("IMAGE", |row: &Row<'a>| row.name.clone()),
            Column::left(status, |row| word(row.image.status).to_owned()),
            Column::left("DIGEST", digest),
            Column::left("PLATFORMS", listed),
        ];
        columns.extend(match self {
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
        });
        if self != Self::Plan {
            columns.push(Column::right("TIME", |row| {
                units::elapsed(Duration::from_millis(row.image.milliseconds))
            }));
        }
        columns
    }
}

/// One image in the table.
struct Row<'a> {
    image: &'a ImageOutcome,
    name: String,
    /// The level of `verify`; empty otherwise.
    level: &'a str,
}

fn digest(row: &Row<'_>) -> String {
    row.image.digest.as_ref().map_or("-", |digest| digest.short()).to_owned()
}

fn platforms(row: &Row<'_>) -> String {
    match row.image.kind {
        ArtifactKind::Chart => "chart".to_owned(),
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

fn image_lines(table: Table, outcome: &RunOutcome, width: Option<usize>) -> Vec<String> {
    let names = ShortNames::for_images(outcome.images.iter().map(|image| &image.source));
    let level = outcome.level.as_deref().unwrap_or_default();
    let rows: Vec<Row<'_>> =
        outcome.images.iter().map(|image| Row { image, name: names.of(&image.source), level }).collect();
    let mut lines = table_lines(&table.columns(), &rows, HEAD, width);
    let notes = notes(table, &rows);
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

/// Facts without a column: moved tags and waived platforms.
fn notes(table: Table, rows: &[Row<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    for Row { image, name, .. } in rows {
        if let (Some(old), Some(new)) = (&image.moved_from, &image.digest) {
            let verb = if table == Table::Plan { "would be moved" } else { "moved" };
            notes.push(format!("{}: {verb} {old} -> {new}", escape(&image.destination)));
        }
        if !image.waived.is_empty() {
            let waived: Vec<String> = image.waived.iter().map(ToString::to_string).collect();
            notes.push(format!("{name}: waived {}", waived.join(", ")));
        }
    }
    notes
}

fn summary(table: Table, document: &RunDocument) -> String {
    let RunDocument { outcome, totals, .. } = document;
    let time = units::elapsed(outcome.time);
    match table {
        Table::Copy => copy_summary(outcome, totals),
        Table::Export => match &outcome.written {
            Some(bundle) => export_summary(outcome, totals, bundle),
            None => format!("no bundle was written{} ({time})", failed_counts(&outcome.images)),
        },
        Table::Plan => {
            let planned = totals.images - totals.failed;
            format!(
                "{}: {} to copy, {} to mount, {} already present; nothing was written{}",
                share(planned, totals, "planned"),
                units::bytes(totals.bytes.copied),
                units::bytes(totals.bytes.mounted),
                units::bytes(totals.bytes.present),
                failed_counts(&outcome.images),
            )
        }
        Table::Verify => format!(
            "{} in {time}, level {}{}",
            share(totals.confirmed, totals, "verified"),
            outcome.level.as_deref().unwrap_or_default(),
            failed_counts(&outcome.images),
        ),
    }
}

fn copy_summary(outcome: &RunOutcome, totals: &Totals) -> String {
    let bytes = totals.bytes;
    let speed = units::average(bytes.copied, outcome.time)
        .filter(|_| bytes.copied > 0)
        .map(|average| format!(" ({})", units::rate(average)))
        .unwrap_or_default();
    format!(
        "{} in {}{speed}: {} copied, {} mounted, {} already present{}",
        share(totals.confirmed, totals, "confirmed"),
        units::elapsed(outcome.time),
        units::bytes(bytes.copied),
        units::bytes(bytes.mounted),
        units::bytes(bytes.present),
        failed_counts(&outcome.images),
    )
}

/// The bundle's name, size and ID.
fn export_summary(outcome: &RunOutcome, totals: &Totals, bundle: &BundleSummary) -> String {
    let files = match bundle.files.as_slice() {
        [] => "standard output".to_owned(),
        [file] => one_line(file),
        [volume, index] => format!("{} with {}", one_line(volume), one_line(index)),
        [first, .., last, index] => {
            format!("{} to {} with {}", one_line(first), one_line(last), one_line(index))
        }
    };
    let mut parts = vec![format!("{} copied", units::bytes(totals.bytes.copied))];
    parts.extend((bundle.kept > 0).then(|| format!("{} resumed", units::bytes(bundle.kept))));
    parts.extend(
        (bundle.left_out > 0).then(|| format!("{} already in the base", units::bytes(bundle.left_out))),
    );
    format!(
        "{} to {files}, {} in {}: {}{}\nid {}",
        share(totals.confirmed, totals, "exported"),
        units::bytes(bundle.length),
        units::elapsed(outcome.time),
        parts.join(", "),
        failed_counts(&outcome.images),
        bundle.id,
    )
}

/// `5 images confirmed` or `4 of 5 images confirmed`.
fn share(count: usize, totals: &Totals, verb: &str) -> String {
    let images = units::counted(totals.images, "image");
    if count == totals.images { format!("{images} {verb}") } else { format!("{count} of {images} {verb}") }
}

/// `; 1 failed, 2 different, 3 skipped`, or nothing.
fn failed_counts(images: &[ImageOutcome]) -> String {
    let counts: Vec<String> = [Status::Failed, Status::Different, Status::Skipped]
        .into_iter()
        .map(|status| (status, images.iter().filter(|image| image.status == status).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", word(status)))
        .collect();
    if counts.is_empty() { String::new() } else { format!("; {}", counts.join(", ")) }
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
        Status::Skipped => "skipped",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::{Document, samples};

    fn outcome<const COUNT: usize>(command: Command, images: [ImageOutcome; COUNT]) -> RunOutcome {
        RunOutcome::new(command, images.into(), Vec::new(), Duration::from_millis(34_200))
    }

    fn shown(outcome: RunOutcome, width: Option<usize>) -> String {
        let Document::Run(document) = outcome.into() else { panic!("a run") };
        text(&document, width).unwrap()
    }

    fn sync(width: Option<usize>) -> String {
        let images = [samples::copied(), samples::up_to_date(), samples::failed()];
        shown(outcome(Command::Sync, images), width)
    }

    #[test]
    fn sync_on_a_wide_terminal() {
        assert_snapshot!(sync(None), @r#"
        IMAGE                         STATUS      DIGEST               PLATFORMS                   COPIED   MOUNTED   PRESENT    TIME
        services:4.53.0               copied      sha256:916d2876cd08  linux/amd64,linux/arm64  146.0 MiB  30.0 MiB       0 B  12.4 s
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                    0 B       0 B  61.0 MiB   0.8 s
        timescaledb:2.21.3-pg16       failed      -                    -                              0 B       0 B       0 B   0.8 s

        registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 of 3 images confirmed in 34.2 s (4.3 MiB/s): 146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB already present; 1 failed
        "#);
    }

    #[test]
    fn sync_fits_a_hundred_columns() {
        assert_snapshot!(sync(Some(100)), @r#"
        IMAGE                         STATUS      DIGEST
          PLATFORMS                   COPIED   MOUNTED   PRESENT    TIME
        services:4.53.0               copied      sha256:916d2876cd08
          linux/amd64,linux/arm64  146.0 MiB  30.0 MiB       0 B  12.4 s
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634
          linux/amd64                    0 B       0 B  61.0 MiB   0.8 s
        timescaledb:2.21.3-pg16       failed      -
          -                              0 B       0 B       0 B   0.8 s

        registry.example.com/thoras/services:4.53.0: moved sha256:6db7d803e74f1ffa7d8f5adc0bf95b3e15bf4c8373fffadf546227cc6c6742cb -> sha256:916d2876cd080dae0a8d1d5993ae46412f58d701a5762fd25b1e4222f0995b94
        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 of 3 images confirmed in 34.2 s (4.3 MiB/s): 146.0 MiB copied, 30.0 MiB mounted, 61.0 MiB already present; 1 failed
        "#);
        assert_eq!(sync(Some(80)), sync(Some(100)), "two lines a row fit the narrowest terminal too");
    }

    #[test]
    fn a_dry_run_shows_what_would_move() {
        let planned = outcome(Command::Sync, [samples::planned(), samples::up_to_date()]);
        assert_snapshot!(shown(RunOutcome { dry_run: true, ..planned }, None), @r#"
        IMAGE                         STATUS      DIGEST               PLATFORMS                TO COPY  TO MOUNT   PRESENT
        thoras-forecast:4.53.0        planned     sha256:263cf5a4d686  linux/amd64,linux/arm64  1.3 GiB   3.0 MiB     512 B
        nginx:1.29.4-alpine3.23-slim  up-to-date  sha256:4ed695ff3634  linux/amd64                  0 B       0 B  61.0 MiB

        nginx:1.29.4-alpine3.23-slim: waived linux/arm64

        2 images planned: 1.3 GiB to copy, 3.0 MiB to mount, 61.0 MiB already present; nothing was written
        "#);
    }

    #[test]
    fn verify_counts_problems() {
        let verified = outcome(Command::Verify, [samples::verified(), samples::different()]);
        let level = Some("blobs".to_owned());
        assert_snapshot!(shown(RunOutcome { level, ..verified }, None), @r#"
        IMAGE                       RESULT     DIGEST               PLATFORMS                LEVEL  PROBLEMS   TIME
        thoras-dashboard-v2:4.53.0  verified   sha256:e71c7a673350  linux/amd64,linux/arm64  blobs         0  0.8 s
        services:4.53.0             different  sha256:916d2876cd08  -                        blobs         4  0.8 s

        1 of 2 images verified in 34.2 s, level blobs; 1 different
        "#);
    }

    #[test]
    fn one_image_is_not_plural() {
        let verified = outcome(Command::Verify, [samples::verified()]);
        let text = shown(RunOutcome { level: Some("bytes".to_owned()), ..verified }, None);
        assert!(text.ends_with("1 image verified in 34.2 s, level bytes"), "{text}");
    }

    #[test]
    fn the_id_of_a_bundle_that_was_read_follows_the_summary() {
        let id = samples::digest("bundle");
        let verified = outcome(Command::BundleVerify, [samples::verified()]);
        let verified = RunOutcome { level: Some("bytes".to_owned()), bundle: Some(id.clone()), ..verified };
        let text = shown(verified, None);
        assert!(text.ends_with(&format!("in 34.2 s, level bytes\nbundle {id}")), "{text}");
    }

    #[test]
    fn an_export_shows_the_id_of_its_bundle_once() {
        let id = samples::digest("bundle");
        let files = vec!["thoras.tar".to_owned()];
        let summary = BundleSummary { id: id.clone(), files, length: 1 << 30, kept: 2048, left_out: 0 };
        let exported = outcome(Command::BundleExport, [samples::copied()]);
        let text = shown(RunOutcome { bundle: Some(id.clone()), written: Some(summary), ..exported }, None);
        let end = "1 image exported to thoras.tar, 1.0 GiB in 34.2 s: 146.0 MiB copied, 2.0 KiB resumed";
        assert!(text.ends_with(&format!("{end}\nid {id}")), "{text}");
    }

    #[test]
    fn a_run_without_images_has_no_table() {
        let Document::Run(document) = outcome(Command::Sync, []).into() else { panic!("a run") };
        assert_eq!(text(&document, None), None);
    }
}
