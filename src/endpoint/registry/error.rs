//! Why a registry could not do what it was asked, and what a person can do about it.

use std::{fmt, time::Duration};

use super::{auth::AuthError, retry};
use crate::{
    endpoint::{EndpointError, Location, Meaning, Operation, Retry},
    error::Kind,
    oci::Digest,
    problem::Side,
};

/// Why a registry could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// No connection was made.
    #[error("no connection: {reason}")]
    Unreachable {
        /// Which step failed.
        problem: ConnectionProblem,
        /// The words of the system or of TLS.
        reason: String,
    },
    /// TLS was begun with a server that speaks plain http.
    #[error("it speaks plain http where https was expected")]
    NotTls,
    /// The answer was not HTTP, as of a TLS server that is asked over plain http.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// A registry on this machine answers properly neither over http nor over https.
    #[error("asked over http: {http}; asked over https: {https}")]
    NeitherScheme {
        /// What happened over http.
        http: String,
        /// What happened over https.
        https: String,
    },
    /// The proxy refused to open a tunnel: its status for `CONNECT`.
    #[error("the proxy answered {} to CONNECT", Status(*.0))]
    ProxyRefused(u16),
    /// A connection broke before the answer was complete.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing moved for so long that the other side must be considered dead.
    #[error("nothing moved for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The registry answered with an error.
    #[error("the registry answered {0}")]
    Refused(Refusal),
    /// The registry requires credentials that it was not given, or does not accept them.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The registry does not accept a blob in pieces.
    #[error("the registry does not accept chunked uploads: it answered {0} to a PATCH")]
    NoChunks(u16),
    /// The tag names this manifest, and the registry does not allow tags to be moved.
    #[error("the tag names {0} there already, and the registry does not allow it to be moved")]
    Immutable(Digest),
    /// The registry sent the client somewhere it must not go.
    #[error("refused to follow the registry: {0}")]
    Redirect(String),
    /// The registry's answer violates the protocol.
    #[error("the registry's answer is invalid: {0}")]
    Protocol(String),
    /// A setting of this side cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// Which step of making a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionProblem {
    /// TLS did not accept the registry's certificate.
    Certificate(CertificateProblem),
    /// The registry did not accept our certificate, or requires one.
    ClientCertificate,
    /// The proxy opened no tunnel.
    Tunnel,
    /// Anything else: name look-up, TCP, the rest of TLS.
    Other,
}

/// What is wrong with a registry's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// No trusted authority signed it.
    UnknownAuthority,
    /// It is the certificate of an authority, which a server must not use as its own.
    IsAuthority,
    /// Anything else.
    Other,
}

/// A registry's error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The registry's own code, for example `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// The registry's own message, control characters escaped.
    pub message: String,
    /// How long the registry asked to wait.
    pub retry_after: Option<Duration>,
    /// Whether a TLS server says that it was asked over plain http.
    pub wants_tls: bool,
}

impl Refusal {
    /// Whether it came with this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether a manifest was refused because of blobs or manifests that the registry says it does not have.
    pub(super) fn names_missing_content(&self) -> bool {
        let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        codes.iter().any(|code| self.has_code(code))
    }

    /// Whether a manifest was refused for what it is.
    pub(super) fn refuses_manifest(&self) -> bool {
        matches!(self.status, 415 | 422) || self.has_code("MANIFEST_INVALID") || self.has_code("UNSUPPORTED")
    }

    /// Whether the repository has to be created first (ECR, for one).
    fn lacks_repository(&self) -> bool {
        self.status == 404 && self.has_code("NAME_UNKNOWN")
    }

    fn kind(&self) -> Kind {
        match self.status {
            401 | 403 => Kind::Authentication,
            _ if self.has_code("DIGEST_INVALID") || self.has_code("SIZE_INVALID") => Kind::Integrity,
            _ => Kind::Image,
        }
    }

    fn remedy(&self, location: &Location) -> Option<String> {
        let registry = registry_of(location);
        Some(match self.status {
            401 | 403 if location.side == Side::Source => {
                format!("check the credentials for {registry} and that they may pull this image")
            }
            401 | 403 => format!("check that the credentials for {registry} may push to this repository"),
            _ if self.lacks_repository() && location.side == Side::Destination => {
                let repository = location.name.split('@').next().unwrap_or(&location.name);
                format!("this registry does not create repositories by itself: create {repository} first")
            }
            413 => format!(
                "{registry}, or a proxy in front of it, limits how large a request may be: raise that limit \
                 (nginx: client_max_body_size)"
            ),
            _ if self.refuses_manifest() && location.operation == Operation::PushManifest => format!(
                "{registry} does not accept manifests like this one: allow its type there, or leave the image \
                 out with --exclude"
            ),
            400 if self.wants_tls => may_speak_https(registry),
            _ => return None,
        })
    }
}

/// `404 MANIFEST_UNKNOWN: manifest unknown`
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(formatter, "{} {}", self.status, code.escape_debug())?,
            None => Status(self.status).fmt(formatter)?,
        }
        if self.message.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.message) }
    }
}

