//! The result of a command: one [`Document`], which any renderer can show.
//!
//! A document serializes to the JSON that
//! `--output json` prints. A command that fails early also has a [`RunDocument`], with its failure and no images, so
//! that programs can always parse a document. Each kind of document names its schema; the schemas are in
//! `src/report/schema/`. Within a version of a schema, fields are added but never changed.

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    enumerate::Enumeration,
    error::{Failure, Kind, exit_code_of},
    jobs::{
        doctor::CheckResult,
        running::{ClusterComparison, RunningImage},
        values::ValuesOutcome,
    },
    oci::{Mapping, Reference},
    outcome::{
        Bytes, Command, ImageOutcome, MergeOutcome, RunOutcome,
        inspection::{BundleContents, Inspection},
    },
};

const RUN_SCHEMA: &str = "thoras-mirror/run/v1";
const IMAGES_SCHEMA: &str = "thoras-mirror/images/v1";
const INSPECT_SCHEMA: &str = "thoras-mirror/inspect/v1";
const BUNDLE_SCHEMA: &str = "thoras-mirror/bundle/v1";
const VALUES_SCHEMA: &str = "thoras-mirror/values/v1";
const DOCTOR_SCHEMA: &str = "thoras-mirror/doctor/v1";
const RUNNING_SCHEMA: &str = "thoras-mirror/running/v1";
const LOCK_MERGE_SCHEMA: &str = "thoras-mirror/lock-merge/v1";

/// The complete result of a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Document {
    /// The result of a job that copied or compared images, or of a command that failed early.
    Run(RunDocument),
    /// `images`
    Images(ImagesDocument),
    /// `inspect`
    Inspection(InspectDocument),
    /// `bundle inspect`
    Bundle(BundleDocument),
    /// `doctor`
    Doctor(DoctorDocument),
    /// `values`
    Values(ValuesDocument),
    /// `running`
    Running(RunningDocument),
    /// `lock merge`
    LockMerge(LockMergeDocument),
}

impl Document {
    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Run(document) => document.exit_code,
            Self::Images(_) => crate::error::exit::SUCCESS,
            Self::Inspection(document) => document.exit_code,
            Self::Bundle(document) => document.exit_code,
            Self::Doctor(document) => document.exit_code,
            Self::Values(document) => document.exit_code,
            Self::Running(document) => document.exit_code,
            Self::LockMerge(document) => document.exit_code,
        }
    }

    /// The failures that do not belong to a single image of the document.
    pub(super) fn failures(&self) -> &[Failure] {
        match self {
            Self::Run(document) => &document.outcome.failures,
            Self::Inspection(document) => &document.found.failures,
            Self::Bundle(document) => &document.contents.failures,
            Self::Values(document) => &document.found.failures,
            Self::LockMerge(document) => &document.merged.failures,
            Self::Images(_) | Self::Doctor(_) | Self::Running(_) => &[],
        }
    }
}

impl From<RunOutcome> for Document {
    fn from(outcome: RunOutcome) -> Self {
        Self::Run(RunDocument::new(outcome))
    }
}

impl From<Enumeration> for Document {
    fn from(found: Enumeration) -> Self {
        Self::Images(ImagesDocument { schema: IMAGES_SCHEMA, found })
    }
}

impl From<Inspection> for Document {
    fn from(found: Inspection) -> Self {
        let exit_code = exit_code_of(found.failures.iter().map(|failure| failure.kind));
        Self::Inspection(InspectDocument { schema: INSPECT_SCHEMA, found, exit_code })
    }
}

impl From<BundleContents> for Document {
    fn from(contents: BundleContents) -> Self {
        let exit_code = exit_code_of(contents.failures.iter().map(|failure| failure.kind));
        Self::Bundle(BundleDocument { schema: BUNDLE_SCHEMA, contents, exit_code })
    }
}

impl From<ClusterComparison> for Document {
    fn from(comparison: ClusterComparison) -> Self {
        let ClusterComparison { images } = comparison;
        let is_different = images.iter().any(RunningImage::is_difference);
        let exit_code = exit_code_of(is_different.then_some(Kind::Difference));
        Self::Running(RunningDocument { schema: RUNNING_SCHEMA, images, exit_code })
    }
}

impl From<MergeOutcome> for Document {
    fn from(merged: MergeOutcome) -> Self {
        let exit_code = exit_code_of(merged.failures.iter().map(|failure| failure.kind));
        Self::LockMerge(LockMergeDocument { schema: LOCK_MERGE_SCHEMA, merged, exit_code })
    }
}

impl From<DoctorDocument> for Document {
    fn from(document: DoctorDocument) -> Self {
        Self::Doctor(document)
    }
}

impl From<ValuesOutcome> for Document {
    fn from(found: ValuesOutcome) -> Self {
        let exit_code = exit_code_of(found.failures.iter().map(|failure| failure.kind));
        Self::Values(ValuesDocument { schema: VALUES_SCHEMA, found, exit_code })
    }
}

