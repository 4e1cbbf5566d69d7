//! Authorization errors, with hints.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::{
    super::{
        error::RegistryError,
        refusal::{Refusal, answers_as_web_page},
    },
    credential::{CredentialError, Provenance},
    origin::Origin,
    realm::RealmRefusal,
};
use crate::{
    endpoint::{Location, Operation},
    error::{Fault, Kind},
    oci::Repository,
    problem::Side,
    vendor,
};

/// The registry or its token server refused access, with a credential or without one.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{by} {}{}",
    Self::refusal(action, repository, provenance.as_ref()),
    .message.as_ref().map_or_else(String::new, |message| format!(": {}", message.escape_debug()))
)]
pub struct Denial {
    /// The registry, or the token server's URL without its query.
    pub by: String,
    /// The repository that was requested.
    pub repository: Repository,
    /// `pull`, `push`, …
    pub action: String,
    /// Where the refused credential came from; `None` when none matched.
    pub provenance: Option<Provenance>,
    /// The server's message.
    pub message: Option<String>,
}

impl Denial {
    fn refusal(action: &str, repository: &Repository, provenance: Option<&Provenance>) -> String {
        match provenance {
            Some(from) => format!("denied {action} access to {repository} with {from}"),
            None => format!("requires a login to {action} {repository}; none is configured"),
        }
    }

    fn hint(&self, side: Side) -> String {
        let (repository, registry) = (&self.repository, self.repository.registry());
        match (&self.provenance, side) {
            (None, Side::Destination) => format!(
                "run `docker login {registry}` or `thoras-mirror login {registry}`, pass a credentials file with --authfile, or pass --to-username NAME \
                 with --to-password-stdin (or THORAS_MIRROR_TO_PASSWORD)"
            ),
            (None, Side::Source) if repository.is_below(vendor::LICENSE_SCOPE) => {
                "these images require the vendor's license \
                key: pass its file with --license, or set THORAS_LICENSE to the key or \
                 THORAS_LICENSE_FILE to its file"
                    .to_owned()
            }
            (None, Side::Source) => {
                format!(
                    "run `docker login {registry}` or `thoras-mirror login {registry}`, or pass a credentials file with --authfile"
                )
            }
            (Some(Provenance::License), _) => {
                format!("check that the license key is complete, not expired and valid for {registry}")
            }
            (Some(_), _) => format!(
                "check that the user name and password are valid and that the user may {} {repository}",
                if self.action.contains("push") { "push to" } else { "pull from" }
            ),
        }
    }
}

/// `, tried 5 times in 3.0 s`
struct Tries(u32, Duration);

impl fmt::Display for Tries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | 1 => Ok(()),
            tries => write!(formatter, ", tried {tries} times in {:.1} s", self.1.as_secs_f32()),
        }
    }
}

/// ` to URL`
struct To<'a>(Option<&'a str>);

impl fmt::Display for To<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |target| write!(formatter, " to {target}"))
    }
}

