//! The head of a bundle: its index, lock and manifests, without its blobs.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    attachments::Attachments,
    closure::Closure,
    content::Content,
    error::BundleError,
    index::{Index, IndexEntry, WrittenIndex},
    layout::Layout,
    trust::is_trust_manifest,
};
use crate::{
    graph::ForeignLayers,
    lock::{Lock, LockedImage},
    oci::{Descriptor, Digest, RawManifest, Reference, manifest::ManifestError},
};

/// The most values in a lock with few images, and how many more each image permits.
const MAX_LOCK_VALUES: usize = 300_000;
const LOCK_VALUES_PER_IMAGE: usize = 120;

/// The maximum number of values in the lock of a bundle whose index has this many entries.
pub(crate) fn most_lock_values(entries: usize) -> usize {
    MAX_LOCK_VALUES.max(entries.saturating_mul(LOCK_VALUES_PER_IMAGE))
}

/// Everything before a bundle's blobs.
#[derive(Debug)]
pub struct Head {
    /// The images.
    pub index: Index,
    /// The lock, in bundles of this program.
    pub lock: Option<Lock>,
    index_bytes: Bytes,
    lock_content: Option<Content>,
    pub(crate) closure: Closure,
    pub(crate) attachments: Attachments,
}

impl Head {
    /// Parses the first two files. Manifests are added later. `path` names the bundle in errors.
    pub(crate) fn new(
        index_bytes: Bytes,
        lock_content: Option<Content>,
        path: &Path,
    ) -> Result<Self, BundleError> {
        let index = Index::read(&index_bytes)?;
        let most = most_lock_values(index.images.len());
        let read = |content: &Content| content.read_lock(index.lock.as_ref(), most, path);
        let lock = lock_content.as_ref().map(read).transpose()?;
        let foreign_layers = lock.as_ref().is_some_and(|lock| lock.foreign_layers).into();
        let roots = index.images.iter().chain(&index.trust).map(|entry| &entry.root);
        let closure = Closure::of_roots(roots, foreign_layers)
            .map_err(|error| BundleError::Index(error.to_string()))?
            .with_early_roots(index.trust.iter().map(|entry| entry.root.digest.clone()))
            .sharing(lock.iter().flat_map(Lock::digests));
        Ok(Self { index, lock, index_bytes, lock_content, closure, attachments: Attachments::default() })
    }

    /// Tells images from attachments, once all manifests are known.
    pub(crate) fn settle(&mut self) {
        self.closure.finish();
        let manifests = &self.closure.manifests;
        let is_trust = |entry: &mut IndexEntry| {
            let is_nameless = entry.reference.is_none() && entry.label.is_none();
            is_nameless && manifests.get(&entry.root.digest).is_some_and(is_trust_manifest)
        };
        self.index.trust.extend(self.index.images.extract_if(.., is_trust));
        let (attached, attachments) = Attachments::split(&mut self.index.images, &self.closure);
        self.index.attached.extend(attached);
        self.attachments = attachments;
    }

    /// Frees everything but the manifests and their attachments: all that the source of a copy reads.
    pub(crate) fn forget_all_but_manifests(&mut self) {
        self.lock = None;
        self.index.images = Vec::new();
        self.index.attached = Vec::new();
        self.index_bytes = Bytes::new();
        self.closure.forget_blobs();
    }

