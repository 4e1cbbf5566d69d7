//! What can be wrong with an image at a destination. A check returns all of them, not the first.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::escape,
    oci::{Digest, Platform},
};

/// Which end of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where images come from.
    Source,
    /// Where images go.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// One difference between what a destination holds and what it should hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Problem {
    /// No manifest under the tag.
    MissingTag,
    /// The tag names another manifest.
    OtherDigest {
        /// What it should name.
        expected: Digest,
        /// What it names.
        found: Digest,
    },
    /// A required platform is not in the index.
    MissingPlatform {
        /// The platform that is missing.
        platform: Platform,
        /// The platforms that are there.
        available: Vec<Platform>,
    },
    /// The index names a manifest that is not there.
    MissingManifest {
        /// The manifest.
        digest: Digest,
        /// The platform it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
    },
    /// A manifest's bytes are not what their digest says, or cannot be understood.
    BadManifest {
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest names a blob that is not there.
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// Its size in bytes, as the manifest says.
        size: u64,
    },
    /// A blob has another size than its manifest says.
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The manifest's size in bytes.
        expected: u64,
        /// The size in bytes that the destination names.
        found: u64,
    },
    /// A blob's bytes are not what its digest says.
    CorruptBlob {
        /// The blob.
        digest: Digest,
        /// How they differ.
        reason: String,
    },
    /// A blob is there and cannot be read, or lies in a volume that is not there.
    UnreadableBlob {
        /// The blob.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// The lock says that the run which wrote it never confirmed this image.
    NeverConfirmed,
}

impl Problem {
    /// Whether copying the image again puts it right. Registries keep a blob that they believe to have,
    /// so wrong bytes under a right name have to be deleted there first.
    #[must_use]
    pub const fn sync_repairs(&self) -> bool {
        !matches!(self, Self::CorruptBlob { .. } | Self::WrongSize { .. } | Self::BadManifest { .. })
    }

    /// Whether `sync` sees it only with `--check blobs`.
    #[must_use]
    pub const fn needs_blob_check(&self) -> bool {
        matches!(
            self,
            Self::MissingBlob { .. }
                | Self::WrongSize { .. }
                | Self::CorruptBlob { .. }
                | Self::UnreadableBlob { .. }
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTag => write!(formatter, "the tag does not exist"),
            Self::OtherDigest { expected, found } => {
                write!(formatter, "the tag names {found}, not {expected}")
            }
            Self::MissingPlatform { platform, available } if available.is_empty() => {
                write!(formatter, "platform {platform} is missing; there is none at all")
            }
            Self::MissingPlatform { platform, available } => {
                let available: Vec<String> = available.iter().map(ToString::to_string).collect();
                write!(formatter, "platform {platform} is missing; there is {}", available.join(", "))
            }
            Self::MissingManifest { digest, platform: Some(platform) } => {
                write!(formatter, "the manifest for {platform} is missing: {digest}")
            }
            Self::MissingManifest { digest, platform: None } => {
                write!(formatter, "a manifest of the index is missing: {digest}")
            }
            Self::BadManifest { digest, reason } => {
                write!(formatter, "the manifest {digest} is unusable: {}", escape(reason))
            }
            Self::MissingBlob { digest, size } => {
                write!(formatter, "blob {digest} ({size} bytes) is missing")
            }
            Self::WrongSize { digest, expected, found } => {
                write!(formatter, "blob {digest} has {found} bytes instead of {expected}")
            }
            Self::CorruptBlob { digest, reason } => {
                write!(formatter, "blob {digest} is corrupt: {}", escape(reason))
            }
            Self::UnreadableBlob { digest, reason } => {
                write!(formatter, "blob {digest} cannot be read: {}", escape(reason))
            }
            Self::NeverConfirmed => write!(formatter, "the run that wrote the lock did not confirm it"),
        }
    }
}
