//! What the signatures of an image prove.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rejection::Rejection;
use crate::{
    error::{Failure, Kind},
    oci::{Digest, Reference},
};

/// What the signatures of an image prove.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// One of them satisfies the policy.
    Verified {
        /// The attached manifest that holds it.
        manifest: Digest,
        /// Who made it.
        signer: Signer,
    },
    /// The policy requires no signature of this image.
    NotRequired,
    /// The policy requires a signature of every image, but has no rule for this one.
    NoRule,
    /// The image has no signature.
    Unsigned,
    /// It has signatures, and none of them satisfies the policy.
    Rejected(Vec<Rejection>),
    /// It has signatures, but what verifies them could not be run.
    Unverifiable {
        /// Why.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

/// Who made a signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Signer {
    /// The owner of a key.
    Key {
        /// The file of the public key.
        #[serde(rename = "key")]
        file: String,
    },
    /// The subject of a certificate.
    Identity {
        /// An email address or a URI.
        #[serde(rename = "identity")]
        subject: String,
        /// The issuer that vouched for it.
        issuer: String,
    },
    /// The owner of a certificate, according to notation.
    Notation {
        /// The files of the authorities and, unless all of their certificates are accepted, the identities.
        #[serde(rename = "notation")]
        trusted: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { file } => write!(formatter, "key {file}"),
            Self::Identity { subject, issuer } => write!(formatter, "{subject} (issuer {issuer})"),
            Self::Notation { trusted } => write!(formatter, "notation ({trusted})"),
        }
    }
}

impl Verdict {
    /// The failure that the verdict means for an image, if any. `kind` decides the exit code: [`Kind::Integrity`] where
    /// the image would be copied, [`Kind::Difference`] in `verify`.
    #[must_use]
    pub fn failure(&self, image: &Reference, subject: &Digest, kind: Kind) -> Option<Failure> {
        let fail = |what: &str| Failure::new(kind, format!("{image} {what}"));
        match self {
            Self::Verified { .. } | Self::NotRequired => None,
            Self::NoRule => Some(fail("matches no rule of the policy, which requires signatures").with_hint(
                "add a rule for it to the file of --verify-policy: a key, an identity, or `unsigned: true`",
            )),
            Self::Unsigned => Some(
                Failure {
                    causes: vec![format!("no manifest attached to {subject} is a signature")],
                    ..fail("is not signed")
                }
                .with_hint(
                    "ask the publisher whether and where the image is signed; \
                         --verify-policy can exempt it with `unsigned: true`",
                ),
            ),
            Self::Unverifiable { reason, remedy } => Some(
                Failure { causes: vec![reason.clone()], ..fail("cannot be verified") }.with_hint(*remedy),
            ),
            Self::Rejected(rejections) => {
                let what = match rejections.len() {
                    1 => "has one signature, which is rejected".to_owned(),
                    count => format!("has no acceptable signature: all {count} are rejected"),
                };
                let mut failure = fail(&what);
                for Rejection { manifest, reason } in rejections {
                    let cause = Failure::new(kind, format!("signature {}: {reason}", manifest.short()));
                    failure.causes.push(cause.message);
                }
                Some(failure.with_optional_hint(advice(rejections)))
            }
        }
    }
}

/// What to do about the signature that came closest, which says most about what to change.
fn advice(rejections: &[Rejection]) -> Option<String> {
    rejections
        .iter()
        .map(|rejection| &rejection.reason)
        .max_by_key(|reason| reason.progress())
        .map(|reason| reason.remedy().to_owned())
}
