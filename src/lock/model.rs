//! The content of a lock: `thoras-mirror/lock/v2`.
//!
//! What is true of an image everywhere (its digest, platforms and blobs) is recorded once; each destination adds where
//! the image is and whether that was confirmed. Images refer to the shared table of blobs by digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    graph::{AttachedManifest, ForeignLayers, PlatformManifest},
    oci::{
        ArtifactKind, ChartIdentity, Digest, MediaType, Naming, Platform, Reference,
        mapping::{Namer, Root},
    },
    outcome::Mirrored,
};

/// The version of the format that this program writes.
pub const SCHEMA: &str = "thoras-mirror/lock/v2";

/// The content of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// `thoras-mirror/lock/v2`
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// The chart that the images come from; absent for rendered manifests and lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartIdentity>,
    /// Where the images were copied to, sorted by `to`. A bundle's lock has a single entry without `to`: the bundle
    /// itself.
    pub destinations: Vec<Placement>,
    /// The platforms that every image must have.
    pub platforms: Vec<Platform>,
    /// The part of a list of images that this lock covers; absent if it covers the whole list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The images, sorted by source.
    pub images: Vec<LockedImage>,
    /// Images that were left out of an import by choice, sorted; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Reference>,
    /// Every blob of the images with its size in bytes.
    #[serde(deserialize_with = "super::parse::blobs")]
    pub blobs: BTreeMap<Digest, u64>,
    /// Whether foreign layers are among the blobs; absent if they were not copied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign_layers: bool,
    /// In a delta bundle: the blobs that it leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
}

/// The blobs that a delta leaves out because the far side has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Base {
    /// The id of the bundle that the delta builds on, or the digest of its lock.
    pub id: Digest,
    /// The left-out blobs, each with the repositories that have it, of sources and destinations.
    pub blobs: BTreeMap<Digest, Vec<String>>,
}

/// One of several parts that a list of images was divided into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shard {
    /// Which part this is, from 0.
    pub index: u32,
    /// The number of parts.
    pub count: u32,
    /// The digest of the whole list: only parts of one list can be merged.
    pub list: Digest,
}

/// A destination and its naming rule, so that `sync --locked` and repairs give the same names again even if filters
/// excluded images that contributed to the shared prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// `REGISTRY[/PATH]`, the value of `--to`; absent in a bundle, which can go anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The value of `--naming`.
    pub naming: Naming,
    /// The prefix that relative naming removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<String>,
    /// The packaged chart among the images. It goes to `charts/NAME` under every naming rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Reference>,
    /// In a bundle: the images that are named by host and path, because another image has their name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub in_full: BTreeSet<Reference>,
}

impl Placement {
    /// The naming rule, applied below `root`.
    #[must_use]
    pub fn namer(&self, root: Root) -> Namer {
        Namer::new(root, self.naming, self.source_prefix.clone())
            .with_chart(self.chart.clone())
            .with_names_in_full(self.in_full.clone())
    }
}

/// One image of a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedImage {
    /// The reference that was requested, normalized.
    pub source: Reference,
    /// The root's digest; absent if it never became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The root's media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The kind of artifact, unless it is a container image; only images must have platforms.
    #[serde(default, skip_serializing_if = "ArtifactKind::is_image")]
    pub kind: ArtifactKind,
    /// Whether it was found only in text, so that the source may not provide it: if it is not confirmed, it was skipped
    /// for that reason. Absent if it failed for another reason.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Its platforms, each with its manifest.
    pub platforms: Vec<PlatformManifest>,
    /// Required platforms that it may lack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Platform>,
    /// Its blobs, sorted. The lock's `blobs` has their sizes.
    pub blobs: Vec<Digest>,
    /// Manifests that refer to it or to one of its manifests: signatures, attestations, SBOMs. Sorted by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedManifest>,
    /// Its copies, at least one, sorted.
    pub destinations: Vec<LockedCopy>,
}

/// An image at one destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedCopy {
    /// Which of the lock's destinations this is; absent in a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `REGISTRY/REPOSITORY:TAG`; in a bundle the source, because the image keeps its name there.
    pub reference: Reference,
    /// Whether the destination was read again and matched.
    pub confirmed: bool,
}

