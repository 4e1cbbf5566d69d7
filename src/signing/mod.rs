//! Signatures of files: as `cosign sign-blob` makes them and `cosign verify-blob` checks them, with keys from files.
//!
//! A [`PrivateKey`] signs; a [`PublicKey`] checks. The hash is SHA-256 for every key except Ed25519, as in cosign. A
//! signature file holds the signature in base64. The cryptography is that of the TLS library; only the decryption of
//! cosign's own key format needs more ([`encrypted`]).

mod encrypted;
mod private_key;

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

pub(crate) use self::private_key::PrivateKey;

/// The largest key file that is read, in bytes.
pub(crate) const MAX_KEY_SIZE: usize = 64 * 1024;
/// The largest signature file that is read, in bytes: one of RSA with 8192 bits has 1.4 KiB.
pub(crate) const MAX_SIGNATURE_SIZE: usize = 4 * 1024;

/// Every kind of key that can check a signature.
const ALGORITHMS: [&(dyn VerificationAlgorithm + 'static); 5] = [
    &ECDSA_P256_SHA256_ASN1,
    &ED25519,
    &RSA_PKCS1_2048_8192_SHA256,
    &ECDSA_P384_SHA256_ASN1,
    &ECDSA_P521_SHA256_ASN1,
];

/// Why a key cannot be used. No text contains a part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not in PEM.
    #[error("it is not a key in PEM (`-----BEGIN …`)")]
    NotPem,
    /// A private key where a public key is needed.
    #[error("it is a private key; a public key is needed")]
    Private,
    /// A public key where a private key is needed.
    #[error("it is a public key; a private key is needed")]
    Public,
    /// A certificate where a public key is needed.
    #[error("it is a certificate; a public key is needed")]
    Certificate,
    /// Another kind of PEM block.
    #[error("it is another kind of PEM file: pass {}", .expected)]
    OtherPem {
        /// What is accepted.
        expected: &'static str,
    },
    /// A private key in an older format, or encrypted in the PKCS#8 way.
    #[error("its format is not supported: {}", .format)]
    Format {
        /// The format.
        format: &'static str,
    },
    /// The algorithm or its parameters are not supported.
    #[error("its algorithm is not supported: use ECDSA (P-256), Ed25519 or RSA (2048 bits or more)")]
    Algorithm,
    /// cosign's format, with other parameters than cosign writes.
    #[error("it is encrypted in an unknown way: expected scrypt and nacl/secretbox, as cosign writes it")]
    Encryption,
    /// An encrypted key without a password.
    #[error("it is encrypted, but there is no password")]
    NoPassword,
    /// The password does not decrypt it.
    #[error("the password is wrong, or the key is damaged")]
    WrongPassword,
}

/// A key that checks signatures.
#[derive(Clone)]
pub(crate) struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// Parses a key in PEM: `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// A [`KeyError`] that says what it is instead.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        Self::from_der(&public_key_der(text)?)
    }

    /// Finds the algorithm that the key is for.
    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let parsed = ALGORITHMS.into_iter().find_map(|algorithm| ParsedPublicKey::new(algorithm, der).ok());
        parsed.map(Self).ok_or(KeyError::Algorithm)
    }

    /// Whether the signature, as it is in a file, is one of these bytes by this key.
    #[must_use]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = decoded(signature);
        self.0.verify_sig(message, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("PublicKey").finish_non_exhaustive()
    }
}

/// The bytes (DER) of a public key in PEM: `-----BEGIN PUBLIC KEY-----`.
///
/// # Errors
/// A [`KeyError`] that says what it is instead.
pub(crate) fn public_key_der(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let block = pem::parse(text).map_err(|_| KeyError::NotPem)?;
    match block.tag() {
        "PUBLIC KEY" => Ok(block.into_contents()),
        "CERTIFICATE" => Err(KeyError::Certificate),
        tag if tag.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        _ => Err(KeyError::OtherPem { expected: "a public key (`-----BEGIN PUBLIC KEY-----`)" }),
    }
}

/// The signature in a file: base64, or the bytes themselves.
fn decoded(signature: &[u8]) -> Vec<u8> {
    STANDARD.decode(signature.trim_ascii()).unwrap_or_else(|_| signature.to_vec())
}

/// Whether a file has the form of a signature file, which may be replaced by a newer one.
pub(crate) fn is_signature(file: &[u8]) -> bool {
    file.len() <= MAX_SIGNATURE_SIZE
        && STANDARD.decode(file.trim_ascii()).is_ok_and(|bytes| bytes.len() >= 64)
}

/// The content of a signature file.
fn encoded(signature: &[u8]) -> Vec<u8> {
    STANDARD.encode(signature).into_bytes()
}

#[cfg(test)]
mod tests;
