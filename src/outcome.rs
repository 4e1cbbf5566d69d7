//! Results of jobs. The report and the lock are built from them.
//!
//! A job that copies or compares images ends with a [`RunOutcome`], which holds an [`ImageOutcome`] for each image.
//! [`inspection`] has the results of jobs that only look at images.

mod image;
pub(crate) mod inspection;
mod requests;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::image::{
    AcceptedSignature, Bytes, ImageBlob, ImageContent, ImageOutcome, KeptTag, Mirrored, Status,
};
pub use self::requests::PlannedRequests;
pub(crate) use self::requests::{MetQuota, RegistryRequests, by_registry as requests_by_registry};
use crate::{
    error::{Failure, Kind},
    oci::{ChartIdentity, Digest, Reference},
    shard::{Repeated, ShardNumber},
};

/// The complete result of a job that copies or compares images.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunOutcome {
    /// The command that ran.
    pub command: Command,
    /// `REGISTRY[/PATH]` or the path of a bundle, if the command has a destination; several are separated by `, `.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What a copy to several destinations did at each of them; absent for a single one. An image has a result for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationOutcome>,
    /// The ID of the bundle that the command wrote or read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// How thoroughly the destination was checked: `manifests` or `blobs` for `sync`, `platforms`, `blobs` or `bytes`
    /// for `verify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The chart that the images came from, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// The bundle that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<BundleSummary>,
    /// Which part of the images the run was for, with `--shard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Box<ShardOutcome>>,
    /// Images of the bundle that `--include` and `--exclude` left out of an import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Reference>,
    /// The result of each image, in the order of the request.
    pub images: Vec<ImageOutcome>,
    /// Failures that do not belong to a single image.
    pub failures: Vec<Failure>,
    /// In a dry run: what the run would ask of each registry, and how long it takes at least because of quotas: the known
    /// ones, as changed by `--quota`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RegistryRequests>,
    /// The commands that install the chart from the mirror, each ready for a shell, if every image is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_steps: Vec<String>,
    /// Wall time.
    #[serde(skip)]
    pub time: Duration,
    /// `--dry-run`: nothing was written.
    #[serde(skip)]
    pub dry_run: bool,
    /// The command that repairs the differences `verify` found.
    #[serde(skip)]
    pub repair: Option<Repair>,
    /// The exit code, if it does not follow from the failures: after a signal, for example.
    #[serde(skip)]
    pub exit_code: Option<u8>,
}

impl RunOutcome {
    /// The outcome of a command with only its images and failures. Fill in the rest with struct update syntax.
    #[must_use]
    pub(crate) fn new(
        command: Command,
        images: Vec<ImageOutcome>,
        mut failures: Vec<Failure>,
        time: Duration,
    ) -> Self {
        failures.extend(nothing_left(&images));
        Self {
            command,
            destination: None,
            destinations: Vec::new(),
            bundle: None,
            level: None,
            chart: None,
            written: None,
            shard: None,
            excluded: Vec::new(),
            images,
            failures,
            requests: Vec::new(),
            next_steps: Vec::new(),
            time,
            dry_run: false,
            repair: None,
            exit_code: None,
        }
    }

    /// The outcome of a command that failed before any image was known.
    #[must_use]
    pub(crate) fn failed(command: Command, failure: Failure) -> Self {
        Self::new(command, Vec::new(), vec![failure], Duration::ZERO)
    }
}

/// The failure of a run that skipped all of its images: an empty mirror or bundle is never what was meant.
fn nothing_left(images: &[ImageOutcome]) -> Option<Failure> {
    let is_empty = !images.is_empty() && images.iter().all(ImageOutcome::is_skipped_optional);
    is_empty.then(|| {
        let sources: BTreeSet<&Reference> = images.iter().map(|image| &image.source).collect();
        let message = match sources.len() {
            1 => "the only image is optional and was skipped, so there is nothing to do".to_owned(),
            count => format!("all {count} images are optional and were skipped, so there is nothing to do"),
        };
        Failure::new(Kind::Image, message).with_hint(
            "check the chart's values and --include, or add the image that you need with --add IMAGE",
        )
    })
}

