//! The summary below the table of a run.

use std::{collections::BTreeMap, time::Duration};

use console::measure_text_width;

use super::{Table, word};
use crate::{
    error::escape,
    outcome::{
        BundleSummary, DestinationOutcome, ExtraReads, ImageOutcome, MetQuota, PlannedRequests,
        RegistryRequests, RunOutcome, Status,
    },
    problem::Side,
    report::{
        document::{RunDocument, Totals},
        terminal::one_line,
    },
    trust::Signer,
    units,
};

/// The summary and, if images are signed, who signed them. `width` is the terminal's, in columns.
pub(super) fn lines(table: Table, document: &RunDocument, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![broken(summary(table, document), width)];
    let destinations = &document.outcome.destinations;
    lines.extend(destinations.iter().flat_map(|there| destination_lines(table, there, width)));
    lines.extend(document.outcome.requests.iter().flat_map(|there| request_lines(there, width)));
    lines.extend(signed_by(&document.outcome.images, width));
    lines
}

/// `requests to reg.example.com: 20 manifests, 94 uploads, 20 mounts`, and a line for each quota that costs time.
fn request_lines(there: &RegistryRequests, width: Option<usize>) -> Vec<String> {
    let RegistryRequests { registry, side, requests, quotas } = there;
    let PlannedRequests { manifests_read, blobs_read, manifests_pushed, uploads, mounts } = *requests;
    let (preposition, counts) = match side {
        Side::Source => ("from", vec![(manifests_read, "manifest"), (blobs_read, "blob")]),
        Side::Destination => {
            ("to", vec![(manifests_pushed, "manifest"), (uploads, "upload"), (mounts, "mount")])
        }
    };
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, noun)| units::counted(number(count), noun)).collect();
    let registry = escape(registry);
    let mut lines = vec![broken(format!("requests {preposition} {registry}: {}", counts.join(", ")), width)];
    for MetQuota { action, requests, limit, seconds } in quotas.iter().filter(|met| met.seconds > 0) {
        let time = units::elapsed(Duration::from_secs(*seconds));
        lines.push(broken(format!("at least {time}: {requests} {action}, limited to {limit}"), width));
    }
    lines
}

/// In a narrow terminal, what follows the first colon gets a line of its own, and so does what follows a semicolon if that
/// line is still too wide.
fn broken(summary: String, width: Option<usize>) -> String {
    let is_too_wide = |line: &str| width.is_some_and(|width| measure_text_width(line) > width);
    match summary.split_once(": ") {
        Some((before, after)) if is_too_wide(&summary) => {
            let line = format!("  {after}");
            let line = if is_too_wide(&line) { line.replace("; ", ";\n  ") } else { line };
            format!("{before}:\n{line}")
        }
        _ => summary,
    }
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
            let planned = totals.images - totals.failed - totals.skipped_optional;
            format!(
                "{}: {} to copy, {} to mount, {} already present; nothing was written{}",
                share(planned, outcome, totals, "planned"),
                units::bytes(totals.bytes.copied),
                units::bytes(totals.bytes.mounted),
                units::bytes(totals.bytes.present),
                failed_counts(&outcome.images),
            )
        }
        Table::Verify => format!(
            "{} in {time}, level {}{}",
            share(totals.confirmed, outcome, totals, "verified"),
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
        share(totals.confirmed, outcome, totals, "confirmed"),
        units::elapsed(outcome.time),
        units::bytes(bytes.copied),
        units::bytes(bytes.mounted),
        units::bytes(bytes.present),
        failed_counts(&outcome.images),
    )
}

/// `reg.example.com/a: 10 images confirmed in 1.3 s: 3.7 MiB copied, …`, for one of several destinations.
fn destination_lines(table: Table, there: &DestinationOutcome, width: Option<usize>) -> Vec<String> {
    let to = escape(&there.to);
    let (done, again) = (done_at(table, there), again(there.extra_reads));
    let whole = format!("{to}: {done}{again}");
    if width.is_none_or(|width| measure_text_width(&whole) <= width) {
        return vec![whole];
    }
    let again = again.strip_prefix("; ").map(|again| format!("  {again}"));
    [format!("{to}:"), format!("  {done}")].into_iter().chain(again).collect()
}

fn done_at(table: Table, there: &DestinationOutcome) -> String {
    let DestinationOutcome { to: _, images, confirmed, failed, bytes, extra_reads: _, milliseconds } = there;
    if table == Table::Plan {
        let planned = units::counted(images.saturating_sub(*failed), "image");
        let (copied, mounted) = (units::bytes(bytes.copied), units::bytes(bytes.mounted));
        return format!("{planned} planned: {copied} to copy, {mounted} to mount");
    }
    let share = match images {
        images if images == confirmed => units::counted(*images, "image"),
        images => format!("{confirmed} of {}", units::counted(*images, "image")),
    };
    let time = units::elapsed(Duration::from_millis(*milliseconds));
    let copied = units::bytes(bytes.copied);
    let mounted =
        if bytes.mounted > 0 { format!(", {} mounted", units::bytes(bytes.mounted)) } else { String::new() };
    let failed = if *failed > 0 { format!("; {failed} failed") } else { String::new() };
    format!("{share} confirmed in {time}: {copied} copied{mounted}{failed}")
}

