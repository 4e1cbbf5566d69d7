//! Errors about bundles, with hints.

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
    oci::{Digest, manifest::LARGEST_MANIFEST},
    problem::Remedy,
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
    #[error("manifest {digest} is larger than {}", ByteSize(LARGEST_MANIFEST as u64))]
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
    /// Its files that say whom to trust cannot be read.
    #[error("the bundle's trust files cannot be read: {reason}")]
    TrustFiles {
        /// Why.
        reason: &'static str,
    },
    /// One of its files that say whom to trust cannot be used.
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

    /// The hint: from a [`Remedy`] if problems share it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::OldDocker { .. } => {
                "save it again with Docker 25 or later, or convert it with `skopeo copy docker-archive:FILE \
                 oci-archive:NEW:NAME:TAG` and pass NEW"
            }
            Self::Subfolder { in_archive: false, .. } => "pass that folder",
            Self::Subfolder { in_archive: true, .. } => {
                "unpack the archive and pass that folder, or pack it again from inside (`tar -C FOLDER -cf NEW.tar .`)"
            }
            Self::Name { error: NameError::AppleDouble, .. } => {
                "pack it again without the metadata of macOS: `COPYFILE_DISABLE=1 tar --no-mac-metadata -cf …`"
            }
            Self::NotAnArchive { found: OtherFormat::AppleDouble, .. } => {
                "pass the file whose name does not begin with `._`: macOS adds such files when it copies to other disks"
            }
            Self::NotAnArchive { found, .. } if found.is_compressed() => {
                "decompress it first (gunzip, unzstd, unxz): a bundle is a tar archive (not compressed) or a folder"
            }
            Self::NotALayout { .. } | Self::NotAnArchive { .. } => {
                "a bundle is a tar archive (not compressed) or a folder, with the files `oci-layout` and `index.json`"
            }
            Self::Unwritable { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Remedy::FreeSpace.hint(),
                io::ErrorKind::FileTooLarge => {
                    "the disk or a limit of this shell (`ulimit -f`) does not allow files of this size: write volumes, \
                     for example with --split fat32, or write to another disk"
                }
                // What `output` refuses to follow or to overwrite.
                io::ErrorKind::InvalidInput => "remove it if it is not needed, or pass another --output",
                _ => return None,
            },
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path (relative to the current directory)",
                io::ErrorKind::PermissionDenied => {
                    "make it readable for this user, or run the command as another user"
                }
                io::ErrorKind::Unsupported => "to read from a pipe, use `bundle import - < PIPE`",
                _ => return None,
            },
            Self::NoRoom { .. } => "nothing was written: free disk space, or write to another disk",
            Self::Output { .. } => {
                "pass a file in an existing, writable folder, or write to standard output with --output -"
            }
            Self::WouldOverwrite { .. } => {
                "the file was not changed: pass another --output, or replace it with --force"
            }
            Self::NoImages { .. } => {
                "check the path: this layout is valid, but its `index.json` lists nothing"
            }
            Self::Damaged { .. } => Remedy::TryAnotherDisk.hint(),
            Self::TooManyVolumes { .. } => "choose a larger size with --split",
            Self::Busy { .. } => "wait for that run, or pass another --output",
            Self::Changed { .. } => Remedy::RunAgain.hint(),
            Self::Absent { .. } => Remedy::AddVolumes.hint(),
            Self::Volumes(error) => return volumes_hint(error),
            Self::Signature => {
                "nothing was read but index.json: copy the bundle and its signature again from where they were written, or \
                 pass the key that belongs to them"
            }
            Self::IndexTooLate => "save it to a file first, and import that file",
            Self::Altered { .. } => {
                "copy the bundle again from where it was written; if it was repacked, unpack it and pass the folder"
            }
            Self::Internal(_) => "please report this",
            _ => Remedy::CopyBundleAgain.hint(),
        })
    }
}

fn volumes_kind(error: &VolumeError) -> Kind {
    if matches!(error, VolumeError::Head { .. }) { Kind::Integrity } else { Kind::Input }
}

fn volumes_hint(error: &VolumeError) -> Option<&'static str> {
    Some(match error {
        VolumeError::Index { .. } | VolumeError::Head { .. } => {
            "copy the index again from where the bundle was written"
        }
        VolumeError::Stranger { path, .. }
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("._")) =>
        {
            "omit it: files whose name begins with `._` are metadata that macOS adds when it copies to other disks"
        }
        VolumeError::Stranger { .. } => {
            "omit the file, or copy it again if it should be a volume: it may be truncated"
        }
        VolumeError::Mixed { .. } => "pass the volumes of only one set",
        VolumeError::NoIndex { .. } | VolumeError::Alone(_) => {
            "name the index as well, or put it beside the volumes; without an index, name all volumes, called NAME.001, \
             NAME.002 and so on"
        }
        VolumeError::NotABeginning(_) => "pass all volumes, including the first",
        VolumeError::Folder(_) => return None,
    })
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
