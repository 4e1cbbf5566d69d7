//! The result of one image, and what a lock records about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PlannedRequests;
use crate::{
    error::{Failure, Kind},
    graph::{Attached, AttachedCounts, AttachedManifest, Graph, ImageManifests, PlatformManifest},
    oci::{ArtifactKind, Digest, Mapping, MediaType, Platform, Reference, Repository},
    problem::Problem,
    trust::Signer,
};

/// An image at the end of a run, with the data that the lock needs.
#[derive(Debug)]
pub struct Mirrored {
    /// Its result.
    pub outcome: ImageOutcome,
    /// Its blobs and attachments, as far as they are known.
    pub content: ImageContent,
    /// Its manifests, if they are known and were asked for.
    pub manifests: Option<Box<ImageManifests>>,
    /// The repository that must be created before this image can be pushed.
    pub missing_repository: Option<Repository>,
}

/// An image without content.
impl From<ImageOutcome> for Mirrored {
    fn from(outcome: ImageOutcome) -> Self {
        let content = ImageContent::default();
        Self { outcome, content, manifests: None, missing_repository: None }
    }
}

impl Mirrored {
    /// An image whose task ended without a result.
    pub(crate) fn lost(image: &Mapping) -> Self {
        let failure =
            Failure::new(Kind::Image, "internal error while mirroring this image; please report it");
        Self::from(ImageOutcome { failure: Some(failure), ..ImageOutcome::new(image, Status::Failed) })
    }
}

/// What a lock records about the content of an image. A run keeps it for every image, so it is small.
#[derive(Debug, Clone, Default)]
pub struct ImageContent {
    /// Every blob once with its size in bytes, sorted.
    pub blobs: Box<[(Digest, u64)]>,
    /// Its attachments, sorted.
    pub attached: Box<[AttachedManifest]>,
}

impl ImageContent {
    /// The content of a graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut blobs: Vec<(Digest, u64)> =
            graph.blobs().into_iter().map(|blob| (blob.digest.clone(), blob.size)).collect();
        blobs.sort_unstable();
        let mut attached: Vec<AttachedManifest> = graph.attached.iter().map(Attached::record).collect();
        attached.sort();
        Self { blobs: blobs.into(), attached: attached.into() }
    }
}

// A run keeps it for every image, so what few of them have is in a box.
/// The result of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageOutcome {
    /// The requested reference, normalized.
    pub source: Reference,
    /// `REGISTRY/REPOSITORY:TAG`.
    pub destination: String,
    /// Its status in one word.
    pub status: Status,
    /// The root's digest, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The root's media type, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The kind of artifact, if not a container image. Only images must have platforms.
    #[serde(default, skip_serializing_if = "ArtifactKind::is_image")]
    pub kind: ArtifactKind,
    /// The platforms that a node can run, each with its manifest. Read back from the destination if `status` is
    /// `copied`, `repaired`, `up-to-date` or `verified`; otherwise as listed by the source.
    pub platforms: Vec<PlatformManifest>,
    /// Attestation manifests, which are copied with the index and never count as platforms.
    pub attestations: usize,
    /// Its signatures, attestations, SBOMs and other attachments. They were listed at the source, or at the
    /// destination by `verify`.
    #[serde(default, skip_serializing_if = "AttachedCounts::is_empty")]
    pub attached: AttachedCounts,
    /// How much of that the destination lacked: this run copied it or, in a plan, would copy it.
    #[serde(default, skip_serializing_if = "AttachedCounts::is_empty")]
    pub attached_new: AttachedCounts,
    /// The signature that satisfies the user's policy, if there is a policy and the image needs a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Box<AcceptedSignature>>,
    /// Tags of cosign's older format that were kept, because the destination has added entries of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_tags: Vec<KeptTag>,
    /// Missing required platforms that `--allow-missing-platform` waived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Platform>,
    /// In a plan: its blobs. `sync --plan` divides images between machines by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<ImageBlob>,
    /// In a plan: what the run would ask of the registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Box<PlannedRequests>>,
    /// The digest that the destination's tag pointed to before it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Digest>,
    /// Bytes by how they reached the destination.
    pub bytes: Bytes,
    /// Wall time in milliseconds.
    pub milliseconds: u64,
    /// Differences that the confirmation or `verify` found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether it was found only in settings, so that the source may not provide it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Why it was skipped although nothing failed, if `status` is `skipped-optional`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_because: Option<Box<Failure>>,
}