/// A command, as in `thoras-mirror COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Command {
    /// `images`
    Images,
    /// `sync`
    Sync,
    /// `verify`
    Verify,
    /// `values`
    Values,
    /// `inspect`
    Inspect,
    /// `bundle export`
    BundleExport,
    /// `bundle import`
    BundleImport,
    /// `bundle verify`
    BundleVerify,
    /// `bundle inspect`
    BundleInspect,
    /// `serve`
    Serve,
    /// `doctor`
    Doctor,
    /// `lock merge`
    LockMerge,
    /// `login`
    Login,
    /// `logout`
    Logout,
    /// `pull-secret`
    PullSecret,
    /// `redirect`
    Redirect,
    /// `running`
    Running,
}

/// One part of a list of images that several machines share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShardOutcome {
    /// Which part, from 0, and of how many.
    #[serde(flatten)]
    pub number: ShardNumber,
    /// The digest of the whole list.
    pub list: Digest,
    /// The number of images in the whole list.
    pub listed: usize,
    /// Transfers that a single machine would not need, at most, in all parts; absent if no sizes are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Repeated>,
    /// Repositories at the destination that several parts push to, because they are too large for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<String>,
    /// Where the lock of this part was pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Reference>,
}

/// The complete result of `lock merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MergeOutcome {
    /// `REGISTRY[/PATH]` of the mirror.
    pub from: String,
    /// The file that was written.
    pub lock: String,
    /// The digest of the list of images.
    pub list: Digest,
    /// The number of parts.
    pub shards: u32,
    /// The number of images.
    pub images: usize,
    /// Images that were confirmed, or skipped because they are optional.
    pub confirmed: usize,
    /// Transfers that a single machine would not have needed, at most.
    pub repeated: Repeated,
    /// Images that are not confirmed.
    pub failures: Vec<Failure>,
}

/// What was read again for one of several destinations, because it was behind the others or repeated an upload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtraReads {
    /// Reads of blobs that had been read before.
    pub reads: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them came from another destination instead of the source.
    pub from_destinations: u64,
}

/// What a copy to several destinations did at one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DestinationOutcome {
    /// `REGISTRY[/PATH]`
    pub to: String,
    /// Requested images.
    pub images: usize,
    /// Images that were read back from there and are complete.
    pub confirmed: usize,
    /// Images that failed or were skipped because of `--fail-fast`.
    pub failed: usize,
    /// The sum of their bytes.
    pub bytes: Bytes,
    /// Blobs that were read more than once, because this destination was behind the others or repeated an upload.
    pub extra_reads: ExtraReads,
    /// Wall time in milliseconds, from the start of all destinations to the end of this one.
    pub milliseconds: u64,
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleSummary {
    /// The bundle's ID: the digest of its `index.json`.
    pub id: Digest,
    /// Its files; empty if it was written to standard output.
    pub files: Vec<String>,
    /// The file of its signature, if it is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The total length of its files in bytes.
    pub length: u64,
    /// Bytes of blobs kept from an interrupted export.
    pub kept: u64,
    /// Bytes of blobs left out because the base has them.
    pub left_out: u64,
}

/// A command that repairs problems: `thoras-mirror sync --to REGISTRY/PATH` with the other settings of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// The command, quoted for a shell.
    pub command: String,
    /// What to change in it before running it.
    pub note: Option<String>,
    /// The commands for images at other destinations, by the image's name there.
    pub elsewhere: HashMap<String, String>,
}

impl Repair {
    /// The command for the image with this name at its destination.
    #[must_use]
    pub(crate) fn command_for(&self, destination: &str) -> &str {
        self.elsewhere.get(destination).unwrap_or(&self.command)
    }
}
