//! Volumes: slices of a bundle's tar, for media that are smaller than it, and the small index that describes them.
//!
//! Concatenating the volumes gives the tar itself, so nothing depends on the index. The index makes the set robust: it
//! recognizes renamed volumes by their sizes and first bytes, and it contains the bundle's head (unless that is large)
//! even if the first volume is missing.

mod opening;

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::opening::{OpenedFiles, open};
use crate::{
    bounded_read,
    oci::{Digest, json_problem::json_problem},
};

/// The version of the format that this program writes.
pub(crate) const SCHEMA: &str = "thoras-mirror/volumes/v1";
/// The suffix of the index's name.
pub(crate) const SUFFIX: &str = ".volumes.json";
/// A volume is recognized by the digest of this many of its first bytes, or of all its bytes if it is smaller.
pub(crate) const BEGINNING: u64 = 64 * 1024;
/// The largest index that is read, in bytes: a head of the largest size in base64.
const MAX_SIZE: u64 = 160 * 1024 * 1024;
/// The largest head that an index contains, in bytes. A larger head is only in the first volumes, so that the index
/// stays small.
pub(crate) const MAX_HEAD_SIZE: usize = 256 * 1024;
/// The most volumes in a set.
pub(crate) const MAX_VOLUMES: usize = 10_000;

/// The index of a set of volumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSet {
    /// `thoras-mirror/volumes/v1`
    pub schema: String,
    /// The bundle's id.
    pub bundle: Digest,
    /// The length of the whole tar in bytes.
    pub length: u64,
    /// Everything before the first blob's header, or nothing if that is too much.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub head: Bytes,
    /// The volumes in the order of their bytes.
    pub volumes: Vec<Volume>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// The name of its file when it was written.
    pub name: String,
    /// The offset of its first byte in the tar.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of all its bytes.
    pub sha256: Digest,
    /// The digest of its first [`BEGINNING`] bytes.
    pub beginning: Digest,
}

impl VolumeSet {
    /// The index of these volumes. `length` is the whole tar's.
    #[must_use]
    pub fn new(bundle: Digest, length: u64, head: Bytes, volumes: Vec<Volume>) -> Self {
        let head = if head.len() > MAX_HEAD_SIZE { Bytes::new() } else { head };
        Self { schema: SCHEMA.to_owned(), bundle, length, head, volumes }
    }

    /// The bytes of the index file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text, numbers and lists of them are always JSON.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Parses an index. Errors are one line of text.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            schema: String,
        }
        let version: Version = serde_json::from_slice(bytes).map_err(|error| json_problem(&error))?;
        if version.schema != SCHEMA {
            return Err(format!("its format is `{}`; this program reads `{SCHEMA}`", version.schema));
        }
        let set: Self = serde_json::from_slice(bytes).map_err(|error| json_problem(&error))?;
        set.check()?;
        Ok(set)
    }

    /// Whether its volumes have the same bytes, under any names.
    fn is_cut_like(&self, other: &Self) -> bool {
        let contents = |set: &Self| -> Vec<(u64, Digest)> {
            set.volumes.iter().map(|volume| (volume.size, volume.sha256.clone())).collect()
        };
        self.bundle == other.bundle && contents(self) == contents(other)
    }

    /// Checks that the volumes are contiguous and that their names are not paths.
    fn check(&self) -> Result<(), String> {
        if self.volumes.is_empty() || self.volumes.len() > MAX_VOLUMES {
            return Err(format!("it has {} volumes", self.volumes.len()));
        }
        let mut end = 0_u64;
        for volume in &self.volumes {
            let name = &volume.name;
            let is_plain = !matches!(name.as_str(), "" | "." | "..")
                && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control());
            if !is_plain {
                return Err(format!("`{name}` is not a file name"));
            }
            if volume.offset != end || volume.size == 0 {
                return Err(format!("{name} does not begin where the previous volume ends"));
            }
            end = end.checked_add(volume.size).ok_or_else(|| format!("{name} is too large"))?;
        }
        if end == self.length {
            Ok(())
        } else {
            Err(format!("its volumes have {end} bytes in total, but the bundle has {}", self.length))
        }
    }
}

fn to_base64<S: Serializer>(head: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(head))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

/// Why files cannot be read as volumes of one bundle.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VolumeError {
    /// The index cannot be parsed.
    #[error("{} cannot be read as the index of volumes: {}", .path.display(), .reason.escape_debug())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The index contains the head of a different bundle than it names.
    #[error("the index of volumes names bundle {bundle} but contains the head of another bundle")]
    Head {
        /// The bundle that the index names.
        bundle: Digest,
    },
    /// A passed file is not a volume of the set.
    #[error("{} is not a volume of bundle {bundle}: no volume has its size ({size} bytes) and its first bytes", .path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The set's bundle.
        bundle: Digest,
    },
    /// Volumes of two bundles, or of a bundle that was split twice.
    #[error("the files belong to two different sets of volumes: {} and {}", .first.display(), .second.display())]
    Mixed {
        /// The index of the first set.
        first: PathBuf,
        /// The index of the second set.
        second: PathBuf,
    },
    /// A folder together with other files.
    #[error("{} is a folder and cannot be combined with other files", .0.display())]
    Folder(PathBuf),
    /// Several files, and no index that gives their order.
    #[error("there are {count} files, but no index (*{SUFFIX}) that gives their order")]
    NoIndex {
        /// The number of passed files.
        count: usize,
    },
    /// A single volume.
    #[error("{} is one of several volumes, but its folder has no index (*{SUFFIX})", .0.display())]
    Alone(PathBuf),
    /// Numbered files that do not start like a bundle of this program.
    #[error("{} is not the first volume of a bundle", .0.display())]
    NotABeginning(PathBuf),
}

fn read_index(path: &Path) -> Result<VolumeSet, VolumeError> {
    let refused = |reason| VolumeError::Index { path: path.to_owned(), reason };
    let bytes = bounded_read::read(path, MAX_SIZE).map_err(|error| refused(error.to_string()))?;
    VolumeSet::from_slice(&bytes).map_err(refused)
}

#[cfg(test)]
pub(crate) mod tests;