    /// A manifest that an image needs; `None` if it is missing.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<&RawManifest>, ManifestError> {
        match self.closure.damaged.get(digest) {
            Some(error) => Err(error.clone()),
            None => Ok(self.closure.manifests.get(digest)),
        }
    }

    /// Whether the bundle includes the foreign layers of its images.
    #[must_use]
    pub(crate) fn foreign_layers(&self) -> ForeignLayers {
        self.closure.foreign_layers
    }

    /// The images, without the nameless entries that another entry contains: some programs also list the children of an
    /// index in `index.json`.
    pub(crate) fn top_images(&self) -> impl Iterator<Item = &IndexEntry> {
        let has_name = |image: &IndexEntry| image.reference.is_some() || image.label.is_some();
        let images = self.index.images.iter();
        // Most bundles have only named images.
        let roots: HashMap<&Digest, &Descriptor> = if images.clone().all(has_name) {
            HashMap::new()
        } else {
            images.clone().map(|image| (&image.root.digest, &image.root)).collect()
        };
        let below: HashSet<Digest> =
            roots.into_values().flat_map(|root| self.manifests_below(root)).collect();
        images.filter(move |image| has_name(image) || !below.contains(&image.root.digest))
    }

    /// Checks the lock as [`Head::check_lock`] does, and forgets what only that needs: the contents of its images.
    pub(crate) fn check_and_slim_lock(&mut self) -> Result<(), BundleError> {
        self.check_lock()?;
        self.lock.iter_mut().for_each(Lock::forget_contents);
        Ok(())
    }

    /// Checks that the lock, if any, records the same images and blobs.
    pub(crate) fn check_lock(&self) -> Result<(), BundleError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let roots: HashMap<&Reference, &Digest> = self
            .index
            .images
            .iter()
            .filter_map(|image| Some((image.reference.as_ref()?, &image.root.digest)))
            .collect();
        let disagrees = |image: &&LockedImage| roots.get(&image.source).copied() != image.digest.as_ref();
        if let Some(image) = lock.images.iter().filter(|image| image.is_confirmed()).find(disagrees) {
            return Err(BundleError::Disagreement { what: image.source.to_string() });
        }
        let other_size =
            |blob: &&Arc<Descriptor>| lock.blobs.get(&blob.digest).is_some_and(|size| *size != blob.size);
        match self.closure.blobs().find(other_size) {
            Some(blob) => {
                Err(BundleError::Disagreement { what: format!("the size of blob {}", blob.digest) })
            }
            None => Ok(()),
        }
    }

    /// The images that are not in the bundle because the export failed to copy them or, if they are optional, because
    /// the source did not provide them. The lock records them as unconfirmed.
    pub fn left_out(&self) -> impl Iterator<Item = &LockedImage> {
        let there: HashSet<&Reference> =
            self.index.images.iter().filter_map(|image| image.reference.as_ref()).collect();
        let failed = self.lock.iter().flat_map(|lock| &lock.images).filter(|image| !image.is_confirmed());
        failed.filter(move |image| !there.contains(&image.source))
    }

    /// Whether the index has the bytes that this program writes for its images and their attachments.
    pub(crate) fn index_is_ours(&self) -> bool {
        let entries = || self.index.images.iter().chain(&self.index.attached);
        let named = entries().filter_map(|image| Some((image.reference.as_ref()?, &image.root)));
        let untagged = entries().filter(|entry| entry.reference.is_none());
        // Without a subject, it is no attachment. A missing manifest is reported as missing.
        let is_referrer = |entry: &IndexEntry| {
            let manifest = self.closure.manifests.get(&entry.root.digest);
            entry.label.is_none() && (manifest.is_none() || self.has_subject(&entry.root.digest))
        };
        let referrers = untagged.clone().chain(&self.index.trust).map(|entry| (&entry.root, &entry.fields));
        untagged.clone().all(is_referrer)
            && WrittenIndex::new(named, referrers, self.index.lock.as_ref()).has_bytes(&self.index_bytes)
    }

    /// The bundle's id.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.index.id
    }

    /// The bytes of `index.json`.
    pub(crate) fn index_bytes(&self) -> &Bytes {
        &self.index_bytes
    }

    /// Whether there is a lock.
    pub(crate) fn has_lock(&self) -> bool {
        self.lock_content.is_some()
    }

    /// The blobs that the bundle leaves out because its destination has them.
    #[must_use]
    pub(crate) fn absent(&self) -> HashSet<Digest> {
        let base = self.lock.as_ref().and_then(|lock| lock.base.as_ref());
        base.iter().flat_map(|base| base.blobs.keys().cloned()).collect()
    }

    /// The layout, if this program wrote the bundle.
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.index_bytes, self.lock_content.as_ref(), &self.closure, &self.absent())
    }
}
