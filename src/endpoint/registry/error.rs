//! Registry errors, with hints.

use std::{fmt, time::Duration};

use super::{
    auth::{AuthError, Origin},
    connection_problem::ConnectionProblem,
    referrers::{ReferrersProblem, immutable_tag_remedy},
    refusal::{Refusal, Status, answers_as_web_page, may_speak_https},
    retry,
};
use crate::{
    endpoint::{EndpointError, Location, Meaning, Operation, Retry, Unavailable},
    error::{Fault, Kind},
    oci::{Algorithm, Digest},
    units,
};

/// Why an operation on a registry failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The connection could not be established.
    #[error("no connection: {reason}")]
    Unreachable {
        /// Which step failed.
        problem: ConnectionProblem,
        /// The message of the operating system or of TLS.
        reason: String,
    },
    /// The server speaks plain http, not TLS.
    #[error("the server speaks plain http, not https")]
    NotTls,
    /// The response is not HTTP, for example from a TLS server that was contacted over plain http.
    #[error("the response is not HTTP: {0}")]
    NotHttp(String),
    /// A loopback registry answers neither over http nor over https.
    #[error("over http: {http}; over https: {https}")]
    NeitherScheme {
        /// What happened over http.
        http: String,
        /// What happened over https.
        https: String,
    },
    /// The proxy refused to open a tunnel: its status for `CONNECT`.
    #[error("the proxy answered {} to CONNECT", Status(*.0))]
    ProxyRefused(u16),
    /// The connection was lost before the response was complete.
    #[error("the connection was lost: {0}")]
    Broken(String),
    /// No progress for so long that the connection is considered dead.
    #[error("no data arrived for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Data arrives, but so slowly that another connection is better.
    #[error("only {} arrived in {}", units::bytes(*.bytes), units::whole_seconds(*.time))]
    TooSlow {
        /// How many bytes arrived.
        bytes: u64,
        /// In how much time.
        time: Duration,
    },
    /// The registry returned an error.
    #[error("the registry answered {0}")]
    Refused(Refusal),
    /// A web page instead of a registry's response: a captive portal, a proxy, or another kind of server.
    #[error("the response is a web page, not that of a registry")]
    WebPage,
    /// The registry redirects uploads. The body of this one is gone; the next one goes there.
    #[error("the registry redirects uploads")]
    UploadRedirected,
    /// A failure at another host, to which the registry's response led.
    #[error("{}", AtHost(.host, .error))]
    Elsewhere {
        /// `HOST[:PORT]`
        host: String,
        /// What happened there.
        error: Box<RegistryError>,
    },
    /// Authentication failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The registry does not accept chunked uploads.
    #[error("the registry does not accept chunked uploads (PATCH answered {0})")]
    NoChunks(u16),
    /// The tag points to this manifest, and the registry does not allow moving tags.
    #[error("the tag already points to {0}, and the registry does not allow moving it")]
    Immutable(Digest),
    /// The manifest has a digest other than sha256, and the registry does not store it under that digest.
    #[error("the image has a {} digest, which the registry does not accept: it answered {refusal}", .algorithm.name())]
    DigestRefused {
        /// The algorithm of the manifest's digest.
        algorithm: Algorithm,
        /// The registry's response.
        refusal: Refusal,
    },
    /// The manifest has a digest other than sha256, and the registry did not point the tag to it.
    #[error(
        "the image has a {} digest, but the registry does not set a tag for a push by digest: the tag {found}",
        .algorithm.name()
    )]
    TagNotSet {
        /// The algorithm of the manifest's digest.
        algorithm: Algorithm,
        /// What the tag does.
        found: String,
    },
    /// The referrers of a manifest cannot be listed or recorded.
    #[error(transparent)]
    Referrers(ReferrersProblem),
    /// The registry sent an unsafe or invalid URL.
    #[error("refused to follow the registry's URL: {0}")]
    Redirect(String),
    /// The registry's response violates the protocol.
    #[error("invalid response from the registry: {0}")]
    Protocol(String),
    /// A setting is invalid.
    #[error("{0}")]
    Settings(String),
}

/// `HOST, to which the registry redirects: ERROR`
struct AtHost<'a>(&'a str, &'a RegistryError);

impl fmt::Display for AtHost<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, error) = self;
        match error {
            RegistryError::Refused(refusal) => {
                write!(formatter, "{host}, to which the registry redirects, answered {refusal}")
            }
            error => write!(formatter, "{host}, to which the registry redirects: {error}"),
        }
    }
}

impl RegistryError {
    /// The same failure, but at another host than the registry.
    pub(super) fn at(self, host: &Origin) -> Self {
        match self {
            // A URL was refused before any request was sent to it, and the errors of logins name their server.
            Self::Redirect(_) | Self::Auth(_) | Self::Elsewhere { .. } => self,
            error => Self::Elsewhere { host: host_and_port(host), error: Box::new(error) },
        }
    }

