//! Private keys: PKCS#8 in PEM, plain or in cosign's encrypted format.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P521_SHA256_ASN1,
        ECDSA_P521_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, VerificationAlgorithm,
    },
};
use secrecy::{SecretString, zeroize::Zeroizing};

use super::{KeyError, PublicKey, encoded, encrypted};

/// A key that signs.
pub(crate) struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl PrivateKey {
    /// Parses a key in PEM. Only an encrypted key needs the password.
    pub(crate) fn from_pem(text: &[u8], password: Option<&SecretString>) -> Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        let tag = block.tag().to_owned();
        let contents = Zeroizing::new(block.into_contents());
        match tag.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(&contents),
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                let password = password.ok_or(KeyError::NoPassword)?;
                Self::from_pkcs8(&encrypted::decrypt(&contents, password)?)
            }
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Format { format: "encrypted PKCS#8" }),
            "EC PRIVATE KEY" => Err(KeyError::Format { format: "SEC 1 (EC PRIVATE KEY)" }),
            "RSA PRIVATE KEY" => Err(KeyError::Format { format: "PKCS#1 (RSA PRIVATE KEY)" }),
            "OPENSSH PRIVATE KEY" => Err(KeyError::Format { format: "OpenSSH" }),
            "PUBLIC KEY" => Err(KeyError::Public),
            _ => Err(KeyError::OtherPem { expected: "a private key (`-----BEGIN PRIVATE KEY-----`)" }),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let ecdsa = |signing, checking| {
            let pair = EcdsaKeyPair::from_pkcs8(signing, der).ok()?;
            let public = public(checking, pair.public_key().as_ref())?;
            Some(Self { pair: Pair::Ecdsa(pair), public })
        };
        let ed25519 = || {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
            let public = public(&ED25519, pair.public_key().as_ref())?;
            Some(Self { pair: Pair::Ed25519(pair), public })
        };
        let rsa = || {
            let pair = RsaKeyPair::from_pkcs8(der).ok()?;
            let public = public(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())?;
            Some(Self { pair: Pair::Rsa(pair), public })
        };
        ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1)
            .or_else(|| ecdsa(&ECDSA_P521_SHA256_ASN1_SIGNING, &ECDSA_P521_SHA256_ASN1))
            .or_else(ed25519)
            .or_else(rsa)
            .ok_or(KeyError::Algorithm)
    }

    /// The content of a file that signs these bytes. Signatures of one message may differ: see
    /// [`PublicKey::verifies`] for a comparison.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
        };
        signature.map(|signature| encoded(&signature)).map_err(|_| KeyError::Algorithm)
    }

    /// The key that checks its signatures.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}

fn public(algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Option<PublicKey> {
    ParsedPublicKey::new(algorithm, bytes).ok().map(PublicKey)
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}
