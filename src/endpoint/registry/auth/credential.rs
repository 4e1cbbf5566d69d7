//! A credential and its provenance. No type here prints a secret.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    bounded_read,
    error::{Kind, remember_secret},
};

/// The user name with which registries accept an identity token as a password (from Azure's documentation; other
/// registries ignore the user).
const TOKEN_USER: &str = "00000000-0000-0000-0000-000000000000";

/// A secret that authenticates us.
#[derive(Debug, Clone)]
pub enum Credential {
    /// User name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// An `OAuth2` refresh token, as `docker login` stores for Azure. Only the token server accepts it.
    IdentityToken(SecretString),
}

impl Credential {
    /// A user name and a password.
    #[must_use]
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Basic { username: username.into(), password: SecretString::from(password.into()) }
    }

    /// The `Authorization: Basic` header (RFC 7617), marked as sensitive.
    #[must_use]
    pub(crate) fn basic_header(&self) -> HeaderValue {
        let (username, secret) = match self {
            Self::Basic { username, password } => (username.as_str(), password),
            Self::IdentityToken(token) => (TOKEN_USER, token),
        };
        let encoded = STANDARD.encode(format!("{username}:{}", secret.expose_secret()));
        // Base64 is always a valid header value, so the fallback is never used.
        let mut header = HeaderValue::try_from(format!("Basic {encoded}"))
            .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        header.set_sensitive(true);
        header
    }

    /// Remembers this secret, so that no text that repeats it is shown.
    pub(super) fn remember(&self) {
        let (Self::Basic { password: secret, .. } | Self::IdentityToken(secret)) = self;
        remember_secret(secret.expose_secret());
        if let Some((_, encoded)) =
            self.basic_header().to_str().ok().and_then(|header| header.split_once(' '))
        {
            remember_secret(encoded);
        }
    }

    /// Removes this secret from text that came from a server, which may repeat what it received.
    #[must_use]
    pub(crate) fn redact(&self, text: &str) -> String {
        let secret = match self {
            Self::Basic { password, .. } => password,
            Self::IdentityToken(token) => token,
        };
        let header = self.basic_header();
        let encoded = header.to_str().ok().and_then(|value| value.strip_prefix("Basic "));
        [Some(secret.expose_secret()), encoded]
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }
}

/// Where a credential came from, so that the user can find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// A flag or an environment variable, by name, for example `--to-username`.
    Explicit(String),
    /// The vendor's license.
    License,
    /// An entry of a Docker configuration.
    Entry {
        /// The file, or the name of the variable that held its content.
        source: String,
        /// The key as written there.
        key: String,
    },
    /// A credential helper.
    Helper {
        /// The program, for example `docker-credential-gcloud`.
        program: String,
        /// The file, or the name of the variable, that names the helper.
        source: String,
        /// The server that the helper was asked about.
        server: String,
    },
}

impl fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explicit(flag) => formatter.write_str(flag),
            Self::License => formatter.write_str("the license"),
            Self::Entry { source, key } => {
                write!(formatter, "{}, key `{}`", source.escape_debug(), key.escape_debug())
            }
            Self::Helper { program, source, server } => write!(
                formatter,
                "{} for `{}` (named in {})",
                program.escape_debug(),
                server.escape_debug(),
                source.escape_debug()
            ),
        }
    }
}

/// A credential that matched a repository.
#[derive(Debug, Clone)]
pub(crate) struct FoundCredential {
    /// What to send.
    pub credential: Credential,
    /// Where it came from.
    pub provenance: Provenance,
}

