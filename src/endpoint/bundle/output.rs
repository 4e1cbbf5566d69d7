//! The files that a bundle is written to: `FILE`, or `FILE.001`, `FILE.002` and so on, each with the suffix `.partial`
//! until all are complete.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{
    error::BundleError,
    volumes::{self, VolumeSet},
};
use crate::atomic_file::{AtomicFile, Name, Readers};

/// The path of a bundle, and how it is split.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The requested name.
    pub path: PathBuf,
    /// The largest volume in bytes; `None` for one file.
    pub volume: Option<u64>,
}

/// One file of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputFile {
    /// Its name while it is being written.
    pub(crate) partial: PathBuf,
    /// Its name when it is complete.
    pub(crate) whole: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Output {
    /// Checks, before any download, whether a bundle can be written there.
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let refused = |reason: String| Err(BundleError::Output { path: self.path.clone(), reason });
        let names_a_folder = self.path.as_os_str().as_encoded_bytes().ends_with(b"/") || self.path.is_dir();
        if names_a_folder || self.path.file_name().is_none() {
            return refused("it is a folder".to_owned());
        }
        // Renaming a file over a device or a pipe would replace it.
        if fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return refused("it is not a regular file".to_owned());
        }
        let folder = self.folder();
        match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
            Ok(()) if folder.is_dir() => Ok(()),
            Ok(()) => refused(format!("{} is not a folder", folder.display())),
            Err(error) => refused(format!("{}: {}", folder.display(), io::Error::from(error))),
        }
    }

    /// Refuses more volumes than readers accept.
    pub(crate) fn check_count(&self, length: u64) -> Result<(), BundleError> {
        let count = self.volume.filter(|volume| *volume > 0).map_or(1, |volume| length.div_ceil(volume));
        let limit = volumes::MAX_VOLUMES;
        if count > limit as u64 { Err(BundleError::TooManyVolumes { count, limit }) } else { Ok(()) }
    }

    /// The files of a bundle of `length` bytes, which passed [`Output::check_count`].
    pub(crate) fn files(&self, length: u64) -> Vec<OutputFile> {
        let Some(volume) = self.volume.filter(|volume| *volume > 0) else {
            return vec![self.file(0, length)];
        };
        let count = length.div_ceil(volume).max(1);
        (0..count).map(|number| self.file(number, volume.min(length - number * volume))).collect()
    }

    fn file(&self, number: u64, size: u64) -> OutputFile {
        let whole = match self.volume {
            None => self.path.clone(),
            Some(_) => with_suffix(&self.path, &format!(".{:03}", number + 1)),
        };
        OutputFile { partial: with_suffix(&whole, ".partial"), whole, size }
    }

    /// The files that an earlier run left unfinished, in order, with their current sizes.
    pub(crate) fn unfinished(&self) -> Vec<OutputFile> {
        let numbers = 0..if self.volume.is_some() { u64::MAX } else { 1 };
        let file = |number| {
            let file = self.file(number, 0);
            let size = fs::symlink_metadata(&file.partial).ok().filter(fs::Metadata::is_file)?.len();
            Some(OutputFile { size, ..file })
        };
        numbers.map_while(file).collect()
    }

    /// Removes unneeded unfinished files. Blocks.
    pub(crate) fn discard_unfinished(&self) -> Result<(), BundleError> {
        let files = self.unfinished();
        // Something else that has this name stays, also if it cannot be read.
        let is_ours = |path: &Path| match File::open(path) {
            Ok(file) => may_be_unfinished(&file).unwrap_or(false),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if files.first().is_some_and(|file| !is_ours(&file.partial)) {
            return Ok(());
        }
        files.iter().try_for_each(|file| remove(&file.partial))?;
        remove(&self.journal())
    }

    /// The journal of blobs that are moved within the file.
    pub(crate) fn journal(&self) -> PathBuf {
        with_suffix(&self.path, ".partial.moves")
    }

    /// The index of the volumes.
    pub(crate) fn index(&self) -> PathBuf {
        with_suffix(&self.path, volumes::SUFFIX)
    }

    /// The folder of the output.
    pub(crate) fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

/// The path with a suffix.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a file for reading and writing, creates it if necessary, and locks it against other runs. Its name is
/// predictable, so in a shared folder another user may have put a link there: it is not followed.
pub(crate) fn open_alone(path: &Path) -> Result<File, BundleError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let unwritable = |error| BundleError::unwritable(path, error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(|error| if is_link(path) { irregular("it is a symbolic link") } else { error })
        .map_err(unwritable)?;
    if !file.metadata().map_err(unwritable)?.is_file() {
        return Err(unwritable(irregular("it is not a regular file")));
    }
    match file.try_lock() {
        // Between opening and locking, the run that held the lock may have finished and renamed the file.
        Ok(()) if !is_at(&file, path).map_err(unwritable)? => {
            Err(BundleError::Busy { path: path.to_owned() })
        }
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(BundleError::Busy { path: path.to_owned() }),
        // A file system without locks cannot prevent two runs at once.
        Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(fs::TryLockError::Error(error)) => Err(unwritable(error)),
    }
}

/// Refuses to write to a file that is not the beginning of an unfinished bundle: it is somebody's file that happens to
/// have this name.
pub(crate) fn check_unfinished(file: &File, path: &Path) -> Result<(), BundleError> {
    let unwritable = |error| BundleError::unwritable(path, error);
    if may_be_unfinished(file).map_err(unwritable)? {
        return Ok(());
    }
    Err(unwritable(irregular("it is not an unfinished bundle")))
}

/// Whether its beginning is empty, a tar header, or the name of a bundle's first entry. Damage that spares neither leaves
/// nothing to resume.
fn may_be_unfinished(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut head = [0; 512];
    let read = file.read_at(&mut head, 0)?;
    let head = head.get(..read).unwrap_or_default();
    let is_archive = head.get(257..262) == Some(b"ustar") || head.starts_with(b"oci-layout\0");
    Ok(is_archive || head.iter().all(|byte| *byte == 0))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

fn irregular(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Whether this name still refers to the open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let opened = file.metadata()?;
    Ok(fs::symlink_metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())))
}