/// Why a request could not be authorized. Cheap to clone: all requests that wait for one token share its error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// Authentication was refused.
    #[error(transparent)]
    Denied(Box<Denial>),
    /// The token server that a registry names is not trusted.
    #[error("refused the token server {} that {registry} names: {refusal}", .realm.escape_debug())]
    Realm {
        /// The registry.
        registry: Origin,
        /// The token server's URL without its query.
        realm: String,
        /// Why not.
        refusal: RealmRefusal,
    },
    /// 401, but neither the answer nor `/v2/` says how to log in.
    #[error("{registry} requires a login but sends no WWW-Authenticate header, not even on /v2/")]
    NoChallenge {
        /// The registry.
        registry: Origin,
    },
    /// The token server answered with an error that is not a refusal.
    #[error("the token server {url} answered {refusal}{}", Tries(.tried.0, .tried.1))]
    TokenServer {
        /// Its URL without the values of its query.
        url: String,
        /// `HOST[:PORT]`
        host: String,
        /// Its error response.
        refusal: Box<Refusal>,
        /// The number of attempts and their time.
        tried: (u32, Duration),
    },
    /// The token server redirects. A credential follows no redirect.
    #[error("the token server {url} redirects{}, which is not followed (status {status})", To(.target.as_deref()))]
    Redirected {
        /// Its URL without the values of its query.
        url: String,
        /// `HOST[:PORT]`
        host: String,
        /// The HTTP status.
        status: u16,
        /// The URL without its query, if there is one.
        target: Option<String>,
    },
    /// Something else than the token server answered.
    #[error("{url} answered with a web page, not with a token")]
    WebPage {
        /// Its URL without the values of its query.
        url: String,
        /// `HOST[:PORT]`
        host: String,
    },
    /// The token server's answer holds no token.
    #[error("the response of the token server {url} is invalid: {problem}")]
    Answer {
        /// Its URL without the values of its query.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// There was no response, or the host refuses all requests for now.
    #[error("cannot get a token from {url}: {reason}")]
    Unreachable {
        /// The URL without the values of its query.
        url: String,
        /// `HOST[:PORT]`
        host: String,
        /// Why; it holds no URL. Part of the message, because a table shows one line.
        reason: Arc<RegistryError>,
    },
    /// A client for this origin could not be made.
    #[error("cannot prepare a connection to {origin}")]
    Client {
        /// The origin to connect to.
        origin: Origin,
        /// The caller's error.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The credentials on this machine cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl AuthError {
    /// What the user can do about it. It depends on the side: each takes credentials from its own flags.
    #[must_use]
    pub fn hint(&self, side: Side) -> Option<String> {
        let hint = match self {
            Self::Denied(denial) => return Some(denial.hint(side)),
            Self::Realm { refusal: RealmRefusal::NotTheLicensedHost, .. } => {
                "use a login for this registry instead of the license: `docker login` or `thoras-mirror login`, or --authfile FILE"
            }
            Self::Realm { .. } => {
                "the registry's administrator must configure a token server that is reachable over https and, unless \
                 the registry itself is, not on a loopback or link-local address"
            }
            Self::NoChallenge { .. } => "check that this is the address of a registry",
            Self::Credential(error) => return Some(error.hint()),
            Self::TokenServer { host, refusal, .. } => {
                let error = RegistryError::Refused(Refusal::clone(refusal));
                return error.remedy_at(host, &Location::new(Operation::Connect, side, host));
            }
            Self::Unreachable { host, reason, .. } => {
                // The server was connected: the connect timeout would not help.
                let operation = match **reason {
                    RegistryError::Stalled(_) => Operation::ReadManifest,
                    _ => Operation::Connect,
                };
                return reason.remedy_at(host, &Location::new(operation, side, host));
            }
            Self::Redirected { host, .. } => {
                return Some(format!(
                    "check that no proxy or login page answers in place of {host}; if none does, the registry's \
                     administrator must name a token server that answers without a redirect"
                ));
            }
            Self::WebPage { host, .. } => return Some(answers_as_web_page(host)),
            Self::Answer { .. } => {
                "check that this is the address of a registry; if it is, its administrator must repair the token server"
            }
            Self::Client { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// A bad setting is a usage error; everything else is an authentication failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Credential(error) => error.kind(),
            Self::TokenServer { refusal, .. } if refusal.is_temporary() => Kind::Image,
            Self::TokenServer { refusal, .. } if refusal.status >= 500 => Kind::Image,
            Self::Unreachable { .. } | Self::WebPage { .. } | Self::Answer { .. } => Kind::Image,
            _ => Kind::Authentication,
        }
    }

    /// What went wrong, without the repository and the words of the server.
    pub(in super::super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Denied(denial) => Some(Fault::Denied {
                by: denial.by.clone(),
                action: denial.action.clone(),
                credential: denial.provenance.as_ref().map(ToString::to_string),
            }),
            Self::TokenServer { url, refusal, .. } => Some(refusal.fault(Some(url))),
            Self::Redirected { url, status, .. } => {
                Some(Fault::Answered { by: Some(url.clone()), status: *status, code: None })
            }
            _ => None,
        }
    }

    /// Whether access was refused, as opposed to a server that does not work.
    pub(in super::super) fn is_refusal(&self) -> bool {
        self.kind() == Kind::Authentication
    }

    /// Whether a server refused access, as opposed to a failure before that.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_server_repository_and_credential() {
        let denial = Denial {
            by: "https://quay.io".to_owned(),
            repository: "quay.io/team/app".parse().unwrap(),
            action: "push".to_owned(),
            provenance: Some(Provenance::Explicit("--to-username".to_owned())),
            message: Some("insufficient\u{1b}[31m scope".to_owned()),
        };
        assert_eq!(
            denial.to_string(),
            "https://quay.io denied push access to quay.io/team/app with --to-username: insufficient\\u{1b}[31m scope"
        );
        let denied = AuthError::Denied(Box::new(Denial { provenance: None, message: None, ..denial }));
        assert_eq!(
            denied.to_string(),
            "https://quay.io requires a login to push quay.io/team/app; none is configured"
        );
        assert!(matches!(denied, AuthError::Denied(_)));
    }

    fn hint(repository: &str, provenance: Option<Provenance>, side: Side) -> String {
        let denial = Denial {
            by: "the registry".to_owned(),
            repository: repository.parse().unwrap(),
            action: "pull".to_owned(),
            provenance,
            message: None,
        };
        AuthError::Denied(Box::new(denial)).hint(side).unwrap()
    }

    #[test]
    fn hints_name_the_flags_of_the_side() {
        insta::assert_snapshot!(
            [
                hint("reg.example.com/a/b", None, Side::Destination),
                hint("us-east4-docker.pkg.dev/thoras-registry/platform/services", None, Side::Source),
                hint("quay.io/team/app", None, Side::Source),
                hint("us-east4-docker.pkg.dev/thoras-registry/x", Some(Provenance::License), Side::Source),
                hint("quay.io/team/app", Some(Provenance::Explicit("x".to_owned())), Side::Destination),
            ]
            .join("\n")
        );
    }
}
