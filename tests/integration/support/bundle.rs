//! Bundles of sample images, written by this project's own writer, without a registry.

use std::{collections::HashSet, path::Path};

use thoras_mirror::{
    endpoint::{Source, bundle::Bundle},
    graph::{ForeignLayers, Graph, KnownManifests, ManifestBytes},
    internals::{
        bundle::{Draft, Layout},
        resolve::resolve,
    },
    lock::{Lock, LockedCopy, LockedImage, Placement},
    oci::{Digest, Reference, Target},
};

use super::images::SampleImage;

/// One of our bundles, in memory.
#[derive(Debug)]
pub struct SampleBundle {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// The bundle's head: the position of every blob.
    pub layout: Layout,
    /// Its id.
    pub id: Digest,
}

impl SampleBundle {
    /// These images, each as `reg.example.com/team/app:TAG`; `platforms` are those that the lock requires.
    pub async fn new(images: &[&SampleImage], platforms: &[&str]) -> Self {
        Self::with_lock(images, platforms, |_| ()).await
    }

    /// The same with another lock.
    pub async fn with_lock(images: &[&SampleImage], platforms: &[&str], change: impl Fn(&mut Lock)) -> Self {
        let mut read = Vec::new();
        for image in images {
            read.push((reference(image), graph(image).await));
        }
        let placement = Placement::default();
        let mut lock = Lock::new(None, placement, &[], ForeignLayers::Optional, &[]);
        lock.platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
        lock.images = read.iter().map(|(reference, graph)| locked(reference, graph)).collect();
        let blobs = read.iter().flat_map(|(_, graph)| graph.blobs());
        lock.blobs = blobs.map(|blob| (blob.digest.clone(), blob.size)).collect();
        change(&mut lock);
        let roots: Vec<(&Reference, &Graph)> =
            read.iter().map(|(reference, graph)| (reference, graph)).collect();
        let draft = Draft::new(&roots, &lock, &HashSet::new());
        let layout = draft.layout().clone();
        let mut bytes = layout.head().unwrap().to_vec();
        for entry in layout.blobs() {
            bytes.extend(entry.header());
            bytes.extend(images.iter().find_map(|image| image.blobs.get(&entry.blob.digest)).unwrap());
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        assert_eq!(bytes.len() as u64, layout.length());
        Self { bytes, layout, id: draft.id().clone() }
    }

    /// Writes it as a file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.bytes).unwrap();
    }
}

/// The reference of an image in a [`SampleBundle`].
pub fn reference(image: &SampleImage) -> Reference {
    format!("reg.example.com/team/app:{}", image.tag).parse().unwrap()
}

async fn graph(image: &SampleImage) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    image.write_oci_layout(folder.path());
    let bundle = Bundle::open(folder.path()).unwrap();
    let reference = reference(image);
    let target = Target::Digest(image.root().digest.clone());
    let root = bundle.manifest(reference.repository(), &target).await.unwrap().unwrap();
    let known = KnownManifests::new();
    resolve(&bundle, reference.repository(), root, &known, ManifestBytes::All).await.unwrap()
}

fn locked(reference: &Reference, graph: &Graph) -> LockedImage {
    let root = graph.root().unwrap();
    let mut blobs: Vec<Digest> = graph.blobs().iter().map(|blob| blob.digest.clone()).collect();
    blobs.sort();
    LockedImage {
        source: reference.clone(),
        digest: Some(root.descriptor.digest.clone()),
        media_type: Some(root.media_type.clone()),
        kind: graph.kind(),
        platforms: graph.platforms.clone(),
        optional: false,
        waived: Vec::new(),
        blobs,
        attached: Vec::new(),
        destinations: vec![LockedCopy { to: None, reference: reference.clone(), confirmed: true }],
    }
}
