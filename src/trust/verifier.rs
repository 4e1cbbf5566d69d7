//! A policy with its keys loaded, applied to images.

use std::fmt;

use super::{
    Attached, Verdict,
    attached::{Signature, SignatureKind},
    files::TrustFiles,
    policy::{Otherwise, Policy},
    rejection::{Reason, Rejection},
    sigstore::{Authority, Loader},
};
use crate::{
    error::Failure,
    oci::{Digest, Reference},
};

/// A policy with its keys and trusted roots loaded.
pub struct Verifier {
    policy: Policy,
    /// For each rule of the policy, in its order; `None` if the rule requires no signature.
    authorities: Vec<Option<Vec<Authority>>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Verifier").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads the keys and trusted roots that a policy names.
    pub fn new(policy: Policy) -> Result<Self, Failure> {
        Self::with_files(policy, TrustFiles::default())
    }

    /// The same; some of what the policy names is among these files.
    pub(crate) fn with_files(policy: Policy, files: TrustFiles) -> Result<Self, Failure> {
        let mut loader = Loader::new(files);
        let load = policy.rules.iter().map(|rule| loader.authorities(&rule.requirement));
        let authorities = load.collect::<Result<_, _>>()?;
        Ok(Self { policy, authorities })
    }

    /// Whether a verdict on this image depends on what is attached to it.
    #[must_use]
    pub fn needs_signature(&self, image: &Reference) -> bool {
        self.authorities_for(image).is_ok()
    }

    /// Verifies what is attached to an image. `image` is the name for which the policy has rules; `subject` is the digest
    /// of its manifest. `attached` may hold anything, in any order.
    pub fn verify(&self, image: &Reference, subject: &Digest, attached: &[Attached]) -> Verdict {
        let authorities = match self.authorities_for(image) {
            Ok(authorities) => authorities,
            Err(verdict) => return verdict,
        };
        let mut rejections = Vec::new();
        for signature in applicable(attached) {
            for authority in authorities {
                match authority.verify(&signature.kind, subject) {
                    Ok(signer) => return Verdict::Verified { manifest: signature.manifest, signer },
                    Err(reason) => {
                        rejections.push(Rejection { manifest: signature.manifest.clone(), reason });
                    }
                }
            }
        }
        rejections.dedup();
        if rejections.is_empty() { Verdict::Unsigned } else { Verdict::Rejected(rejections) }
    }

    /// Those of which an image needs one, or the verdict if that does not depend on signatures.
    fn authorities_for(&self, image: &Reference) -> Result<&[Authority], Verdict> {
        match self.policy.position(image).and_then(|position| self.authorities.get(position)) {
            Some(Some(authorities)) => Ok(authorities),
            Some(None) => Err(Verdict::NotRequired),
            None => Err(match self.policy.otherwise {
                Otherwise::Allow => Verdict::NotRequired,
                Otherwise::Require => Verdict::NoRule,
            }),
        }
    }
}

/// The signatures that count. As in cosign 3, those of the older format count only if there is no readable bundle.
fn applicable(attached: &[Attached]) -> Vec<Signature> {
    let all: Vec<Signature> = attached.iter().flat_map(Attached::signatures).collect();
    let is_bundle = |signature: &Signature| matches!(signature.kind, SignatureKind::Bundle(_));
    let has_bundle = all.iter().any(|signature| is_readable_bundle(&signature.kind));
    all.into_iter().filter(|signature| !has_bundle || is_bundle(signature)).collect()
}

fn is_readable_bundle(kind: &SignatureKind) -> bool {
    matches!(kind, SignatureKind::Bundle(Some(json)) if super::sigstore::is_bundle(json))
}

/// The bytes of a layer, if they were read and are the ones in the manifest.
pub(super) fn content(bytes: Option<&bytes::Bytes>) -> Result<&bytes::Bytes, Reason> {
    bytes.ok_or_else(|| Reason::Unreadable("its layer is missing or does not match its digest".to_owned()))
}
