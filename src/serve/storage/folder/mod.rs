//! The writable store: the layout of its folder.
//!
//! ```text
//! ROOT/registry.json                                    names the format and its version; locked while served
//! ROOT/uploads/ID                                       bytes not (yet) in a repository; emptied at startup
//! ROOT/blobs/ALGORITHM/HEX                              content, stored once for all repositories
//! ROOT/repositories/NAME/_blobs/ALGORITHM/HEX           empty: the repository has this blob
//! ROOT/repositories/NAME/_manifests/ALGORITHM/HEX       media type: the repository has this manifest
//! ROOT/repositories/NAME/_tags/TAG                      the digest that the tag points to
//! ROOT/repositories/NAME/_referrers/ALGORITHM/HEX/A-H   referrer of ALGORITHM:HEX: the descriptor (JSON) of
//!                                                       manifest A:H in this repository
//! ```
//!
//! No component of a repository's name begins with `_`, so names and the store's own folders never collide.
//! Before a
//! request is answered, a file is written under `uploads/`, synced and renamed, and its folder is synced: acknowledged
//! changes survive a power cut, and a crash leaves at most unreferenced content.
//! On a case-insensitive file system,
//! tags that differ only in case are the same tag.
//!
//! All calls block: use a thread that may block.

mod blobs;
mod files;
mod manifests;
mod new_manifest;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::{Deserialize, Serialize};

use self::files::{Folder, UPLOADS};
pub(in crate::serve) use self::{manifests::PutError, new_manifest::NewManifest};
use crate::{
    atomic_file::{AtomicFile, Name, Readers},
    endpoint::bundle::BundleError,
    oci::Digest,
    serve::names::{RepositoryName, TagName},
};

/// The file that makes a folder a registry.
pub(in crate::serve) const MARKER: &str = "registry.json";
/// The incomplete marker: a first startup that was killed leaves it behind.
const UNFINISHED_MARKER: &str = ".registry.json.partial";
const FORMAT: &str = "thoras-mirror-registry";
const VERSION: u32 = 1;

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file operation failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder contains files and is not a registry.
    #[error("{0} is neither empty nor a thoras-mirror registry: pass an empty or new folder")]
    NotOurs(PathBuf),
    /// A folder can be served read-only only if it is already a registry.
    #[error("{0} is not a thoras-mirror registry: serve it once without --read-only, or pass another folder")]
    NoRegistry(PathBuf),
    /// The marker file names another version of the layout.
    #[error("the registry in {path} has layout version {found}; this program supports version {VERSION}")]
    Version {
        /// The folder.
        path: PathBuf,
        /// The version that the marker names.
        found: u32,
    },
    /// The bundle cannot be opened.
    #[error(transparent)]
    Bundle(Box<BundleError>),
    /// A manifest of the bundle is damaged.
    #[error("the bundle's manifest {digest} cannot be served")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong with it.
        source: io::Error,
    },
    /// An image of the bundle has no valid name for this registry.
    #[error("the images of the bundle cannot be named: choose another --naming")]
    Unnameable(#[source] io::Error),
    /// Two images of the bundle would have the same name.
    #[error("two images of the bundle would be {name}:{tag}: choose another --naming")]
    Collision {
        /// The repository.
        name: String,
        /// The tag.
        tag: String,
    },
    /// Another process is serving the folder.
    #[error("another process is serving {0}: stop it, or pass another folder")]
    InUse(PathBuf),
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: String,
    version: u32,
}

/// An open store.
#[derive(Debug)]
pub(in crate::serve) struct FolderStorage {
    folder: Folder,
    /// Shared for adding references to content, exclusive for deletion: content is never deleted while a reference to
    /// it is being added.
    references: RwLock<()>,
    /// Locked until the store is dropped; read-only stores take no lock.
    _lock: Option<File>,
}

