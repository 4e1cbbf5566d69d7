//! Hints for bundle errors.

use std::io;

use super::{BundleError, NameError, OtherFormat, VolumeError};
use crate::problem::Remedy;

impl BundleError {
    /// The hint: from a [`Remedy`] if problems share it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::OldDocker { .. } => {
                "save the image again with Docker 25 or later, `crane pull --format=oci` or `skopeo copy --all … \
                 oci-archive:FILE`, or convert it with `skopeo copy docker-archive:FILE oci-archive:NEW:NAME:TAG` and \
                 pass NEW: it has a single platform, and its digest changes"
            }
            Self::SkopeoFolder { in_archive: false, .. } => {
                "convert it with `skopeo copy --all dir:FOLDER oci-archive:NEW:NAME:TAG` and pass NEW"
            }
            Self::SkopeoFolder { in_archive: true, .. } => {
                "unpack the archive, convert the folder with `skopeo copy --all dir:FOLDER oci-archive:NEW:NAME:TAG` and \
                 pass NEW"
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
