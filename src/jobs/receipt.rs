//! The file of a receipt: what an import did.

use std::{fs, io, path::PathBuf};

use super::{
    signing::Signer,
    write_file::{Readers, check_absent, write_file},
};
use crate::{
    endpoint::bundle::{SIGNATURE_SUFFIX, with_suffix},
    error::{Failure, Kind},
    lock::{MAX_RECEIPT_SIZE, Receipt},
    oci::Digest,
    request,
};

/// A receipt that will be written when the import ends.
pub(super) struct ReceiptFile {
    path: PathBuf,
    signer: Option<Signer>,
    /// The bundle of the receipt that exists.
    earlier: Option<Digest>,
    force: bool,
}

impl ReceiptFile {
    /// Fails early: if the key cannot be read, or a file that is not a receipt would be replaced.
    pub(super) fn prepare(request: &request::Receipt) -> Result<Self, Failure> {
        let request::Receipt { path, key, force } = request;
        let found = match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() <= MAX_RECEIPT_SIZE => fs::read(path),
            Ok(_) => Ok(b"not a receipt".to_vec()),
            Err(error) => Err(error),
        };
        let earlier = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => {
                found.ok().and_then(|bytes| Receipt::from_slice(&bytes).ok()).map(|receipt| receipt.bundle)
            }
        };
        let is_empty = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0);
        check_absent(path, *force || earlier.is_some() || is_empty)?;
        let signature = with_suffix(path, SIGNATURE_SUFFIX);
        let signer = key.as_ref().map(|key| Signer::prepare(key.read()?, signature, *force)).transpose()?;
        Ok(Self { path: path.clone(), signer, earlier, force: *force })
    }

    /// Refuses to replace the receipt of another bundle.
    pub(super) fn check_replaces(&self, bundle: &Digest) -> Result<(), Failure> {
        match &self.earlier {
            Some(earlier) if earlier != bundle && !self.force => {
                let message =
                    format!("{} exists and is the receipt of bundle {earlier}", self.path.display());
                Err(Failure::new(Kind::Usage, message).with_hint(
                    "nothing was copied: name another file with --receipt, or pass --force to replace it",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Writes the receipt, and its signature.
    pub(super) fn write(&self, receipt: &Receipt) -> Result<(), Failure> {
        let bytes = receipt.to_bytes();
        write_file(&self.path, &bytes, Readers::Everyone, true)?;
        self.signer.as_ref().map_or(Ok(()), |signer| signer.sign(&bytes).map(drop))
    }
}