impl FolderStorage {
    /// Opens the folder for writing: creates it (mode 0700 on Unix) if it does not exist, refuses it if it contains
    /// anything else, locks it against a second server, and removes dead uploads.
    pub(in crate::serve) fn open_writable(root: &Path) -> Result<Self, StorageError> {
        let io = |operation| io_error(operation, root);
        create_private_folder(root).map_err(io("create"))?;
        if !root.join(MARKER).try_exists().map_err(io("read"))? {
            if !is_empty(root).map_err(io("read"))? {
                return Err(StorageError::NotOurs(root.to_owned()));
            }
            write_marker(root).map_err(io("write the marker file in"))?;
        }
        check_marker(root)?;
        let marker = File::open(root.join(MARKER)).map_err(io("open the marker file in"))?;
        match marker.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::InUse(root.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        let storage = Self::over(root, Some(marker))?;
        storage.sweep().map_err(io("remove dead uploads in"))?;
        Ok(storage)
    }

    /// Opens an existing store for reading.
    pub(in crate::serve) fn open_read_only(root: &Path) -> Result<Self, StorageError> {
        if !root.join(MARKER).try_exists().map_err(io_error("read", root))? {
            return Err(StorageError::NoRegistry(root.to_owned()));
        }
        check_marker(root)?;
        Self::over(root, None)
    }

    fn over(root: &Path, lock: Option<File>) -> Result<Self, StorageError> {
        let folder = Folder::open_root(root).map_err(io_error("open", root))?;
        Ok(Self { folder, references: RwLock::new(()), _lock: lock })
    }

    /// Removes uploads of an earlier process: their hash state is lost, and clients open a new session if the old
    /// session is unknown.
    fn sweep(&self) -> io::Result<()> {
        self.folder.ensure_folder(UPLOADS)?;
        for name in self.folder.list(UPLOADS)? {
            self.folder.discard(&format!("{UPLOADS}/{name}"))?;
        }
        Ok(())
    }

    /// Whether anything was ever pushed to the repository.
    pub(in crate::serve) fn has_repository(&self, name: &RepositoryName) -> io::Result<bool> {
        for kind in ["_manifests", "_blobs"] {
            if self.folder.exists(&format!("repositories/{name}/{kind}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The repositories that anything was ever pushed to, in ASCII order; any `most` of them, if there are more.
    pub(in crate::serve) fn repositories(&self, most: usize) -> io::Result<Vec<RepositoryName>> {
        let mut found = Vec::new();
        let mut parents = vec![String::new()];
        while let Some(parent) = parents.pop() {
            if found.len() >= most {
                break;
            }
            for folder in self.folder.list_folders(&format!("repositories{parent}"))? {
                if !folder.starts_with('_') {
                    parents.push(format!("{parent}/{folder}"));
                }
            }
            if let Ok(name) = RepositoryName::new(parent.trim_start_matches('/'))
                && self.has_repository(&name)?
            {
                found.push(name);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn adding_references(&self) -> RwLockReadGuard<'_, ()> {
        self.references.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn removing_references(&self) -> RwLockWriteGuard<'_, ()> {
        self.references.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes content that no repository references. The caller holds the exclusive lock.
    fn discard_unreferenced(&self, digest: &Digest) -> io::Result<()> {
        if self.is_referenced_below("repositories", digest)? {
            return Ok(());
        }
        self.folder.remove(&content_path(digest)).map(drop)
    }

    fn is_referenced_below(&self, path: &str, digest: &Digest) -> io::Result<bool> {
        let leaf = path_of(digest);
        for kind in ["_blobs", "_manifests"] {
            if self.folder.exists(&format!("{path}/{kind}/{leaf}"))? {
                return Ok(true);
            }
        }
        for name in self.folder.list_folders(path)? {
            if !name.starts_with('_') && self.is_referenced_below(&format!("{path}/{name}"), digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `ALGORITHM/HEX`
fn path_of(digest: &Digest) -> String {
    digest.as_str().replacen(':', "/", 1)
}

fn content_path(digest: &Digest) -> String {
    format!("blobs/{}", path_of(digest))
}

fn blob_link(name: &RepositoryName, digest: &Digest) -> String {
    format!("repositories/{name}/_blobs/{}", path_of(digest))
}

fn manifest_link(name: &RepositoryName, digest: &Digest) -> String {
    format!("repositories/{name}/_manifests/{}", path_of(digest))
}

fn tags_folder(name: &RepositoryName) -> String {
    format!("repositories/{name}/_tags")
}

fn tag_path(name: &RepositoryName, tag: &TagName) -> String {
    format!("repositories/{name}/_tags/{tag}")
}

fn referrers_folder(name: &RepositoryName, subject: &Digest) -> String {
    format!("repositories/{name}/_referrers/{}", path_of(subject))
}

fn referrer_path(name: &RepositoryName, subject: &Digest, referrer: &Digest) -> String {
    format!("{}/{}", referrers_folder(name, subject), referrer.as_str().replacen(':', "-", 1))
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Io { operation, path, source }
}

/// Makes only the folder itself private; its parents follow the process's umask.
fn create_private_folder(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(root)
}

/// A new volume contains `lost+found`, which counts as empty.
fn is_empty(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        if name != "lost+found" && name != UNFINISHED_MARKER {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_marker(root: &Path) -> io::Result<()> {
    let marker = Marker { format: FORMAT.to_owned(), version: VERSION };
    let name = Name::Fixed(root.join(UNFINISHED_MARKER));
    let mut file = AtomicFile::create(&root.join(MARKER), name, Readers::Everyone)?;
    file.write_all(&serde_json::to_vec(&marker)?)?;
    file.replace()
}

fn check_marker(root: &Path) -> Result<(), StorageError> {
    let bytes = fs::read(root.join(MARKER)).map_err(io_error("read the marker file in", root))?;
    match serde_json::from_slice::<Marker>(&bytes) {
        Ok(marker) if marker.format != FORMAT => Err(StorageError::NotOurs(root.to_owned())),
        Ok(marker) if marker.version != VERSION => {
            Err(StorageError::Version { path: root.to_owned(), found: marker.version })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(StorageError::NotOurs(root.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_is_created_and_opened_again() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("deep/registry");
        drop(FolderStorage::open_writable(&root).unwrap());
        drop(FolderStorage::open_writable(&root).unwrap());
        FolderStorage::open_read_only(&root).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_folder_with_other_content_is_refused_and_left_unchanged() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.doc"), "x").unwrap();
        assert!(matches!(FolderStorage::open_writable(root.path()), Err(StorageError::NotOurs(_))));
        assert!(matches!(FolderStorage::open_read_only(root.path()), Err(StorageError::NoRegistry(_))));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        fs::write(root.path().join(MARKER), "{}").unwrap();
        assert!(matches!(FolderStorage::open_writable(root.path()), Err(StorageError::NotOurs(_))));
    }

    #[test]
    fn fresh_volumes_and_first_starts_that_died_are_empty_enough() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lost+found")).unwrap();
        fs::write(root.path().join(UNFINISHED_MARKER), "{").unwrap();
        FolderStorage::open_writable(root.path()).unwrap();
    }

    #[test]
    fn a_later_layout_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(MARKER), format!(r#"{{"format":"{FORMAT}","version":2}}"#)).unwrap();
        assert!(matches!(
            FolderStorage::open_writable(root.path()),
            Err(StorageError::Version { found: 2, .. })
        ));
    }

    #[test]
    fn two_servers_cannot_write_one_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = FolderStorage::open_writable(root.path()).unwrap();
        assert!(matches!(FolderStorage::open_writable(root.path()), Err(StorageError::InUse(_))));
        FolderStorage::open_read_only(root.path()).unwrap();
        drop(first);
        FolderStorage::open_writable(root.path()).unwrap();
    }

    #[test]
    fn dead_uploads_are_swept_at_start() {
        let root = tempfile::tempdir().unwrap();
        drop(FolderStorage::open_writable(root.path()).unwrap());
        fs::write(root.path().join(UPLOADS).join("dead"), "x").unwrap();
        FolderStorage::open_writable(root.path()).unwrap();
        assert_eq!(fs::read_dir(root.path().join(UPLOADS)).unwrap().count(), 0);
    }
}