/// A blob of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A signature that satisfies the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedSignature {
    /// The attached manifest that holds it.
    pub manifest: Digest,
    /// Who made it.
    #[serde(flatten)]
    pub signer: Signer,
}

/// A tag of cosign's older format at the destination that has entries of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptTag {
    /// The tag.
    pub tag: String,
    /// The manifest that it names.
    pub digest: Digest,
    /// How many signatures or attestations it has that the source lacks.
    pub entries: usize,
}

/// The status of an image in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Copied by this run and confirmed by reading the destination again.
    Copied,
    /// The tag was correct but content of the image was missing: copied again and confirmed.
    Repaired,
    /// Already present and confirmed; nothing was copied.
    UpToDate,
    /// `--dry-run`: nothing was copied.
    Planned,
    /// `verify` found no difference.
    Verified,
    /// `verify` found differences.
    Different,
    /// The image failed.
    Failed,
    /// Not started, or not in a bundle, because another image failed: with `--fail-fast`, and in an export without
    /// `--keep-going`.
    Skipped,
    /// Skipped because it is optional and the source does not provide it. The run does not fail.
    SkippedOptional,
}

/// Bytes of blobs, by how they reached the destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// Copied from the source (or, in a plan, to be copied).
    pub copied: u64,
    /// Mounted from another repository of the destination (or, in a plan, to be mounted).
    pub mounted: u64,
    /// Already present.
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
    /// The result of an image with only a status.
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
            attached: AttachedCounts::default(),
            attached_new: AttachedCounts::default(),
            signature: None,
            kept_tags: Vec::new(),
            waived: Vec::new(),
            blobs: Vec::new(),
            requests: None,
            moved_from: None,
            bytes: Bytes::default(),
            milliseconds: 0,
            problems: Vec::new(),
            failure: None,
            optional: false,
            skipped_because: None,
        }
    }

    /// The result of an optional image that is skipped for this reason.
    #[must_use]
    pub(crate) fn skipped(image: &Mapping, because: Failure) -> Self {
        let status = Status::SkippedOptional;
        Self { optional: true, skipped_because: Some(Box::new(because)), ..Self::new(image, status) }
    }

    /// A skipped image as a failure, as `--strict` requires it.
    #[must_use]
    pub(crate) fn into_failed(self) -> Self {
        match self.skipped_because {
            Some(because) => {
                Self { status: Status::Failed, failure: Some(*because), skipped_because: None, ..self }
            }
            None => self,
        }
    }

    /// Whether it was skipped because it is optional.
    #[must_use]
    pub const fn is_skipped_optional(&self) -> bool {
        matches!(self.status, Status::SkippedOptional)
    }

    /// Why it was skipped although nothing failed, in one line.
    #[must_use]
    pub(crate) fn skip_message(&self) -> Option<String> {
        let Failure { message, causes, .. } = self.skipped_because.as_deref()?;
        let causes = if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(": ")) };
        Some(format!("skipped: optional, {message}{causes}"))
    }

    /// Whether the image was read back from the destination and is complete.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.status, Status::Copied | Status::Repaired | Status::UpToDate | Status::Verified)
    }

    /// The kind of its failure, for the exit code; `None` if nothing is wrong.
    #[must_use]
    pub fn failure_kind(&self) -> Option<Kind> {
        match (&self.failure, self.status) {
            // A difference counts as a difference even if something else could not be read.
            (_, Status::Different) => Some(Kind::Difference),
            (Some(failure), _) => Some(failure.kind),
            (None, Status::Failed | Status::Skipped) => Some(Kind::Image),
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run keeps one for each of 10,000 images.
    #[test]
    fn a_result_without_failures_is_small() {
        assert!(size_of::<ImageOutcome>() <= 528, "{}", size_of::<ImageOutcome>());
        assert!(size_of::<Mirrored>() <= 608, "{}", size_of::<Mirrored>());
    }
}
