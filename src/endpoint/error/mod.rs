//! Why an endpoint could not do what it was asked: the operation, the side, the place, and the cause.

mod cause;
mod hint;

use std::{fmt, time::Duration};

pub use self::cause::Cause;
use crate::{error::Failure, problem::Side};

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

/// An operation that failed for good.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {operation} {place} ({side}){}", Tries(*attempts, *elapsed))]
pub struct Error {
    /// What was being done.
    pub operation: Operation,
    /// On which side.
    pub side: Side,
    /// Registry, repository and tag or digest.
    pub place: String,
    /// How often it was tried.
    pub attempts: u32,
    /// How long that took altogether.
    pub elapsed: Duration,
    /// Why it failed the last time.
    #[source]
    pub cause: Cause,
}

struct Tries(u32, Duration);

impl fmt::Display for Tries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            attempts => write!(formatter, ", tried {attempts} times in {:.1} s", self.1.as_secs_f32()),
        }
    }
}

impl Error {
    /// A failure of one try that took no time worth telling.
    #[must_use]
    pub fn new(operation: Operation, side: Side, place: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self {
            operation,
            side,
            place: place.into(),
            attempts: 1,
            elapsed: Duration::ZERO,
            cause: cause.into(),
        }
    }

    /// What a person sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.cause.kind(), self).with_optional_hint(hint::hint(self))
    }

    /// Whether the destination refused because somebody has to create the repository first (ECR, for one).
    #[must_use]
    pub fn lacks_repository(&self) -> bool {
        self.side == Side::Destination
            && matches!(&self.cause, Cause::Refused { status: 404, code: Some(code), .. } if code == "NAME_UNKNOWN")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn says_operation_place_side_tries_and_the_registrys_own_words() {
        let error = Error {
            operation: Operation::PushManifest,
            side: Side::Destination,
            place: "reg.example.com/thoras/services:4.53.0".to_owned(),
            attempts: 3,
            elapsed: Duration::from_millis(2500),
            cause: Cause::Refused {
                status: 403,
                code: Some("DENIED".to_owned()),
                message: "no push for you".to_owned(),
                retry_after: None,
            },
        };
        let failure = error.failure();
        assert_eq!(
            failure.message,
            "cannot push manifest reg.example.com/thoras/services:4.53.0 (destination), tried 3 times in 2.5 s"
        );
        assert_eq!(failure.causes, ["the registry answered 403 DENIED: no push for you"]);
        assert_eq!(failure.kind, Kind::Authentication);
    }
}
