//! The manifests of an image that a bundle will contain. A bundle may have 10,000 images: their manifests take much less
//! memory than their graphs.

use bytes::Bytes;

use super::{Attached, Graph, blobs};
use crate::oci::{Attachment, Descriptor, Digest, RawManifest};

/// The manifests of an image.
#[derive(Debug, Clone)]
pub struct ImageManifests {
    /// The root, as its tag describes it.
    pub root: Descriptor,
    /// Those of the image, then the attached ones, each group with children before parents.
    pub manifests: Box<[RawManifest]>,
    /// Each attachment with the manifest that it is attached to.
    pub attached: Box<[(Digest, Attachment)]>,
    /// Small configs that were read to learn a platform.
    pub configs: Box<[(Digest, Bytes)]>,
}

impl ImageManifests {
    /// The manifests of a complete graph that holds the bytes of all of them; `None` if the graph has no root.
    #[must_use]
    pub fn of(graph: &Graph) -> Option<Self> {
        let attached = |found: &Attached| (found.subject.clone(), found.attachment());
        Some(Self {
            root: graph.root()?.descriptor.clone(),
            manifests: graph.manifests().filter_map(|node| node.manifest.clone()).collect(),
            attached: graph.attached.iter().map(attached).collect(),
            configs: graph.configs.iter().map(|(digest, bytes)| (digest.clone(), bytes.clone())).collect(),
        })
    }

    /// A manifest with this digest.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&RawManifest> {
        self.manifests.iter().find(|manifest| manifest.digest() == digest)
    }

    /// The blobs of the image and of its attachments, foreign layers as well, in the order of the manifests, with
    /// repetitions.
    #[must_use]
    pub fn blobs(&self) -> Vec<Descriptor> {
        let contents = self.manifests.iter().filter_map(|manifest| manifest.contents().ok());
        contents.flat_map(|contents| blobs(&contents).cloned().collect::<Vec<_>>()).collect()
    }
}
