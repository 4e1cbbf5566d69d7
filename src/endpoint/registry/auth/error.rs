//! Why a request could not be authorised.

use std::{error::Error, sync::Arc};

use super::{
    credential::{CredentialError, Provenance},
    origin::Origin,
    realm::RealmRefusal,
};
use crate::{error::Kind, oci::Repository};

/// A refusal by the registry or its token server: it knows us and says no, or will not talk to strangers.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{by} refused {action} on {repository} {}{}",
    .provenance.as_ref().map_or_else(|| "without a credential".to_owned(), |from| format!("with {from}")),
    .message.as_ref().map_or_else(String::new, |message| format!(": {}", message.escape_debug()))
)]
pub struct Denial {
    /// Who refused: the registry, or the token server's URL without its query.
    pub by: String,
    /// What was asked for.
    pub repository: Repository,
    /// `pull`, `push`, …
    pub action: String,
    /// Where the refused credential came from; `None` when none matched.
    pub provenance: Option<Provenance>,
    /// The other side's own words.
    pub message: Option<String>,
}

/// Why a request could not be authorised. Cheap to clone: everyone who waited for one token learns why it
/// did not come.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// Authentication was refused.
    #[error(transparent)]
    Denied(Box<Denial>),
    /// The token server that a registry names is not asked.
    #[error("{registry} names the token server {}, which is not asked: {refusal}", .realm.escape_debug())]
    Realm {
        /// The registry.
        registry: Origin,
        /// The token server's URL without its query.
        realm: String,
        /// Why not.
        refusal: RealmRefusal,
    },
    /// 401, but neither the answer nor `/v2/` says how to log in.
    #[error("{registry} asks for a login and does not say how (no WWW-Authenticate, not even on /v2/)")]
    NoChallenge {
        /// The registry.
        registry: Origin,
    },
    /// The token server answered with an error that is not a refusal.
    #[error(
        "the token server {url} answered with status {status}{}",
        .message.as_ref().map_or_else(String::new, |message| format!(": {}", message.escape_debug()))
    )]
    TokenServer {
        /// Its URL without the values of its query.
        url: String,
        /// The status code.
        status: u16,
        /// Its own words.
        message: Option<String>,
    },
    /// The token server's answer holds no token.
    #[error("the answer of the token server {url} is unusable: {problem}")]
    Answer {
        /// Its URL without the values of its query.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No answer came.
    #[error("cannot reach {url} to log in")]
    Unreachable {
        /// The URL without the values of its query.
        url: String,
        /// The causes; they hold no URL.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// A client for this origin could not be made.
    #[error("cannot prepare a connection to {origin}")]
    Client {
        /// Where it should have led.
        origin: Origin,
        /// What the caller said.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The credentials on this machine cannot be read.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl AuthError {
    /// What the person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => Some(match &denial.provenance {
                None => {
                    "no credential matched: `docker login HOST`, --authfile, or a user name and password for this side"
                }
                Some(Provenance::License) => {
                    "check that the licence key is complete, valid and meant for this registry"
                }
                Some(_) => "check that this credential is still valid and has the right to do this",
            }),
            Self::Realm { refusal: RealmRefusal::NotTheLicensedHost, .. } => {
                Some("use a credential made for this registry instead of the licence")
            }
            Self::Realm { .. } => Some(
                "a token server must answer over https, and from outside this machine when the registry does",
            ),
            Self::NoChallenge { .. } => Some("check that the address is that of a registry"),
            Self::Credential(error) => Some(error.hint()),
            Self::TokenServer { .. }
            | Self::Answer { .. }
            | Self::Unreachable { .. }
            | Self::Client { .. } => None,
        }
    }

    /// What kind of failure this is: a setting that cannot be used is not a refusal.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Credential(error) => error.kind(),
            _ => Kind::Authentication,
        }
    }

    /// Whether authentication was refused, as opposed to impossible to attempt.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_who_what_and_with_which_credential() {
        let denial = Denial {
            by: "https://quay.io".to_owned(),
            repository: "quay.io/team/app".parse().unwrap(),
            action: "push".to_owned(),
            provenance: Some(Provenance::Explicit("--to-username".to_owned())),
            message: Some("insufficient\u{1b}[31m scope".to_owned()),
        };
        assert_eq!(
            denial.to_string(),
            "https://quay.io refused push on quay.io/team/app with --to-username: insufficient\\u{1b}[31m scope"
        );
        let denied = AuthError::Denied(Box::new(Denial { provenance: None, message: None, ..denial }));
        assert_eq!(
            denied.to_string(),
            "https://quay.io refused push on quay.io/team/app without a credential"
        );
        assert!(denied.hint().unwrap().contains("docker login") && denied.is_denied());
    }
}
