//! Finds the manifests and blobs that a layout needs: everything reachable from its index.
//!
//! Manifests may come in any order, even a child before its parent. Once every referenced manifest is known, so are the
//! blobs and their sizes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::error::BundleError;
use crate::{
    graph::{self, ForeignLayers, ImageManifests, Relation, Successor},
    oci::{
        Contents, Descriptor, Digest, RawManifest, Sizes,
        manifest::{MAX_MANIFEST_SIZE, ManifestError},
    },
};

/// The most bytes of manifests that a bundle with few images may have, and how many more each image permits.
const MAX_BYTES: u64 = 48 * 1024 * 1024;
const BYTES_PER_IMAGE: u64 = 16 * 1024;

/// The maximum total size of the manifests in a bundle with this many images. A reader holds them all in memory.
pub(crate) fn most_manifest_bytes(images: usize) -> u64 {
    MAX_BYTES.max((images as u64).saturating_mul(BYTES_PER_IMAGE))
}

/// The manifests and blobs found so far.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// The known manifests.
    pub(crate) manifests: BTreeMap<Digest, RawManifest>,
    /// The configs, by digest.
    pub(crate) configs: BTreeMap<Digest, Arc<Descriptor>>,
    /// The layers that are not also configs, by digest.
    pub(crate) layers: BTreeMap<Digest, Arc<Descriptor>>,
    /// The blobs of [`Closure::early_roots`], by digest: they come before all others.
    early: BTreeMap<Digest, Arc<Descriptor>>,
    early_roots: HashSet<Digest>,
    /// The manifests that are invalid.
    pub(crate) damaged: BTreeMap<Digest, ManifestError>,
    /// Whether foreign layers count as layers.
    pub(crate) foreign_layers: ForeignLayers,
    /// Manifests that an index references and that have not come yet.
    wanted: HashSet<Digest>,
    /// Bytes that came and that no index references yet.
    unclaimed: HashMap<Digest, Bytes>,
    /// Digests that are in memory anyway: equal ones share it.
    named: BTreeSet<Digest>,
    bytes: u64,
    sizes: Sizes,
    most_bytes: u64,
}

