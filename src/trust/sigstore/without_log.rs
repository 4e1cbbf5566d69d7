//! Signatures by keys, without a transparency log.

use sigstore_verify::{
    crypto::{KeyAlgorithm, SigningScheme, verify_signature},
    types::{Bundle, SignatureBytes},
};

use super::{
    Key,
    bundle::{envelope, wrong_key},
};
use crate::trust::rejection::Reason;

/// Verifies the envelope of a bundle.
pub(super) fn verify_envelope(key: &Key, bundle: &Bundle) -> Result<(), Reason> {
    let envelope = envelope(bundle).ok_or_else(|| Reason::Unsupported("it has no envelope".to_owned()))?;
    verify_bytes(key, &envelope.pae(), &envelope.signature.sig)
}

/// Verifies a signature of these bytes.
pub(super) fn verify_bytes(key: &Key, bytes: &[u8], signature: &SignatureBytes) -> Result<(), Reason> {
    let algorithm =
        KeyAlgorithm::from_spki(&key.public).map_err(|error| Reason::Unsupported(error.to_string()))?;
    let verifies = |scheme: &SigningScheme| verify_signature(&key.public, bytes, signature, *scheme).is_ok();
    if schemes(algorithm).iter().any(verifies) { Ok(()) } else { Err(wrong_key(key)) }
}

/// The schemes with which cosign signs. They differ between its versions for P-384: up to version 2 it hashes with
/// SHA-256, which version 3 also verifies, but version 3 signs with SHA-384.
fn schemes(algorithm: KeyAlgorithm) -> Vec<SigningScheme> {
    match algorithm {
        KeyAlgorithm::EcdsaP384 => vec![SigningScheme::EcdsaP384Sha256, SigningScheme::EcdsaP384Sha384],
        other => vec![other.default_signing_scheme()],
    }
}
