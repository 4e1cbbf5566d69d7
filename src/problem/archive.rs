//! Locations of damage in the archive of a bundle.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::escape, oci::Digest};

/// A part of a bundle's archive that is not a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ArchivePart {
    /// Everything before the first blob.
    Head,
    /// The header in front of a blob.
    Header {
        /// The blob.
        blob: Digest,
    },
    /// The zeros after a blob.
    Padding {
        /// The blob.
        blob: Digest,
    },
    /// The zeros at the end.
    EndMark,
}

/// A byte of a bundle's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchivePosition {
    /// Counted from the beginning of the whole archive.
    pub offset: u64,
    /// The volume that contains it, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

impl fmt::Display for ArchivePart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(formatter, "the archive's head"),
            Self::Header { blob } => write!(formatter, "the header of blob {blob}"),
            Self::Padding { blob } => write!(formatter, "the padding of blob {blob}"),
            Self::EndMark => write!(formatter, "the end mark"),
        }
    }
}

impl fmt::Display for ArchivePosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "byte {}", self.offset)?;
        self.volume.iter().try_for_each(|volume| write!(formatter, " (in {})", escape(volume)))
    }
}
