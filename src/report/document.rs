//! What `--output json` prints: one document on standard output, whatever happens.
//!
//! A command that fails before it has seen an image prints a [`RunDocument`] too, without images and with
//! its failure, so that a program always has one thing to parse. Each document names its schema; the
//! schemas are committed in `src/report/schema/`. Within a version, fields are added, never changed.

use std::{fmt::Write as _, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Failure, Kind, escape, exit_code_of},
    oci::ChartIdentity,
    outcome::{BundleSummary, Bytes, Command, ImageOutcome, Repair, RunOutcome},
};

/// The schema of [`RunDocument`].
pub const RUN_SCHEMA: &str = "thoras-mirror/run/v1";

/// A run of any command that works on images: what happened to each, and what failed beside them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDocument {
    #[schemars(extend("const" = RUN_SCHEMA))]
    schema: &'static str,
    /// The command that ran.
    pub command: Command,
    /// `REGISTRY[/PATH]` or the path of a bundle, where the command has a destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The id of the bundle that the command wrote or read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<crate::oci::Digest>,
    /// How deep the destination was checked: `manifests` or `blobs` for `sync`, `platforms`, `blobs` or
    /// `bytes` for `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The chart that the images came from, if one was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// The bundle that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<BundleSummary>,
    /// How each image ended, in the order in which they were asked for.
    pub images: Vec<ImageOutcome>,
    /// Counts over all images.
    pub totals: Totals,
    /// Failures outside any single image.
    pub failures: Vec<Failure>,
    /// What the process exits with. It follows from the failures; a run that a signal ended sets 130 or 143.
    pub exit_code: u8,
    /// The command that puts differences right.
    #[serde(skip)]
    pub repair: Option<Repair>,
    /// `--dry-run`: nothing was written.
    #[serde(skip)]
    pub dry_run: bool,
}

impl From<RunOutcome> for RunDocument {
    fn from(outcome: RunOutcome) -> Self {
        let RunOutcome { command, images, failures, time, .. } = outcome;
        let document = Self::new(command, images, failures, time);
        Self {
            destination: outcome.destination,
            bundle: outcome.bundle,
            level: outcome.level,
            chart: outcome.chart,
            written: outcome.written,
            dry_run: outcome.dry_run,
            repair: outcome.repair,
            exit_code: outcome.exit_code.unwrap_or(document.exit_code),
            ..document
        }
    }
}

/// Counts over all images of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// How many images were asked for.
    pub images: usize,
    /// How many of them were read at the destination and found to be right.
    pub confirmed: usize,
    /// How many failed, differ or were skipped.
    pub failed: usize,
    /// The sum of their bytes.
    pub bytes: Bytes,
    /// The run's wall time in milliseconds.
    pub milliseconds: u64,
}

impl RunDocument {
    /// The document of a run. Totals and the exit code follow from the images and the failures.
    #[must_use]
    pub fn new(command: Command, images: Vec<ImageOutcome>, failures: Vec<Failure>, time: Duration) -> Self {
        let kinds: Vec<Kind> = images.iter().filter_map(ImageOutcome::failure_kind).collect();
        // Whoever asks `verify` whether the mirror differs is answered, whatever else could not be read.
        let exit_code = if command == Command::Verify && kinds.contains(&Kind::Difference) {
            Kind::Difference.exit_code()
        } else {
            exit_code_of(kinds.into_iter().chain(failures.iter().map(|failure| failure.kind)))
        };
        let totals = Totals {
            images: images.len(),
            confirmed: images.iter().filter(|image| image.is_confirmed()).count(),
            failed: images.iter().filter(|image| image.failure_kind().is_some()).count(),
            bytes: images.iter().map(|image| image.bytes).fold(Bytes::default(), Bytes::plus),
            milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        };
        Self {
            schema: RUN_SCHEMA,
            command,
            destination: None,
            written: None,
            level: None,
            chart: None,
            bundle: None,
            images,
            totals,
            failures,
            exit_code,
            repair: None,
            dry_run: false,
        }
    }

    /// The document of a command that failed before it knew any image.
    #[must_use]
    pub fn failed(command: Command, failure: Failure, time: Duration) -> Self {
        Self::new(command, Vec::new(), vec![failure], time)
    }

    /// The run's wall time.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.totals.milliseconds)
    }
}

/// A document as text. JSON allows characters in strings that terminals obey; they are written as
/// `\uXXXX`, which every parser reads back as they were.
pub(super) fn to_json(document: &impl Serialize) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(document)?;
    if escape(&text) == text {
        return Ok(text);
    }
    let mut safe = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        // Outside strings, this writer puts nothing but ASCII and line breaks, which `escape` leaves alone.
        if escape(character.encode_utf8(&mut [0; 4])).chars().eq([character]) {
            safe.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        error::Kind,
        report::{samples, schema},
    };

    fn run() -> RunDocument {
        let images = vec![samples::copied(), samples::up_to_date(), samples::failed(), samples::different()];
        let failures = vec![Failure::new(Kind::Input, "the lock cannot be written")];
        let mut document = RunDocument::new(Command::Sync, images, failures, Duration::from_secs(34));
        document.destination = Some("registry.example.com/thoras".to_owned());
        document.level = Some("blobs".to_owned());
        document.chart = Some(ChartIdentity {
            name: "thoras".to_owned(),
            version: "4.53.0".to_owned(),
            digest: Some(samples::digest("chart")),
        });
        document
    }

    #[test]
    fn the_schema_is_current() {
        schema::assert_current("run.v1.json", &schemars::schema_for!(RunDocument));
    }

    #[test]
    fn documents_follow_their_schema() {
        let early =
            RunDocument::failed(Command::Images, Failure::new(Kind::Usage, "no such chart"), Duration::ZERO);
        for document in [run(), early] {
            schema::assert_valid("run.v1.json", &serde_json::to_value(document).unwrap());
        }
    }

    #[test]
    fn another_version_does_not_pass_for_this_one() {
        let mut value = serde_json::to_value(run()).unwrap();
        value["schema"] = json!("thoras-mirror/run/v2");
        assert!(!schema::validator("run.v1.json").is_valid(&value));
    }

    #[test]
    fn totals_and_exit_code_follow_from_the_images() {
        let document = run();
        assert_eq!((document.totals.images, document.totals.confirmed, document.totals.failed), (4, 2, 2));
        assert_eq!(document.exit_code, 1, "failures of several kinds");
        let verified =
            RunDocument::new(Command::Verify, vec![samples::verified()], Vec::new(), Duration::ZERO);
        assert_eq!(verified.exit_code, 0);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_survives() {
        let hostile = json!({ "reason": "a\u{9b}2J\u{7f}\u{202e}b\u{1b}[0m\n\u{1f600}" });
        let text = to_json(&hostile).unwrap();
        assert_eq!(escape(&text), text);
        assert!(text.contains(r"a\u009b2J\u007f\u202eb\u001b[0m\n"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), hostile);
    }
}
