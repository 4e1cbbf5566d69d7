//! Errors of invalid manifests.

use crate::oci::{Digest, DigestError, MediaType, media_type::Structure};

/// Why bytes are not a valid manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes do not match the requested digest.
    #[error("the manifest has digest {found}, not {expected}")]
    Digest {
        /// The requested digest.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// Two requests for the same tag returned different bytes, neither of which matches the digest in the header.
    #[error(
        "the registry's header names digest {named}, but the tag returned content with digest {} and then {}: something between here and the registry corrupts it",
        .readings.0, .readings.1
    )]
    Unstable {
        /// The digest in the registry's header.
        named: Digest,
        /// What the bytes hash to, each time.
        readings: Box<(Digest, Digest)>,
    },
    /// The registry's header for a tag names one manifest and the body is another: a node may get either.
    #[error("the registry's header for the tag names digest {named}, but the manifest has {found}")]
    Contradicted {
        /// The digest in the registry's header, which exists.
        named: Digest,
        /// What the tag's bytes hash to.
        found: Digest,
    },
    /// The size differs from the parent's descriptor.
    #[error("manifest {digest} has {found} bytes, but its descriptor says {expected}")]
    Size {
        /// The manifest.
        digest: Digest,
        /// The descriptor's size.
        expected: u64,
        /// The actual size.
        found: u64,
    },
    /// A digest has two sizes.
    #[error("{digest} is described with two sizes: {} and {} bytes", .sizes.0, .sizes.1)]
    TwoSizes {
        /// The digest.
        digest: Digest,
        /// The sizes in bytes.
        sizes: (u64, u64),
    },
    /// Not JSON, or a required field is missing or of the wrong type.
    #[error("invalid manifest: {}", without_controls(.0))]
    Unreadable(String),
    /// `mediaType` in the body differs from the `Content-Type` it was served with (CVE-2021-41190).
    #[error("the manifest was served as `{}` but its `mediaType` is \
             `{}`", .served.as_str().escape_debug(), .claimed.as_str().escape_debug())]
    TypeConfusion {
        /// The `Content-Type` header.
        served: MediaType,
        /// The body's `mediaType`.
        claimed: MediaType,
    },
    /// Both an index's `manifests` and an image's `layers` (CVE-2021-41190).
    #[error("the manifest has both `manifests` and `layers`, which is ambiguous")]
    Ambiguous,
    /// An index by its type but an image by its content, or vice versa.
    #[error("the manifest's type is `{}`, but its content is {}", .0.as_str().escape_debug(), content_of(.0))]
    OtherContent(MediaType),
    /// Docker's schema 1.
    #[error(
        "the image is in Docker's schema 1 format, which registries no longer accept: \
         push it again with a current builder"
    )]
    Schema1,
    /// A descriptor's digest is malformed.
    #[error("the manifest contains an invalid digest")]
    Digests(#[from] DigestError),
}

impl ManifestError {
    /// The same error, with the text that the manifest's author chose freely replaced by `shown` of it.
    #[must_use]
    pub(crate) fn with_text(self, shown: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Unreadable(problem) => Self::Unreadable(shown(&problem)),
            Self::TypeConfusion { served, claimed } if claimed.structure() == Structure::Unknown => {
                Self::TypeConfusion { served, claimed: MediaType::from(shown(claimed.as_str()).as_str()) }
            }
            other => other,
        }
    }
}

/// Text with its control characters escaped, but not its quotes.
fn without_controls(text: &str) -> String {
    let escaped = |character: char| match character {
        '\'' | '"' => character.to_string(),
        other => other.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

/// The content of a manifest whose type does not match.
fn content_of(media_type: &MediaType) -> &'static str {
    if media_type.structure() == Structure::Index { "an image" } else { "an index" }
}
