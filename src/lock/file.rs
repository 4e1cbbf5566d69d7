//! The lock's file. A new lock is written to a temporary file in the same folder, then renamed.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::fs::OFlags;

use super::{error::LockError, model::Lock, parse};
use crate::{
    atomic_file::{AtomicFile, Name, Readers, folder_of},
    bounded_read,
    error::without_temporary_name,
};

/// The largest lock that is read, in bytes.
pub(super) const MAX_SIZE: u64 = 256 * 1024 * 1024;
/// The prefix of temporary files.
const UNFINISHED: &str = ".thoras-mirror-lock-";
/// How often to create the temporary file again if another run removes it.
const ATTEMPTS: usize = 16;

impl Lock {
    /// Reads a lock.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let mut file = Self::open(path)?;
        // A pipe can be read only once, and a folder not at all.
        if file.metadata().is_ok_and(|found| found.is_file()) {
            return Self::parse_file(&mut file, path);
        }
        Self::parse(&read_all(file, path)?, path)
    }

    /// Reads a lock that must have images: a run on nothing would succeed.
    pub(crate) fn read_with_images(path: &Path) -> Result<Self, LockError> {
        let lock = Self::read(path)?;
        if lock.images.is_empty() { Err(LockError::NoImages(path.to_owned())) } else { Ok(lock) }
    }

    /// Reads the bytes of a lock's file.
    pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, LockError> {
        read_all(Self::open(path)?, path)
    }

    fn open(path: &Path) -> Result<File, LockError> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Absent(path.to_owned()),
            _ => LockError::Unreadable(path.to_owned(), error),
        };
        let size = fs::metadata(path).map_err(unreadable)?.len();
        check_size(size).map_err(unreadable)?;
        File::open(path).map_err(unreadable)
    }
}

fn read_all(file: File, path: &Path) -> Result<Vec<u8>, LockError> {
    bounded_read::read_from(file, MAX_SIZE).map_err(|error| LockError::Unreadable(path.to_owned(), error))
}

/// Refuses a file of more bytes than a lock can have.
fn check_size(size: u64) -> io::Result<()> {
    if size > MAX_SIZE {
        return Err(bounded_read::too_large(MAX_SIZE));
    }
    Ok(())
}

/// A lock that will be written, in a folder that can be written to: a folder without write permission fails before any
/// transfer.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
}

impl LockFile {
    /// Tries to write to the folder, and removes the temporary files of killed runs. Refuses to replace a file that is
    /// not a lock, unless it is empty.
    pub(crate) fn prepare(path: &Path) -> Result<Self, LockError> {
        check_replaceable(path)?;
        let folder = folder_of(path);
        remove_abandoned(folder);
        let unwritable = |error| LockError::Folder {
            path: path.to_owned(),
            folder: folder.to_owned(),
            source: without_temporary_name(error),
        };
        fs::metadata(folder).map_err(unwritable)?;
        // Without a name, so that nothing stays if the process is killed during the transfer.
        drop(tempfile::tempfile_in(folder).map_err(unwritable)?);
        Ok(Self { path: path.to_owned() })
    }

    /// Writes the lock and renames it into place.
    pub(crate) fn write(self, lock: &Lock) -> Result<(), LockError> {
        self.write_with(|out| lock.write_to(out))
    }

    /// Writes the bytes of a lock piece by piece and renames it into place.
    pub(crate) fn write_pieces(
        self,
        mut lock: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(), LockError> {
        self.write_with(|out| lock.try_for_each(|piece| out.write_all(&piece?)))
    }

    fn write_with(
        self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> Result<(), LockError> {
        let path = self.path;
        // Another program may have written the file since the run began.
        check_replaceable(&path)?;
        let unwritable = |error| LockError::Unwritable(path.clone(), error);
        let file = create_for(&path).map_err(unwritable)?;
        let mut out = BufWriter::new(file.file());
        write(&mut out).and_then(|()| out.flush()).map_err(unwritable)?;
        drop(out);
        file.replace().map_err(unwritable)
    }
}

/// Fails if the file is anything other than a lock of a known version.
fn check_replaceable(path: &Path) -> Result<(), LockError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LockError::Unwritable(path.to_owned(), error)),
    };
    if metadata.is_dir() {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(LockError::Unwritable(path.to_owned(), error));
    }
    if !metadata.is_file() {
        return Err(LockError::Unwritable(path.to_owned(), io::Error::other("it is not a regular file")));
    }
    if metadata.len() == 0 {
        return Ok(());
    }
    check_size(metadata.len()).map_err(|error| LockError::Unwritable(path.to_owned(), error))?;
    let unreadable = |error| LockError::Unreadable(path.to_owned(), error);
    let file = File::open(path).map_err(unreadable)?;
    match parse::schema_of(BufReader::new(file)).map_err(unreadable)? {
        Ok(schema) if parse::is_known(&schema) => Ok(()),
        Ok(schema) => Err(LockError::Version { path: path.to_owned(), schema }),
        Err(reason) => Err(LockError::WouldOverwrite(path.to_owned(), reason)),
    }
}

/// Creates a temporary file that is locked until it is closed.
fn create_for(path: &Path) -> io::Result<AtomicFile> {
    for _ in 0..ATTEMPTS {
        let file = AtomicFile::create(path, Name::Random(UNFINISHED), Readers::Everyone)?;
        if claim(file.file(), file.temporary_path()) {
            return Ok(file);
        }
    }
    Err(io::Error::other("another run keeps removing the temporary file"))
}

/// Locks a temporary file. Before it is locked, another run can take it for abandoned and remove it: then `false`. A
/// file system without locks locks nothing.
fn claim(file: &File, path: &Path) -> bool {
    let is_taken = matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock));
    !is_taken && path.exists()
}

