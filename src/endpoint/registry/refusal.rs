//! A registry's error response: what it means, and what the user can do about it.

use std::{fmt, time::Duration};

use super::message_text::{says_disk_full, says_storage_full, says_throttled};
use crate::{
    endpoint::{Location, Operation},
    error::{Fault, Kind},
    problem::Side,
    units,
};

/// The longest pause that is waited for. A request whose host asks for a longer one fails at once.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// A registry's error response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The registry's error code, for example `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// The registry's message, with control characters escaped.
    pub message: String,
    /// The pause that the registry asks for.
    pub retry_after: Option<Duration>,
    /// Whether a TLS server reports a plain http request.
    pub wants_tls: bool,
    /// Whether the message about a refused manifest names a blob or manifest that it references.
    pub names_content: bool,
    /// Whether the registry accepted other blobs since it last refused this one.
    pub serves_others: bool,
}

impl Refusal {
    /// Whether it has this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the registry refuses requests because there are too many. Clouds say so with different statuses.
    pub(super) fn is_throttling(&self) -> bool {
        self.status == 429 || says_throttled(self)
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        is_temporary(self.status) || self.is_throttling()
    }

    /// Whether a manifest was refused because the registry lacks blobs or manifests that it references.
    pub(super) fn names_missing_content(&self) -> bool {
        let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        self.names_content || codes.iter().any(|code| self.has_code(code))
    }

    /// Whether the registry does not support this manifest.
    pub(super) fn refuses_manifest(&self) -> bool {
        matches!(self.status, 415 | 422) || self.has_code("MANIFEST_INVALID") || self.has_code("UNSUPPORTED")
    }

    /// Whether the bytes of a blob were refused because they came in a PUT: some versions of Artifactory accept them in
    /// PATCH requests only (docker/buildx#196).
    pub(super) fn wants_chunks(&self) -> bool {
        self.status == 404 && self.has_code("BLOB_UNKNOWN")
    }

    /// Whether the repository must be created first (ECR, for example).
    pub(super) fn lacks_repository(&self) -> bool {
        self.status == 404 && self.has_code("NAME_UNKNOWN")
    }

    /// What went wrong, without the words of the server, which is `by` unless it is the registry.
    pub(super) fn fault(&self, by: Option<&str>) -> Fault {
        Fault::Answered { by: by.map(str::to_owned), status: self.status, code: self.code.clone() }
    }

    pub(super) fn kind(&self) -> Kind {
        match self.status {
            // Other credentials would not help.
            403 if says_storage_full(self) => Kind::Image,
            401 | 403 => Kind::Authentication,
            _ if self.has_code("DIGEST_INVALID") || self.has_code("SIZE_INVALID") => Kind::Integrity,
            _ => Kind::Image,
        }
    }

    pub(super) fn remedy(&self, location: &Location, registry: &str) -> Option<String> {
        if self.is_temporary() && self.retry_after.is_some_and(|asked| asked > MAX_RETRY_AFTER) {
            let remedy = "run the command again after that time; what has been copied is not copied again";
            return Some(remedy.to_owned());
        }
        if self.is_throttling() {
            return Some(format!(
                "{registry} limits the number of requests: log in there if you have not, or run the command again later; \
                 what has been copied is not copied again"
            ));
        }
        Some(match self.status {
            401 | 403 if location.operation == Operation::ListReferrers => format!(
                "check that the credentials for {registry} allow listing referrers, or copy without signatures with \
                 --referrers none"
            ),
            401 | 403 if location.side == Side::Source => {
                format!("check that the credentials for {registry} allow pulling this image")
            }
            403 if says_storage_full(self) => format!(
                "the storage quota at {registry} is used up: raise it or delete images there, then run the same command \
                 again; it resumes"
            ),
            401 | 403 => {
                format!("check that the credentials for {registry} allow pushing to this repository")
            }
            // What CNCF distribution answers in its read-only mode, and as a pull-through cache.
            405 if location.operation == Operation::BeginUpload => {
                format!(
                    "{registry} accepts no uploads: check whether it is read-only or a pull-through cache"
                )
            }
            // Harbor names the project that is missing, with a code of its own.
            _ if location.side == Side::Destination
                && (self.lacks_repository()
                    || self.status == 404 && location.operation == Operation::BeginUpload) =>
            {
                let repository = location.name.split('@').next().unwrap_or(&location.name);
                format!("this registry does not create repositories automatically: create {repository} first")
            }
            413 => format!(
                "{registry} or a proxy in front of it limits the request size: raise the limit (nginx: \
                 client_max_body_size)"
            ),
            _ if self.refuses_manifest() && location.operation == Operation::PushManifest => format!(
                "{registry} does not accept this manifest: allow its media type there, or skip the image with --exclude"
            ),
            400 if self.wants_tls => may_speak_https(registry),
            _ if says_disk_full(self) => format!(
                "{registry} is out of disk space: free some there, then run the same command again; it resumes"
            ),
            511 => answers_as_web_page(registry),
            500.. => {
                format!("check the logs of {registry}, or run the same command again later; it resumes")
            }
            _ => return None,
        })
    }
}

/// Whether a status is temporary.
pub(super) fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 429 | 499 | 500 | 502 | 503 | 504 | 522)
}

/// Advice where something else than a registry answers.
pub(super) fn answers_as_web_page(host: &str) -> String {
    format!(
        "check the address {host}; if the network's login page (captive portal) or a proxy answers in its place, log in \
         there, or bypass the proxy with NO_PROXY={host}"
    )
}

pub(super) fn may_speak_https(registry: &str) -> String {
    format!("if {registry} speaks https, remove --plain-http {registry}")
}

/// `404 MANIFEST_UNKNOWN: manifest unknown`
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(formatter, "{} {}", self.status, code.escape_debug())?,
            None => Status(self.status).fmt(formatter)?,
        }
        if !self.message.is_empty() {
            write!(formatter, ": {}", self.message)?;
        }
        match self.retry_after.filter(|asked| *asked > MAX_RETRY_AFTER && self.is_temporary()) {
            Some(asked) => write!(formatter, "; it asks to wait {}", units::whole_seconds(asked)),
            None => Ok(()),
        }
    }
}

/// `404 Not Found`
pub(super) struct Status(pub(super) u16);

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = http::StatusCode::from_u16(self.0).ok();
        match known.and_then(|status| status.canonical_reason()) {
            Some(reason) => write!(formatter, "{} {reason}", self.0),
            None => write!(formatter, "{}", self.0),
        }
    }
}
