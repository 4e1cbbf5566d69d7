//! An operation, its side and its object: where an error happened.

use std::fmt;

use super::{Cause, Error};
use crate::{oci::Reference, problem::Side};

/// The operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Connecting to a registry.
    Connect,
    /// GET or HEAD of a manifest.
    ReadManifest,
    /// GET of the list of a repository's tags.
    ListTags,
    /// GET of the manifests whose subject is a manifest.
    ListReferrers,
    /// HEAD of a blob.
    CheckBlob,
    /// GET of a blob.
    ReadBlob,
    /// Reading a bundle from a pipe.
    ReadBundle,
    /// Writing a bundle to a pipe.
    WriteBundle,
    /// GET of a foreign layer from a URL in its manifest.
    ReadForeignLayer,
    /// POST that opens an upload or mounts a blob.
    BeginUpload,
    /// PUT of a blob's bytes.
    UploadBlob,
    /// PUT of a manifest.
    PushManifest,
    /// A probe without side effects.
    Probe,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "reach registry",
            Self::ReadManifest => "read manifest",
            Self::ListTags => "list the tags of",
            Self::ListReferrers => "list the referrers of",
            Self::CheckBlob => "check blob",
            Self::ReadBlob => "read blob",
            Self::ReadBundle => "read the bundle from",
            Self::WriteBundle => "write the bundle to",
            Self::ReadForeignLayer => "fetch foreign layer",
            Self::BeginUpload => "start the upload of blob",
            Self::UploadBlob => "upload blob",
            Self::PushManifest => "push manifest",
            Self::Probe => "probe repository",
        })
    }
}

/// An operation on one manifest or blob of one side. Displays as `read blob REPOSITORY@DIGEST (source)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The operation.
    pub operation: Operation,
    /// The side of the copy.
    pub side: Side,
    /// The object, as shown to the user: `REGISTRY/REPOSITORY:TAG`, `REGISTRY/REPOSITORY@DIGEST`, a file.
    pub name: String,
}

impl Location {
    /// An operation on what `name` names.
    #[must_use]
    pub fn new(operation: Operation, side: Side, name: impl Into<String>) -> Self {
        Self { operation, side, name: name.into() }
    }

    /// The registry, if the object is in one.
    pub(super) fn registry(&self) -> Option<&str> {
        registry_in(&self.name)
    }

    /// The failure of one attempt here.
    #[must_use]
    pub fn error(self, cause: impl Into<Cause>) -> Error {
        Error { location: self, attempts: 1, elapsed: std::time::Duration::ZERO, cause: cause.into() }
    }
}

/// The registry of the name of an image in full, such as `quay.io/a/b:1` or `quay.io/a/b@sha256:…`.
pub(crate) fn registry_in(name: &str) -> Option<&str> {
    let (registry, rest) = name.split_once('/')?;
    let is_registry = registry == "localhost" || registry.contains(['.', ':']);
    (is_registry && !rest.starts_with('/') && name.parse::<Reference>().is_ok()).then_some(registry)
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} ({})", self.operation, self.name, self.side)
    }
}
