//! The only module that uses `sigstore-verify`: keys, trusted roots, and the verification of one signature.
//!
//! - [`loader`] reads keys and trusted roots;
//! - [`bundle`] verifies Sigstore bundles;
//! - [`simple_signing`] turns an entry of a `.sig` tag into a bundle of version 0.1, so that the same code verifies it;
//! - [`without_log`] verifies signatures by keys that are in no transparency log, which `sigstore-verify` refuses;
//! - [`errors`] translates its errors.

mod bundle;
mod errors;
mod loader;
mod simple_signing;
mod without_log;

use std::sync::Arc;

use sigstore_verify::{
    PublicKeyVerificationPolicy, VerificationPolicy, Verifier as SigstoreVerifier,
    types::{Bundle, DerPublicKey, MediaType},
};

pub(super) use self::loader::Loader;
use super::{
    attached::SignatureKind, policy::Identity, rejection::Reason, verdict::Signer, verifier::content,
};
use crate::oci::{Algorithm, Digest};

/// A signer whose signature is accepted.
pub(super) enum Authority {
    /// The owner of a key.
    Key(Key),
    /// The subject of a certificate.
    Identity(Box<Identity>, Arc<SigstoreVerifier>),
}

/// A public key.
pub(super) struct Key {
    /// For messages.
    file: String,
    public: DerPublicKey,
    /// Verifies the entry in a transparency log; `None` if none is required.
    log: Option<Arc<SigstoreVerifier>>,
}

impl Authority {
    /// Verifies one signature of the manifest with this digest.
    pub(super) fn verify(&self, signature: &SignatureKind, subject: &Digest) -> Result<Signer, Reason> {
        if subject.algorithm() != Algorithm::Sha256 {
            return Err(Reason::Unsupported("cosign signs only images with a sha256 digest".to_owned()));
        }
        match signature {
            SignatureKind::Bundle(json) => {
                let bundle = parse_bundle(content(json.as_ref())?)?;
                bundle::verify(self, bundle, subject)
            }
            SignatureKind::SimpleSigning(entry) => simple_signing::verify(self, entry, subject),
        }
    }
}

impl Key {
    fn policy(&self) -> PublicKeyVerificationPolicy {
        PublicKeyVerificationPolicy::new(self.public.clone())
    }

    fn signer(&self) -> Signer {
        Signer::Key { file: self.file.clone() }
    }
}

/// What a certificate must be, apart from its subject and issuer, which [`Identity`] judges.
fn certificate_policy(identity: &Identity) -> VerificationPolicy {
    let any = VerificationPolicy::any_identity();
    if identity.ignore_certificate_log { any.skip_sct() } else { any }
}

/// Whether cosign would try to verify this as a bundle.
pub(super) fn is_bundle(json: &[u8]) -> bool {
    parse_bundle(json).is_ok()
}

fn parse_bundle(json: &[u8]) -> Result<Bundle, Reason> {
    let text = str::from_utf8(json).map_err(|_| Reason::Unreadable("it is not UTF-8".to_owned()))?;
    let bundle = Bundle::from_json(text).map_err(|error| Reason::Unreadable(error.to_string()))?;
    match bundle.media_type() {
        MediaType::Bundle0_3 => Ok(bundle),
        older => {
            Err(Reason::Unsupported(format!("cosign stores bundles of version 0.3 or later, not {older}")))
        }
    }
}
