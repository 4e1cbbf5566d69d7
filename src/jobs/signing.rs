//! Signature files of bundles and receipts: written to the same folder, and read from there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::write_file::{Readers, check_absent, write_file};
use crate::{
    endpoint::bundle::{IndexSignature, SIGNATURE_SUFFIX, signature_files, with_suffix},
    error::{Failure, Kind, escape, hide_logins},
    request::RequiredSignature,
    signing::{MAX_SIGNATURE_SIZE, PrivateKey, is_signature},
};

/// A key, and the file that its signature is written to.
pub(super) struct Signer {
    key: PrivateKey,
    path: PathBuf,
}

impl Signer {
    /// Fails early if the file cannot be written, or is something else than an older signature.
    pub(super) fn prepare(key: PrivateKey, path: PathBuf, overwrite: bool) -> Result<Self, Failure> {
        let replaces_signature = read(&path).is_ok_and(|found| is_signature(&found));
        check_absent(&path, overwrite || replaces_signature)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            let message = format!("cannot write {}: {} is not a folder", path.display(), folder.display());
            return Err(
                Failure::new(Kind::Usage, message).with_hint("create the folder, or name another file")
            );
        }
        Ok(Self { key, path })
    }

    /// Signs. A signature of these bytes by this key that exists is kept: two signatures of one message may differ.
    pub(super) fn sign(&self, message: &[u8]) -> Result<PathBuf, Failure> {
        let is_signed = read(&self.path).is_ok_and(|found| self.key.public().verifies(message, &found));
        if !is_signed {
            let signature = self
                .key
                .sign(message)
                .map_err(|error| Failure::new(Kind::Image, format!("cannot sign: {error}")))?;
            write_file(&self.path, &signature, Readers::Everyone, true)?;
        }
        Ok(self.path.clone())
    }
}

/// The signature that a bundle must have. Fails if there is none. No path: the bundle comes from standard input.
pub(super) fn of_bundle(
    required: Option<&RequiredSignature>,
    paths: &[PathBuf],
) -> Result<Option<IndexSignature>, Failure> {
    let Some(required) = required else { return Ok(None) };
    let key = required.read_key()?;
    let beside: Vec<PathBuf> = match &required.signature {
        Some(path) => vec![path.clone()],
        None => paths.iter().flat_map(|path| signature_files(path)).collect(),
    };
    let signature = first_of(&beside, paths)?;
    Ok(Some(IndexSignature::with_key(key, signature)))
}

/// Fails if the file, which has these bytes, has no valid signature in its folder.
pub(super) fn check_file(required: &RequiredSignature, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let key = required.read_key()?;
    let signature = first_of(&[with_suffix(path, SIGNATURE_SUFFIX)], &[path.to_owned()])?;
    if key.verifies(bytes, &signature) {
        return Ok(());
    }
    let message = format!("the signature does not match {} and this key", path.display());
    Err(Failure::new(Kind::Integrity, message).with_hint(
        "copy the file and its signature again from where they were written, or pass the key that belongs to them",
    ))
}

/// The first of these files that exists.
fn first_of(candidates: &[PathBuf], signed: &[PathBuf]) -> Result<Vec<u8>, Failure> {
    let shown = |path: &Path| escape(&hide_logins(&path.display().to_string()));
    for path in candidates {
        match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => {
                return read.map_err(|error| {
                    Failure::new(
                        Kind::Integrity,
                        format!("cannot read the signature {}: {error}", shown(path)),
                    )
                });
            }
        }
    }
    let what = signed.first().map_or_else(|| "standard input".to_owned(), |path| shown(path));
    let missing = candidates.first().map(|path| shown(path)).unwrap_or_default();
    Err(Failure::new(Kind::Integrity, format!("{what} has no signature: {missing} does not exist")).with_hint(
        "nothing was read: copy the signature from where the bundle was written, or name it with --signature FILE",
    ))
}

/// A signature file. A larger file is not one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    if path.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_SIGNATURE_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
