//! What can be wrong with an image, at a destination or in a bundle.
//!
//! A check returns every [`Problem`] that it finds, as a typed value that says where it is and what is wrong. What
//! helps is a [`Remedy`]; [`Problem::remedy`] and [`Problem::failure_kind`] are the only places that decide remedy and
//! exit code.

mod remedy;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::remedy::Remedy;
use crate::{
    error::{Failure, Kind, escape},
    oci::{Digest, Platform, Reference},
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

/// One difference between what a place holds and what it should hold.
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
        /// The missing volumes that hold it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        volumes: Vec<String>,
    },
    /// The lock says that the run which wrote it never confirmed this image.
    NeverConfirmed,
    /// A blob of a bundle is damaged, and no image needs it.
    UnusedBlob {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A volume of a bundle is missing.
    MissingVolume {
        /// Its name.
        name: String,
    },
    /// A bundle's archive is cut off.
    TruncatedArchive {
        /// How many bytes are missing at its end.
        missing: u64,
    },
    /// A bundle's archive goes on after its end.
    TrailingBytes {
        /// Where the archive should end.
        offset: u64,
        /// How many bytes follow.
        count: u64,
    },
    /// A bundle's archive has other bytes than were written, outside its blobs.
    AlteredArchive {
        /// The part that differs.
        part: ArchivePart,
        /// The first byte that differs.
        position: ArchivePosition,
    },
    /// A bundle's `index.json` is not what this program writes for its images and its lock.
    AlteredIndex,
    /// A bundle's `index.json` names a lock that is missing.
    MissingLock,
    /// A bundle's lock contradicts its images.
    WrongLock {
        /// The image or blob that it is wrong about.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// An image that an export with `--keep-going` went on without.
    LeftOut {
        /// The image.
        image: Reference,
    },
    /// A bundle cannot be read to its end.
    UnreadableBundle {
        /// Why.
        reason: String,
    },
}

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
    /// The volume that it lies in, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// The step that found a problem. The same problem needs another remedy, and gives another exit code, in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// Reading back what was copied.
    Confirmation,
    /// `verify`
    Verify,
    /// `bundle verify`
    BundleVerify,
    /// `bundle import`
    BundleImport,
}

impl Problem {
    /// The kind of failure that a problem is; the exit code follows from it.
    #[must_use]
    pub fn failure_kind(&self, found_by: FoundBy) -> Kind {
        match (found_by, self) {
            // The bundle is what it was written to be: nothing is damaged.
            (_, Self::LeftOut { .. }) => Kind::Image,
            (FoundBy::Verify, _) => Kind::Difference,
            (
                FoundBy::Confirmation,
                Self::WrongSize { .. } | Self::BadManifest { .. } | Self::CorruptBlob { .. },
            ) => Kind::Integrity,
            (FoundBy::Confirmation, _) => Kind::Image,
            (FoundBy::BundleImport, _) if self.is_missing_volumes() => Kind::Input,
            (FoundBy::BundleVerify | FoundBy::BundleImport, _) => Kind::Integrity,
        }
    }

