//! Translates the errors of `sigstore-verify`.

use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use super::{Key, bundle::wrong_key};
use crate::trust::rejection::Reason;

/// An error with a key.
pub(super) fn with_key(error: Error, key: &Key, other_image: impl FnOnce() -> Reason) -> Reason {
    match error {
        Error::SignatureInvalid(_) => wrong_key(key),
        error => with_certificate(error, other_image),
    }
}

/// An error with a certificate. `other_image`: the reason if the signature is for something else.
pub(super) fn with_certificate(error: Error, other_image: impl FnOnce() -> Reason) -> Reason {
    match error {
        Error::SignatureInvalid(_) => Reason::Altered,
        Error::ArtifactMismatch(_) => other_image(),
        Error::Certificate(error) => certificate(error),
        Error::TransparencyLog(error) => log(error),
        Error::Timestamp(error) => Reason::NoTrustedTime(timestamp(&error)),
        Error::UnsupportedBundle(why) | Error::UnsupportedArtifact(why) => Reason::Unsupported(why),
        Error::InvalidBundle(why) => Reason::Unreadable(why),
        error => Reason::Unreadable(error.to_string()),
    }
}

fn certificate(error: CertificateError) -> Reason {
    match error {
        CertificateError::Sct(why) => Reason::CertificateNotLogged(why),
        error @ (CertificateError::Expired { .. } | CertificateError::NotYetValid { .. }) => {
            Reason::Expired(error.to_string())
        }
        CertificateError::ChainInvalid(why) | CertificateError::Malformed(why) => {
            Reason::UntrustedCertificate(why)
        }
        error => Reason::UntrustedCertificate(error.to_string()),
    }
}

fn log(error: TransparencyLogError) -> Reason {
    match error {
        TransparencyLogError::UnknownLog { log_id } => Reason::UntrustedLog(format!("log ID {log_id}")),
        error => Reason::WrongLogEntry(error.to_string()),
    }
}

fn timestamp(error: &TimestampError) -> String {
    error.to_string()
}