/// `; 3 blobs read again (24.0 MiB, 1 of them from another destination)`, or nothing.
fn again(extra: ExtraReads) -> String {
    let ExtraReads { reads, bytes, from_destinations } = extra;
    let count = usize::try_from(reads).unwrap_or(usize::MAX);
    let from = match from_destinations {
        0 => String::new(),
        from if from == reads => ", from another destination".to_owned(),
        from => format!(", {from} of them from another destination"),
    };
    match count {
        0 => String::new(),
        _ => format!("; {} read again ({}{from})", units::counted(count, "blob"), units::bytes(bytes)),
    }
}

/// The bundle's name, size and ID.
fn export_summary(outcome: &RunOutcome, totals: &Totals, bundle: &BundleSummary) -> String {
    let files = match bundle.files.as_slice() {
        [] => "standard output".to_owned(),
        [file] => one_line(file),
        [volume, index] => format!("{} and {}", one_line(volume), one_line(index)),
        [first, .., last, index] => {
            format!("{} through {} and {}", one_line(first), one_line(last), one_line(index))
        }
    };
    let mut parts = vec![format!("{} copied", units::bytes(totals.bytes.copied))];
    parts.extend((bundle.kept > 0).then(|| format!("{} resumed", units::bytes(bundle.kept))));
    parts.extend(
        (bundle.left_out > 0).then(|| format!("{} already in the base", units::bytes(bundle.left_out))),
    );
    format!(
        "{} to {files}, {} in {}: {}{}\nid {}{}",
        share(totals.confirmed, outcome, totals, "exported"),
        units::bytes(bundle.length),
        units::elapsed(outcome.time),
        parts.join(", "),
        failed_counts(&outcome.images),
        bundle.id,
        bundle.signature.as_ref().map(|file| format!("\nsignature {}", one_line(file))).unwrap_or_default(),
    )
}

/// `10 images signed by key cosign.pub`; with several signers, a line for each if one line is too narrow. Nothing if no
/// image needs a signature.
fn signed_by(images: &[ImageOutcome], width: Option<usize>) -> Vec<String> {
    let mut counts: BTreeMap<&Signer, usize> = BTreeMap::new();
    for signature in images.iter().filter_map(|image| image.signature.as_ref()) {
        *counts.entry(&signature.signer).or_default() += 1;
    }
    let by = |(signer, count): (&Signer, usize)| {
        format!("{} signed by {}", units::counted(count, "image"), one_line(&signer.to_string()))
    };
    let parts: Vec<String> = counts.into_iter().map(by).collect();
    let line = parts.join("; ");
    let fits = width.is_none_or(|width| measure_text_width(&line) <= width);
    if parts.len() > 1 && fits { vec![line] } else { parts }
}

/// `5 images confirmed` or `4 of 5 images confirmed`. With several destinations, `10 copies of 5 images confirmed`.
fn share(count: usize, outcome: &RunOutcome, totals: &Totals, verb: &str) -> String {
    let images = match outcome.destinations.first() {
        None => units::counted(totals.images, "image"),
        Some(there) => format!("{} copies of {}", totals.images, units::counted(there.images, "image")),
    };
    if count == totals.images { format!("{images} {verb}") } else { format!("{count} of {images} {verb}") }
}

/// `; 1 failed, 2 different, 3 skipped, 4 skipped (optional)`, or nothing.
fn failed_counts(images: &[ImageOutcome]) -> String {
    let statuses = [
        (Status::Failed, ""),
        (Status::Different, ""),
        (Status::Skipped, ""),
        (Status::SkippedOptional, " (optional)"),
    ];
    let counts: Vec<String> = statuses
        .into_iter()
        .map(|(status, why)| (status, why, images.iter().filter(|image| image.status == status).count()))
        .filter(|(_, _, count)| *count > 0)
        .map(|(status, why, count)| format!("{count} {}{why}", word(status)))
        .collect();
    if counts.is_empty() { String::new() } else { format!("; {}", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_that_all_came_from_destinations_are_not_counted_twice_bug() {
        let text = |reads, from_destinations| again(ExtraReads { reads, bytes: 1024, from_destinations });
        assert_eq!(text(1, 1), "; 1 blob read again (1.0 KiB, from another destination)");
        assert_eq!(text(3, 1), "; 3 blobs read again (1.0 KiB, 1 of them from another destination)");
        assert_eq!(text(2, 0), "; 2 blobs read again (1.0 KiB)");
    }
}
