//! A bundle as it is going to be: every byte but those of the blobs.

use std::collections::{HashMap, HashSet};

use super::{closure::Closure, index, layout::Layout};
use crate::{
    lock::Lock,
    oci::{Descriptor, Digest, RawManifest, Reference, Repository, Target},
    resolve::Graph,
};

/// What a bundle is going to hold.
#[derive(Debug)]
pub struct Draft {
    pub(super) layout: Layout,
    pub(super) manifests: HashMap<Digest, RawManifest>,
    pub(super) roots: HashMap<(Repository, Target), Digest>,
    /// Blobs that the far side has, with their sizes in bytes.
    pub(super) absent: HashMap<Digest, u64>,
    images: Vec<(Reference, Digest)>,
    id: Digest,
}

impl Draft {
    /// A bundle of these images. `absent` are blobs that the far side has.
    #[must_use]
    pub fn new(images: &[(&Reference, &Graph)], lock: &Lock, absent: &HashSet<Digest>) -> Self {
        let roots: Vec<(&Reference, Descriptor)> = images
            .iter()
            .filter_map(|(reference, graph)| Some((*reference, graph.root()?.manifest.descriptor())))
            .collect();
        let lock = lock.to_bytes();
        let named = roots.iter().map(|(reference, root)| (*reference, root));
        let index = index::write(named, Some(&Digest::sha256(&lock)));
        let closure = Closure::of_graphs(images.iter().map(|(_, graph)| *graph));
        let layout = Layout::new(&index, Some(&lock), &closure, absent);
        let left_out = closure.blobs().filter(|blob| absent.contains(&blob.digest));
        let absent = left_out.map(|blob| (blob.digest.clone(), blob.size)).collect();
        let place = |(reference, root): &(&Reference, Descriptor)| {
            let tag = reference.tag().map(|tag| Target::Tag(tag.to_owned()));
            let target = tag.unwrap_or_else(|| reference.target());
            ((reference.repository().clone(), target), root.digest.clone())
        };
        Self {
            layout,
            absent,
            manifests: closure.manifests.into_iter().collect(),
            images: roots.iter().map(|(name, root)| ((*name).clone(), root.digest.clone())).collect(),
            roots: roots.iter().map(place).collect(),
            id: Digest::sha256(&index),
        }
    }

    /// The bundle's id: the digest of its index.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Where everything is going to stand.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The images by name, each with its root.
    #[must_use]
    pub fn images(&self) -> &[(Reference, Digest)] {
        &self.images
    }
}
