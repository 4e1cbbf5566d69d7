//! An open bundle, read as a [`Source`]. [`open`](super::open) opens it.

use std::{collections::HashMap, path::Path};

use bytes::Bytes;

use super::{
    error::BundleError,
    head::Head,
    layout::Layout,
    slices::{Extent, Slices},
    storage::{BlobReader, Storage},
};
use crate::{
    endpoint::{BlobStream, Cause, Error, Location, Operation, Source},
    oci::{
        Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target,
        manifest::MAX_MANIFEST_SIZE,
    },
    problem::Side,
};

/// A bundle that can be read at any offset.
#[derive(Debug)]
pub struct Bundle {
    pub(super) head: Head,
    pub(super) storage: Storage,
    /// Set if this program wrote the bundle and its head is intact.
    pub(super) layout: Option<Layout>,
    pub(super) names: HashMap<(Repository, Target), Descriptor>,
    /// Manifests that are in the archive instead of in memory.
    pub(super) stored_manifests: HashMap<Digest, Extent>,
    pub(super) is_from_docker: bool,
    /// Blobs of trust files that came from a pipe.
    pub(super) trust_blobs: HashMap<Digest, Bytes>,
    pub(super) side: Side,
}

impl Bundle {
    /// Fails if there are no images: a run on nothing would succeed.
    pub(crate) fn check_has_images(&self) -> Result<(), BundleError> {
        if self.head.index.images.is_empty() {
            return Err(BundleError::NoImages { path: self.path().to_owned() });
        }
        Ok(())
    }

    pub(crate) fn new(mut head: Head, storage: Storage, layout: Option<Layout>) -> Self {
        head.settle();
        let images = head.index.images.iter().filter_map(|image| {
            let reference = image.reference.as_ref()?;
            Some((reference.clone(), image.root.clone()))
        });
        let names = names_of(images);
        Self {
            head,
            storage,
            layout,
            names,
            stored_manifests: HashMap::new(),
            is_from_docker: false,
            trust_blobs: HashMap::new(),
            side: Side::Source,
        }
    }

    /// The source of a copy of these images under these names. Everything else that is known about the bundle is
    /// dropped, and manifests are read from an archive again: those of 10,000 images take more memory than the copy.
    #[must_use]
    pub(crate) fn into_source(self, images: impl IntoIterator<Item = (Reference, Descriptor)>) -> Self {
        let stored_manifests = self.manifests_in_archive();
        let Self { mut head, .. } = self;
        head.forget_all_but_manifests();
        head.closure.manifests.retain(|digest, _| !stored_manifests.contains_key(digest));
        Self { head, layout: None, names: names_of(images), stored_manifests, ..self }
    }

    /// Where the manifests are in the archive, if it can be read again.
    fn manifests_in_archive(&self) -> HashMap<Digest, Extent> {
        let before_blobs = self.layout.as_ref().map(Layout::manifest_extents);
        match (before_blobs, &self.storage) {
            (Some(extents), Storage::Archive { .. }) => extents,
            (None, Storage::Archive { blobs, .. }) => {
                let extent = |digest: &Digest| Some((digest.clone(), *blobs.get(digest)?));
                self.head.closure.manifests.keys().filter_map(extent).collect()
            }
            (_, Storage::Folder { .. }) => HashMap::new(),
        }
    }

    /// Reads a manifest from the archive again.
    async fn read_manifest(&self, digest: &Digest, extent: Extent) -> Result<Option<RawManifest>, Cause> {
        let Some(slices) = self.slices() else { return Ok(None) };
        let (reader, path) = (BlobReader::new(slices.clone(), extent), self.path().to_owned());
        let read = move || reader.whole("a manifest", MAX_MANIFEST_SIZE as u64, &path);
        let bytes = tokio::task::spawn_blocking(read).await;
        let bytes = bytes.map_err(|error| BundleError::Internal(error.to_string()))??;
        Ok(Some(RawManifest::read(None, bytes, Some(digest))?))
    }

