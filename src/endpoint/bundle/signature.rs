//! The signature of a bundle: of the bytes of its `index.json`, which name everything else by digest.
//!
//! It is in a file of its own, so it is known before the bundle is opened, and it is checked before anything but the
//! index is read.

use std::path::{Path, PathBuf};

use super::{error::BundleError, output::with_suffix, volumes};
use crate::signing::{KeyError, PublicKey};

/// The suffix of a signature's name.
pub(crate) const SUFFIX: &str = ".sig";

/// A key, and the signature that it must have made of a bundle's `index.json`.
#[derive(Debug, Clone)]
pub struct IndexSignature {
    key: PublicKey,
    signature: Vec<u8>,
}

impl IndexSignature {
    /// A public key in PEM, and the content of a file that `cosign sign-blob` or `bundle export` wrote.
    ///
    /// # Errors
    /// When the key is not a public key.
    pub fn new(key: &[u8], signature: Vec<u8>) -> Result<Self, KeyError> {
        Ok(Self::with_key(PublicKey::from_pem(key)?, signature))
    }

    /// The same with a key that has been read.
    pub(crate) fn with_key(key: PublicKey, signature: Vec<u8>) -> Self {
        Self { key, signature }
    }

    /// Fails if these bytes are not those that were signed.
    pub(crate) fn check(&self, index: &[u8]) -> Result<(), BundleError> {
        if self.key.verifies(index, &self.signature) { Ok(()) } else { Err(BundleError::Signature) }
    }
}

/// Checks the signature if one is required.
pub(super) fn check(required: Option<&IndexSignature>, index: &[u8]) -> Result<(), BundleError> {
    required.map_or(Ok(()), |signature| signature.check(index))
}

/// Where the signature of this file or folder may be: in the same folder, and for a volume or the index of volumes under
/// the name of the whole bundle.
pub(crate) fn signature_files(path: &Path) -> Vec<PathBuf> {
    // Without the slash at the end of a folder.
    let path: PathBuf = path.components().collect();
    let name = path.to_string_lossy();
    let is_volume = path
        .extension()
        .and_then(|end| end.to_str())
        .is_some_and(|end| end.len() >= 3 && end.bytes().all(|byte| byte.is_ascii_digit()));
    let whole = match name.strip_suffix(volumes::SUFFIX) {
        Some(whole) => Some(PathBuf::from(whole)),
        None => is_volume.then(|| path.with_extension("")),
    };
    whole.into_iter().chain([path.clone()]).map(|path| with_suffix(&path, SUFFIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_volumes_has_one_signature() {
        let shown = |path: &str| {
            let names = signature_files(Path::new(path)).into_iter();
            names.map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(shown("a/b.tar"), ["a/b.tar.sig"]);
        assert_eq!(shown("a/layout/"), ["a/layout.sig"]);
        assert_eq!(shown("b.tar.002"), ["b.tar.sig", "b.tar.002.sig"]);
        assert_eq!(shown("b.tar.volumes.json"), ["b.tar.sig", "b.tar.volumes.json.sig"]);
    }
}