impl Lock {
    /// The record of a run to one destination.
    #[must_use]
    pub fn new(
        chart: Option<ChartIdentity>,
        placement: Placement,
        platforms: &[Platform],
        foreign_layers: ForeignLayers,
        mirrored: &[Mirrored],
    ) -> Self {
        let mut images: BTreeMap<Reference, LockedImage> = BTreeMap::new();
        let mut blobs = BTreeMap::new();
        for image in mirrored {
            let Some(locked) = LockedImage::new(image, placement.to.as_deref()) else { continue };
            for (digest, size) in &image.content.blobs {
                if !blobs.contains_key(digest) {
                    blobs.insert(digest.clone(), *size);
                }
            }
            match images.get_mut(&locked.source) {
                Some(same) => same.add_copies(locked.destinations),
                None => drop(images.insert(locked.source.clone(), locked)),
            }
        }
        let mut platforms = platforms.to_vec();
        platforms.sort();
        platforms.dedup();
        Self {
            schema: SCHEMA.to_owned(),
            chart,
            destinations: vec![placement],
            platforms,
            shard: None,
            images: images.into_values().collect(),
            excluded: Vec::new(),
            blobs,
            foreign_layers: foreign_layers == ForeignLayers::Required,
            base: None,
        }
    }

    /// The bytes of the lock's file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Text, numbers and maps with text keys are always JSON, and memory takes any bytes.
        let _ = self.write_to(&mut bytes);
        bytes
    }

    /// Writes the lock's file piece by piece: a lock of 10,000 images has 16 MB.
    pub(crate) fn write_to(&self, mut out: impl io::Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")
    }

    /// The digests of all blobs and platforms.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Digest> {
        let platforms = self.images.iter().flat_map(|image| &image.platforms);
        self.blobs.keys().chain(platforms.map(|platform| &platform.digest)).cloned()
    }

    /// Frees the contents of the images: platforms, blobs and attached manifests. Names and digests remain.
    pub(crate) fn forget_contents(&mut self) {
        self.blobs = BTreeMap::new();
        for image in &mut self.images {
            (image.platforms, image.blobs, image.attached) = Default::default();
        }
    }

    /// The naming rule for `to`: that of the destination, or for a new destination that of the first.
    #[must_use]
    pub(crate) fn placement_for(&self, to: &str) -> Option<&Placement> {
        self.placement_at(to).or_else(|| self.placement())
    }

    /// The naming rule that is recorded for `to`.
    pub(crate) fn placement_at(&self, to: &str) -> Option<&Placement> {
        self.destinations.iter().find(|placement| placement.to.as_deref() == Some(to))
    }

    /// The destinations, without that of a bundle, which has no name.
    pub(crate) fn destination_names(&self) -> impl Iterator<Item = &str> {
        self.destinations.iter().filter_map(|placement| placement.to.as_deref())
    }

    /// Every copy, with its image.
    pub(crate) fn copies(&self) -> impl Iterator<Item = (&LockedImage, &LockedCopy)> {
        self.images.iter().flat_map(|image| image.destinations.iter().map(move |copy| (image, copy)))
    }

    /// The first destination: the only entry in the lock of a bundle.
    #[must_use]
    pub fn placement(&self) -> Option<&Placement> {
        self.destinations.first()
    }
}

impl LockedImage {
    fn new(mirrored: &Mirrored, to: Option<&str>) -> Option<Self> {
        let outcome = &mirrored.outcome;
        Some(Self {
            source: outcome.source.clone(),
            digest: outcome.digest.clone(),
            media_type: outcome.media_type.clone(),
            kind: outcome.kind,
            optional: outcome.optional && outcome.failure_kind().is_none(),
            platforms: outcome.platforms.clone(),
            waived: outcome.waived.clone(),
            blobs: mirrored.content.blobs.iter().map(|(digest, _)| digest.clone()).collect(),
            attached: mirrored.content.attached.to_vec(),
            destinations: vec![LockedCopy {
                to: to.map(str::to_owned),
                reference: outcome.destination.parse().ok()?,
                confirmed: outcome.is_confirmed(),
            }],
        })
    }

    /// Whether at least one copy was confirmed.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.destinations.iter().any(|copy| copy.confirmed)
    }

    /// Whether it was skipped because it is optional and the source does not provide it.
    #[must_use]
    pub(crate) fn is_skipped(&self) -> bool {
        self.optional && !self.is_confirmed()
    }

    /// Adds copies in sorted order.
    pub(super) fn add_copies(&mut self, copies: Vec<LockedCopy>) {
        self.destinations.extend(copies);
        self.destinations.sort();
        self.destinations.dedup();
    }
}
