//! What is common to all failures of endpoints, and how an endpoint adds its own.
//!
//! [`Cause`] names what every endpoint shares and the copying code has to tell apart. Everything else is an
//! [`EndpointError`]: a type of the endpoint's own, which answers the few questions that the copying code and the
//! report have. A new endpoint needs no change here.

use std::{error::Error, fmt, sync::Arc};

use super::{Location, Operation, Retry};
use crate::{
    error::Kind,
    oci::{Platform, manifest::ManifestError, verified::Mismatch},
};

/// Why an operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// There is no such manifest.
    #[error("it does not exist there")]
    NoSuchManifest,
    /// An index names this manifest, for this platform if it says so, and it does not exist.
    #[error("it does not exist there, although an index names it{}", For(.0.as_deref()))]
    NoSuchChild(Option<Box<Platform>>),
    /// There is no such blob, though a manifest names it.
    #[error("it does not exist there, although a manifest names it")]
    NoSuchBlob,
    /// The bytes are not a usable manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes are not those of the blob.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// Anything that only the endpoint understands.
    #[error(transparent)]
    Endpoint(Arc<dyn EndpointError>),
}

/// A failure that only its endpoint understands. Cheap answers; nothing is asked of the endpoint.
pub trait EndpointError: Error + Send + Sync + 'static {
    /// What kind of failure this is. The exit code follows from it.
    fn kind(&self) -> Kind {
        Kind::Image
    }

    /// What a person can do about it.
    fn remedy(&self, _location: &Location) -> Option<String> {
        None
    }

    /// What it means for the code that copies.
    fn meaning(&self) -> Meaning {
        Meaning::Failed
    }

    /// Whether and how transferring the blob again helps. Requests that the endpoint has already repeated by itself
    /// are not repeated on top of that.
    fn retry(&self) -> Option<Retry> {
        None
    }
}

/// What a failure means for the code that copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The operation failed.
    Failed,
    /// The endpoint answered and refused.
    Refused,
    /// The endpoint refused a manifest, because it lacks blobs or manifests that this one names.
    ContentMissing,
    /// The endpoint refused, because the repository has to be created first.
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

    /// What it means for the code that copies.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Endpoint(error) => error.meaning(),
            _ => Meaning::Failed,
        }
    }

    /// Whether and how transferring the blob again helps.
    #[must_use]
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Self::Endpoint(error) => error.retry(),
            _ if self.is_damage() => Some(Retry::DAMAGED),
            _ => None,
        }
    }

    /// Whether other bytes arrived than those that were asked for. They may have been damaged on the way.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Mismatch(_) | Self::Manifest(ManifestError::Digest { .. }))
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self, location: &Location) -> Option<String> {
        if location.operation == Operation::ReadForeignLayer && self.kind() != Kind::Integrity {
            let remedy = "the registry does not hold this layer, and such URLs are asked without credentials; leave \
                          --foreign-layers out to skip it";
            return Some(remedy.to_owned());
        }
        let remedy = match self {
            Self::Endpoint(error) => return error.remedy(location),
            Self::NoSuchManifest => {
                "check the spelling and the tag; some registries hide what the credentials may not pull"
            }
            Self::NoSuchChild(_) => {
                "the image is incomplete there: ask its publisher to push it again, or leave it out with --exclude"
            }
            Self::Mismatch(_)
            | Self::Manifest(ManifestError::Digest { .. } | ManifestError::Unstable { .. }) => {
                "nothing wrong was stored; if it happens again, the bytes are damaged where they come from"
            }
            Self::NoSuchBlob | Self::Manifest(_) => return None,
        };
        Some(remedy.to_owned())
    }
}

/// ` for linux/arm64`
struct For<'a>(Option<&'a Platform>);

impl fmt::Display for For<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|platform| write!(formatter, " for {platform}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn only_damaged_bytes_are_transferred_again() {
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
