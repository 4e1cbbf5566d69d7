//! Why an endpoint could not do what it was asked: the operation, the side, the place, and the cause.

use std::{fmt, sync::Arc, time::Duration};

use super::{Side, bundle::BundleError, registry::auth::AuthError};
use crate::{
    error::{Failure, Kind},
    oci::{Digest, Platform, manifest::ManifestError, verified::Mismatch},
};

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
}

impl Cause {
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
        Failure::from_error(self.cause.kind(), self).with_optional_hint(self.hint())
    }

    /// Whether the destination refused because somebody has to create the repository first (ECR, for one).
    #[must_use]
    pub fn lacks_repository(&self) -> bool {
        self.side == Side::Destination
            && matches!(&self.cause, Cause::Refused { status: 404, code: Some(code), .. } if code == "NAME_UNKNOWN")
    }

    fn hint(&self) -> Option<String> {
        let registry = self.place.split('/').next().unwrap_or(&self.place);
        match &self.cause {
            Cause::Auth(error) => error.hint(self.side),
            Cause::Bundle(error) => error.hint().map(str::to_owned),
            Cause::NotPackaged => {
                let hint = "add --with-chart, with the --chart and --repo of the run that wrote the lock, to package it again";
                Some(hint.to_owned())
            }
            cause if self.operation == Operation::ReadForeignLayer && cause.kind() != Kind::Integrity => Some(
                "the registry does not hold this layer, and such URLs are asked without credentials; without \
                 --foreign-layers it is left out"
                    .to_owned(),
            ),
            Cause::Refused { status: 401 | 403, .. } => Some(match self.side {
                Side::Source => {
                    format!("check the credentials for {registry} and that they may pull this image")
                }
                Side::Destination => {
                    format!("check that the credentials for {registry} may push to this repository")
                }
            }),
            _ if self.lacks_repository() => {
                let repository = self.place.split('@').next().unwrap_or(&self.place);
                Some(format!(
                    "this registry does not create repositories by itself: create {repository} first"
                ))
            }
            Cause::Refused { status: 413, .. } => Some(format!(
                "{registry}, or a proxy in front of it, limits how large a request may be: raise that limit \
                 (nginx: client_max_body_size)"
            )),
            cause if self.operation == Operation::PushManifest && cause.refuses_manifest() => Some(format!(
                "{registry} does not take manifests like this one: allow its type there, or leave the image \
                 out with --exclude"
            )),
            Cause::Immutable(_) => {
                Some("delete the tag at the destination, or allow tags to be overwritten there".to_owned())
            }
            // The server's words about our certificate, or about its absence.
            Cause::Unreachable(reason) if reason.contains("fatal alert") && reason.contains("ertificate") => {
                Some(format!(
                    "{registry} accepts only clients with a certificate that it knows: --client-cert FILE \
                     --client-key FILE"
                ))
            }
            Cause::ProxyRefused(407) => Some(format!(
                "give the proxy's user and password in HTTPS_PROXY (http://USER:PASSWORD@HOST:PORT), or except \
                 {registry} with NO_PROXY"
            )),
            Cause::ProxyRefused(_) => Some(format!(
                "the proxy does not lead to {registry}: have it allowed there, or except the registry with NO_PROXY"
            )),
            Cause::Unreachable(reason) if reason.contains("tunnel error") => Some(format!(
                "the proxy does not lead to {registry}: check HTTPS_PROXY, or except the registry with NO_PROXY"
            )),
            Cause::NotTls => Some(format!(
                "if {registry} is meant to be asked without encryption: --plain-http {registry}"
            )),
            // A TLS alert in place of a status line, or what Go's servers say instead.
            Cause::Broken(reason) | Cause::Refused { status: 400, message: reason, .. }
                if reason.contains("invalid HTTP version") || reason.contains("HTTP request to an HTTPS server") =>
            {
                Some(format!("{registry} may speak https: if so, leave out --plain-http {registry}"))
            }
            Cause::NeitherScheme { .. } => Some(format!(
                "check that a healthy registry listens there; if it speaks plain http, say so with \
                 --plain-http {registry}"
            )),
            Cause::Stalled(_) if self.operation == Operation::Connect => Some(format!(
                "check the network between here and {registry}; a slow one needs --connect-timeout SECONDS"
            )),
            Cause::Stalled(_) => Some(format!(
                "check {registry} and the network between here and there; where both are only slow, wait longer \
                 with --stall-timeout SECONDS"
            )),
            Cause::Unreachable(reason)
                if reason.contains("ertificate") || reason.contains("UnknownIssuer") =>
            {
                Some(certificate_hint(registry, reason))
            }
            Cause::Unreachable(_) => Some(format!(
                "check the name and port of {registry}, the network, and whether it speaks plain http \
                 (--plain-http {registry})"
            )),
            Cause::NoSuchManifest => Some(
                "check the spelling and the tag; some registries hide what the credentials may not pull"
                    .to_owned(),
            ),
            Cause::NoSuchChild(_) => Some(
                "the image is incomplete there: have whoever publishes it push it again, or leave it out with --exclude"
                    .to_owned(),
            ),
            Cause::Mismatch(_)
            | Cause::Manifest(ManifestError::Digest { .. } | ManifestError::Unstable { .. }) => Some(
                "nothing wrong was stored; if it happens again, the bytes are damaged where they come from"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// What helps against a certificate that TLS refused, for this reason.
fn certificate_hint(registry: &str, reason: &str) -> String {
    let remedy = if reason.contains("expired") {
        format!("have the certificate of {registry} renewed, and check this machine's clock")
    } else if reason.contains("not valid yet") {
        "check this machine's clock".to_owned()
    } else if reason.contains("not valid for name") {
        format!("use a name that the certificate is for in place of {registry}")
    } else {
        "pass the registry's certificate authority with --ca-cert FILE".to_owned()
    };
    format!("{remedy}, or accept any certificate of it with --insecure {registry}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
