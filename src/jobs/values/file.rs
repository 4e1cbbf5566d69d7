//! Writes the values file: whole or not at all, and over an existing file only if that was asked for.

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::error::{Failure, Kind};

/// Refuses an existing file early, before the chart is rendered.
pub(super) fn check(path: &Path, force: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(unwritable(path, &io::Error::from(io::ErrorKind::IsADirectory)));
    }
    if force || path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(exists(path))
}

fn exists(path: &Path) -> Failure {
    Failure::new(Kind::Usage, format!("{} exists", path.display()))
        .with_hint("pass --force to overwrite it, or another --write FILE")
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::Usage, format!("cannot write {}: {error}", path.display()))
}

/// Writes the file; only its owner may read it if it contains a password.
pub(super) fn write(path: &Path, text: &[u8], force: bool, is_secret: bool) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mode = if is_secret { 0o600 } else { 0o666 };
    let mut builder = tempfile::Builder::new();
    // The process's umask applies.
    builder.prefix(".thoras-mirror-values-").permissions(Permissions::from_mode(mode));
    let failed = |error: io::Error| unwritable(path, &error);
    let mut beside = builder.tempfile_in(folder).map_err(failed)?;
    beside.write_all(text).map_err(failed)?;
    beside.as_file().sync_all().map_err(failed)?;
    let persisted = if force { beside.persist(path) } else { beside.persist_noclobber(path) };
    match persisted {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(failed(error.error)),
    }
}