/// A run of any command that works on images: the result of each image, and all other failures.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunDocument {
    #[schemars(extend("const" = RUN_SCHEMA))]
    schema: &'static str,
    /// The command, its settings and its results.
    #[serde(flatten)]
    pub(super) outcome: RunOutcome,
    /// Counts over all images.
    pub(super) totals: Totals,
    /// The exit code. It follows from the failures; after a signal it is 128 and the number of the signal.
    exit_code: u8,
}

/// Counts over all images of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Totals {
    /// Requested images.
    pub(super) images: usize,
    /// Images that were read back from the destination and are complete.
    pub(super) confirmed: usize,
    /// Images that failed, differ or were skipped because of `--fail-fast`.
    pub(super) failed: usize,
    /// Images that were skipped because they are optional and the source does not provide them.
    #[serde(default)]
    pub(super) skipped_optional: usize,
    /// The sum of their bytes.
    pub(super) bytes: Bytes,
    /// The run's wall time in milliseconds.
    pub(super) milliseconds: u64,
}

impl RunDocument {
    fn new(outcome: RunOutcome) -> Self {
        let images = &outcome.images;
        let totals = Totals {
            images: images.len(),
            confirmed: images.iter().filter(|image| image.is_confirmed()).count(),
            failed: images.iter().filter(|image| image.failure_kind().is_some()).count(),
            skipped_optional: images.iter().filter(|image| image.is_skipped_optional()).count(),
            bytes: images.iter().map(|image| image.bytes).fold(Bytes::default(), Bytes::plus),
            milliseconds: u64::try_from(outcome.time.as_millis()).unwrap_or(u64::MAX),
        };
        let exit_code = outcome.exit_code.unwrap_or_else(|| exit_code_of_run(&outcome));
        Self { schema: RUN_SCHEMA, outcome, totals, exit_code }
    }
}

fn exit_code_of_run(outcome: &RunOutcome) -> u8 {
    let kinds = outcome.images.iter().filter_map(ImageOutcome::failure_kind);
    // A difference decides the exit code of `verify`, even if something else could not be read.
    if outcome.command == Command::Verify && kinds.clone().any(|kind| kind == Kind::Difference) {
        return Kind::Difference.exit_code();
    }
    exit_code_of(kinds.chain(outcome.failures.iter().map(|failure| failure.kind)))
}

/// The JSON of `images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImagesDocument {
    #[schemars(extend("const" = IMAGES_SCHEMA))]
    schema: &'static str,
    /// The images, the chart they come from, and what was skipped.
    #[serde(flatten)]
    pub(super) found: Enumeration,
}

/// The JSON of `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectDocument {
    #[schemars(extend("const" = INSPECT_SCHEMA))]
    schema: &'static str,
    /// The images, and the failures of images that could not be read.
    #[serde(flatten)]
    pub(super) found: Inspection,
    /// The exit code.
    exit_code: u8,
}

/// The JSON of `bundle inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleDocument {
    #[schemars(extend("const" = BUNDLE_SCHEMA))]
    schema: &'static str,
    /// The bundle and its images.
    #[serde(flatten)]
    pub(super) contents: BundleContents,
    /// The exit code.
    exit_code: u8,
}

/// The JSON of `values`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValuesDocument {
    #[schemars(extend("const" = VALUES_SCHEMA))]
    schema: &'static str,
    /// The values and the images that the chart pulls with them.
    #[serde(flatten)]
    pub(super) found: ValuesOutcome,
    /// The exit code.
    exit_code: u8,
}

/// The JSON of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DoctorDocument {
    #[schemars(extend("const" = DOCTOR_SCHEMA))]
    schema: &'static str,
    /// `REGISTRY[/PATH]`
    destination: String,
    /// The findings of all checks.
    pub(super) findings: Vec<CheckResult>,
    /// The name that each image would get at the destination.
    pub(super) names: Vec<PlannedName>,
    /// The exit code.
    exit_code: u8,
}

/// One image and its name at the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedName {
    /// The source reference.
    pub(super) source: Reference,
    /// `REGISTRY/REPOSITORY:TAG`
    pub(super) destination: String,
}

/// The JSON of `running`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningDocument {
    #[schemars(extend("const" = RUNNING_SCHEMA))]
    schema: &'static str,
    /// What the cluster runs, sorted by name.
    pub(super) images: Vec<RunningImage>,
    /// The exit code.
    exit_code: u8,
}

/// The JSON of `lock merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LockMergeDocument {
    #[schemars(extend("const" = LOCK_MERGE_SCHEMA))]
    schema: &'static str,
    /// What was joined.
    #[serde(flatten)]
    pub(super) merged: MergeOutcome,
    /// The exit code.
    exit_code: u8,
}

impl DoctorDocument {
    /// The document of these findings. The exit code follows from the problems among them.
    pub(crate) fn new(destination: String, findings: Vec<CheckResult>, mappings: &[Mapping]) -> Self {
        let exit_code = exit_code_of(findings.iter().filter_map(|finding| finding.kind));
        let name = |mapping: &Mapping| PlannedName {
            source: mapping.source.clone(),
            destination: mapping.destination(),
        };
        let names = mappings.iter().map(name).collect();
        Self { schema: DOCTOR_SCHEMA, destination, findings, names, exit_code }
    }
}
