//! An open bundle: recognizes which program wrote it, and reads it as a [`Source`].

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    error::BundleError,
    head::Head,
    index,
    layout::Layout,
    names::{self, Name},
    scan::Scan,
    signature::{self, IndexSignature},
    slices::{Extent, Slices},
    storage::{BlobReader, Storage},
    volumes::{self, Opened, VolumeError},
};
use crate::{
    endpoint::{BlobStream, Cause, Error, Location, Operation, Source},
    oci::{
        Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target,
        manifest::LARGEST_MANIFEST,
    },
    problem::Side,
};

/// The largest marker that is read, in bytes.
pub(crate) const LARGEST_MARKER: u64 = 4096;

/// A bundle that can be read at any offset.
#[derive(Debug)]
pub struct Bundle {
    head: Head,
    storage: Storage,
    /// Set if this program wrote the bundle and its head is intact.
    layout: Option<Layout>,
    names: HashMap<(Repository, Target), Descriptor>,
    is_from_docker: bool,
    /// Blobs of trust files that came from a pipe.
    pub(super) trust_blobs: HashMap<Digest, Bytes>,
    side: Side,
}

impl Bundle {
    /// Opens an archive or a folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BundleError> {
        Self::open_one(path.as_ref(), None)
    }

    fn open_one(path: &Path, signed: Option<&IndexSignature>) -> Result<Self, BundleError> {
        let metadata = metadata(path)?;
        if metadata.is_dir() {
            return Self::from_folder(path, signed);
        }
        let file = File::open(path).map_err(|error| BundleError::unreadable(path, error))?;
        let slices = Slices::new(vec![(path.display().to_string(), Some(file), metadata.len())]);
        Self::from_slices(slices, path, signed)
    }

    /// Opens these files as one bundle: an archive, a folder, or volumes of one archive in any order, with or without
    /// their index. Volumes may be missing: only the blobs in them cannot be read.
    pub fn open_all(paths: &[PathBuf]) -> Result<Self, BundleError> {
        Self::open_signed(paths, None)
    }

    /// The same. A bundle without the required signature is an error, and nothing but its index is read.
    pub fn open_signed(paths: &[PathBuf], signed: Option<&IndexSignature>) -> Result<Self, BundleError> {
        match volumes::open(paths)? {
            Opened::Single(path) => Self::open_one(&path, signed),
            Opened::Set(set, slices, path) => {
                let bundle = Self::from_slices(slices, &path, signed)?;
                let is_described = bundle.head.id() == &set.bundle
                    && bundle.layout.as_ref().is_some_and(|layout| layout.length() == set.length);
                if is_described { Ok(bundle) } else { Err(VolumeError::Head { bundle: set.bundle }.into()) }
            }
            Opened::Numbered(slices, path) => match unaltered_head(&slices, &path, signed)? {
                Some(_) => Self::from_slices(slices, &path, signed),
                None => Err(VolumeError::NotABeginning(path).into()),
            },
        }
    }

    /// Opens an archive. `path` names it in messages.
    pub(crate) fn from_slices(
        slices: Slices,
        path: &Path,
        signed: Option<&IndexSignature>,
    ) -> Result<Self, BundleError> {
        if let Some((head, layout)) = unaltered_head(&slices, path, signed)? {
            let blobs = Arc::new(layout.extents());
            let storage = Storage::Archive { slices, blobs, path: path.to_owned() };
            return Ok(Self::new(head, storage, Some(layout)));
        }
        let mut scan = Scan::new(&slices, path);
        while scan.next_file()?.is_some() {}
        Self::from_scan(slices.clone(), scan.finish()?, path, signed)
    }

    fn from_scan(
        slices: Slices,
        found: HashMap<Name, Extent>,
        path: &Path,
        signed: Option<&IndexSignature>,
    ) -> Result<Self, BundleError> {
        let file = |name: Name| found.get(&name).map(|extent| BlobReader::new(slices.clone(), *extent));
        let small = |name, called, limit| file(name).map(|file| file.whole(called, limit, path)).transpose();
        let marker = small(Name::Marker, names::MARKER, LARGEST_MARKER)?;
        let index = small(Name::Index, names::INDEX, index::LARGEST)?;
        // Without an index it is not a layout, which is reported below.
        if let Some(index) = &index {
            signature::check(signed, index)?;
        }
        let lock = small(Name::Lock, names::LOCK, largest_lock(index.as_ref()))?;
        let is_from_docker = found.contains_key(&Name::Docker);
        let blobs = found.into_iter().filter_map(|(name, extent)| match name {
            Name::Blob(digest) => Some((digest, extent)),
            _ => None,
        });
        if is_from_docker && marker.is_none() {
            return Err(BundleError::OldDocker { path: path.to_owned() });
        }
        let storage = Storage::Archive { slices, blobs: Arc::new(blobs.collect()), path: path.to_owned() };
        let bundle = Self::from_files(marker.as_ref(), index, lock, storage)?;
        Ok(Self { is_from_docker, ..bundle })
    }

    fn from_folder(path: &Path, signed: Option<&IndexSignature>) -> Result<Self, BundleError> {
        let storage = Storage::open_folder(path)?;
        let marker = storage.small(names::MARKER, LARGEST_MARKER)?;
        let index = storage.small(names::INDEX, index::LARGEST)?;
        // Without an index it is not a layout, which is reported below.
        if let Some(index) = &index {
            signature::check(signed, index)?;
        }
        let lock = storage.small(names::LOCK, largest_lock(index.as_ref()))?;
        let is_from_docker = storage.file(names::DOCKER)?.is_some();
        if marker.is_none()
            && let Some(folder) = layout_below(path)
        {
            return Err(BundleError::Subfolder { path: path.to_owned(), folder, in_archive: false });
        }
        if marker.is_none() && path.join("._oci-layout").exists() {
            let reason = names::ONLY_METADATA;
            return Err(BundleError::NotALayout { path: path.to_owned(), reason });
        }
        let bundle = Self::from_files(marker.as_ref(), index, lock, storage)?;
        Ok(Self { is_from_docker, ..bundle })
    }

    /// A layout with files in any order.
    fn from_files(
        marker: Option<&Bytes>,
        index: Option<Bytes>,
        lock: Option<Bytes>,
        storage: Storage,
    ) -> Result<Self, BundleError> {
        let refused = |reason| BundleError::NotALayout { path: storage.path().to_owned(), reason };
        let Some(marker) = marker else { return Err(refused("it has no `oci-layout` file")) };
        if !names::is_marker(marker) {
            return Err(BundleError::Marker);
        }
        let index = index.ok_or_else(|| refused("it has no `index.json` file"))?;
        let mut head = Head::new(index, lock)?;
        let mut wanted: Vec<Digest> = head.closure.wanted().cloned().collect();
        while let Some(digest) = wanted.pop() {
            let Some(manifest) = storage.blob(&digest)? else { continue };
            if manifest.size() > LARGEST_MANIFEST as u64 {
                return Err(BundleError::LargeManifest { digest });
            }
            let bytes = manifest.whole("a manifest", LARGEST_MANIFEST as u64, storage.path())?;
            wanted.extend(head.closure.add(digest, bytes)?);
        }
        Ok(Self::new(head, storage, None))
    }

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
            is_from_docker: false,
            trust_blobs: HashMap::new(),
            side: Side::Source,
        }
    }

    /// The same bundle, with these names for its images.
    #[must_use]
    pub(crate) fn with_names(self, images: impl IntoIterator<Item = (Reference, Descriptor)>) -> Self {
        Self { names: names_of(images), ..self }
    }

    /// Its head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
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

