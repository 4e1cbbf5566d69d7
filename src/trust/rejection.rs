//! Why a signature was rejected, with hints.

use std::fmt;

use crate::oci::Digest;

/// A signature that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The attached manifest that holds it.
    pub manifest: Digest,
    /// Why.
    pub reason: Reason,
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It cannot be read.
    Unreadable(String),
    /// It is valid, but for something else.
    OtherImage {
        /// What it signs, as written.
        signed: Vec<String>,
    },
    /// It does not verify with the key.
    WrongKey {
        /// The key's file.
        key: String,
    },
    /// It does not verify with its own certificate.
    Altered,
    /// Its certificate names an identity, but the policy names a key.
    HasNoKey,
    /// It was made with a key, but the policy names an identity.
    HasNoIdentity,
    /// Its certificate is for another identity.
    OtherIdentity {
        /// What the policy names.
        expected: String,
        /// What the certificate names.
        found: Option<String>,
    },
    /// Another issuer vouched for its identity.
    OtherIssuer {
        /// What the policy names.
        expected: String,
        /// What the certificate names.
        found: Option<String>,
    },
    /// Its certificate was not valid when it signed.
    Expired(String),
    /// Its certificate was not issued by a trusted authority, or not for signing.
    UntrustedCertificate(String),
    /// Its certificate is not in a trusted certificate transparency log.
    CertificateNotLogged(String),
    /// It has no entry in a transparency log.
    NotLogged,
    /// Its entry in the transparency log does not hold.
    WrongLogEntry(String),
    /// It was entered in a log that is not trusted.
    UntrustedLog(String),
    /// No trusted timestamp or log entry proves when it was made.
    NoTrustedTime(String),
    /// It uses a feature that this program cannot verify.
    Unsupported(String),
    /// Notation refuses it.
    RefusedByNotation(String),
}

impl Reason {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Altered => {
                "the signature is damaged: copy it again from where it was published, or ask the publisher to sign again"
            }
            Self::OtherImage { .. } => {
                "the signature was moved here from another image: ask the publisher to sign this digest"
            }
            Self::WrongKey { .. } => {
                "check that this is the publisher's current public key; if it is, do not use this image"
            }
            Self::HasNoKey => "pass --verify-identity and --verify-issuer instead of a key",
            Self::HasNoIdentity => "pass the publisher's public key with --verify-key instead of an identity",
            Self::OtherIdentity { .. } | Self::OtherIssuer { .. } => {
                "compare the identity and issuer with those that the publisher documents; if they differ, do not use this image"
            }
            Self::Expired(_) => {
                "ask the publisher to sign again, with a timestamp or an entry in a transparency log"
            }
            Self::UntrustedCertificate(_) | Self::UntrustedLog(_) => {
                "pass the publisher's trusted root with --trusted-root (cosign trusted-root create writes it)"
            }
            Self::CertificateNotLogged(_) => {
                "pass a --trusted-root that names the certificate transparency log, or --insecure-ignore-sct if the authority has none"
            }
            Self::NotLogged => {
                "pass --insecure-ignore-tlog if the publisher signs without a transparency log"
            }
            Self::WrongLogEntry(_) | Self::NoTrustedTime(_) => {
                "pass a --trusted-root that is up to date; if it is, do not use this image"
            }
            Self::Unsupported(_) => "verify this image with cosign",
            Self::RefusedByNotation(_) => {
                "compare the certificates and identities in the policy with those that the publisher documents; if they are right, do not use this image"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |found: &Option<String>| found.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Self::Unreadable(why) => write!(formatter, "it cannot be read: {why}"),
            Self::OtherImage { signed } if signed.is_empty() => {
                formatter.write_str("it does not say what it signs")
            }
            Self::OtherImage { signed } => write!(formatter, "it signs another image: {}", signed.join(", ")),
            Self::WrongKey { key } => {
                write!(formatter, "it was made with a key other than {key}, or its content was altered")
            }
            Self::Altered => formatter.write_str("its content was altered after it was signed"),
            Self::HasNoKey => {
                formatter.write_str("it was made with a certificate for an identity, not with a key")
            }
            Self::HasNoIdentity => formatter.write_str("it was made with a key, which names no identity"),
            Self::OtherIdentity { expected, found } => {
                write!(formatter, "its identity is {}, not {expected}", named(found))
            }
            Self::OtherIssuer { expected, found } => {
                write!(formatter, "the issuer of its identity is {}, not {expected}", named(found))
            }
            Self::Expired(why) => write!(formatter, "its certificate was not valid when it signed: {why}"),
            Self::UntrustedCertificate(why) => write!(formatter, "its certificate is not trusted: {why}"),
            Self::CertificateNotLogged(why) => {
                write!(formatter, "its certificate is not in a trusted certificate transparency log: {why}")
            }
            Self::NotLogged => formatter.write_str("it is not in a transparency log"),
            Self::WrongLogEntry(why) => {
                write!(formatter, "its entry in the transparency log is wrong: {why}")
            }
            Self::UntrustedLog(why) => write!(formatter, "its transparency log is not trusted: {why}"),
            Self::NoTrustedTime(why) => write!(formatter, "nothing trusted proves when it was made: {why}"),
            Self::Unsupported(why) => write!(formatter, "it cannot be verified here: {why}"),
            Self::RefusedByNotation(why) => write!(formatter, "notation rejects it: {why}"),
        }
    }
}

impl Reason {
    /// How many checks the signature passed: the remedy for the one that came closest helps most.
    pub(super) const fn progress(&self) -> u8 {
        match self {
            Self::Unreadable(_) | Self::Unsupported(_) => 0,
            Self::HasNoKey | Self::HasNoIdentity => 1,
            Self::WrongKey { .. } | Self::Altered | Self::RefusedByNotation(_) => 2,
            Self::UntrustedCertificate(_) => 3,
            Self::OtherIdentity { .. } | Self::OtherIssuer { .. } => 4,
            Self::OtherImage { .. } => 5,
            Self::UntrustedLog(_)
            | Self::WrongLogEntry(_)
            | Self::NotLogged
            | Self::CertificateNotLogged(_)
            | Self::NoTrustedTime(_)
            | Self::Expired(_) => 6,
        }
    }
}
