//! How each image ended: what the closing table, the JSON document and the lock are made from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Failure, Kind},
    graph::{Graph, PlatformManifest},
    oci::{ArtifactKind, Digest, Mapping, MediaType, Platform, Reference, Repository},
    problem::Problem,
};

/// One image at the end of a run.
#[derive(Debug)]
pub struct Mirrored {
    /// How it ended.
    pub outcome: ImageOutcome,
    /// What it is made of, as far as that became known.
    pub graph: Option<Graph>,
    /// The repository that has to be created before this image can be pushed to it.
    pub missing_repository: Option<Repository>,
}

/// One image's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageOutcome {
    /// What was asked for, normalized.
    pub source: Reference,
    /// `REGISTRY/REPOSITORY:TAG`.
    pub destination: String,
    /// In one word.
    pub status: Status,
    /// The root's digest, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The root's media type, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What it is, unless it is a container image; only an image must have platforms.
    #[serde(default, skip_serializing_if = "ArtifactKind::is_image")]
    pub kind: ArtifactKind,
    /// The platforms a node can run, each with its manifest: as read back from the destination when
    /// `status` says confirmed, otherwise as the source has them.
    pub platforms: Vec<PlatformManifest>,
    /// Attestation manifests, which travel with the index and never count as a platform.
    pub attestations: usize,
    /// Required platforms that are missing with leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Platform>,
    /// The digest that the destination's tag named before, where it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Digest>,
    /// Bytes by how they came to be at the destination.
    pub bytes: Bytes,
    /// Wall time in milliseconds.
    pub milliseconds: u64,
    /// Differences that the confirmation or `verify` found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An image's end in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Copied by this run and confirmed by reading the destination again.
    Copied,
    /// Something that was missing below a correct tag was put back, and confirmed.
    Repaired,
    /// It was there already: read and confirmed, nothing moved.
    UpToDate,
    /// `--dry-run`: what would be done is known.
    Planned,
    /// `verify` found it as it should be.
    Verified,
    /// `verify` found differences.
    Different,
    /// It failed.
    Failed,
    /// It was not begun, because another image failed first under `--fail-fast`.
    Skipped,
}

/// Bytes of blobs, by how they came to be at the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// Copied from the source (or, in a plan, to be copied).
    pub copied: u64,
    /// Linked by the destination from another of its repositories (or, in a plan, to be linked).
    pub mounted: u64,
    /// There already.
    pub present: u64,
}

impl Bytes {
    /// The sum of two counts. Descriptors may claim any size.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            copied: self.copied.saturating_add(other.copied),
            mounted: self.mounted.saturating_add(other.mounted),
            present: self.present.saturating_add(other.present),
        }
    }
}

impl ImageOutcome {
    /// An image of which nothing is known yet.
    #[must_use]
    pub fn new(image: &Mapping, status: Status) -> Self {
        Self {
            source: image.source.clone(),
            destination: image.destination(),
            status,
            digest: None,
            media_type: None,
            kind: ArtifactKind::Image,
            platforms: Vec::new(),
            attestations: 0,
            waived: Vec::new(),
            moved_from: None,
            bytes: Bytes::default(),
            milliseconds: 0,
            problems: Vec::new(),
            failure: None,
        }
    }

    /// Whether the destination was read and found to be what was asked for.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.status, Status::Copied | Status::Repaired | Status::UpToDate | Status::Verified)
    }

    /// The kind of its failure, for the exit code; `None` when nothing is wrong.
    #[must_use]
    pub fn failure_kind(&self) -> Option<Kind> {
        match (&self.failure, self.status) {
            // A difference stays one, whatever else could not be read.
            (_, Status::Different) => Some(Kind::Difference),
            (Some(failure), _) => Some(failure.kind),
            (None, Status::Failed | Status::Skipped) => Some(Kind::Image),
            (None, _) => None,
        }
    }
}