    /// The kind of failure that several problems are together: damage outweighs what is only missing.
    #[must_use]
    pub fn failure_kind_of<'a>(problems: impl IntoIterator<Item = &'a Self>, found_by: FoundBy) -> Kind {
        let kinds = problems.into_iter().map(|problem| problem.failure_kind(found_by));
        kinds.reduce(|first, next| if next == Kind::Integrity { next } else { first }).unwrap_or(Kind::Image)
    }

    /// What helps against a problem.
    #[must_use]
    pub fn remedy(&self, found_by: FoundBy) -> Remedy {
        match (found_by, self) {
            (FoundBy::BundleVerify | FoundBy::BundleImport, Self::LeftOut { .. }) => Remedy::ExportAgain,
            (FoundBy::BundleVerify | FoundBy::BundleImport, _) if self.is_missing_volumes() => {
                Remedy::AddVolumes
            }
            (FoundBy::BundleVerify | FoundBy::BundleImport, _) => Remedy::CopyBundleAgain,
            (_, Self::CorruptBlob { .. } | Self::WrongSize { .. } | Self::BadManifest { .. }) => {
                Remedy::DeleteThenSync
            }
            (_, Self::MissingBlob { .. } | Self::UnreadableBlob { .. }) => Remedy::SyncCheckingBlobs,
            (_, _) => Remedy::Sync,
        }
    }

    /// Whether only volumes are missing: nothing that is there is damaged.
    fn is_missing_volumes(&self) -> bool {
        match self {
            Self::MissingVolume { .. } => true,
            Self::UnreadableBlob { volumes, .. } => !volumes.is_empty(),
            _ => false,
        }
    }

    /// A problem of a bundle by itself, outside any image.
    #[must_use]
    pub fn failure(&self, found_by: FoundBy) -> Failure {
        let failure = Failure::new(self.failure_kind(found_by), self.to_string());
        failure.with_hint(self.remedy(found_by).hint())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTag => write!(formatter, "the tag does not exist"),
            Self::OtherDigest { expected, found } => {
                write!(formatter, "the tag names {found}, not {expected}")
            }
            Self::MissingPlatform { platform, available } => {
                let available: Vec<String> = available.iter().map(ToString::to_string).collect();
                let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
                write!(formatter, "{platform} is missing (available: {available})")
            }
            Self::MissingManifest { digest, platform: Some(platform) } => {
                write!(formatter, "the manifest for {platform} is missing: {digest}")
            }
            Self::MissingManifest { digest, platform: None } => {
                write!(formatter, "manifest {digest} is missing")
            }
            Self::BadManifest { digest, reason } => {
                write!(formatter, "manifest {digest} is unusable: {}", escape(reason))
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
            Self::UnreadableBlob { digest, reason, .. } => {
                write!(formatter, "blob {digest} cannot be read: {}", escape(reason))
            }
            Self::NeverConfirmed => write!(formatter, "the run that wrote the lock did not confirm it"),
            Self::UnusedBlob { reason, .. } => write!(formatter, "{} (no image needs it)", escape(reason)),
            Self::MissingVolume { name } => write!(formatter, "volume {} is missing", escape(name)),
            Self::TruncatedArchive { missing } => {
                write!(formatter, "the archive is cut off: its last {missing} bytes are missing")
            }
            Self::TrailingBytes { offset, count } => {
                write!(formatter, "{count} bytes follow the end of the archive at byte {offset}")
            }
            Self::AlteredArchive { part: ArchivePart::Head, position } => {
                write!(formatter, "the archive's head differs at {position}: it was damaged or repacked")
            }
            Self::AlteredArchive { part, position } => write!(formatter, "{part} is damaged at {position}"),
            Self::AlteredIndex => write!(formatter, "index.json differs from what was written"),
            Self::MissingLock => write!(formatter, "index.json names thoras-mirror.lock, which is missing"),
            Self::WrongLock { subject, reason } => {
                write!(formatter, "thoras-mirror.lock is wrong about {}: {}", escape(subject), escape(reason))
            }
            Self::LeftOut { image } => write!(
                formatter,
                "{image} is not in the bundle: it could not be copied when the bundle was written"
            ),
            Self::UnreadableBundle { reason } => formatter.write_str(&escape(reason)),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(volumes: &[&str]) -> Problem {
        let volumes = volumes.iter().map(ToString::to_string).collect();
        Problem::UnreadableBlob { digest: Digest::sha256(b"x"), reason: "x".to_owned(), volumes }
    }

    #[test]
    fn damage_outweighs_what_is_missing() {
        let (volumes, damaged) = (unreadable(&["b.tar.002"]), Problem::AlteredIndex);
        let kind = |problems: &[Problem]| Problem::failure_kind_of(problems, FoundBy::BundleImport);
        assert_eq!(kind(std::slice::from_ref(&volumes)), Kind::Input);
        assert_eq!(kind(&[volumes.clone(), damaged.clone()]), Kind::Integrity);
        assert_eq!(kind(&[damaged, volumes.clone()]), Kind::Integrity);
        assert_eq!(Problem::failure_kind_of([&volumes], FoundBy::BundleVerify), Kind::Integrity);
    }

    #[test]
    fn what_a_run_confirms_fails_by_what_is_wrong_and_what_verify_finds_is_a_difference() {
        let digest = Digest::sha256(b"x");
        let missing = Problem::MissingBlob { digest: digest.clone(), size: 1 };
        let wrong = Problem::WrongSize { digest, expected: 1, found: 2 };
        assert_eq!(Problem::failure_kind_of([&missing], FoundBy::Confirmation), Kind::Image);
        assert_eq!(Problem::failure_kind_of([&missing, &wrong], FoundBy::Confirmation), Kind::Integrity);
        assert_eq!(wrong.failure_kind(FoundBy::Verify), Kind::Difference);
    }

    #[test]
    fn each_problem_has_one_remedy_for_each_place() {
        let digest = Digest::sha256(b"x");
        let missing = Problem::MissingBlob { digest: digest.clone(), size: 1 };
        let corrupt = Problem::CorruptBlob { digest, reason: "x".to_owned() };
        assert_eq!(Problem::MissingTag.remedy(FoundBy::Verify), Remedy::Sync);
        assert_eq!(missing.remedy(FoundBy::Verify), Remedy::SyncCheckingBlobs);
        assert_eq!(corrupt.remedy(FoundBy::Verify), Remedy::DeleteThenSync);
        assert_eq!(corrupt.remedy(FoundBy::BundleVerify), Remedy::CopyBundleAgain);
        assert_eq!(unreadable(&[]).remedy(FoundBy::BundleImport), Remedy::CopyBundleAgain);
        assert_eq!(unreadable(&["b.tar.002"]).remedy(FoundBy::BundleImport), Remedy::AddVolumes);
    }
}
