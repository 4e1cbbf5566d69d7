//! Why an operation of an endpoint failed: what was seen, in words, and what kind of failure that is.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    endpoint::{bundle::BundleError, registry::auth::AuthError},
    error::Kind,
    oci::{Digest, Platform, manifest::ManifestError, verified::Mismatch},
};

/// Why an operation failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// No connection came about: name look-up, TCP or TLS.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// TLS was begun with a server that speaks plain http.
    #[error("it speaks plain http where https was expected")]
    NotTls,
    /// A registry of this machine that is neither an http server nor an https server, as far as can be told.
    #[error("asked over http: {http}; asked over https: {https}")]
    NeitherScheme {
        /// What became of the question over http.
        http: String,
        /// What became of it over https.
        https: String,
    },
    /// The proxy on the way leads nowhere: its status for `CONNECT`.
    #[error("the proxy answered {} to CONNECT", Answer(*.0, None, ""))]
    ProxyRefused(u16),
    /// A connection broke before the answer was whole.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing moved for so long that the other side must be taken for dead.
    #[error("nothing moved for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The registry answered with an error.
    #[error("the registry answered {}", Answer(*.status, .code.as_deref(), .message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The registry's own code, for example `MANIFEST_UNKNOWN`.
        code: Option<String>,
        /// The registry's own message, control characters escaped.
        message: String,
        /// How long the registry asked to wait.
        retry_after: Option<Duration>,
    },
    /// The registry wants credentials that it was not given, or does not accept them.
    #[error(transparent)]
    Auth(Arc<AuthError>),
    /// There is no such manifest.
    #[error("it does not exist there")]
    NoSuchManifest,
    /// There is no such manifest, though an index names it; for this platform, if it says so.
    #[error("it does not exist there, although an index names it{}", For(.0.as_deref()))]
    NoSuchChild(Option<Box<Platform>>),
    /// A chart that this program made into an artifact in an earlier run, and has not made again in this one.
    #[error("it is a chart that was packaged on the way, and no registry has it")]
    NotPackaged,
    /// There is no such blob, though a manifest names it.
    #[error("it does not exist there, although a manifest names it")]
    NoSuchBlob,
    /// The bytes that came are not a usable manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The bytes that came are not the blob that was asked for.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The registry does not take a blob in pieces.
    #[error("the registry takes no chunks of blobs: it answered {0} to a PATCH")]
    NoChunks(u16),
    /// The tag names this manifest, and the registry does not let tags be moved.
    #[error("the tag names {0} there already, and the registry does not let it be moved")]
    Immutable(Digest),
    /// The registry sent the client somewhere it must not go.
    #[error("refused to follow the registry: {0}")]
    Redirect(String),
    /// The registry's answer makes no sense.
    #[error("the registry's answer makes no sense: {0}")]
    Protocol(String),
    /// A setting of this side cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A bundle cannot be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// ` for linux/arm64`
struct For<'a>(Option<&'a Platform>);

impl fmt::Display for For<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|platform| write!(formatter, " for {platform}"))
    }
}

/// `404 MANIFEST_UNKNOWN: manifest unknown`
struct Answer<'a>(u16, Option<&'a str>, &'a str);

impl fmt::Display for Answer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, code, message) = *self;
        write!(formatter, "{status}")?;
        if let Some(code) = code {
            write!(formatter, " {}", code.escape_debug())?;
        } else if let Some(reason) =
            http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason())
        {
            write!(formatter, " {reason}")?;
        }
        if message.is_empty() { Ok(()) } else { write!(formatter, ": {message}") }
    }
}

impl Cause {
    /// The kind of failure this is for a person.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Refused { status: 401 | 403, .. } => Kind::Authentication,
            Self::Mismatch(_)
            | Self::Manifest(
                ManifestError::Digest { .. }
                | ManifestError::Size { .. }
                | ManifestError::Unstable { .. }
                | ManifestError::Contradicted { .. },
            ) => Kind::Integrity,
            Self::Refused { code: Some(code), .. } if code == "DIGEST_INVALID" || code == "SIZE_INVALID" => {
                Kind::Integrity
            }
            Self::Settings(_) => Kind::Usage,
            Self::Bundle(error) => error.kind(),
            _ => Kind::Image,
        }
    }

    /// Whether a registry refused a manifest because of blobs or manifests that it says it does not have.
    #[must_use]
    pub fn names_missing_content(&self) -> bool {
        matches!(
            self,
            Self::Refused { code: Some(code), .. }
                if matches!(code.as_str(), "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN")
        )
    }

    /// Whether a registry refused a manifest for what it is.
    #[must_use]
    pub fn refuses_manifest(&self) -> bool {
        match self {
            Self::Refused { status: 415 | 422, .. } => true,
            Self::Refused { code: Some(code), .. } => {
                matches!(code.as_str(), "MANIFEST_INVALID" | "UNSUPPORTED")
            }
            _ => false,
        }
    }
}