/// Writes a small file atomically, by way of a temporary name.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let name = Name::Fixed(with_suffix(path, ".partial"));
    let mut file = AtomicFile::create(path, name, Readers::Everyone)?;
    file.write_all(bytes)?;
    file.replace()
}

/// Removes the index of an older set of volumes before new volumes take their names. Returns the older volumes.
pub(crate) fn forget_index(path: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let read = fs::read(path).ok().and_then(|bytes| VolumeSet::from_slice(&bytes).ok());
    remove(path)?;
    let index = path.file_name().unwrap_or_default().to_string_lossy();
    let ours = index.strip_suffix(volumes::SUFFIX).unwrap_or_default();
    let volumes = read.into_iter().flat_map(|set| set.volumes);
    // An index may come from anywhere: only volumes of this output are removed.
    let is_ours = |name: &str| {
        let number = name.strip_prefix(ours).and_then(|rest| rest.strip_prefix('.'));
        number.is_some_and(|number| number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let volumes = volumes.filter(|volume| is_ours(&volume.name));
    Ok(volumes.map(|volume| path.with_file_name(volume.name)).collect())
}

/// Removes a file if it exists.
pub(crate) fn remove(path: &Path) -> Result<(), BundleError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BundleError::unwritable(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_slices_of_the_whole() {
        let output = Output { path: "a/thoras.tar".into(), volume: Some(10) };
        let sizes = |length| output.files(length).iter().map(|file| file.size).collect::<Vec<_>>();
        assert_eq!(sizes(25), [10, 10, 5]);
        assert_eq!(sizes(20), [10, 10]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(output.files(25)[2].partial, Path::new("a/thoras.tar.003.partial"));
        let single = Output { volume: None, ..output };
        assert_eq!(single.files(25).len(), 1);
        assert_eq!(single.files(25)[0].whole, Path::new("a/thoras.tar"));
        assert_eq!(single.journal(), Path::new("a/thoras.tar.partial.moves"));
    }

    #[test]
    fn a_link_at_a_predictable_name_is_not_followed_bug() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let output = Output { path: folder.path().join("thoras.tar"), volume: None };
        let partial = output.files(10).remove(0).partial;
        std::os::unix::fs::symlink(&victim, &partial).unwrap();
        assert_eq!(output.unfinished(), []);
        let error = open_alone(&partial).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "it is a symbolic link");
        // A link to a file that does not exist creates none.
        let absent = folder.path().join("absent");
        fs::remove_file(&partial).unwrap();
        std::os::unix::fs::symlink(&absent, &partial).unwrap();
        open_alone(&partial).unwrap_err();
        assert!(!absent.exists());
        std::os::unix::fs::symlink(&victim, with_suffix(&output.index(), ".partial")).unwrap();
        write_whole(&output.index(), b"index").unwrap();
        assert_eq!(fs::read(output.index()).unwrap(), b"index");
        assert!(fs::symlink_metadata(output.index()).unwrap().is_file());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_file_of_another_kind_at_a_predictable_name_is_neither_written_nor_removed_bug() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output { path: folder.path().join("thoras.tar"), volume: None };
        let partial = output.files(10).remove(0).partial;
        let header = |name: &str, magic: &str| {
            let mut block = [0; 512];
            block[..name.len()].copy_from_slice(name.as_bytes());
            block[257..257 + magic.len()].copy_from_slice(magic.as_bytes());
            block.to_vec()
        };
        for (content, ours) in [
            (b"notes\n".to_vec(), false),
            (b"\x89PNG".repeat(500), false),
            (Vec::new(), true),
            (vec![0; 4096], true),
            (header("oci-layout", "ustar"), true),
            (header("oci-layout", "usuar"), true),
            (header("nci-layout", "ustar"), true),
        ] {
            fs::write(&partial, &content).unwrap();
            let checked = check_unfinished(&open_alone(&partial).unwrap(), &partial);
            assert_eq!(checked.is_ok(), ours, "{content:?}");
            if let Err(error) = checked {
                assert!(error.hint().unwrap().starts_with("remove it if it is not needed"));
            }
            output.discard_unfinished().unwrap();
            assert_eq!(fs::read(&partial).ok(), (!ours).then_some(content));
        }
    }

    #[test]
    fn two_runs_never_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.partial");
        let first = open_alone(&path).unwrap();
        assert!(matches!(open_alone(&path), Err(BundleError::Busy { .. })));
        drop(first);
        open_alone(&path).unwrap();
    }
}
