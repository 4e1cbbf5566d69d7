//! Writes bundles from the format's description, without this project's writer, so that readers are tested
//! independently.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
};

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::{
    internals::bundle::{Volume, VolumeSet, write_index},
    oci::{Descriptor, Digest, Reference},
};

use super::images::SampleImage;

/// A bundle in memory.
#[derive(Debug, Clone)]
pub struct SampleBundle {
    /// The archive.
    pub bytes: Vec<u8>,
    /// The digest of `index.json`.
    pub id: Digest,
    /// The position of each entry's content.
    pub entries: BTreeMap<String, Range<usize>>,
    /// Everything before the first blob's header.
    pub head: usize,
}

/// The content of a bundle.
#[derive(Debug, Clone)]
pub struct BundleBuilder<'a> {
    images: Vec<(Reference, &'a SampleImage)>,
    lock: Value,
    left_out: BTreeSet<Digest>,
}

impl<'a> BundleBuilder<'a> {
    /// A bundle of these images under these names.
    pub fn new(images: &[(&str, &'a SampleImage)]) -> Self {
        let images: Vec<(Reference, _)> =
            images.iter().map(|(name, image)| (name.parse().unwrap(), *image)).collect();
        let mut locked: Vec<Value> = Vec::new();
        let mut blobs = BTreeMap::new();
        for (reference, image) in &images {
            let digests: Vec<&Digest> = image.blobs.keys().collect();
            blobs.extend(image.blobs.iter().map(|(digest, bytes)| (digest.to_string(), bytes.len())));
            locked.push(json!({
                "source": reference.to_string(), "digest": image.root().digest,
                "mediaType": image.root().media_type, "platforms": [], "blobs": digests,
                "destinations": [{ "reference": reference.to_string(), "confirmed": true }],
            }));
        }
        locked.sort_by_key(|image| image["source"].to_string());
        let lock = json!({
            "schema": "thoras-mirror/lock/v2", "destinations": [{ "naming": "relative" }],
            "platforms": ["linux/amd64", "linux/arm64"], "images": locked, "blobs": blobs,
        });
        Self { images, lock, left_out: BTreeSet::new() }
    }

    /// Changes the lock.
    #[must_use]
    pub fn lock(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.lock);
        self
    }

    /// Omits these blobs, which the base has in the given repositories.
    #[must_use]
    pub fn without(mut self, base: &Digest, blobs: &[(&Digest, &[&str])]) -> Self {
        let places: BTreeMap<String, &[&str]> =
            blobs.iter().map(|(digest, places)| (digest.to_string(), *places)).collect();
        self.lock["base"] = json!({ "id": base, "blobs": places });
        self.left_out = blobs.iter().map(|(digest, _)| (*digest).clone()).collect();
        self
    }

    /// Writes the archive.
    pub fn build(self) -> SampleBundle {
        let roots: Vec<Descriptor> = self.images.iter().map(|(_, image)| root_of(image)).collect();
        let references = self.images.iter().map(|(reference, _)| reference);
        let lock = serde_json::to_vec(&self.lock).unwrap();
        let index = write_index(references.zip(&roots), Some(&Digest::sha256(&lock)));
        let id = Digest::sha256(&index);
        let mut writer = Writer::default();
        writer.append("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        writer.append("index.json", &index);
        writer.append("thoras-mirror.lock", &lock);
        let manifests: BTreeMap<&Digest, &Bytes> = self
            .images
            .iter()
            .flat_map(|(_, image)| image.manifests.iter().map(|manifest| (&manifest.digest, &manifest.bytes)))
            .collect();
        for (digest, bytes) in manifests {
            writer.append(&path_of(digest), bytes);
        }
        let head = writer.bytes.len();
        let blobs: BTreeMap<&Digest, &Bytes> =
            self.images.iter().flat_map(|(_, image)| &image.blobs).collect();
        let is_config = |bytes: &Bytes| bytes.starts_with(b"{");
        let (configs, layers): (Vec<_>, Vec<_>) = blobs.into_iter().partition(|(_, bytes)| is_config(bytes));
        for (digest, bytes) in configs.into_iter().chain(layers) {
            if !self.left_out.contains(digest) {
                writer.append(&path_of(digest), bytes);
            }
        }
        writer.bytes.resize(writer.bytes.len() + 1024, 0);
        SampleBundle { bytes: writer.bytes, id, entries: writer.entries, head }
    }
}

impl SampleBundle {
    /// The position of a blob's content.
    pub fn blob(&self, digest: &Digest) -> Range<usize> {
        self.entries[&path_of(digest)].clone()
    }

    /// Writes volumes of at most `size` bytes and their index, `NAME.volumes.json`; returns the set.
    pub fn write_volumes(&self, folder: &Path, name: &str, size: usize) -> VolumeSet {
        let mut volumes = Vec::new();
        for (position, bytes) in self.bytes.chunks(size).enumerate() {
            let name = format!("{name}.{:03}", position + 1);
            std::fs::write(folder.join(&name), bytes).unwrap();
            volumes.push(Volume {
                name,
                offset: (position * size) as u64,
                size: bytes.len() as u64,
                sha256: Digest::sha256(bytes),
                beginning: Digest::sha256(&bytes[..bytes.len().min(64 * 1024)]),
            });
        }
        let head = Bytes::copy_from_slice(&self.bytes[..self.head]);
        let set = VolumeSet::new(self.id.clone(), self.bytes.len() as u64, head, volumes);
        std::fs::write(folder.join(format!("{name}.volumes.json")), set.to_bytes()).unwrap();
        set
    }
}

/// `blobs/ALGORITHM/HEX`
pub fn path_of(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replacen(':', "/", 1))
}

fn root_of(image: &SampleImage) -> Descriptor {
    let root = image.root();
    Descriptor::new(root.media_type.as_str().into(), root.digest.clone(), root.bytes.len() as u64)
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    entries: BTreeMap<String, Range<usize>>,
}

impl Writer {
    /// ustar, mode 0644, everything else zero.
    fn append(&mut self, path: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        let start = self.bytes.len();
        self.bytes.extend(content);
        self.entries.insert(path.to_owned(), start..self.bytes.len());
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}