/// Why the credentials on this machine could not be read. An unreadable credential is an error and never leads to an
/// anonymous request: that would surface later as a confusing refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's message, or that the file is too large or not text.
        reason: String,
        /// The kind of error.
        kind: io::ErrorKind,
    },
    /// A file cannot be written.
    #[error("cannot write {} in the folder {}: {reason}", .path.display(), .folder.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The folder in which it is replaced.
        folder: PathBuf,
        /// The operating system's message.
        reason: String,
    },
    /// A configuration is malformed. Its content is never repeated.
    #[error("{} is not a usable Docker configuration: {reason}", .origin.escape_debug())]
    Config {
        /// The file, or the name of the variable that held the content.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// One entry of a configuration cannot be used.
    #[error("the entry `{}` in {} cannot be used: {reason}", .key.escape_debug(), .origin.escape_debug())]
    Entry {
        /// The file, or the name of the variable that held the content.
        origin: String,
        /// The key as written.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper that a configuration names is not installed.
    #[error("{} names the credential helper `{}`, which is not in \
             PATH", .origin.escape_debug(), .program.escape_debug())]
    HelperMissing {
        /// The program.
        program: String,
        /// The file that names it.
        origin: String,
    },
    /// A credential helper ran and failed.
    #[error("the credential helper `{}` failed for `{}`: {message}", .program.escape_debug(), .server.escape_debug())]
    Helper {
        /// The program.
        program: String,
        /// The server that it was asked about.
        server: String,
        /// Its message, escaped, or ours if it printed none.
        message: String,
    },
    /// The license is malformed.
    #[error("the license {origin} {reason}")]
    License {
        /// `in FILE`, `from standard input` or `in VARIABLE`.
        origin: String,
        /// What is wrong.
        reason: String,
    },
}

impl CredentialError {
    /// A file that cannot be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::File { path: path.to_owned(), reason: error.to_string(), kind: error.kind() }
    }

    /// A failure of the user's files or settings, except when a helper ran and failed.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Helper { .. } => Kind::Authentication,
            Self::File { .. }
            | Self::Unwritable { .. }
            | Self::Config { .. }
            | Self::Entry { .. }
            | Self::HelperMissing { .. }
            | Self::License { .. } => Kind::Usage,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::File { path, kind, .. } if bounded_read::is_other_file(*kind) => {
                return format!(
                    "check that {} is a Docker config.json or a Kubernetes Secret, or pass another file with --authfile",
                    path.display()
                );
            }
            Self::File { .. } => "check that the file exists and that this user may read it",
            Self::Unwritable { .. } => {
                "check that this user may write to that folder, or pass another file with --authfile"
            }
            Self::Config { .. } => {
                "expected a Docker config.json, or a Kubernetes Secret with .dockerconfigjson or .dockercfg"
            }
            Self::Entry { key, .. } => {
                return format!(
                    "log in again with `docker login {key}` or `thoras-mirror login`, or pass another file with --authfile"
                );
            }
            Self::HelperMissing { .. } => {
                "install the helper, or pass a file that holds the credential with --authfile"
            }
            Self::Helper { program, server, .. } => {
                return format!(
                    "run it by hand: echo {server} | {program} get; if it is only slow, pass --helper-timeout SECONDS"
                );
            }
            Self::License { .. } => "pass the license key exactly as the vendor sent it",
        };
        hint.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let found = FoundCredential {
            credential: Credential::basic("user", "s3cret"),
            provenance: Provenance::Explicit("--to-username".to_owned()),
        };
        let token = Credential::IdentityToken(SecretString::from("s3cret"));
        let shown = format!("{found:?} {token:?} {:?}", found.credential.basic_header());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains(&STANDARD.encode("user:s3cret")), "{shown}");
    }

    #[test]
    fn basic_headers_follow_the_rfc() {
        let header = Credential::basic("Aladdin", "open sesame").basic_header();
        assert_eq!(header.to_str().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(header.is_sensitive());
        let header = Credential::IdentityToken(SecretString::from("t")).basic_header();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        assert_eq!(STANDARD.decode(encoded).unwrap(), format!("{TOKEN_USER}:t").as_bytes());
    }

    #[test]
    fn a_secret_that_a_server_repeats_is_redacted_from_its_message() {
        let credential = Credential::basic("Aladdin", "open sesame");
        let text = credential.redact("bad password open sesame in QWxhZGRpbjpvcGVuIHNlc2FtZQ== for Aladdin");
        assert_eq!(text, "bad password [redacted] in [redacted] for Aladdin");
        assert_eq!(Credential::basic("u", "").redact("abc"), "abc");
    }

    #[test]
    fn provenance_names_its_file_escaped() {
        let entry = Provenance::Entry { source: "/h/config.json".to_owned(), key: "a\u{1b}[31m".to_owned() };
        assert_eq!(entry.to_string(), "/h/config.json, key `a\\u{1b}[31m`");
        assert_eq!(Provenance::License.to_string(), "the license");
    }
}
