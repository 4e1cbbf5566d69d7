//! Failures as users see them: one line, the causes below it, a hint, and an exit code.
//!
//! Each module has its own error enum; all of them become a [`Failure`] before they are reported.

mod cause_key;
mod logins;
mod secrets;

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cause_key::{CauseKey, Fault, Side};
pub(crate) use self::{
    logins::hide_logins,
    secrets::{hide_repeated, hide_secrets, remember_secret, withhold_secrets},
};

/// The kind of a failure. It decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An image could not be copied, for any other reason.
    Image,
    /// The command line or a setting is wrong.
    Usage,
    /// Input could not be read or parsed: a chart, a manifest, a list, a lock.
    Input,
    /// A registry refused the credentials or denied access.
    Authentication,
    /// `verify` or `values` found a difference.
    Difference,
    /// Bytes did not match their digest or size.
    Integrity,
    /// The run was stopped by a signal.
    Interrupted,
}

/// Exit codes, documented in the README.
pub(crate) mod exit {
    /// Everything is in place and confirmed.
    pub(crate) const SUCCESS: u8 = 0;
    /// An image failed, or failures of several kinds.
    pub(crate) const IMAGE: u8 = 1;
    /// Usage or settings.
    pub(crate) const USAGE: u8 = 2;
    /// Unreadable input.
    pub(crate) const INPUT: u8 = 3;
    /// Authentication refused.
    pub(crate) const AUTHENTICATION: u8 = 4;
    /// `verify` or `values` found a difference.
    pub(crate) const DIFFERENCE: u8 = 5;
    /// A digest or size did not match.
    pub(crate) const INTEGRITY: u8 = 6;
    /// SIGHUP: 128 + 1.
    pub(crate) const HUNG_UP: u8 = 129;
    /// SIGQUIT: 128 + 3.
    pub(crate) const QUIT: u8 = 131;
    /// SIGINT: 128 + 2.
    pub(crate) const INTERRUPTED: u8 = 130;
    /// SIGTERM: 128 + 15.
    pub(crate) const TERMINATED: u8 = 143;
}

impl Kind {
    /// The exit code of a run in which all failures are of this kind.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Image => exit::IMAGE,
            Self::Usage => exit::USAGE,
            Self::Input => exit::INPUT,
            Self::Authentication => exit::AUTHENTICATION,
            Self::Difference => exit::DIFFERENCE,
            Self::Integrity => exit::INTEGRITY,
            Self::Interrupted => exit::INTERRUPTED,
        }
    }
}

/// The exit code of a run with these failures: their common code, or 1 if they differ.
#[must_use]
pub(crate) fn exit_code_of(kinds: impl IntoIterator<Item = Kind>) -> u8 {
    let mut kinds = kinds.into_iter();
    match kinds.next() {
        None => exit::SUCCESS,
        Some(first) if kinds.all(|kind| kind == first) => first.exit_code(),
        Some(_) => exit::IMAGE,
    }
}

/// A failure, ready to be shown. Its texts contain no secrets and no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The kind, for the exit code and for programs.
    pub kind: Kind,
    /// One line: what failed, and where.
    pub message: String,
    /// Why, the nearest cause first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// A reason that decides how it is shown.
    #[serde(skip)]
    pub reason: Option<Reason>,
    /// Where and why an endpoint failed, if it did.
    #[serde(skip)]
    pub cause_key: Option<Box<CauseKey>>,
}

/// A reason for a failure that the report recognizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Volumes of a bundle are missing. Nothing is damaged.
    AbsentVolumes,
}

impl Failure {
    /// A failure with only a message.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: clean(&message.into()),
            causes: Vec::new(),
            hint: None,
            reason: None,
            cause_key: None,
        }
    }

    /// A failure from an error and the chain of its sources.
    #[must_use]
    pub fn from_error(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = clean(&cause.to_string());
            // Many libraries repeat their source in their own text; show it once.
            let said =
                std::iter::once(&failure.message).chain(&failure.causes).any(|line| line.contains(&text));
            if !said {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(clean(&hint.into()));
        self
    }

    /// The same failure, for a reason that the report recognizes.
    #[must_use]
    pub(crate) fn with_reason(self, reason: Option<Reason>) -> Self {
        Self { reason: reason.or(self.reason), ..self }
    }

    /// The same failure with a hint, if there is one.
    #[must_use]
    pub(crate) fn with_optional_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.map(|text| clean(&text)).or(self.hint);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Makes any text safe to show.
fn clean(text: &str) -> String {
    escape(&hide_logins(text))
}

/// The system's error, without the name of a temporary file, which the user does not know. `tempfile` adds the name in a
/// type of its own, as `ERROR at path NAME`, and keeps only the kind.
pub(crate) fn without_temporary_name(error: std::io::Error) -> std::io::Error {
    let (kind, shown) = (error.kind(), error.to_string());
    match shown.rsplit_once(" at path ") {
        _ if error.get_ref().is_none() => error,
        Some((system, _)) => std::io::Error::new(kind, system),
        None if kind == std::io::ErrorKind::Other => error,
        None => kind.into(),
    }
}

/// Makes text from outside safe to show: hides the secrets that are known, and escapes control characters, so that no
/// registry, chart or helper controls the terminal. Line breaks stay: helm's messages have several lines.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_controls(&hide_secrets(text))
}

/// Escapes control characters only.
pub(crate) fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let invisible = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if invisible && character != '\n' {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Replaces the characters that JSON permits in a string and a terminal acts on with `\uXXXX`, which every parser reads
/// back unchanged. `json` is what a serializer wrote: outside strings it has only ASCII and line breaks, which stay.
pub(crate) fn escape_json(json: String) -> String {
    if escape_controls(&json) == json {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        if escape_controls(character.encode_utf8(&mut [0; 4])).chars().eq([character]) {
            safe.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_several_kinds_exit_with_one() {
        assert_eq!(exit_code_of([]), 0);
        assert_eq!(exit_code_of([Kind::Authentication, Kind::Authentication]), 4);
        assert_eq!(exit_code_of([Kind::Authentication, Kind::Integrity]), 1);
    }

    #[test]
    fn a_temporary_name_is_not_shown() {
        let error = tempfile::Builder::new().prefix("secret-name").tempfile_in("/none/such").unwrap_err();
        assert!(error.to_string().contains("secret-name"), "the library names the file: {error}");
        let error = without_temporary_name(error);
        assert!(!error.to_string().contains("secret-name"), "{error}");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        let other = without_temporary_name(std::io::Error::other("x"));
        assert_eq!(other.to_string(), "x");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\u{1b}[2Jb\r\n\u{202e}c"), "a\\u{1b}[2Jb\\r\n\\u{202e}c");
    }
}
