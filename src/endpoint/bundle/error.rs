//! Bundle errors.

mod hints;

use std::{io, path::PathBuf, sync::Arc};

use bytesize::ByteSize;

use super::{
    header::{HeaderError, OtherFormat},
    names::NameError,
    volumes::VolumeError,
};
use crate::{
    endpoint::{EndpointError, Location},
    error::{Failure, Kind, Reason},
    oci::{Digest, manifest::MAX_MANIFEST_SIZE},
    units,
};

/// Why a bundle cannot be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file or folder of an OCI image layout is missing.
    #[error("{} is not an OCI image layout: {reason}", .path.display())]
    NotALayout {
        /// The file or folder.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// A layout is in a folder of the archive or folder.
    #[error("{} is not an OCI image layout, but its folder `{}` is", .path.display(), .folder.escape_debug())]
    Subfolder {
        /// The file or folder.
        path: PathBuf,
        /// The name of the folder in it.
        folder: String,
        /// Whether it is an archive.
        in_archive: bool,
    },
    /// The old format of `docker save`.
    #[error("{} looks like an archive of `docker save` before Docker 25, which is not an OCI image layout", .path.display())]
    OldDocker {
        /// The file.
        path: PathBuf,
    },
    /// A folder that `skopeo copy` wrote for its transport `dir:`.
    #[error(
        "{} {} a folder of `skopeo copy … dir:`, which is not an OCI image layout",
        .path.display(),
        if *.in_archive { "contains" } else { "is" }
    )]
    SkopeoFolder {
        /// The file or folder.
        path: PathBuf,
        /// Whether it is in an archive.
        in_archive: bool,
    },
    /// Not a tar archive (nor a damaged one).
    #[error("{} is not a bundle: {found}", .path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: OtherFormat,
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
    /// Two entries have the same name.
    #[error("`{}` appears twice", .path.escape_debug())]
    Duplicate {
        /// The name.
        path: String,
    },
    /// The file ends in the middle of an entry.
    #[error("`{}` is truncated: {missing} of its {size} bytes are missing", .path.escape_debug())]
    Truncated {
        /// The entry.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The number of missing bytes.
        missing: u64,
    },
    /// The archive of this program ends too early.
    #[error("{} is truncated: {}, which ends within blob {blob}", .path.display(), units::part(*.found, *.expected))]
    EndsEarly {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The length of the whole bundle in bytes.
        expected: u64,
        /// The first blob that is incomplete.
        blob: Digest,
    },
    /// The marker file does not name a layout that can be read.
    #[error("`oci-layout` does not name version 1.0.0 of the OCI image layout")]
    Marker,
    /// The archive begins like a bundle of this program, but some bytes differ.
    #[error("the bundle is damaged at byte {offset}")]
    Altered {
        /// The first byte that differs.
        offset: u64,
    },
    /// The lock and the index contradict each other.
    #[error("index.json and thoras-mirror.lock disagree about {what}")]
    Disagreement {
        /// An image or a blob.
        what: String,
    },
    /// The archive has no end mark.
    #[error("the archive has no end mark: it is truncated")]
    NoEnd,
    /// It has too many entries.
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// The most entries that are read.
        limit: usize,
    },
    /// Its manifests are too large to keep in memory.
    #[error("its manifests exceed {} in total, or one of them is not a manifest", ByteSize(*.limit))]
    TooManyManifests {
        /// The most bytes that are read.
        limit: u64,
    },
    /// A file that must be read into memory is too large.
    #[error("{name} is larger than {}", ByteSize(*.limit))]
    TooLarge {
        /// Which file.
        name: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// `index.json` cannot be parsed.
    #[error("index.json cannot be read: {}", .0.escape_debug())]
    Index(String),
    /// `thoras-mirror.lock` cannot be parsed.
    #[error("thoras-mirror.lock cannot be read: {}", .0.escape_debug())]
    Lock(String),
    /// A manifest is too large.
    #[error("manifest {digest} is larger than {}", ByteSize(MAX_MANIFEST_SIZE as u64))]
    LargeManifest {
        /// Which.
        digest: Digest,
    },
    /// Volumes that contain needed content are missing.
    #[error("{} missing: {}", if .names.len() == 1 { "a volume of the bundle is" } else { "volumes of the bundle are" }, .names.join(", "))]
    Absent {
        /// The volumes' names.
        names: Vec<String>,
    },
    /// Another run is writing the same bundle.
    #[error("another run is writing {}", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The path is not writable.
    #[error("cannot write a bundle to {}: {reason}", .path.display())]
    Output {
        /// The requested path.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file to write contains something else.
    #[error("{} exists and is {}", .path.display(), match .other {
        Some(id) => format!("another bundle ({id})"),
        None => "not this bundle".to_owned(),
    })]
    WouldOverwrite {
        /// The file.
        path: PathBuf,
        /// The id of the bundle that it is.
        other: Option<Digest>,
    },
    /// There would be more volumes than readers accept.
    #[error("this size gives {count} volumes; at most {limit} are allowed")]
    TooManyVolumes {
        /// The number of volumes.
        count: u64,
        /// The most volumes.
        limit: usize,
    },
    /// The disk has too little free space.
    #[error("not enough space in {}: {} free, {} needed", .folder.display(), ByteSize(*.available), ByteSize(*.needed))]
    NoRoom {
        /// The folder that it is written to.
        folder: PathBuf,
        /// Bytes that still have to be written.
        needed: u64,
        /// Free bytes of the file system.
        available: u64,
    },
    /// A manifest changed after the bundle was laid out.
    #[error("{reference} changed while the bundle was being written: it is now {found}")]
    Changed {
        /// Which reference.
        reference: String,
        /// Its current digest.
        found: Digest,
    },
    /// Its index has other bytes than those that were signed.
    #[error("the signature does not match this bundle and this key")]
    Signature,
    /// Its trust files cannot be read.
    #[error("the bundle's trust files cannot be read: {reason}")]
    TrustFiles {
        /// Why.
        reason: &'static str,
    },
    /// One of its trust files cannot be used.
    #[error("the bundle's trust file {} cannot be used: {reason}", .name.escape_debug())]
    TrustFile {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// There is nothing in it.
    #[error("{} contains no images", .path.display())]
    NoImages {
        /// The file or folder.
        path: PathBuf,
    },
    /// The files are not volumes of one bundle.
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    /// The order of its entries does not permit reading from a pipe.
    #[error("its index or a manifest comes after blobs, so it cannot be read from standard input")]
    IndexTooLate,
    /// The bytes read back differ from what was written.
    #[error("{} was read back and differs from what was written", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A thread panicked.
    #[error("internal error while reading: {0}")]
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

    /// The kind of failure, which decides the exit code.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreadable { .. }
            | Self::NotALayout { .. }
            | Self::Subfolder { .. }
            | Self::Name { error: NameError::AppleDouble, .. }
            | Self::NotAnArchive { .. }
            | Self::OldDocker { .. }
            | Self::SkopeoFolder { .. }
            | Self::NoImages { .. }
            | Self::Absent { .. }
            | Self::IndexTooLate => Kind::Input,
            Self::Volumes(error) => volumes_kind(error),
            Self::Busy { .. }
            | Self::Output { .. }
            | Self::WouldOverwrite { .. }
            | Self::TooManyVolumes { .. } => Kind::Usage,
            Self::Unwritable { .. } | Self::NoRoom { .. } | Self::Changed { .. } | Self::Internal(_) => {
                Kind::Image
            }
            _ => Kind::Integrity,
        }
    }

    /// The failure with a hint.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.kind(), self)
            .with_optional_hint(self.hint().map(str::to_owned))
            .with_reason(self.reason())
    }

    fn reason(&self) -> Option<Reason> {
        matches!(self, Self::Absent { .. }).then_some(Reason::AbsentVolumes)
    }
}

fn volumes_kind(error: &VolumeError) -> Kind {
    if matches!(error, VolumeError::Head { .. }) { Kind::Integrity } else { Kind::Input }
}

impl EndpointError for BundleError {
    fn kind(&self) -> Kind {
        self.kind()
    }

    fn remedy(&self, _: &Location) -> Option<String> {
        self.hint().map(str::to_owned)
    }

    fn reason(&self) -> Option<Reason> {
        self.reason()
    }
}
