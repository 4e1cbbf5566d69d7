//! The error of an endpoint: where it happened, after how many attempts, and why.

use std::{fmt, time::Duration};

use super::{Cause, Location, Meaning, Operation, Retry, retry};
use crate::{
    error::{CauseKey, Failure},
    problem::Side,
};

/// A failed operation, after all retries.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {location}{}", Attempts(*attempts, *elapsed))]
pub struct Error {
    /// The operation and its object.
    pub location: Location,
    /// The number of attempts.
    pub attempts: u32,
    /// The time that all attempts took.
    pub elapsed: Duration,
    /// Why the last attempt failed.
    #[source]
    pub cause: Cause,
}

struct Attempts(u32, Duration);

/// `, tried 5 times in 1.3 s`
const ATTEMPTS: &str = ", tried ";
const TIMES: &str = " times in ";
const SECONDS: &str = " s";

impl fmt::Display for Attempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            attempts => {
                write!(formatter, "{ATTEMPTS}{attempts}{TIMES}{:.1}{SECONDS}", self.1.as_secs_f32())
            }
        }
    }
}

/// A message without the attempts and their time, which are not part of the reason.
#[must_use]
pub(crate) fn without_attempts(message: &str) -> String {
    let Some((before, rest)) = message.split_once(ATTEMPTS) else { return message.to_owned() };
    let time = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    let after = time.strip_prefix(TIMES).map(|time| {
        time.trim_start_matches(|character: char| character.is_ascii_digit() || character == '.')
    });
    match after.and_then(|time| time.strip_prefix(SECONDS)) {
        Some(after) => format!("{before}{after}"),
        None => message.to_owned(),
    }
}

impl Error {
    /// The failure of one attempt.
    #[must_use]
    pub fn new(operation: Operation, side: Side, name: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Location::new(operation, side, name).error(cause)
    }

    /// The failure as shown to the user.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let cause_key = CauseKey {
            side: self.location.side,
            registry: self.location.registry().map(str::to_owned),
            fault: self.cause.fault(),
        };
        let failure = Failure::from_error(self.cause.kind(), self)
            .with_optional_hint(self.cause.remedy(&self.location))
            .with_reason(self.cause.reason());
        Failure { cause_key: Some(Box::new(cause_key)), ..failure }
    }

    /// Whether and how to retry the transfer of the blob. `None` after the maximum number of attempts.
    #[must_use]
    pub(crate) fn retry(&self) -> Option<Retry> {
        self.cause.retry().filter(|_| self.attempts < retry::attempts().max(2))
    }

    /// Whether the repository at the destination must be created first.
    #[must_use]
    pub(crate) fn lacks_repository(&self) -> bool {
        self.location.side == Side::Destination && self.cause.meaning() == Meaning::RepositoryMissing
    }
}