/// `404 Not Found`
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = http::StatusCode::from_u16(self.0).ok();
        match known.and_then(|status| status.canonical_reason()) {
            Some(reason) => write!(formatter, "{} {reason}", self.0),
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl EndpointError for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Settings(_) => Kind::Usage,
            _ => Kind::Image,
        }
    }

    fn remedy(&self, location: &Location) -> Option<String> {
        let registry = registry_of(location);
        Some(match self {
            Self::Auth(error) => return error.hint(location.side),
            Self::Refused(refusal) => return refusal.remedy(location),
            Self::Unreachable { problem, .. } => problem.remedy(registry),
            Self::ProxyRefused(407) => format!(
                "pass the proxy's user and password in HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT), or except \
                 {registry} with NO_PROXY"
            ),
            Self::ProxyRefused(_) => {
                format!(
                    "the proxy does not lead to {registry}: allow it there, or except the registry with NO_PROXY"
                )
            }
            Self::NotTls => {
                format!("if {registry} is meant to be reached without encryption: --plain-http {registry}")
            }
            Self::NotHttp(_) => may_speak_https(registry),
            Self::NeitherScheme { .. } => format!(
                "check that a healthy registry listens there; if it speaks plain http, pass --plain-http {registry}"
            ),
            Self::Stalled(_) if location.operation == Operation::Connect => {
                format!("check the network to {registry}; if it is only slow, pass --connect-timeout SECONDS")
            }
            Self::Stalled(_) => format!(
                "check {registry} and the network to it; if they are only slow, wait longer with \
                 --stall-timeout SECONDS"
            ),
            Self::Immutable(_) => {
                "delete the tag at the destination, or allow tags to be overwritten there".to_owned()
            }
            Self::Broken(_)
            | Self::NoChunks(_)
            | Self::Redirect(_)
            | Self::Protocol(_)
            | Self::Settings(_) => {
                return None;
            }
        })
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Refused(refusal) if refusal.names_missing_content() => Meaning::ContentMissing,
            Self::Refused(refusal) if refusal.lacks_repository() => Meaning::RepositoryMissing,
            Self::Refused(_) | Self::Auth(_) => Meaning::Refused,
            _ => Meaning::Failed,
        }
    }

    fn retry(&self) -> Option<Retry> {
        retry::of_transfer(self)
    }
}

impl ConnectionProblem {
    /// Whether one side did not accept the other's certificate.
    pub(super) fn is_about_certificates(self) -> bool {
        matches!(self, Self::Certificate(_) | Self::ClientCertificate)
    }

    fn remedy(self, registry: &str) -> String {
        match self {
            Self::Certificate(problem) => format!(
                "{}, or accept any certificate of it with --insecure {registry}",
                problem.remedy(registry)
            ),
            Self::ClientCertificate => format!(
                "{registry} accepts only clients with a certificate that it knows: --client-cert FILE --client-key FILE"
            ),
            Self::Tunnel => format!(
                "the proxy does not lead to {registry}: check HTTPS_PROXY, or except the registry with NO_PROXY"
            ),
            Self::Other => format!(
                "check the name and port of {registry}, the network, and whether it speaks plain http (--plain-http \
                 {registry})"
            ),
        }
    }
}

impl CertificateProblem {
    fn remedy(self, registry: &str) -> String {
        match self {
            Self::Expired => format!("renew the certificate of {registry}, and check this machine's clock"),
            Self::NotYetValid => "check this machine's clock".to_owned(),
            Self::WrongName => format!("use a name that the certificate is for in place of {registry}"),
            Self::IsAuthority => format!(
                "give {registry} a certificate that its authority signed: an authority's own is not valid for a server"
            ),
            Self::UnknownAuthority | Self::Other => {
                "pass the registry's certificate authority with --ca-cert FILE".to_owned()
            }
        }
    }
}

fn may_speak_https(registry: &str) -> String {
    format!("{registry} may speak https: if so, leave out --plain-http {registry}")
}

/// The registry that an operation was about.
fn registry_of(location: &Location) -> &str {
    location.name.split('/').next().unwrap_or(&location.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Error;

    #[test]
    fn says_operation_location_attempts_and_the_registrys_own_words() {
        let refusal = Refusal {
            status: 403,
            code: Some("DENIED".to_owned()),
            message: "no push for you".to_owned(),
            ..Refusal::default()
        };
        let name = "reg.example.com/thoras/services:4.53.0";
        let cause = RegistryError::Refused(refusal);
        let error = Error::new(Operation::PushManifest, Side::Destination, name, cause);
        let failure = Error { attempts: 3, elapsed: Duration::from_millis(2500), ..error }.failure();
        assert_eq!(
            failure.message,
            "cannot push manifest reg.example.com/thoras/services:4.53.0 (destination), tried 3 times in 2.5 s"
        );
        assert_eq!(failure.causes, ["the registry answered 403 DENIED: no push for you"]);
        assert_eq!(failure.kind, Kind::Authentication);
    }
}