    /// The failure itself, wherever it happened.
    pub(super) fn innermost(&self) -> &Self {
        match self {
            Self::Elsewhere { error, .. } => error.innermost(),
            error => error,
        }
    }

    /// The error response, if that is the failure.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self.innermost() {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the response was an error with one of these statuses.
    pub(super) fn is_status(&self, statuses: &[u16]) -> bool {
        self.refusal().is_some_and(|refusal| statuses.contains(&refusal.status))
    }
}

impl EndpointError for RegistryError {
    fn kind(&self) -> Kind {
        match self.innermost() {
            Self::Auth(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Settings(_) => Kind::Usage,
            _ => Kind::Image,
        }
    }

    fn remedy(&self, location: &Location) -> Option<String> {
        match self {
            Self::Elsewhere { host, error } => error.remedy_at(host, location),
            error => error.remedy_at(registry_of(location), location),
        }
    }

    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault(None)),
            Self::Elsewhere { host, error } => error.refusal().map(|refusal| refusal.fault(Some(host))),
            Self::Auth(error) => error.fault(),
            _ => None,
        }
    }

    fn meaning(&self) -> Meaning {
        match self.innermost() {
            Self::Refused(refusal) if refusal.names_missing_content() => Meaning::ContentMissing,
            Self::Refused(refusal) if refusal.lacks_repository() => Meaning::RepositoryMissing,
            Self::Refused(_) | Self::DigestRefused { .. } => Meaning::Refused,
            Self::Auth(error) if error.is_refusal() => Meaning::Refused,
            _ => Meaning::Failed,
        }
    }

    fn retry(&self) -> Option<Retry> {
        retry::of_transfer(self)
    }

    fn unavailable(&self) -> Option<Unavailable> {
        match self.innermost() {
            Self::Refused(Refusal { status: 404, .. }) => Some(Unavailable::NotFound),
            Self::Refused(Refusal { status: 401 | 403, .. })
            | Self::Auth(AuthError::Denied(_) | AuthError::NoChallenge { .. }) => Some(Unavailable::Denied),
            Self::Unreachable { problem: ConnectionProblem::UnknownHost, .. } => {
                Some(Unavailable::UnknownHost)
            }
            _ => None,
        }
    }
}

impl RegistryError {
    /// What the user can do about a failure at `registry`, which may be another host than the location's.
    pub(super) fn remedy_at(&self, registry: &str, location: &Location) -> Option<String> {
        Some(match self {
            Self::Elsewhere { host, error } => return error.remedy_at(host, location),
            Self::Auth(error) => return error.hint(location.side),
            Self::Refused(refusal) => return refusal.remedy(location, registry),
            Self::Unreachable { problem, .. } => problem.remedy(registry),
            Self::ProxyRefused(407) => format!(
                "set the proxy's login in HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT), or bypass it with \
                 NO_PROXY={registry}"
            ),
            Self::ProxyRefused(_) => {
                format!("allow {registry} at the proxy, or bypass the proxy with NO_PROXY={registry}")
            }
            Self::NotTls => {
                format!("if {registry} is meant to be unencrypted, pass --plain-http {registry}")
            }
            Self::NotHttp(_) => may_speak_https(registry),
            Self::NeitherScheme { .. } => format!(
                "check that a registry is running there; if it speaks plain http, pass --plain-http {registry}"
            ),
            Self::Stalled(_) if location.operation == Operation::Connect => {
                format!(
                    "check the network to {registry}; if it is only slow, raise --connect-timeout SECONDS"
                )
            }
            Self::Stalled(_) | Self::TooSlow { .. } => format!(
                "check {registry} and the network; if they are only slow, raise --stall-timeout SECONDS"
            ),
            Self::Immutable(_) => immutable_tag_remedy(&location.name, registry).unwrap_or_else(|| {
                "delete the tag at the destination, or allow overwriting tags there".to_owned()
            }),
            Self::Referrers(problem) => problem.remedy(registry),
            Self::DigestRefused { .. } | Self::TagNotSet { .. } => format!(
                "{registry} keeps only sha256 digests of manifests: use another registry, or skip the image with \
                 --exclude"
            ),
            Self::WebPage => answers_as_web_page(registry),
            Self::Redirect(_) => format!(
                "check that {registry} is the registry's address, and that no proxy or login page answers in its place"
            ),
            Self::Broken(_) => {
                format!("check {registry} and the network, then run the same command again; it resumes")
            }
            Self::NoChunks(_) | Self::UploadRedirected | Self::Protocol(_) | Self::Settings(_) => {
                return None;
            }
        })
    }
}

/// `HOST[:PORT]`
pub(super) fn host_and_port(origin: &Origin) -> String {
    let text = origin.to_string();
    text.split_once("://").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

/// The registry in a location.
fn registry_of(location: &Location) -> &str {
    location.name.split('/').next().unwrap_or(&location.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Error;
    use crate::problem::Side;

    #[test]
    fn an_error_shows_operation_location_attempts_and_the_registrys_message() {
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
