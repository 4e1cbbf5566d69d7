//! What an endpoint was asked to do, on which side, and with what: the address in every error.

use std::fmt;

use super::{Cause, Error};
use crate::problem::Side;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Finding out how a registry is reached.
    Connect,
    /// GET or HEAD of a manifest.
    ReadManifest,
    /// HEAD of a blob.
    CheckBlob,
    /// GET of a blob.
    ReadBlob,
    /// Reading on in a bundle that comes through a pipe.
    ReadBundle,
    /// GET of a foreign layer from a URL in its manifest.
    ReadForeignLayer,
    /// POST that opens an upload or mounts a blob.
    BeginUpload,
    /// PUT of a blob's bytes.
    UploadBlob,
    /// PUT of a manifest.
    PushManifest,
    /// A question that leaves nothing behind.
    Probe,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "reach registry",
            Self::ReadManifest => "read manifest",
            Self::CheckBlob => "look for blob",
            Self::ReadBlob => "read blob",
            Self::ReadBundle => "read the bundle from",
            Self::ReadForeignLayer => "fetch foreign layer",
            Self::BeginUpload => "begin the upload of blob",
            Self::UploadBlob => "upload blob",
            Self::PushManifest => "push manifest",
            Self::Probe => "ask about repository",
        })
    }
}

/// An operation on one manifest or blob of one side. Displays as `read blob REPOSITORY@DIGEST (source)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// What was being done.
    pub operation: Operation,
    /// On which side.
    pub side: Side,
    /// What it was done with, for a person: `REGISTRY/REPOSITORY:TAG`, `REGISTRY/REPOSITORY@DIGEST`, a file.
    pub name: String,
}

impl Location {
    /// An operation on what `name` names.
    #[must_use]
    pub fn new(operation: Operation, side: Side, name: impl Into<String>) -> Self {
        Self { operation, side, name: name.into() }
    }

    /// The failure of one attempt here.
    #[must_use]
    pub fn error(self, cause: impl Into<Cause>) -> Error {
        Error { location: self, attempts: 1, elapsed: std::time::Duration::ZERO, cause: cause.into() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} ({})", self.operation, self.name, self.side)
    }
}
