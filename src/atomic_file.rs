//! Writes a file under a temporary name in the same folder, and renames it: it becomes visible when it is complete and on
//! disk, or not at all.
//!
//! A temporary file is removed if it is not renamed. A killed process leaves it: users that look for such files choose a
//! [`Name`] that they recognize.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::without_temporary_name;

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Only this user.
    Owner,
    /// Everyone that the umask permits.
    Everyone,
}

/// The temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// Random, with this prefix.
    Random(&'static str),
    /// This path in the same folder. A file or link of this name, left by a killed run, is removed first, not followed.
    Fixed(PathBuf),
}

/// A file that has its temporary name.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    beside: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Creates the temporary file for `path`.
    pub(crate) fn create(path: &Path, name: Name, readers: Readers) -> io::Result<Self> {
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Everyone => 0o666,
        };
        let mut builder = Builder::new();
        builder.permissions(Permissions::from_mode(mode));
        let beside = match name {
            Name::Random(prefix) => {
                builder.prefix(prefix).tempfile_in(folder_of(path)).map_err(without_temporary_name)?
            }
            Name::Fixed(beside) => {
                remove(&beside)?;
                let mut options = File::options();
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
                let file = options.write(true).create_new(true).open(&beside)?;
                NamedTempFile::from_parts(file, TempPath::try_from_path(beside)?)
            }
        };
        Ok(Self { beside, path: path.to_owned() })
    }

    /// The file under its temporary name.
    pub(crate) fn file(&self) -> &File {
        self.beside.as_file()
    }

    /// The temporary name.
    pub(crate) fn temporary_path(&self) -> &Path {
        self.beside.path()
    }

    /// Gives the file its name, in place of an existing file, durably.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.beside.as_file().sync_all()?;
        self.beside.persist(&self.path).map_err(|error| error.error)?;
        sync_folder(folder_of(&self.path))
    }

    /// Gives the file its name, durably. An existing file is an error of kind [`ErrorKind::AlreadyExists`].
    pub(crate) fn publish(self) -> io::Result<()> {
        self.beside.as_file().sync_all()?;
        self.beside.persist_noclobber(&self.path).map_err(|error| error.error)?;
        sync_folder(folder_of(&self.path))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.beside.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.beside.as_file_mut().flush()
    }
}

/// The folder of a path, which for a name alone is the current folder.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename in this folder survive a crash. Some file systems cannot sync a folder, and a folder may be writable
/// but not readable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let cannot = [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::PermissionDenied];
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error) if cannot.contains(&error.kind()) => Ok(()),
        synced => synced,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_complete_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for name in [Name::Random(".tmp-"), Name::Fixed(folder.path().join("a.partial"))] {
            let mut file = AtomicFile::create(&path, name.clone(), Readers::Everyone).unwrap();
            file.write_all(b"half").unwrap();
            assert_ne!(names(folder.path()), ["a"], "it has another name");
            drop(file);
            assert_eq!(names(folder.path()), [""; 0]);
            let mut file = AtomicFile::create(&path, name.clone(), Readers::Everyone).unwrap();
            file.write_all(b"whole").unwrap();
            file.publish().unwrap();
            let second = AtomicFile::create(&path, name.clone(), Readers::Everyone).unwrap();
            assert_eq!(second.publish().unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            AtomicFile::create(&path, name, Readers::Everyone).unwrap().replace().unwrap();
            assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["a".to_owned()], Vec::new()));
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_secret_is_for_its_owner_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for name in [Name::Random(".tmp-"), Name::Fixed(folder.path().join("a.partial"))] {
            let file = AtomicFile::create(&path, name, Readers::Owner).unwrap();
            assert_eq!(file.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_link_under_the_fixed_name_is_not_followed_bug() {
        let folder = tempfile::tempdir().unwrap();
        let [path, beside, victim] = ["a", "a.partial", "victim"].map(|name| folder.path().join(name));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        let mut file = AtomicFile::create(&path, Name::Fixed(beside), Readers::Everyone).unwrap();
        file.write_all(b"new").unwrap();
        file.replace().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
            (b"new".to_vec(), b"precious".to_vec())
        );
    }

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_folder() {
        assert_eq!(folder_of(Path::new("a.lock")), Path::new("."));
        assert_eq!(folder_of(Path::new("locks/a.lock")), Path::new("locks"));
        assert_eq!(folder_of(Path::new("/a.lock")), Path::new("/"));
    }
}
