//! Opens a bundle: an archive, a folder or volumes, and recognizes which program wrote it.
//!
//! An archive of this program begins with everything but the blobs, so only its beginning is read. Any other archive is
//! scanned for the files of an OCI image layout.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    content::Content,
    error::BundleError,
    head::Head,
    index,
    layout::Layout,
    names::{self, MAX_MARKER_SIZE, Name},
    other_kinds,
    reader::Bundle,
    scan::Scan,
    signature::{self, IndexSignature},
    slices::{Extent, Slices},
    storage::{BlobReader, Storage},
    volumes::{self, OpenedFiles, VolumeError},
};
use crate::oci::{Digest, manifest::MAX_MANIFEST_SIZE};

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
            OpenedFiles::Single(path) => Self::open_one(&path, signed),
            OpenedFiles::Set(set, slices, path) => {
                let bundle = Self::from_slices(slices, &path, signed)?;
                let is_described = bundle.head.id() == &set.bundle
                    && bundle.layout.as_ref().is_some_and(|layout| layout.length() == set.length);
                if is_described { Ok(bundle) } else { Err(VolumeError::Head { bundle: set.bundle }.into()) }
            }
            OpenedFiles::Numbered(slices, path) => match unaltered_head(&slices, &path, signed)? {
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
        let marker = small(Name::Marker, names::MARKER, MAX_MARKER_SIZE)?;
        let index = small(Name::Index, names::INDEX, index::MAX_SIZE)?;
        // Without an index it is not a layout, which is reported below.
        if let Some(index) = &index {
            signature::check(signed, index)?;
        }
        let lock = file(Name::Lock).map(|file| lock_content(file, index.as_ref(), path)).transpose()?;
        let is_from_docker = found.contains_key(&Name::Docker);
        let blobs = found.into_iter().filter_map(|(name, extent)| match name {
            Name::Blob(digest) => Some((digest, extent)),
            _ => None,
        });
        let storage = Storage::Archive { slices, blobs: Arc::new(blobs.collect()), path: path.to_owned() };
        let bundle = Self::from_files(marker.as_ref(), index, lock, storage)?;
        Ok(Self { is_from_docker, ..bundle })
    }

    fn from_folder(path: &Path, signed: Option<&IndexSignature>) -> Result<Self, BundleError> {
        let storage = Storage::open_folder(path)?;
        let marker = storage.small(names::MARKER, MAX_MARKER_SIZE)?;
        let index = storage.small(names::INDEX, index::MAX_SIZE)?;
        // Without an index it is not a layout, which is reported below.
        if let Some(index) = &index {
            signature::check(signed, index)?;
        }
        let lock = storage.file(names::LOCK)?;
        let lock = lock.map(|file| lock_content(file, index.as_ref(), path)).transpose()?;
        let is_from_docker = storage.file(names::DOCKER)?.is_some();
        if marker.is_none()
            && let Some(refusal) = other_kinds::of_folder(path)
        {
            return Err(refusal);
        }
        let bundle = Self::from_files(marker.as_ref(), index, lock, storage)?;
        Ok(Self { is_from_docker, ..bundle })
    }

    /// A layout with files in any order.
    fn from_files(
        marker: Option<&Bytes>,
        index: Option<Bytes>,
        lock: Option<Content>,
        storage: Storage,
    ) -> Result<Self, BundleError> {
        let refused = |reason| BundleError::NotALayout { path: storage.path().to_owned(), reason };
        let Some(marker) = marker else { return Err(refused("it has no `oci-layout` file")) };
        if !names::is_marker(marker) {
            return Err(BundleError::Marker);
        }
        let index = index.ok_or_else(|| refused("it has no `index.json` file"))?;
        let mut head = Head::new(index, lock, storage.path())?;
        let mut wanted: Vec<Digest> = head.closure.wanted().cloned().collect();
        while let Some(digest) = wanted.pop() {
            let Some(manifest) = storage.blob(&digest)? else { continue };
            if manifest.size() > MAX_MANIFEST_SIZE as u64 {
                return Err(BundleError::LargeManifest { digest });
            }
            let bytes = manifest.whole("a manifest", MAX_MANIFEST_SIZE as u64, storage.path())?;
            wanted.extend(head.closure.add(digest, bytes)?);
        }
        Ok(Self::new(head, storage, None))
    }
}

/// The content of the lock that is read together with this index.
fn lock_content(file: BlobReader, index: Option<&Bytes>, path: &Path) -> Result<Content, BundleError> {
    Content::of_file(file, names::LOCK, largest_lock(index), path)
}

/// The largest lock that is read together with this index, in bytes.
pub(crate) fn largest_lock(index: Option<&Bytes>) -> u64 {
    index::largest_lock(index.map_or(0, |index| index::images_at_most(index)))
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
    let mut next = |wanted: Name| match scan.next_file() {
        Ok(Some((name, extent))) if name == wanted => Ok(Some(BlobReader::new(slices.clone(), extent))),
        // A volume is missing. Which program wrote the archive does not matter.
        Err(error @ BundleError::Absent { .. }) => Err(error),
        // Scanning the whole archive finds the problem.
        Ok(_) | Err(_) => Ok(None),
    };
    let mut small = |wanted: Name, called, limit| {
        let file = next(wanted)?.filter(|file| file.size() <= limit);
        file.map(|file| file.whole(called, limit, path)).transpose()
    };
    let marker = small(Name::Marker, names::MARKER, MAX_MARKER_SIZE)?;
    if marker.is_none_or(|marker| marker != names::MARKER_CONTENT) {
        return Ok(None);
    }
    let Some(index) = small(Name::Index, names::INDEX, index::MAX_SIZE)? else { return Ok(None) };
    signature::check(signed, &index)?;
    let limit = largest_lock(Some(&index));
    let Some(lock) = next(Name::Lock)?.filter(|file| file.size() <= limit) else { return Ok(None) };
    let lock = Content::of_file(lock, names::LOCK, limit, path)?;
    let mut head = match Head::new(index, Some(lock), path) {
        Ok(head) => head,
        Err(error @ BundleError::Unreadable { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    if !read_manifests(&mut scan, &mut head, slices, path)? {
        return Ok(None);
    }
    let position = scan.position();
    drop(scan);
    head.closure.finish();
    let layout = head.layout();
    // Another program may have archived the same files: the bytes between them differ.
    if position != layout.head_length() {
        return Ok(None);
    }
    let alteration = layout.head_alteration(slices).map_err(|error| BundleError::unreadable(path, error))?;
    match alteration.first {
        Some(offset) => Err(BundleError::Altered { offset }),
        None if !head.index_is_ours() => {
            Err(BundleError::Index("it differs from what was written".to_owned()))
        }
        None => Ok(Some((head, layout))),
    }
}

/// Reads the manifests that follow the index and the lock. Returns false if other files come before the last of them.
fn read_manifests(
    scan: &mut Scan<'_>,
    head: &mut Head,
    slices: &Slices,
    path: &Path,
) -> Result<bool, BundleError> {
    const LIMIT: u64 = MAX_MANIFEST_SIZE as u64;
    while !head.closure.is_complete() {
        match scan.next_file() {
            Ok(Some((Name::Blob(digest), extent))) if extent.size <= LIMIT => {
                let bytes = BlobReader::new(slices.clone(), extent).whole("a manifest", LIMIT, path)?;
                if head.closure.add(digest, bytes).is_err() {
                    return Ok(false);
                }
            }
            Err(error @ BundleError::Absent { .. }) => return Err(error),
            _ => return Ok(false),
        }
    }
    Ok(true)
}
