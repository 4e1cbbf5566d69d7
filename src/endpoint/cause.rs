//! Causes of failures that all endpoints share, and the trait for an endpoint's own.
//!
//! [`Cause`] has the cases that the copying code distinguishes. Everything else is an [`EndpointError`], a type of the
//! endpoint's own, which tells the copying code and the report what they need. A new endpoint needs no change here.

use std::{error::Error, fmt, sync::Arc};

use super::{Location, Operation, Retry};
use crate::{
    error::{Fault, Kind, Reason},
    oci::{Platform, manifest::ManifestError, verified::Mismatch},
    problem::Side,
};

/// What to do about a list of referrers that makes no sense.
pub(super) const UNREADABLE_LIST: &str =
    "report it to whoever operates the registry; sync --referrers none copies images without signatures";

/// Why an operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// There is no such manifest.
    #[error("it does not exist")]
    NoSuchManifest,
    /// An index references this manifest, possibly for this platform, but it does not exist.
    #[error("it does not exist, although an index references it{}", ForPlatform(.0.as_deref()))]
    NoSuchChild(Option<Box<Platform>>),
    /// A manifest references this blob, but it does not exist.
    #[error("it does not exist, although a manifest references it")]
    NoSuchBlob,
    /// The bytes are not a usable manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes are not those of the blob.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A failure specific to the endpoint.
    #[error(transparent)]
    Endpoint(Arc<dyn EndpointError>),
}

/// A failure that is specific to an endpoint. The methods are cheap and perform no I/O.
pub trait EndpointError: Error + Send + Sync + 'static {
    /// What kind of failure this is. The exit code follows from it.
    fn kind(&self) -> Kind {
        Kind::Image
    }

    /// What the user can do about it.
    fn remedy(&self, _location: &Location) -> Option<String> {
        None
    }

    /// The reason, if the report recognizes it.
    fn reason(&self) -> Option<Reason> {
        None
    }

    /// What went wrong, if the texts of this failure differ although its cause is the same.
    fn fault(&self) -> Option<Fault> {
        None
    }

    /// What it means for the copying code.
    fn meaning(&self) -> Meaning {
        Meaning::Failed
    }

    /// Whether and how to retry the transfer of the blob. `None` for requests that the endpoint itself has retried.
    fn retry(&self) -> Option<Retry> {
        None
    }

    /// Whether the endpoint does not provide what was requested, as opposed to a failure that says nothing about it.
    fn unavailable(&self) -> Option<Unavailable> {
        None
    }
}

/// Why an endpoint does not provide an image. An optional image may be skipped for these reasons and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// It does not exist (404).
    NotFound,
    /// Access to it is denied (401 or 403). Many registries answer so for images that do not exist.
    Denied,
    /// The name of its host does not resolve.
    UnknownHost,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotFound => "the source has no such image",
            Self::Denied => "the source denies access to it",
            Self::UnknownHost => "its host name does not resolve",
        })
    }
}

/// What a failure means for the copying code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The operation failed.
    Failed,
    /// The endpoint refused the operation.
    Refused,
    /// The endpoint refused a manifest because it lacks blobs or manifests that it references.
    ContentMissing,
    /// The endpoint refused because the repository must be created first.
    RepositoryMissing,
}

impl<E: EndpointError> From<E> for Cause {
    fn from(error: E) -> Self {
        Self::Endpoint(Arc::new(error))
    }
}

