//! The content of a repository: what its images reach, read when a client asks for it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Files, RootManifest};
use crate::{
    graph,
    oci::{
        Contents, Descriptor, Digest, MediaType, RawManifest, manifest::ManifestError, media_type::Structure,
    },
    serve::{
        names::TagName,
        storage::{NewManifest, StorageError},
    },
};

/// The images of a repository.
#[derive(Debug)]
pub(super) struct Repository {
    /// Sorted by tag.
    pub(super) tags: Vec<(TagName, RootManifest)>,
    /// What is known about their content; `None` before the first request.
    contents: Mutex<Option<Box<ExploredContent>>>,
}

/// The content of a repository, as far as its images have been explored.
#[derive(Debug, Default)]
pub(super) struct ExploredContent {
    /// The roots that have been explored.
    explored: HashSet<Digest>,
    pub(super) manifests: HashMap<Digest, MediaType>,
    pub(super) blobs: HashSet<Digest>,
    /// Descriptors in JSON, by subject, then by referrer.
    pub(super) referrers: HashMap<Digest, BTreeMap<Digest, String>>,
}

impl Repository {
    /// With these images, sorted by tag, of which nothing is known yet.
    pub(super) fn new(tags: Vec<(TagName, RootManifest)>) -> Self {
        Self { tags, contents: Mutex::default() }
    }

    pub(super) fn root(&self, tag: &TagName) -> Option<&RootManifest> {
        let position = self.tags.binary_search_by(|(other, _)| other.cmp(tag)).ok()?;
        self.tags.get(position).map(|(_, root)| root)
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Option<Box<ExploredContent>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the manifests of an image, if that has not been done.
    pub(super) fn explore(
        &self,
        files: &Files,
        root: &RootManifest,
    ) -> Result<MutexGuard<'_, Option<Box<ExploredContent>>>, StorageError> {
        let mut contents = self.contents();
        contents.get_or_insert_default().explore(files, root)?;
        Ok(contents)
    }

    /// Reads the manifests of its images until `is_there`.
    pub(super) fn explore_until(
        &self,
        files: &Files,
        is_there: impl Fn(&ExploredContent) -> bool,
    ) -> Result<MutexGuard<'_, Option<Box<ExploredContent>>>, StorageError> {
        let mut contents = self.contents();
        let known = contents.get_or_insert_default();
        for (_, root) in &self.tags {
            if is_there(known) {
                break;
            }
            known.explore(files, root)?;
        }
        Ok(contents)
    }

    pub(super) fn explore_all(&self, files: &Files) -> Result<(), StorageError> {
        self.explore_until(files, |_| false).map(drop)
    }
}

impl ExploredContent {
    /// Adds a manifest and the manifests below it, all with their attachments.
    fn explore(&mut self, files: &Files, root: &RootManifest) -> Result<(), StorageError> {
        let mut next = vec![root.clone()];
        while let Some(root) = next.pop() {
            for manifest in self.explore_below(files, &root)? {
                let attached = files.attached(&manifest).into_iter();
                next.extend(attached.filter(|root| !self.explored.contains(&root.digest)));
            }
        }
        Ok(())
    }

    /// Adds a manifest and everything reachable from it, except what the bundle leaves out: foreign layers, the blobs
    /// of a base, platforms that were not requested. Returns the manifests that are new.
    fn explore_below(&mut self, files: &Files, root: &RootManifest) -> Result<Vec<Digest>, StorageError> {
        if self.explored.contains(&root.digest) {
            return Ok(Vec::new());
        }
        let mut new = Vec::new();
        let root = Descriptor::new(root.media_type.clone(), root.digest.clone(), 0);
        let reachable = graph::reachable(&root, |descriptor| {
            // Another image may have added it, with everything below it.
            if self.manifests.contains_key(&descriptor.digest) {
                return Ok(None);
            }
            if *descriptor != root && !is_manifest(descriptor) {
                self.blobs.insert(descriptor.digest.clone());
                return Ok(None);
            }
            let Some(bytes) = files.read(&descriptor.digest)? else { return Ok(None) };
            let media_type = Some(descriptor.media_type.as_str());
            let raw = RawManifest::read(media_type, bytes, Some(&descriptor.digest))
                .and_then(|raw| Ok((raw.contents()?, NewManifest::read(raw)?)));
            let (contents, manifest) = raw.map_err(|error| damaged(descriptor, error))?;
            self.add_manifest(manifest)?;
            new.push(descriptor.digest.clone());
            Ok::<Option<Contents>, StorageError>(Some(contents))
        })?;
        self.blobs.extend(reachable.blobs.iter().map(|blob| blob.digest.clone()));
        self.explored.insert(root.digest);
        Ok(new)
    }

    fn add_manifest(&mut self, manifest: NewManifest) -> Result<(), StorageError> {
        let digest = manifest.raw.digest().clone();
        if let Some(referrer) = manifest.referrer {
            let entry = String::from_utf8(referrer.descriptor).map_err(|error| StorageError::Manifest {
                digest: digest.clone(),
                source: io::Error::other(error),
            })?;
            self.referrers.entry(referrer.subject).or_default().insert(digest.clone(), entry);
        }
        self.manifests.insert(digest, manifest.raw.media_type().clone());
        Ok(())
    }
}

fn is_manifest(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.structure(), Structure::Index | Structure::Image)
}

fn damaged(descriptor: &Descriptor, error: ManifestError) -> StorageError {
    StorageError::Manifest { digest: descriptor.digest.clone(), source: io::Error::other(error) }
}
