//! Content digests: `algorithm:hex`, as in the OCI image specification, "Digests".

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, LazyLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{
    Digest as _,
    digest::common::hazmat::{SerializableState, SerializedState},
};

use super::quoted;

/// The digest algorithms of the specification that this program supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256: 32 bytes, 64 hexadecimal digits.
    Sha256,
    /// SHA-512: 64 bytes, 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// As in a digest: `sha256`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No colon between algorithm and value.
    #[error("`{}` is not a digest: expected algorithm:hex, for example sha256:…", quoted(.0))]
    Shape(String),
    /// An algorithm other than sha256 and sha512.
    #[error("`{}` is not a supported digest algorithm (sha256, sha512)", quoted(.0))]
    Algorithm(String),
    /// The value has the wrong length or a character outside `0-9a-f`.
    #[error("a {algorithm} digest is {length} lower-case hexadecimal digits, not `{}`", quoted(.found))]
    Value {
        /// The algorithm.
        algorithm: &'static str,
        /// The required number of digits.
        length: usize,
        /// The invalid value.
        found: String,
    },
}

/// The digest of `{}`, the config of nearly all signatures and other artifacts. An image may have thousands of them.
static EMPTY_OBJECT: LazyLock<Digest> = LazyLock::new(|| Digest::sha256(b"{}"));

/// A syntactically valid digest, which is safe as a part of a URL or a path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// The SHA-256 digest of these bytes.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm before the colon.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The hexadecimal digits after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256:` and the first twelve digits: enough to recognize a digest in a table.
    #[must_use]
    pub fn short(&self) -> &str {
        let end = self.algorithm().name().len() + 1 + 12;
        self.0.get(..end).unwrap_or(&self.0)
    }

    /// A hasher of this digest's algorithm.
    #[must_use]
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm())
    }

    /// Whether these bytes have this digest.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish() == *self
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or_else(|| DigestError::Shape(text.to_owned()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(DigestError::Algorithm(other.to_owned())),
        };
        let well_formed = hex.len() == algorithm.hex_length()
            && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return Err(DigestError::Value {
                algorithm: algorithm.name(),
                length: algorithm.hex_length(),
                found: hex.to_owned(),
            });
        }
        Ok(if text == EMPTY_OBJECT.as_str() { EMPTY_OBJECT.clone() } else { Self(text.into()) })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$",
            "description": "A content digest."
        })
    }
}

/// An incremental hash.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// An empty hash.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The serialized state, to resume hashing later: about a hundred bytes for SHA-256, twice that for SHA-512. It
    /// does not include the algorithm.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        match &self.0 {
            State::Sha256(state) => state.serialize().to_vec(),
            State::Sha512(state) => state.serialize().to_vec(),
        }
    }

    /// Restores a saved hasher; `None` when the bytes are not a state of this algorithm.
    #[must_use]
    pub fn restore(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        fn read<H: SerializableState>(saved: &[u8]) -> Option<H> {
            let state: &SerializedState<H> = saved.try_into().ok()?;
            H::deserialize(state).ok()
        }
        Some(Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(read(saved)?),
            Algorithm::Sha512 => State::Sha512(read(saved)?),
        }))
    }

    /// The digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => encode(Algorithm::Sha256, &state.finalize()),
            State::Sha512(state) => encode(Algorithm::Sha512, &state.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hasher")
    }
}

fn encode(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut text = String::with_capacity(algorithm.name().len() + 1 + algorithm.hex_length());
    text.push_str(algorithm.name());
    text.push(':');
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    Digest(text.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The vectors of FIPS 180-2 for the empty message.
    #[test]
    fn hashes_the_empty_message() {
        assert_eq!(
            Digest::sha256(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(Hasher::new(Algorithm::Sha512).finish().hex().starts_with("cf83e1357eefb8bd"));
    }

    #[test]
    fn refuses_path_and_url_separators() {
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855?x",
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_digest_parses_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let digest = Digest::sha256(&bytes);
            prop_assert_eq!(digest.as_str().parse::<Digest>().unwrap(), digest.clone());
            prop_assert!(digest.matches(&bytes));
        }

        #[test]
        fn a_saved_hash_resumes(
            before in prop::collection::vec(any::<u8>(), 0..300),
            after in prop::collection::vec(any::<u8>(), 0..300),
            algorithm in prop::sample::select(vec![Algorithm::Sha256, Algorithm::Sha512]),
        ) {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&before);
            let mut restored = Hasher::restore(algorithm, &hasher.save()).unwrap();
            hasher.update(&after);
            restored.update(&after);
            prop_assert_eq!(restored.finish(), hasher.finish());
        }

        #[test]
        fn restoring_never_panics(saved in prop::collection::vec(any::<u8>(), 0..250)) {
            let _ = Hasher::restore(Algorithm::Sha256, &saved);
            let _ = Hasher::restore(Algorithm::Sha512, &saved);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Digest>();
        }
    }
}