/// The largest lock that is read together with this index, in bytes.
pub(crate) fn largest_lock(index: Option<&Bytes>) -> u64 {
    index::largest_lock(index.map_or(0, |index| index::images_at_most(index)))
}

/// The name of the first folder in this folder that is an OCI image layout.
pub(crate) fn layout_below(path: &Path) -> Option<String> {
    let folders = path.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let layouts = folders.filter(|folder| folder.join(names::MARKER).is_file());
    layouts.filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned())).min()
}

/// The metadata of a file or a folder; anything else is an error. Opening a named pipe would block until it has a
/// writer, and some devices never end.
pub(crate) fn metadata(path: &Path) -> Result<Metadata, BundleError> {
    let metadata = path.metadata().map_err(|error| BundleError::unreadable(path, error))?;
    if metadata.is_dir() || metadata.is_file() {
        return Ok(metadata);
    }
    let special = io::Error::new(io::ErrorKind::Unsupported, "it is neither a file nor a folder");
    Err(BundleError::unreadable(path, special))
}

/// The head and the layout of an archive that begins like an archive of this program; otherwise `None`.
pub(super) fn own_head(slices: &Slices, path: &Path) -> Result<Option<(Head, Layout)>, BundleError> {
    match unaltered_head(slices, path, None) {
        Err(BundleError::Altered { .. } | BundleError::Index(_)) => Ok(None),
        found => found,
    }
}

