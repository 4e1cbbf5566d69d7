//! Runs that write the same lock at the same time: each keeps what the others recorded meanwhile.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
    time::Duration,
};

use crate::atomic_file::folder_of;

/// How often to try, and the pause between tries. A run holds the folder only while it reads and writes a lock.
const ATTEMPTS: usize = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// Which file is at a lock's path. A run replaces it with another file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockVersion(Option<[i128; 5]>);

impl LockVersion {
    /// The current version. A missing file counts as one.
    pub(crate) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| {
            let [device, inode, size] = [found.dev(), found.ino(), found.size()].map(i128::from);
            [device, inode, size, found.mtime().into(), found.mtime_nsec().into()]
        }))
    }
}

/// While it exists, no other run writes a lock in this folder. It leaves no file behind, and it holds up no run for
/// long: not on a file system without locks, and not if another program keeps the folder locked.
#[derive(Debug)]
pub(crate) struct OneWriter {
    _folder: Option<File>,
}

impl OneWriter {
    pub(crate) fn beside(path: &Path) -> Self {
        let folder = File::open(folder_of(path)).ok();
        if let Some(folder) = &folder {
            for _ in 0..ATTEMPTS {
                if !matches!(folder.try_lock(), Err(TryLockError::WouldBlock)) {
                    break;
                }
                thread::sleep(PAUSE);
            }
        }
        Self { _folder: folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_another_version_and_an_untouched_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let absent = LockVersion::of(&path);
        fs::write(&path, "a").unwrap();
        let first = LockVersion::of(&path);
        assert_ne!(absent, first);
        assert_eq!(first, LockVersion::of(&path));
        let other = folder.path().join("other");
        fs::write(&other, "b").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(first, LockVersion::of(&path));
    }

    #[test]
    fn one_writer_leaves_no_file_and_lets_the_next_one_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let writer = OneWriter::beside(&path);
        let other = File::open(folder.path()).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(writer);
        other.try_lock().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // Without a folder there is nothing to wait for: writing the lock reports it.
        drop(OneWriter::beside(Path::new("/no/such/folder/a.lock")));
    }
}
