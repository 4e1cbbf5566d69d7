//! Why an endpoint could not do what it was asked: where, after how many attempts, and the cause.

use std::{fmt, time::Duration};

use super::{Cause, Location, Meaning, Operation, Retry, retry};
use crate::{error::Failure, problem::Side};

/// An operation that failed for good.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {location}{}", Attempts(*attempts, *elapsed))]
pub struct Error {
    /// What was being done, and where.
    pub location: Location,
    /// How often it was tried.
    pub attempts: u32,
    /// How long all attempts took.
    pub elapsed: Duration,
    /// Why the last attempt failed.
    #[source]
    pub cause: Cause,
}

struct Attempts(u32, Duration);

impl fmt::Display for Attempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            attempts => write!(formatter, ", tried {attempts} times in {:.1} s", self.1.as_secs_f32()),
        }
    }
}

impl Error {
    /// The failure of one attempt.
    #[must_use]
    pub fn new(operation: Operation, side: Side, name: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Location::new(operation, side, name).error(cause)
    }

    /// What a person sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.cause.kind(), self).with_optional_hint(self.cause.remedy(&self.location))
    }

    /// Whether and how transferring the blob again helps. An operation that was tried often enough already is not
    /// tried again.
    #[must_use]
    pub(crate) fn retry(&self) -> Option<Retry> {
        self.cause.retry().filter(|_| self.attempts < retry::ATTEMPTS)
    }

    /// Whether the repository at the destination has to be created first.
    #[must_use]
    pub(crate) fn lacks_repository(&self) -> bool {
        self.location.side == Side::Destination && self.cause.meaning() == Meaning::RepositoryMissing
    }
}