/// The same; `None` if another program wrote the archive, and an error if this program did and the head has changed.
fn unaltered_head(
    slices: &Slices,
    path: &Path,
    signed: Option<&IndexSignature>,
) -> Result<Option<(Head, Layout)>, BundleError> {
    let mut scan = Scan::new(slices, path);
    let mut small = |wanted: Name, called, limit| -> Result<Option<Bytes>, BundleError> {
        match scan.next_file() {
            Ok(Some((name, extent))) if name == wanted && extent.size <= limit => {
                BlobReader::new(slices.clone(), extent).whole(called, limit, path).map(Some)
            }
            // A volume is missing. Which program wrote the archive does not matter.
            Err(error @ BundleError::Absent { .. }) => Err(error),
            // Scanning the whole archive finds the problem.
            Ok(_) | Err(_) => Ok(None),
        }
    };
    let marker = small(Name::Marker, names::MARKER, LARGEST_MARKER)?;
    if marker.is_none_or(|marker| marker != names::MARKER_CONTENT) {
        return Ok(None);
    }
    let Some(index) = small(Name::Index, names::INDEX, index::LARGEST)? else { return Ok(None) };
    signature::check(signed, &index)?;
    let limit = largest_lock(Some(&index));
    let Some(lock) = small(Name::Lock, names::LOCK, limit)? else { return Ok(None) };
    let Ok(mut head) = Head::new(index, Some(lock)) else { return Ok(None) };
    while !head.closure.is_complete() {
        match scan.next_file() {
            Ok(Some((Name::Blob(digest), extent))) if extent.size <= LARGEST_MANIFEST as u64 => {
                let bytes = BlobReader::new(slices.clone(), extent).whole(
                    "a manifest",
                    LARGEST_MANIFEST as u64,
                    path,
                )?;
                if head.closure.add(digest, bytes).is_err() {
                    return Ok(None);
                }
            }
            Err(error @ BundleError::Absent { .. }) => return Err(error),
            _ => return Ok(None),
        }
    }
    let layout = head.layout();
    // Another program may have archived the same files: the bytes between them differ.
    if scan.position() != layout.head().len() as u64 {
        return Ok(None);
    }
    let mut begins = vec![0; layout.head().len()];
    slices.read_exact_at(&mut begins, 0).map_err(|error| BundleError::unreadable(path, error))?;
    match begins.iter().zip(layout.head()).position(|(found, written)| found != written) {
        Some(differs) => Err(BundleError::Altered { offset: differs as u64 }),
        None if !head.index_is_ours() => {
            Err(BundleError::Index("it differs from what was written".to_owned()))
        }
        None => Ok(Some((head, layout))),
    }
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
        if let Some(error) = self.head.closure.damaged.get(digest) {
            let location = format!("{}@{digest}", self.storage.path().display());
            return Err(self.error(Operation::ReadManifest, location, error.clone()));
        }
        Ok(self.head.closure.manifests.get(digest).cloned())
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
