//! Registry errors. What they mean: `endpoint_error`.

use std::{fmt, time::Duration};

use super::{
    auth::{AuthError, Origin},
    connection_problem::ConnectionProblem,
    referrers_problem::ReferrersProblem,
    refusal::{Refusal, Status},
};
use crate::{
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
            error => Self::Elsewhere { host: host.host_and_port(), error: Box::new(error) },
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