impl Closure {
    /// Starts with these roots.
    pub(crate) fn new<'a>(
        roots: impl IntoIterator<Item = &'a Digest>,
        foreign_layers: ForeignLayers,
    ) -> Self {
        let wanted: HashSet<Digest> = roots.into_iter().cloned().collect();
        let most_bytes = most_manifest_bytes(wanted.len());
        Self { foreign_layers, wanted, most_bytes, ..Self::default() }
    }

    /// A closure of complete images: see [`Closure::add_complete`].
    pub(crate) fn of_complete(foreign_layers: ForeignLayers) -> Self {
        Self { foreign_layers, ..Self::default() }
    }

    /// Adds the manifests of a complete image, all of which are valid. `blobs` are blobs of the image that are in memory
    /// anyway, sorted: equal digests share their memory.
    pub(crate) fn add_complete(&mut self, image: &ImageManifests, blobs: &[(Digest, u64)]) {
        let in_memory = |digest: &Digest| {
            let position = blobs.binary_search_by(|(known, _)| known.cmp(digest)).ok()?;
            blobs.get(position).map(|(known, _)| known)
        };
        for manifest in &image.manifests {
            if !self.manifests.contains_key(manifest.digest())
                && let Ok(contents) = manifest.contents()
            {
                self.reach(manifest.clone(), &contents.sharing(in_memory));
            }
        }
        self.wanted.clear();
    }

    /// Frees what only [`Closure::add`] needs.
    pub(crate) fn finish(&mut self) {
        (self.sizes, self.unclaimed, self.named) = Default::default();
        self.wanted.shrink_to_fit();
    }

    /// Frees the configs and layers.
    pub(crate) fn forget_blobs(&mut self) {
        (self.configs, self.layers, self.early) = Default::default();
    }

    /// Starts with the roots of an index. Fails if it gives one of them two sizes.
    pub(crate) fn of_roots<'a>(
        roots: impl IntoIterator<Item = &'a Descriptor> + Clone,
        foreign_layers: ForeignLayers,
    ) -> Result<Self, ManifestError> {
        let mut closure = Self::new(roots.clone().into_iter().map(|root| &root.digest), foreign_layers);
        closure.sizes.add(roots)?;
        Ok(closure)
    }

    /// The same closure, in which the blobs of these roots come before all others. For a closure that is read, before
    /// its manifests come.
    pub(crate) fn with_early_roots(self, roots: impl IntoIterator<Item = Digest>) -> Self {
        Self { early_roots: roots.into_iter().collect(), ..self }
    }

    /// The same closure, in which digests share the memory of equal ones among these.
    pub(crate) fn sharing(self, named: impl IntoIterator<Item = Digest>) -> Self {
        Self { named: named.into_iter().collect(), ..self }
    }

    /// Whether this is a blob that comes before all others.
    pub(crate) fn is_early(&self, digest: &Digest) -> bool {
        self.early.contains_key(digest)
    }

    /// Adds a manifest whose blobs come before all others.
    pub(crate) fn add_early(&mut self, manifest: RawManifest) {
        if let Ok(contents) = manifest.contents() {
            self.early_roots.insert(manifest.digest().clone());
            self.reach(manifest, &contents);
        }
    }

    /// Whether every referenced manifest has come, valid or not.
    pub(crate) fn is_complete(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The referenced manifests that have not come yet.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &Digest> {
        self.wanted.iter()
    }

    /// Adds the bytes with this digest, which may be a manifest. Returns newly referenced manifests that have not come
    /// yet.
    pub(crate) fn add(&mut self, digest: Digest, bytes: Bytes) -> Result<Vec<Digest>, BundleError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most_bytes || bytes.len() > MAX_MANIFEST_SIZE {
            return Err(BundleError::TooManyManifests { limit: self.most_bytes });
        }
        self.unclaimed.insert(digest.clone(), bytes);
        let mut next = vec![digest];
        let mut named = Vec::new();
        while let Some(digest) = next.pop() {
            if !self.wanted.contains(&digest) {
                continue;
            }
            let Some(bytes) = self.unclaimed.remove(&digest) else { continue };
            self.wanted.remove(&digest);
            let read = RawManifest::read(None, bytes, Some(&digest))
                .and_then(|manifest| Ok((manifest.contents()?, manifest)))
                .map(|(contents, manifest)| (contents.sharing(|digest| self.named.get(digest)), manifest))
                .and_then(|(contents, manifest)| {
                    let referenced = graph::successors(&contents).map(|successor| successor.descriptor);
                    self.sizes.add(referenced)?;
                    Ok((contents, manifest))
                });
            match read {
                Ok((contents, manifest)) => {
                    let children = self.reach(manifest, &contents);
                    named.extend(children.iter().cloned());
                    next.extend(children);
                }
                Err(error) => drop(self.damaged.insert(digest, error)),
            }
        }
        named.retain(|digest| self.wanted.contains(digest));
        Ok(named)
    }

    /// Adds the content that a manifest references. Returns new child manifests.
    fn reach(&mut self, manifest: RawManifest, contents: &Contents) -> Vec<Digest> {
        let is_early = self.early_roots.contains(manifest.digest());
        self.manifests.insert(manifest.digest().clone(), manifest);
        let mut children = Vec::new();
        for Successor { relation, descriptor } in graph::successors(contents) {
            let digest = &descriptor.digest;
            match relation {
                Relation::Child => {
                    let known = self.manifests.contains_key(digest) || self.damaged.contains_key(digest);
                    if !known && self.wanted.insert(digest.clone()) {
                        children.push(digest.clone());
                    }
                }
                Relation::Config | Relation::Layer if is_early => {
                    self.early.insert(digest.clone(), Arc::new(descriptor.clone()));
                }
                Relation::Config => {
                    self.layers.remove(digest);
                    self.configs.insert(digest.clone(), Arc::new(descriptor.clone()));
                }
                Relation::Layer => {
                    if self.foreign_layers.admit(descriptor) && !self.configs.contains_key(digest) {
                        self.layers.insert(digest.clone(), Arc::new(descriptor.clone()));
                    }
                }
            }
        }
        children
    }

    /// Configs and layers, each once.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Arc<Descriptor>> {
        let others = self.configs.values().chain(self.layers.values());
        self.early.values().chain(others.filter(|blob| !self.early.contains_key(&blob.digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An export holds the blobs of 10,000 images twice: in the results of the images, and here.
    #[test]
    fn digests_of_a_complete_image_share_the_memory_of_its_result() {
        let blob = |name: &str| {
            let digest = Digest::sha256(name.as_bytes());
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":1}}"#
            )
        };
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{},"layers":[{}]}}"#,
            blob("config"),
            blob("layer")
        );
        let manifest = RawManifest::read(Some(media_type), text.into(), None).unwrap();
        let image = ImageManifests {
            root: manifest.descriptor(),
            manifests: [manifest].into(),
            attached: [].into(),
            configs: [].into(),
        };
        let mut blobs = ["config", "layer"].map(|name| (Digest::sha256(name.as_bytes()), 1));
        blobs.sort();
        let mut closure = Closure::of_complete(ForeignLayers::Optional);
        closure.add_complete(&image, &blobs);
        assert_eq!(closure.blobs().count(), 2);
        for digest in closure.blobs().map(|blob| &blob.digest) {
            let shared = blobs.iter().find(|(known, _)| known == digest).unwrap();
            assert_eq!(shared.0.as_str().as_ptr(), digest.as_str().as_ptr(), "{digest}");
        }
    }
}
