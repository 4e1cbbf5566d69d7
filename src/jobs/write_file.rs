//! Writes a result to a file instead of standard output, completely or not at all.

use std::{
    io::{self, Write as _},
    path::Path,
};

pub(super) use crate::atomic_file::Readers;
use crate::{
    atomic_file::{AtomicFile, Name},
    error::{Failure, Kind},
};

/// Fails if the path is a folder, or if the file exists and must not be replaced.
pub(super) fn check_absent(path: &Path, overwrite: bool) -> Result<(), Failure> {
    if path.is_dir() {
        let message = format!("cannot write {}: it is a folder", path.display());
        return Err(Failure::new(Kind::Usage, message).with_hint("name a file in it"));
    }
    if overwrite || std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(exists(path))
}

/// Writes a file that becomes visible when it is complete.
pub(super) fn write_file(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
    overwrite: bool,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(Kind::Usage, format!("cannot write {}: {error}", path.display()))
            .with_hint("check that the folder exists and that this user may write to it")
    };
    let mut file = AtomicFile::create(path, Name::Random(".tmp"), readers).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    match if overwrite { file.replace() } else { file.publish() } {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        written => written.map_err(failed),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("{} exists", path.display()))
        .with_hint("pass --force to replace it, or name another file")
}
