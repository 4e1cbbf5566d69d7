//! The encrypted format of cosign's private keys (`cosign generate-key-pair`): JSON in PEM, with the key from a
//! password by scrypt, and the content in a secretbox of `NaCl`. The same format as in the `encrypted` package of
//! `go-securesystemslib`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_secretbox::{Key, KeyInit as _, Nonce, XSalsa20Poly1305, aead::Aead as _};
use scrypt::{Params, scrypt};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};
use serde::Deserialize;

use super::KeyError;

/// The maximum memory that a key may require, in bytes: cosign's keys take 64 MiB.
const MAX_MEMORY: u64 = 512 * 1024 * 1024;
/// The maximum number of repetitions that a key may require.
const MAX_REPETITIONS: u32 = 16;

#[derive(Deserialize)]
struct Envelope {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: ScryptCost,
    salt: String,
}

#[derive(Deserialize)]
struct ScryptCost {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The content: a key in PKCS#8.
pub(super) fn decrypt(envelope: &[u8], password: &SecretString) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let Envelope { kdf, cipher, ciphertext } =
        serde_json::from_slice(envelope).map_err(|_| KeyError::Encryption)?;
    if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
        return Err(KeyError::Encryption);
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| KeyError::Encryption);
    let mut key = Zeroizing::new([0; 32]);
    scrypt(password.expose_secret().as_bytes(), &decode(&kdf.salt)?, &cost(&kdf.params)?, key.as_mut_slice())
        .map_err(|_| KeyError::Encryption)?;
    let nonce: [u8; 24] = decode(&cipher.nonce)?.try_into().map_err(|_| KeyError::Encryption)?;
    let opened = XSalsa20Poly1305::new(Key::from_slice(key.as_slice()))
        .decrypt(Nonce::from_slice(&nonce), decode(&ciphertext)?.as_slice());
    opened.map(Zeroizing::new).map_err(|_| KeyError::WrongPassword)
}

/// The parameters, bounded: a key file must not take all memory.
fn cost(ScryptCost { n, r, p }: &ScryptCost) -> Result<Params, KeyError> {
    let memory = n.saturating_mul(u64::from(*r)).saturating_mul(128);
    if !n.is_power_of_two() || memory > MAX_MEMORY || *p > MAX_REPETITIONS {
        return Err(KeyError::Encryption);
    }
    let log_n = u8::try_from(n.ilog2()).map_err(|_| KeyError::Encryption)?;
    Params::new(log_n, *r, *p).map_err(|_| KeyError::Encryption)
}
