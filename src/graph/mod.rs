//! What an image is made of: a root manifest, the manifests below it, their configs and layers.
//!
//! [`successors()`] is the only code that knows what a manifest references; resolving, bundles, `serve` and
//! confirmation all use it. A [`Graph`] is the result of a walk at one endpoint. What is [attached](Attached) to an image
//! is part of its graph, but not of its root: the root does not name it. No I/O.

mod attached;
mod image_manifests;
mod successors;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::attached::in_order;
pub use self::{
    attached::{Attached, AttachedCounts, AttachedManifest, ReferrerSelection, Referrers},
    image_manifests::ImageManifests,
    successors::{
        Reachable, Relation, Successor, blobs, children, config, layers, reachable, subject, successors,
    },
};
use crate::oci::{
    ArtifactKind, Contents, Descriptor, Digest, MediaType, Platform, RawManifest, manifest::ManifestError,
};

/// Whether foreign layers belong to an image. Their license forbids redistribution: registries accept manifests without
/// them, and nodes fetch them from the URLs in the manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignLayers {
    /// They are not copied and may be missing.
    #[default]
    Optional,
    /// They are copied like other blobs: nodes cannot fetch them, and the user may redistribute them.
    Required,
}

/// From a flag.
impl From<bool> for ForeignLayers {
    fn from(required: bool) -> Self {
        if required { Self::Required } else { Self::Optional }
    }
}

impl ForeignLayers {
    /// Whether a blob belongs to an image.
    #[must_use]
    pub fn admit(self, blob: &Descriptor) -> bool {
        self == Self::Required || !blob.media_type.is_foreign_layer()
    }
}

/// Manifests by digest that need not be read again.
pub type KnownManifests = HashMap<Digest, Node>;

/// Which manifests a graph holds with their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ManifestBytes {
    /// Only small ones. Large ones are read again when they are pushed, so that memory does not depend on their size.
    #[default]
    Small,
    /// All of them.
    All,
}

impl ManifestBytes {
    /// The largest manifest that counts as small, in bytes. The manifests of nearly all images are smaller.
    const SMALL: u64 = 64 * 1024;

    /// Whether a graph holds the bytes of a manifest of this size.
    #[must_use]
    pub fn hold(self, size: u64) -> bool {
        self == Self::All || size <= Self::SMALL
    }
}

/// One platform of an image, and the manifest for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformManifest {
    /// OS/ARCHITECTURE[/VARIANT]
    pub platform: Platform,
    /// The manifest for it.
    pub digest: Digest,
}

/// One manifest of an image.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its descriptor in its parent.
    pub descriptor: Descriptor,
    /// The media type that it was served with.
    pub media_type: MediaType,
    /// Its bytes; `None` if they are read again when they are needed: see [`ManifestBytes`].
    pub manifest: Option<RawManifest>,
    /// What it references.
    pub contents: Contents,
    /// 0 for a manifest without child manifests, else one more than its highest child.
    pub height: usize,
}

impl Node {
    /// Everything that this manifest references.
    pub fn successors(&self) -> impl Iterator<Item = Successor<'_>> {
        successors(&self.contents)
    }
}

/// The content of an image, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The manifests of the image itself, children before parents; the root is the last.
    pub nodes: Vec<Node>,
    /// Their attachments, and the attachments of those, each after its subject. Empty unless they were asked for.
    pub attached: Vec<Attached>,
    /// What a registry lists as attached but is not copied, and why.
    pub ignored: Vec<String>,
    /// The platforms that a node can run, in the order of the index.
    pub platforms: Vec<PlatformManifest>,
    /// Manifests that a parent references but that do not exist.
    pub missing: Vec<Descriptor>,
    /// Manifests that exist but are invalid, with the reason.
    pub unusable: Vec<(Descriptor, ManifestError)>,
    /// Whether its foreign layers are among its blobs.
    pub foreign_layers: ForeignLayers,
    /// Small configs that were read to learn a platform. They need not be read again.
    pub configs: HashMap<Digest, Bytes>,
}

impl Graph {
    /// The same image, with its foreign layers or without them.
    #[must_use]
    pub fn with_foreign_layers(self, foreign_layers: ForeignLayers) -> Self {
        Self { foreign_layers, ..self }
    }

