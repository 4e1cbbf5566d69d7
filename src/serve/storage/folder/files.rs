//! The file operations of the store. After each, a file is either complete or absent.
//!
//! Every path is relative to the root and is resolved by `cap-std`, which refuses every path that leaves the root:
//! `..`, absolute paths, and symbolic links that point outside. All calls block.

use std::{
    fs::File,
    io::{self, ErrorKind, Write as _},
    path::Path,
};

use cap_std::fs::{Dir, OpenOptions};

use crate::serve::{names::UploadId, storage::OpenContent};

/// Where files are written before they are renamed into place.
pub(super) const UPLOADS: &str = "uploads";

/// The root of a store.
#[derive(Debug)]
pub(super) struct Folder(Dir);

impl Folder {
    /// The folder at `root`, which must exist.
    pub(super) fn open_root(root: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(root, cap_std::ambient_authority()).map(Self)
    }

    /// Opens a regular file; `None` if it does not exist.
    pub(super) fn open(&self, path: &str) -> io::Result<Option<OpenContent>> {
        let Some(file) = absent_as_none(self.0.open(path))? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
        }
        Ok(Some(OpenContent::of_file(file.into_std(), metadata.len())))
    }

    /// The text of a small file; `None` if it does not exist.
    pub(super) fn read_text(&self, path: &str) -> io::Result<Option<String>> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let text = String::from_utf8(file.read_all()?);
        text.map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// The size of a file in bytes; `None` if it does not exist.
    pub(super) fn size(&self, path: &str) -> io::Result<Option<u64>> {
        let metadata = absent_as_none(self.0.metadata(path))?;
        Ok(metadata.filter(cap_std::fs::Metadata::is_file).map(|metadata| metadata.len()))
    }

    /// Whether a file or folder exists.
    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        self.0.try_exists(path)
    }

    /// The names in a folder, unordered; empty if it does not exist.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(entries) = absent_as_none(self.0.read_dir(path))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            // All names in the store are UTF-8.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// The names of the folders in a folder, without symbolic links.
    pub(super) fn list_folders(&self, path: &str) -> io::Result<Vec<String>> {
        let Some(entries) = absent_as_none(self.0.read_dir(path))? else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    /// Opens a file for appending, and creates it if it does not exist.
    pub(super) fn append(&self, path: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).read(true).create(true);
        self.0.open_with(path, &options).map(cap_std::fs::File::into_std)
    }

    /// Durably writes these bytes to the file `path`, replacing an existing file.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let private = format!("{UPLOADS}/{}", UploadId::random()?);
        let written = self.append(&private).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.and_then(|()| self.publish(&private, path)).inspect_err(|_| {
            // A leftover file is removed at the next startup.
            let _ = self.0.remove_file(&private);
        })
    }

    /// Renames a file, whose bytes are already durable, and makes the name durable.
    pub(super) fn publish(&self, private: &str, path: &str) -> io::Result<()> {
        let parent = parent_of(path);
        self.ensure_folder(parent)?;
        self.0.rename(private, &self.0, path)?;
        self.sync_folder(parent)
    }

    /// Durably creates an empty file, if it does not exist.
    pub(super) fn mark(&self, path: &str) -> io::Result<()> {
        if self.exists(path)? {
            return Ok(());
        }
        let parent = parent_of(path);
        self.ensure_folder(parent)?;
        self.append(path)?;
        self.sync_folder(parent)
    }

    /// Durably removes a file; `false` if it did not exist.
    pub(super) fn remove(&self, path: &str) -> io::Result<bool> {
        if absent_as_none(self.0.remove_file(path))?.is_none() {
            return Ok(false);
        }
        self.sync_folder(parent_of(path))?;
        Ok(true)
    }

    /// Removes a file without making that durable; no error if it does not exist.
    pub(super) fn discard(&self, path: &str) -> io::Result<()> {
        absent_as_none(self.0.remove_file(path)).map(drop)
    }

    /// Creates a folder and those above it, durably.
    pub(super) fn ensure_folder(&self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.exists(path)? {
            return Ok(());
        }
        let parent = parent_of(path);
        self.ensure_folder(parent)?;
        match self.0.create_dir(path) {
            // Another request created it first.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.sync_folder(parent)
    }

    fn sync_folder(&self, path: &str) -> io::Result<()> {
        let path = if path.is_empty() { "." } else { path };
        self.0.open(path)?.sync_all()
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(UPLOADS)).unwrap();
        let folder = Folder::open_root(directory.path()).unwrap();
        (directory, folder)
    }

    #[test]
    fn files_are_replaced_whole_and_leave_nothing_private_behind() {
        let (_directory, folder) = folder();
        folder.write("a/b/c", b"first").unwrap();
        folder.write("a/b/c", b"second").unwrap();
        assert_eq!(folder.read_text("a/b/c").unwrap().as_deref(), Some("second"));
        assert_eq!(folder.list(UPLOADS).unwrap(), Vec::<String>::new());
        assert!(folder.remove("a/b/c").unwrap());
        assert!(!folder.remove("a/b/c").unwrap());
        assert_eq!(folder.read_text("a/b/c").unwrap(), None);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let (_directory, folder) = folder();
        folder.ensure_folder("taken/by-a-folder").unwrap();
        assert!(folder.write("taken", b"x").is_err());
        assert_eq!(folder.list(UPLOADS).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn marks_are_idempotent() {
        let (_directory, folder) = folder();
        folder.mark("x/y").unwrap();
        folder.mark("x/y").unwrap();
        assert_eq!(folder.size("x/y").unwrap(), Some(0));
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_out_of_the_root_are_not_followed() {
        let (directory, folder) = folder();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(outside.path(), directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), directory.path().join("file")).unwrap();
        assert!(folder.open("link/secret").is_err());
        assert!(folder.open("file").is_err());
        assert!(folder.open("../x").is_err());
        assert!(folder.write("link/new", b"x").is_err());
        assert!(folder.append("file").is_err());
        assert!(!outside.path().join("new").exists());
    }
}