    /// Its head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Checks that the lock, if any, records the same images and blobs. Afterwards, it has only their names.
    pub(crate) fn check_and_slim_lock(&mut self) -> Result<(), BundleError> {
        self.head.check_and_slim_lock()
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Whether Docker wrote it. Docker may have rebuilt manifests, so digests may differ from those in a registry.
    #[must_use]
    pub fn is_from_docker(&self) -> bool {
        self.is_from_docker
    }

    /// The archive's bytes; `None` for a folder.
    pub(crate) fn slices(&self) -> Option<&Slices> {
        self.storage.archive()
    }

    /// The names of the missing volumes.
    #[must_use]
    pub fn absent_volumes(&self) -> Vec<String> {
        self.slices().map(|slices| slices.absent(0, slices.length())).unwrap_or_default()
    }

    /// The names of its volumes, missing or not; empty if it is a single file or a folder.
    #[must_use]
    pub(crate) fn volumes(&self) -> Vec<String> {
        let whole = |slices: &Slices| slices.volumes(Extent { offset: 0, size: slices.length() });
        self.slices().map(whole).unwrap_or_default()
    }

    /// The layout, in a bundle of this program.
    #[must_use]
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// The storage of its blobs.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// A blob, readable at any offset; `None` if it is missing.
    pub fn blob(&self, digest: &Digest) -> Result<Option<BlobReader>, BundleError> {
        self.storage.blob(digest)
    }

    /// The size in bytes of the archive, or of a folder's blobs.
    pub fn size(&self) -> Result<u64, BundleError> {
        match (&self.layout, self.slices()) {
            (Some(layout), _) => Ok(layout.length()),
            (None, Some(slices)) => Ok(slices.length()),
            (None, None) => Ok(self.blobs()?.into_values().fold(0, u64::saturating_add)),
        }
    }

    /// Every blob in it, with its size in bytes.
    pub fn blobs(&self) -> Result<HashMap<Digest, u64>, BundleError> {
        self.storage.blobs()
    }

    fn tagged(&self, repository: &Repository, tag: &str) -> Option<&Descriptor> {
        let named = self.names.get(&(repository.clone(), Target::Tag(tag.to_owned())));
        named.or_else(|| self.head.attachments.tagged(repository, tag))
    }

    fn error(&self, operation: Operation, location: String, cause: impl Into<Cause>) -> Error {
        Error::new(operation, self.side, location, cause)
    }
}

/// A tag that is also pinned to a digest in the bundle is what it is without the digest.
fn names_of(
    images: impl IntoIterator<Item = (Reference, Descriptor)>,
) -> HashMap<(Repository, Target), Descriptor> {
    let mut names = HashMap::new();
    for (reference, root) in images {
        let tag = reference.tag().map(|tag| Target::Tag(tag.to_owned()));
        let name = (reference.repository().clone(), tag.unwrap_or_else(|| reference.target()));
        if reference.digest().is_some() {
            names.entry(name).or_insert(root);
        } else {
            names.insert(name, root);
        }
    }
    names
}

impl Source for Bundle {
    fn side(&self) -> Side {
        self.side
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        Ok(self.tagged(repository, tag).map(|root| root.digest.clone()))
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let digest = match target {
            Target::Digest(digest) => digest,
            Target::Tag(tag) => match self.tagged(repository, tag) {
                Some(root) => &root.digest,
                None => return Ok(None),
            },
        };
        let location = || format!("{}@{digest}", self.storage.path().display());
        if let Some(error) = self.head.closure.damaged.get(digest) {
            return Err(self.error(Operation::ReadManifest, location(), error.clone()));
        }
        match self.stored_manifests.get(digest) {
            Some(extent) => {
                let read = self.read_manifest(digest, *extent).await;
                read.map_err(|cause| self.error(Operation::ReadManifest, location(), cause))
            }
            None => Ok(self.head.closure.manifests.get(digest).cloned()),
        }
    }

    async fn blob_size(&self, _: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let found = self
            .storage
            .blob(digest)
            .map_err(|error| self.error(Operation::CheckBlob, digest.to_string(), error))?;
        Ok(found.map(|blob| blob.size()))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let location = self.blob_location(repository, &blob.digest);
        match self.storage.blob(&blob.digest) {
            Ok(Some(reader)) => Ok(reader.stream(offset, location)),
            Ok(None) => Err(location.error(Cause::NoSuchBlob)),
            Err(error) => Err(location.error(error)),
        }
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        Ok(self.head.attachments.of(repository, subject).cloned().collect())
    }

    /// The location names the files, which may have to be copied again, instead of the blob's repository.
    fn blob_location(&self, _: &Repository, digest: &Digest) -> Location {
        let volumes = self.storage.volumes_of(digest);
        let name = if volumes.is_empty() {
            format!("{digest} in {}", self.storage.path().display())
        } else {
            format!("{digest} in {}", volumes.join(" and "))
        };
        Location::new(Operation::ReadBlob, self.side, name)
    }
}
