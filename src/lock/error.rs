//! Lock errors, with hints.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
};

use super::model::SCHEMA;
use crate::{
    error::{Failure, Kind},
    oci::{Digest, ManifestError},
};

/// Why a lock cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// There is no such file.
    #[error("there is no lock at {0}")]
    Absent(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the lock {0}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is something else.
    #[error("{0} is not a thoras-mirror lock file")]
    NotALock(PathBuf, #[source] NotALock),
    /// The file to write contains something else.
    #[error("{0} exists and is not a thoras-mirror lock file")]
    WouldOverwrite(PathBuf, #[source] NotALock),
    /// It has fields or values that are not in the format.
    #[error("the lock {0} is damaged")]
    Malformed(PathBuf, #[source] WrongContent),
    /// It contradicts itself.
    #[error("the lock {0} is damaged")]
    Contradiction(PathBuf, #[source] Contradiction),
    /// It records no image.
    #[error("the lock {0} contains no images")]
    NoImages(PathBuf),
    /// A later version of this program wrote it.
    #[error("the lock {path} has the format `{}`; this program reads `{SCHEMA}` and earlier", .schema.escape_debug())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format that it names.
        schema: String,
    },
    /// Its folder takes no new file.
    #[error("cannot write the lock {} in the folder {}", .path.display(), .folder.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the lock {0}")]
    Unwritable(PathBuf, #[source] io::Error),
}

/// What is wrong with the content of a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongContent(pub(super) String);

/// Why a file is not a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALock {
    /// It is not JSON at all.
    #[error("not JSON (line {line}, column {column})")]
    NotJson {
        /// The line of the first error, from 1.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// It does not name a format.
    #[error("the field `schema` is missing")]
    NoSchema,
    /// It names the format of something else.
    #[error("its schema is `{}`", .0.escape_debug())]
    OtherSchema(String),
}

/// How a lock contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// It has no destinations.
    #[error("`destinations` is empty")]
    NoDestination,
    /// A destination is listed twice.
    #[error("{0} is listed twice in `destinations`")]
    DestinationTwice(String),
    /// An image is listed twice.
    #[error("the image {0} is listed twice")]
    ImageTwice(String),
    /// An image has no copy.
    #[error("the image {0} has no destination")]
    NoCopy(String),
    /// A copy is not below the destination that it is recorded for.
    #[error("the image {image} has a copy {reference}, which is not below {to}")]
    Elsewhere {
        /// The image.
        image: String,
        /// Where the copy is said to be.
        reference: String,
        /// The destination.
        to: String,
    },
    /// No image has a copy at a destination.
    #[error("no image has a copy at {0}, which is in `destinations`")]
    NoImageAt(String),
    /// Something has two sizes.
    #[error("{0}")]
    TwoSizes(ManifestError),
    /// A copy is at a destination that is not in the list.
    #[error("the image {image} has a copy at {to}, which is not in `destinations`")]
    UnknownDestination {
        /// The image.
        image: String,
        /// The destination.
        to: String,
    },
    /// A blob is not in the shared table.
    #[error("the blob {blob} of the image {image} is not in `blobs`")]
    NoSize {
        /// The image.
        image: String,
        /// The blob.
        blob: Digest,
    },
    /// The shard's index is out of range.
    #[error("shard {index} of {count} does not exist: the first is 0")]
    Shard {
        /// The index.
        index: u32,
        /// The number of shards.
        count: u32,
    },
}

impl LockError {
    /// Whether the file is a lock, but a damaged one. It may record other destinations, so no run replaces it.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Malformed(..) | Self::Contradiction(..))
    }

    /// The failure of a command that would replace a damaged lock.
    pub(crate) fn failure_to_replace(&self) -> Failure {
        self.failure().with_hint("restore it, or delete it, and run the same command again")
    }

    /// The reason without the path, for a lock in a bundle: the error about the bundle names that.
    pub(crate) fn reason_in_one_line(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), ToString::to_string)
    }

    /// The failure with a hint.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let kind = match self {
            Self::Absent(_) | Self::Folder { .. } | Self::Unwritable(..) | Self::WouldOverwrite(..) => {
                Kind::Usage
            }
            _ => Kind::Input,
        };
        let hint = match self {
            Self::Absent(_) => {
                "write one: `thoras-mirror sync --to REGISTRY/PATH`\n\
                 pass another: `thoras-mirror verify --lock FILE`\n\
                 or compare with the source instead: `thoras-mirror verify --to REGISTRY/PATH`"
            }
            Self::Unwritable(_, error) | Self::Folder { source: error, .. }
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                "free disk space, or choose a file on another disk with --lock FILE; then run the same command again"
            }
            Self::Folder { .. } | Self::Unwritable(..) => {
                "choose a file in an existing, writable folder with --lock FILE"
            }
            Self::WouldOverwrite(..) => {
                "the file was not changed: choose another with --lock FILE, or delete it"
            }
            Self::Unreadable(_, error) if error.kind() == io::ErrorKind::FileTooLarge => {
                "no lock is so large: choose another file with --lock FILE"
            }
            Self::Unreadable(..) => "check that it is a file and that this user may read it",
            Self::Version { .. } => {
                "use the version of thoras-mirror that wrote it, or choose another file with --lock FILE"
            }
            Self::NotALock(..) => {
                "pass the right file with --lock FILE, or write one: `thoras-mirror sync --to REGISTRY/PATH --lock FILE`"
            }
            Self::NoImages(_) => {
                "restore it, or write a new one with `thoras-mirror sync --to REGISTRY/PATH`"
            }
            Self::Malformed(..) | Self::Contradiction(..) => {
                "restore it, or delete it and write a new one with `thoras-mirror sync --to REGISTRY/PATH`"
            }
        };
        Failure::from_error(kind, self).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_wrong_path_bug() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let hint = LockError::Unwritable("x.lock".into(), kind.into()).failure().hint.unwrap_or_default();
            assert!(hint.starts_with("free disk space"), "{hint}");
        }
    }
}
