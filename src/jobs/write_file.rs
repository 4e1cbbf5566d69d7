//! Writes a result to a file instead of standard output, completely or not at all.

use std::{
    io::{self, Write as _},
    path::Path,
};

use tempfile::Builder;

use crate::error::{Failure, Kind};

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Only this user.
    Owner,
    /// Everyone whom the umask permits.
    Everyone,
}

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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = match readers {
        Readers::Owner => Builder::new().tempfile_in(folder),
        Readers::Everyone => with_default_mode(folder),
    }
    .map_err(failed)?;
    beside.write_all(bytes).map_err(failed)?;
    beside.as_file().sync_all().map_err(failed)?;
    let written = if overwrite { beside.persist(path) } else { beside.persist_noclobber(path) };
    match written {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}

/// A temporary file with the mode of a file that a program creates.
fn with_default_mode(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    Builder::new().permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

fn exists(path: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("{} exists", path.display()))
        .with_hint("pass --force to replace it, or name another file")
}
