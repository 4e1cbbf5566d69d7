//! Problems of images, at a destination or in a bundle.
//!
//! A check returns every [`Problem`] that it finds, as a typed value with the location and the kind of problem.
//! [`Problem::remedy`] and [`Problem::failure_kind`] are the only functions that decide the [`Remedy`] and the exit
//! code.

pub(crate) mod absent_volumes;
mod archive;
mod remedy;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    archive::{ArchivePart, ArchivePosition},
    remedy::Remedy,
};
pub use crate::error::Side;
use crate::{
    error::{Failure, Kind, Reason, escape},
    oci::{Digest, Platform, Reference},
};

/// One difference between the actual and the expected content of a destination or bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Problem {
    /// No manifest under the tag.
    MissingTag,
    /// The tag points to another manifest.
    OtherDigest {
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// A required platform is not in the index.
    MissingPlatform {
        /// The platform that is missing.
        platform: Platform,
        /// The platforms in the index.
        available: Vec<Platform>,
    },
    /// A manifest that the index references is missing.
    MissingManifest {
        /// The manifest.
        digest: Digest,
        /// The platform it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<Platform>,
    },
    /// A manifest does not match its digest, or cannot be parsed.
    BadManifest {
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that a manifest references is missing.
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// Its size in bytes according to the manifest.
        size: u64,
    },
    /// A blob does not have the size in its manifest.
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The size in bytes according to the manifest.
        expected: u64,
        /// The size in bytes at the destination.
        found: u64,
    },
    /// A blob does not match its digest.
    CorruptBlob {
        /// The blob.
        digest: Digest,
        /// How they differ.
        reason: String,
    },
    /// A blob cannot be read, or is in a missing volume.
    UnreadableBlob {
        /// The blob.
        digest: Digest,
        /// Why.
        reason: String,
        /// The missing volumes that contain it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        volumes: Vec<String>,
    },
    /// An attached manifest is missing.
    MissingAttachment {
        /// The manifest.
        digest: Digest,
        /// Its artifact type.
        artifact_type: String,
        /// The manifest that it is attached to.
        subject: Digest,
    },
    /// An attached manifest exists, but neither the referrers API nor a tag leads to it.
    UnlistedAttachment {
        /// The manifest.
        digest: Digest,
        /// The manifest that it is attached to.
        subject: Digest,
    },
    /// The tag of an attached manifest in cosign's older format names another manifest that lacks some of its entries.
    OtherAttachment {
        /// The tag.
        tag: String,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// A tag of cosign's older format has entries that the source lacks, and lacks entries that the source has: it was
    /// kept.
    DivergedAttachment {
        /// The tag.
        tag: String,
        /// The digest at the source.
        expected: Digest,
        /// The digest at the destination.
        found: Digest,
    },
    /// The run that wrote the lock did not confirm this image.
    NeverConfirmed,
    /// A damaged blob of a bundle that no image needs.
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
    /// A bundle's archive is truncated.
    TruncatedArchive {
        /// The number of bytes missing at its end.
        missing: u64,
    },
    /// A bundle's archive has bytes after its end.
    TrailingBytes {
        /// Where the archive should end.
        offset: u64,
        /// The number of extra bytes.
        count: u64,
    },
    /// Bytes of a bundle's archive outside its blobs differ from what was written.
    AlteredArchive {
        /// The part that differs.
        part: ArchivePart,
        /// The first byte that differs.
        position: ArchivePosition,
    },
    /// A bundle's `index.json` is not what this program writes for its images and its lock.
    AlteredIndex,
    /// A bundle's `index.json` references a lock that is missing.
    MissingLock,
    /// A bundle's lock contradicts its images.
    WrongLock {
        /// The image or blob concerned.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// An image that an export with `--keep-going` left out.
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

/// The step that found a problem. It decides the remedy and the exit code together with the problem.
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
    /// The kind of failure, which decides the exit code.
    #[must_use]
    pub fn failure_kind(&self, found_by: FoundBy) -> Kind {
        match (found_by, self) {
            // The bundle is as it was written: nothing is damaged.
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

    /// The kind of failure of several problems: damage outweighs missing content.
    #[must_use]
    pub(crate) fn failure_kind_of<'a>(
        problems: impl IntoIterator<Item = &'a Self>,
        found_by: FoundBy,
    ) -> Kind {
        let kinds = problems.into_iter().map(|problem| problem.failure_kind(found_by));
        kinds.reduce(|first, next| if next == Kind::Integrity { next } else { first }).unwrap_or(Kind::Image)
    }

    /// The remedy for a problem.
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
            (_, Self::DivergedAttachment { .. }) => Remedy::DeleteTagThenSync,
            (_, _) => Remedy::Sync,
        }
    }

    /// Whether only volumes are missing, and everything else is intact.
    fn is_missing_volumes(&self) -> bool {
        match self {
            Self::MissingVolume { .. } => true,
            Self::UnreadableBlob { volumes, .. } => !volumes.is_empty(),
            _ => false,
        }
    }

    /// The failure of a problem outside any image.
    #[must_use]
    pub fn failure(&self, found_by: FoundBy) -> Failure {
        let failure = Failure::new(self.failure_kind(found_by), self.to_string());
        let reason = self.is_missing_volumes().then_some(Reason::AbsentVolumes);
        failure.with_hint(self.remedy(found_by).hint()).with_reason(reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTag => write!(formatter, "the tag does not exist"),
            Self::OtherDigest { expected, found } => {
                write!(formatter, "the tag points to {found}, not {expected}")
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
            Self::MissingAttachment { digest, artifact_type, subject } => {
                write!(formatter, "{digest} ({}), attached to {subject}, is missing", escape(artifact_type))
            }
            Self::UnlistedAttachment { digest, subject } => write!(
                formatter,
                "{digest} exists, but neither the referrers API nor a tag lists it as attached to {subject}"
            ),
            Self::OtherAttachment { tag, expected, found } => {
                write!(formatter, "the tag {} points to {found} and lacks entries of {expected}", escape(tag))
            }
            Self::DivergedAttachment { tag, expected, found } => write!(
                formatter,
                "the tag {} was kept: {found} there and {expected} at the source each have entries that the other lacks",
                escape(tag)
            ),
            Self::NeverConfirmed => write!(formatter, "the run that wrote the lock did not confirm it"),
            Self::UnusedBlob { reason, .. } => write!(formatter, "{} (no image needs it)", escape(reason)),
            Self::MissingVolume { name } => write!(formatter, "volume {} is missing", escape(name)),
            Self::TruncatedArchive { missing } => {
                write!(formatter, "the archive is truncated: its last {missing} bytes are missing")
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
            Self::LeftOut { image } => {
                write!(formatter, "{image} is not in the bundle: the export failed to copy it")
            }
            Self::UnreadableBundle { reason } => formatter.write_str(&escape(reason)),
        }
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
