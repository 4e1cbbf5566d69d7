//! Why a bundle cannot be used, for a person.

use std::{io, path::PathBuf, sync::Arc};

use super::{header::HeaderError, names::NameError, volumes::VolumeError};
use crate::{
    endpoint::{EndpointError, Location},
    error::{Failure, Kind},
    oci::{
        Digest,
        manifest::{LARGEST_MANIFEST, ManifestError},
    },
};

/// Why a bundle cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BundleError {
    /// The system refuses to read it.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The system refuses to write it.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It is no OCI image layout.
    #[error("{} is not an OCI image layout: {reason}", .path.display())]
    NotALayout {
        /// The file or folder.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// It is what Docker wrote when it did not write layouts.
    #[error("{} looks like an archive of `docker save` before Docker 25, which is no OCI image layout", .path.display())]
    OldDocker {
        /// The file.
        path: PathBuf,
    },
    /// It is no tar archive, nor was it ever.
    #[error("{} is no bundle: {found}", .path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The archive is damaged or hostile.
    #[error("the archive cannot be read at byte {offset}: {error}")]
    Header {
        /// Where.
        offset: u64,
        /// What is wrong.
        #[source]
        error: HeaderError,
    },
    /// An entry's name is refused.
    #[error("`{}` is refused: {error}", .path.escape_debug())]
    Name {
        /// The name.
        path: String,
        /// What is wrong.
        #[source]
        error: NameError,
    },
    /// An entry is there twice.
    #[error("`{}` is there twice", .path.escape_debug())]
    Duplicate {
        /// The name.
        path: String,
    },
    /// The file ends in the middle of an entry.
    #[error("`{}` is cut off: its {size} bytes would end {beyond} bytes behind the end of the file", .path.escape_debug())]
    Truncated {
        /// The entry.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// How many bytes are missing.
        beyond: u64,
    },
    /// The marker file does not say that this is a layout that can be read.
    #[error("`oci-layout` does not name version 1.0.0 of the OCI image layout")]
    Marker,
    /// The archive begins as a bundle of ours, except that some bytes are others.
    #[error("byte {offset} of the bundle is not as it was written")]
    Altered {
        /// The first such byte.
        offset: u64,
    },
    /// The record of the export and the index tell different stories.
    #[error("index.json and thoras-mirror.lock do not agree about {what}")]
    Disagreement {
        /// An image or a blob.
        what: String,
    },
    /// The archive has no end mark.
    #[error("the archive ends without an end mark: it is cut off")]
    NoEnd,
    /// More entries than any bundle has.
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// How many are read.
        limit: usize,
    },
    /// More manifests than are read into memory.
    #[error("its manifests are larger than {limit} bytes together, or one is no manifest at all")]
    TooManyManifests {
        /// How many bytes are read.
        limit: u64,
    },
    /// A file that is read whole is larger than it may be.
    #[error("{name} has {size} bytes, at most {limit} are read")]
    TooLarge {
        /// Which file.
        name: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// `index.json` cannot be understood.
    #[error("index.json cannot be read: {}", .0.escape_debug())]
    Index(String),
    /// `thoras-mirror.lock` cannot be understood.
    #[error("thoras-mirror.lock cannot be read: {}", .0.escape_debug())]
    Lock(String),
    /// A manifest cannot be used.
    #[error("manifest {digest} cannot be used: {error}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong.
        error: ManifestError,
    },
    /// A manifest is larger than any manifest may be.
    #[error("manifest {digest} has {size} bytes, at most {LARGEST_MANIFEST} are read")]
    LargeManifest {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A manifest that is named is not there.
    #[error("manifest {digest} is named and not there")]
    NoManifest {
        /// Which.
        digest: Digest,
    },
    /// Volumes that hold what is needed are not there.
    #[error("{} of the bundle is not there: {}", if .names.len() == 1 { "a volume" } else { "a part" }, .names.join(", "))]
    Absent {
        /// The volumes' names.
        names: Vec<String>,
    },
    /// Another run writes the same bundle.
    #[error("another run is writing {} at this moment", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("a bundle cannot be written to {}: {reason}", .path.display())]
    Output {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// More volumes than any reader takes.
    #[error("volumes of this size would be {count}, at most {limit} are written")]
    TooManyVolumes {
        /// How many there would be.
        count: u64,
        /// How many there may be.
        limit: usize,
    },
    /// The disk is too small.
    #[error("{} has room for {available} bytes, the bundle needs {needed} more", .folder.display())]
    NoRoom {
        /// The folder that it is written to.
        folder: PathBuf,
        /// Bytes that are missing for it.
        needed: u64,
        /// Bytes that the file system has left.
        available: u64,
    },
    /// A manifest changed after the bundle was laid out.
    #[error("{place} changed while the bundle was being written: it is now {found}")]
    Changed {
        /// Which reference.
        place: String,
        /// The digest it has now.
        found: Digest,
    },
    /// The files are no volumes of one bundle.
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    /// A pipe cannot be read backwards.
    #[error("its index or a manifest stands behind blobs, so it cannot be read from standard input")]
    IndexTooLate,
    /// What was written is not what is read.
    #[error("{}, read again, does not hold what was written", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A thread died.
    #[error("reading was ended by an internal error: {0}")]
    Internal(String),
}

impl BundleError {
    /// A read that failed.
    pub(crate) fn unreadable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Unreadable { path: path.into(), source: Arc::new(source) }
    }

    /// A write that failed.
    pub(crate) fn unwritable(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Unwritable { path: path.into(), source: Arc::new(source) }
    }

    /// The kind of failure this is for a person.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreadable { .. }
            | Self::NotALayout { .. }
            | Self::NotAnArchive { .. }
            | Self::OldDocker { .. }
            | Self::Absent { .. }
            | Self::IndexTooLate => Kind::Input,
            Self::Busy { .. } | Self::Output { .. } | Self::TooManyVolumes { .. } => Kind::Usage,
            Self::Unwritable { .. } | Self::NoRoom { .. } | Self::Changed { .. } | Self::Internal(_) => {
                Kind::Image
            }
            Self::Volumes(error) => error.kind(),
            _ => Kind::Integrity,
        }
    }

    /// What a person sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.kind(), self).with_optional_hint(self.hint().map(str::to_owned))
    }

    /// What helps.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OldDocker { .. } => Some(
                "change it with `skopeo copy docker-archive:FILE oci-archive:NEW:NAME:TAG`, and name NEW",
            ),
            Self::NotAnArchive { found, .. } if found.contains("compressed") => Some(
                "decompress it first (gunzip, unzstd, unxz): a bundle is a tar archive that is not compressed, or a folder",
            ),
            Self::NotALayout { .. } | Self::NotAnArchive { .. } => Some(
                "a bundle is a tar archive, not compressed, or a folder, with the files `oci-layout` and `index.json`",
            ),
            Self::Unwritable { source, .. }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Some("make room and run the same command again: what is there already is kept")
            }
            Self::Unwritable { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => Some(
                "the disk or a limit of this shell (`ulimit -f`) allows no file of this size: write volumes, for \
                 example with --split fat32, or write to another disk",
            ),
            Self::NoRoom { .. } => Some("make room, or write to another disk: nothing has been written"),
            Self::Output { .. } => Some(
                "name a file in a folder that is there and can be written to, or write to standard output with --output -",
            ),
            Self::Damaged { .. } => {
                Some("the disk may be failing: run the same command again, or write to another disk")
            }
            Self::TooManyVolumes { .. } => Some("choose a larger size with --split"),
            Self::Busy { .. } => Some("wait for it, or choose another name with --output"),
            Self::Changed { .. } => Some("run the same command again: what is there already is kept"),
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some(
                    "see whether the path is right: it is taken from the folder that the command runs in",
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("let this user read it, or run the command as one who may")
                }
                io::ErrorKind::Unsupported => Some("only `bundle import -` reads from a pipe: `… < PIPE`"),
                _ => None,
            },
            Self::Unwritable { .. } => None,
            Self::Absent { .. } => Some("name every volume, or put them beside the others"),
            Self::Volumes(error) => error.hint(),
            Self::IndexTooLate => Some("store it in a file first, and import the file"),
            Self::Altered { .. } => Some(
                "copy the bundle again from where it was written; if it was packed anew, unpack it and name the folder",
            ),
            Self::Internal(_) => Some("please report this"),
            _ => Some(
                "copy the bundle again from where it was written: `bundle verify` there shows whether it was whole",
            ),
        }
    }
}

impl EndpointError for BundleError {
    fn kind(&self) -> Kind {
        self.kind()
    }

    fn remedy(&self, _: &Location) -> Option<String> {
        self.hint().map(str::to_owned)
    }
}
