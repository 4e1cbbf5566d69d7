//! The part of verification that needs cryptography, in a build without it: every policy that needs it is refused.

use super::{
    attached::SignatureKind, files::TrustFiles, policy::Requirement, rejection::Reason, verdict::Signer,
};
use crate::{
    error::{Failure, Kind},
    oci::Digest,
};

pub(super) struct Loader;

/// Has no value.
pub(super) enum Authority {}

impl Loader {
    pub(super) fn new(_: TrustFiles) -> Self {
        Self
    }

    pub(super) fn authorities(
        &mut self,
        requirement: &Requirement,
    ) -> Result<Option<Vec<Authority>>, Failure> {
        match requirement {
            Requirement::Unsigned | Requirement::Notation(_) => Ok(None),
            Requirement::Keys(_) | Requirement::Identity(_) => {
                Err(Failure::new(Kind::Usage, "this build of thoras-mirror cannot verify signatures")
                    .with_hint("use a build with the cargo feature verify-signatures"))
            }
        }
    }
}

impl Authority {
    pub(super) fn verify(&self, _: &SignatureKind, _: &Digest) -> Result<Signer, Reason> {
        match *self {}
    }
}

pub(super) fn is_bundle(_: &[u8]) -> bool {
    false
}
