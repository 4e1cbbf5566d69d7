//! The results of `inspect` and `bundle inspect`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::Failure,
    graph::{AttachedCounts, AttachedManifest},
    oci::{AttachmentKind, ChartIdentity, Digest, MediaType, Platform, Reference},
    trust::TrustFileKind,
};

/// The result of `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inspection {
    /// The images that could be read, in the order of the request.
    pub images: Vec<InspectedImage>,
    /// Why the other images could not be read.
    pub failures: Vec<Failure>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectedImage {
    /// The requested reference, normalized.
    pub reference: Reference,
    /// The root's digest.
    pub digest: Digest,
    /// The root's media type.
    pub media_type: MediaType,
    /// The root manifest's size in bytes.
    pub manifest_size: u64,
    /// Bytes of the root and everything it references; content that platforms share counts once.
    pub total_size: u64,
    /// The platforms that a node can run, in the index's order.
    pub platforms: Vec<InspectedPlatform>,
    /// Attestations that travel with the index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Attestation>,
    /// How many attachments of each kind it and its manifests have.
    #[serde(default, rename = "attachedCounts", skip_serializing_if = "AttachedCounts::is_empty")]
    pub counts: AttachedCounts,
    /// They themselves, each after its subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<InspectedAttachment>,
}

/// A manifest that is attached to an image, to one of its manifests, or to another attached manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectedAttachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// Bytes of its blobs.
    pub blobs: u64,
    /// Its digest, type, subject, size and tag.
    pub manifest: AttachedManifest,
}

/// One platform of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InspectedPlatform {
    /// `OS/ARCHITECTURE[/VARIANT]`
    pub platform: Platform,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: MediaType,
    /// The manifest's size in bytes.
    pub manifest_size: u64,
    /// The config blob.
    pub config_digest: Digest,
    /// The number of layers.
    pub layers: usize,
    /// Bytes of the manifest, the config and all layers.
    pub total_size: u64,
}

/// An attestation manifest: provenance or an SBOM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attestation {
    /// The digest of the attestation's own manifest.
    pub digest: Digest,
    /// The manifest that it describes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Digest>,
}

/// The result of `bundle inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleContents {
    /// The bundle's ID: the digest of its `index.json`.
    pub id: Digest,
    /// The file or folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The volumes that it consists of.
    pub volumes: Vec<String>,
    /// Those of them that are missing.
    pub missing_volumes: Vec<String>,
    /// Files next to it that are named like its volumes or their index, if it is a single file.
    pub volumes_beside: Vec<String>,
    /// The chart that the images came from, if the bundle's lock records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// The base of a delta bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<DeltaBase>,
    /// Its trust files: public keys, trusted roots and policies. An import uses them only with `--trust-bundle`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<BundledTrustFile>,
    /// The images in the order of the index.
    pub images: Vec<BundledImage>,
    /// The images that `bundle export --keep-going` left out because they failed.
    pub left_out: Vec<Reference>,
    /// The optional images that the source did not provide.
    #[serde(default)]
    pub skipped: Vec<Reference>,
    /// Why the remaining images of the index cannot be shown.
    pub failures: Vec<Failure>,
}

/// A trust file in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundledTrustFile {
    /// Its name.
    pub name: String,
    /// What it is, if this release knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TrustFileKind>,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// The blobs that a delta bundle leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeltaBase {
    /// The ID of the bundle or lock that it builds on.
    pub id: Digest,
    /// The number of blobs left out.
    pub absent_blobs: usize,
    /// Their total size in bytes.
    pub absent_bytes: u64,
}

/// One image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundledImage {
    /// Its full name, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Its name in the bundle if that is not a full name: a tag, for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where an import would push it: with `--to` in full, else below the destination. Absent if an import needs a name
    /// for it (`--as`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The root's digest.
    pub digest: Digest,
    /// The root's media type.
    pub media_type: MediaType,
    /// Bytes of the root and everything it references; content that platforms share counts once.
    pub total_size: u64,
    /// The platforms that a node can run, in the index's order.
    pub platforms: Vec<InspectedPlatform>,
    /// The number of attestations that travel with it.
    pub attestations: usize,
    /// The number of its signatures, attestations, SBOMs and other attachments.
    #[serde(default, skip_serializing_if = "AttachedCounts::is_empty")]
    pub attached: AttachedCounts,
}