    /// Every manifest: those of the image, then those that are attached. Some may be repeated.
    pub fn manifests(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(self.attached.iter().flat_map(Attached::manifests))
    }

    /// Every manifest and everything that one references, with repetitions.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests().flat_map(|node| {
            let referenced = node.successors().map(|successor| successor.descriptor);
            std::iter::once(&node.descriptor).chain(referenced)
        })
    }

    /// The manifest with this digest.
    #[must_use]
    pub fn node(&self, digest: &Digest) -> Option<&Node> {
        self.manifests().find(|node| node.descriptor.digest == *digest)
    }

    /// The manifest that the tag names.
    #[must_use]
    pub fn root(&self) -> Option<&Node> {
        self.nodes.last()
    }

    /// Every blob once, in the order of the manifests, with those of attached manifests.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = HashSet::new();
        let blobs = self.manifests().flat_map(|node| self.blobs_of(node));
        blobs.filter(|blob| seen.insert(&blob.digest)).collect()
    }

    /// The total size of all blobs in bytes. Descriptors may claim any size, so the sum saturates.
    #[must_use]
    pub fn blob_bytes(&self) -> u64 {
        self.blobs().iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }

    /// The blobs of this image that one of its manifests references: config first.
    pub fn blobs_of<'a>(&self, node: &'a Node) -> impl Iterator<Item = &'a Descriptor> + use<'a> {
        let foreign_layers = self.foreign_layers;
        blobs(&node.contents).filter(move |blob| foreign_layers.admit(blob))
    }

    /// How many foreign layers [`Graph::blobs`] omits.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let all: HashSet<&Digest> =
            self.manifests().flat_map(|node| blobs(&node.contents)).map(|blob| &blob.digest).collect();
        all.len() - self.blobs().len()
    }

    /// The number of attestation manifests. They are copied with the index but are not a platform.
    #[must_use]
    pub fn attestations(&self) -> usize {
        self.nodes.iter().filter(|node| node.descriptor.is_attestation()).count()
    }

    /// How many attached manifests of each kind there are.
    #[must_use]
    pub fn attached_counts(&self) -> AttachedCounts {
        AttachedCounts::of(&self.attached)
    }

    /// The names of the platforms.
    #[must_use]
    pub fn platform_names(&self) -> Vec<Platform> {
        self.platforms.iter().map(|manifest| manifest.platform.clone()).collect()
    }

    /// Its kind, according to its config, or to those of all manifests of an index.
    #[must_use]
    pub fn kind(&self) -> ArtifactKind {
        let of_node = |node: &Node| match &node.contents {
            Contents::Image { config, layers, .. } => Some(ArtifactKind::of(&config.media_type, layers)),
            Contents::Index { .. } => None,
        };
        let Some(root) = self.root() else { return ArtifactKind::Image };
        if let Some(kind) = of_node(root).filter(|kind| !kind.is_image()) {
            return kind;
        }
        let is_wasm = |manifest: &PlatformManifest| manifest.platform.to_string().ends_with("/wasm");
        if !self.platforms.is_empty() {
            let is_all_wasm = self.platforms.iter().all(is_wasm);
            return if is_all_wasm { ArtifactKind::Wasm } else { ArtifactKind::Image };
        }
        let mut kinds =
            self.nodes.iter().filter(|node| !node.descriptor.is_attestation()).filter_map(of_node);
        let Some(first) = kinds.next() else { return ArtifactKind::Image };
        kinds.fold(first, |one, other| match (one, other) {
            (ArtifactKind::Image, _) | (_, ArtifactKind::Image) => ArtifactKind::Image,
            (one, other) if one == other => one,
            _ => ArtifactKind::Artifact,
        })
    }

    /// The required platforms that are missing. Only images have platforms, so other artifacts lack none.
    #[must_use]
    pub fn lacks(&self, required: &[Platform]) -> Vec<Platform> {
        let served = |platform: &Platform| {
            self.platforms.iter().any(|available| platform.is_served_by(&available.platform))
        };
        if !self.kind().is_image() {
            return Vec::new();
        }
        required.iter().filter(|platform| !served(platform)).cloned().collect()
    }
}