/// Removes the temporary files of killed runs: the lock on such a file ended with its process.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if is_unfinished && entry.file_type().is_ok_and(|found| found.is_file()) {
            // Files that cannot be opened, locked or removed stay; they do no harm.
            if let Ok(file) = open_regular(&entry.path())
                && file.try_lock().is_ok()
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Opens a file that was a regular one a moment ago. A link in its place is not followed, a pipe not waited for.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::empty, *};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        LockFile::prepare(&path).unwrap().write(&empty()).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), empty());
        assert_eq!(names(folder.path()), ["a.lock"], "no temporary file remains");
        LockFile::prepare(&path).unwrap().write(&empty()).unwrap();
        assert_eq!(names(folder.path()), ["a.lock"], "a lock is replaced");
        let pieces = [b"bytes of " as &[u8], b"a lock"].into_iter();
        LockFile::prepare(&path)
            .unwrap()
            .write_pieces(pieces.map(|piece| Ok(Bytes::from_static(piece))))
            .unwrap();
        assert_eq!(Lock::read_bytes(&path).unwrap(), b"bytes of a lock");
    }

    #[test]
    fn a_prepared_lock_that_is_not_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(LockFile::prepare(&folder.path().join("a.lock")).unwrap());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    /// A run is killed between these two calls, if ever: the transfer is between them.
    #[test]
    fn a_prepared_lock_has_no_temporary_file_bug() {
        let folder = tempfile::tempdir().unwrap();
        let prepared = LockFile::prepare(&folder.path().join("a.lock")).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        prepared.write(&empty()).unwrap();
        assert_eq!(names(folder.path()), ["a.lock"]);
    }

    #[test]
    fn a_folder_that_takes_no_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none/a.lock"), folder.path().to_owned(), "/dev/null".into()] {
            let error = LockFile::prepare(&path).unwrap_err();
            assert!(matches!(error, LockError::Unwritable(..) | LockError::Folder { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_lock_may_have_256_mib_and_no_byte_more() {
        check_size(268_435_456).unwrap();
        assert_eq!(check_size(268_435_457).unwrap_err().to_string(), "it is larger than 256 MiB");
    }

    #[test]
    fn a_lock_that_does_not_exist_is_absent_and_not_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let absent = Lock::read(&folder.path().join("a.lock")).unwrap_err();
        assert!(matches!(absent, LockError::Absent(_)), "{absent:?}");
        let unreadable = Lock::read(&folder.path().join("a".repeat(300))).unwrap_err();
        assert!(matches!(unreadable, LockError::Unreadable(..)), "{unreadable:?}");
    }

    #[test]
    fn a_path_through_a_file_is_not_a_new_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = check_replaceable(&file.path().join("a.lock")).unwrap_err();
        assert!(matches!(error, LockError::Unwritable(..)), "{error:?}");
    }

    #[test]
    fn a_temporary_file_that_another_run_locked_or_removed_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let create = || tempfile::Builder::new().tempfile_in(folder.path()).unwrap();
        let claim = |beside: &tempfile::NamedTempFile| claim(beside.as_file(), beside.path());
        assert!(claim(&create()));
        let locked = create();
        let other = File::open(locked.path()).unwrap();
        other.lock().unwrap();
        assert!(!claim(&locked));
        let removed = create();
        fs::remove_file(removed.path()).unwrap();
        assert!(!claim(&removed));
    }

    #[test]
    fn neither_a_link_is_followed_nor_a_pipe_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        open_regular(&file).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open_regular(&link).is_err());
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        drop(open_regular(&pipe));
    }

    #[test]
    fn an_unwritable_folder_is_named_and_the_temporary_file_is_not_bug() {
        // The root user may write everywhere but here.
        let error = LockFile::prepare(Path::new("/proc/a.lock")).unwrap_err();
        let failure = error.failure();
        let text = format!("{} {:?}", failure.message, failure.causes);
        assert!(failure.message.contains("/proc/a.lock") && text.contains("/proc"), "{text}");
        assert!(!text.contains(UNFINISHED), "{text}");
    }

    #[test]
    fn a_file_that_is_not_a_lock_is_not_overwritten_bug() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        for other in ["image: nginx\n", "{}", r#"{"schema":"thoras-mirror/run/v1"}"#, "<<<<<<< HEAD\n{"] {
            fs::write(&path, other).unwrap();
            let error = LockFile::prepare(&path).unwrap_err();
            assert!(matches!(error, LockError::WouldOverwrite(..)), "{error:?}");
            let failure = error.failure();
            assert!(failure.message.ends_with("values.yaml exists and is not a thoras-mirror lock file"));
            assert!(failure.hint.unwrap().contains("--lock FILE"));
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        fs::write(&path, r#"{"schema":"thoras-mirror/lock/v9"}"#).unwrap();
        assert!(matches!(LockFile::prepare(&path), Err(LockError::Version { .. })));
        assert_eq!(names(folder.path()), ["values.yaml"]);
        for replaceable in ["", r#"{"schema":"thoras-mirror/lock/v1","damaged":1}"#] {
            fs::write(&path, replaceable).unwrap();
            LockFile::prepare(&path).unwrap();
        }
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_what_others_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let (abandoned, unrelated) = (format!("{UNFINISHED}aB3xYz"), ".thoras-mirror.lock.swp");
        fs::write(folder.path().join(&abandoned), "half a lo").unwrap();
        fs::write(folder.path().join(unrelated), "").unwrap();
        let first = LockFile::prepare(&path).unwrap();
        assert!(!names(folder.path()).contains(&abandoned));
        let second = LockFile::prepare(&path).unwrap();
        second.write(&empty()).unwrap();
        first.write(&empty()).unwrap();
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [unrelated, "a.lock"]);
    }
}
