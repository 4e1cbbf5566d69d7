//! A policy with its keys loaded, applied to images.

use std::{fmt, sync::Arc};

use super::{
    Attached, Verdict,
    attached::{Signature, SignatureKind},
    files::TrustFiles,
    notation::{NotationAnswer, NotationProgram, NotationQuestion, NotationTrust},
    policy::{Policy, Requirement, UnlistedImages},
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
    /// For each rule of the policy, in its order.
    accepted: Vec<Accepted>,
    notation: Option<Arc<dyn NotationProgram>>,
}

/// The signatures that a rule accepts.
enum Accepted {
    /// The rule requires none.
    NotRequired,
    /// One of these.
    By(Vec<Authority>),
    /// Those that notation accepts.
    Notation(NotationTrust),
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

    /// Reads them, taking those that are among `files` from there.
    pub(crate) fn with_files(policy: Policy, files: TrustFiles) -> Result<Self, Failure> {
        let by_notation = policy.rules.iter().map(|rule| match &rule.requirement {
            Requirement::Notation(required) => NotationTrust::load(required, &files).map(Some),
            _ => Ok(None),
        });
        let by_notation = by_notation.collect::<Result<Vec<_>, _>>()?;
        let mut loader = Loader::new(files);
        let accepted = policy.rules.iter().zip(by_notation).map(|(rule, by_notation)| match by_notation {
            Some(trust) => Ok(Accepted::Notation(trust)),
            None => Ok(loader.authorities(&rule.requirement)?.map_or(Accepted::NotRequired, Accepted::By)),
        });
        let accepted = accepted.collect::<Result<_, Failure>>()?;
        Ok(Self { policy, accepted, notation: None })
    }

    /// Verifies signatures of the Notary Project with this program.
    #[must_use]
    pub(crate) fn with_notation(self, program: Arc<dyn NotationProgram>) -> Self {
        Self { notation: Some(program), ..self }
    }

    /// Whether a verdict on this image depends on its attachments.
    #[must_use]
    pub fn needs_signature(&self, image: &Reference) -> bool {
        self.accepted_for(image).is_ok()
    }

    /// What notation must trust, if this image needs a signature that notation accepts.
    pub(crate) fn notation_trust(&self, image: &Reference) -> Option<&NotationTrust> {
        match self.accepted_for(image) {
            Ok(Accepted::Notation(trust)) => Some(trust),
            _ => None,
        }
    }

    /// Lets notation verify one signature.
    pub(crate) async fn ask_notation(&self, question: NotationQuestion<'_>) -> NotationAnswer {
        match &self.notation {
            Some(program) => program.verify(question).await,
            None => NotationAnswer::Missing,
        }
    }

    /// Verifies the attachments of an image. `image` is the name for which the policy has rules; `subject` is the
    /// digest of its manifest. `attached` may hold anything, in any order. Signatures of the Notary Project do not
    /// count here.
    pub fn verify(&self, image: &Reference, subject: &Digest, attached: &[Attached]) -> Verdict {
        let authorities = match self.accepted_for(image) {
            Ok(Accepted::By(authorities)) => authorities,
            Ok(Accepted::Notation(_)) => return Verdict::Unsigned,
            Ok(Accepted::NotRequired) => return Verdict::NotRequired,
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

    /// What an image needs, or the verdict if that does not depend on signatures.
    fn accepted_for(&self, image: &Reference) -> Result<&Accepted, Verdict> {
        match self.policy.position(image).and_then(|position| self.accepted.get(position)) {
            Some(Accepted::NotRequired) => Err(Verdict::NotRequired),
            Some(accepted) => Ok(accepted),
            None => Err(match self.policy.otherwise {
                UnlistedImages::Allow => Verdict::NotRequired,
                UnlistedImages::Require => Verdict::NoRule,
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