impl Cause {
    /// The endpoint's own error, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: EndpointError>(&self) -> Option<&E> {
        match self {
            Self::Endpoint(error) => (&**error as &(dyn Error + 'static)).downcast_ref(),
            _ => None,
        }
    }

    /// What kind of failure this is. The exit code follows from it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Endpoint(error) => error.kind(),
            Self::Mismatch(_)
            | Self::Manifest(
                ManifestError::Digest { .. }
                | ManifestError::Size { .. }
                | ManifestError::Unstable { .. }
                | ManifestError::Contradicted { .. },
            ) => Kind::Integrity,
            _ => Kind::Image,
        }
    }

    /// The reason, if the report recognizes it.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Endpoint(error) => error.reason(),
            _ => None,
        }
    }

    /// What went wrong, for the comparison with other failures. `None` if only the texts say it.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::NoSuchManifest => Some(Fault::NoManifest),
            Self::NoSuchChild(platform) => Some(Fault::NoChild(platform.clone())),
            Self::NoSuchBlob => Some(Fault::NoBlob),
            Self::Manifest(_) | Self::Mismatch(_) => None,
            Self::Endpoint(error) => error.fault(),
        }
    }

    /// What it means for the copying code.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Endpoint(error) => error.meaning(),
            _ => Meaning::Failed,
        }
    }

    /// Whether and how to retry the transfer of the blob.
    #[must_use]
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Self::Endpoint(error) => error.retry(),
            _ if self.is_damage() => Some(Retry::DAMAGED),
            _ => None,
        }
    }

    /// Whether the endpoint does not provide the manifest that was requested.
    #[must_use]
    pub fn unavailable(&self) -> Option<Unavailable> {
        match self {
            Self::NoSuchManifest => Some(Unavailable::NotFound),
            Self::Endpoint(error) => error.unavailable(),
            _ => None,
        }
    }

    /// Whether wrong bytes arrived. They may have been damaged in transit.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Manifest(ManifestError::Digest { .. }))
    }

    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self, location: &Location) -> Option<String> {
        if location.operation == Operation::ReadForeignLayer && self.kind() != Kind::Integrity {
            let remedy = "the registry does not have this layer, and its URL is requested without credentials; omit \
                          --foreign-layers to skip it";
            return Some(remedy.to_owned());
        }
        let remedy = match self {
            Self::Endpoint(error) => return error.remedy(location),
            Self::NoSuchManifest => {
                "check the name and the tag; some registries hide images that the credentials may not pull"
            }
            Self::NoSuchChild(_) => {
                "the image is incomplete: ask its publisher to push it again, or skip it with --exclude"
            }
            Self::NoSuchBlob if location.side == Side::Source && location.registry().is_some() => {
                "the image is incomplete at its source: ask its publisher to push it again"
            }
            Self::Mismatch(_)
            | Self::Manifest(ManifestError::Digest { .. } | ManifestError::Unstable { .. }) => {
                "no wrong data was stored; if it happens again, the image is damaged at its source"
            }
            Self::Manifest(_) if location.operation == Operation::ListReferrers => UNREADABLE_LIST,
            // The error says what to do.
            Self::Manifest(ManifestError::Schema1) => return None,
            Self::Manifest(ManifestError::Unreadable(_) | ManifestError::Contradicted { .. })
                if location.side == Side::Source =>
            {
                "check the registry and any proxy in front of it; if the image itself is invalid, ask its publisher"
            }
            Self::Manifest(_) if location.side == Side::Source => {
                "the image is invalid at its source: ask its publisher to push it again"
            }
            Self::NoSuchBlob | Self::Manifest(_) => return None,
        };
        Some(remedy.to_owned())
    }
}

/// ` for linux/arm64`
struct ForPlatform<'a>(Option<&'a Platform>);

impl fmt::Display for ForPlatform<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|platform| write!(formatter, " for {platform}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn an_invalid_manifest_has_a_remedy_at_the_source_bug() {
        let hint =
            |cause: &Cause, operation, side| cause.remedy(&Location::new(operation, side, "r.example/a:1"));
        let invalid = Cause::Manifest(ManifestError::Ambiguous);
        let read = Operation::ReadManifest;
        assert!(hint(&invalid, read, Side::Source).unwrap().contains("ask its publisher to push it again"));
        let unreadable = Cause::Manifest(ManifestError::Unreadable(String::new()));
        assert!(
            hint(&unreadable, read, Side::Source).unwrap().starts_with("check the registry and any proxy")
        );
        let lacking = |side| hint(&Cause::NoSuchBlob, Operation::ReadBlob, side);
        assert!(lacking(Side::Source).unwrap().starts_with("the image is incomplete"));
        assert_eq!(lacking(Side::Destination), None);
        assert_eq!(hint(&invalid, read, Side::Destination), None);
        let listed = hint(&invalid, Operation::ListReferrers, Side::Source);
        assert!(listed.unwrap().contains("--referrers none"));
        assert_eq!(hint(&Cause::Manifest(ManifestError::Schema1), read, Side::Source), None);
    }

    #[test]
    fn only_damaged_bytes_are_retried() {
        let (expected, found) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let other = ManifestError::Digest { expected: expected.clone(), found: found.clone() };
        for damaged in [Cause::Manifest(other), Mismatch::Digest { expected, found }.into()] {
            assert_eq!(damaged.retry(), Some(Retry::DAMAGED), "{damaged}");
            assert_eq!(damaged.kind(), Kind::Integrity);
        }
        for lasting in [
            Cause::NoSuchManifest,
            Cause::NoSuchChild(Some(Box::new("linux/arm64".parse().unwrap()))),
            Cause::NoSuchBlob,
            Cause::Manifest(ManifestError::Ambiguous),
        ] {
            assert_eq!(lasting.retry(), None, "{lasting}");
        }
    }
}
