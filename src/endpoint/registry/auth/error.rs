//! Why a request could not be authorized.

use std::{error::Error, sync::Arc};

use super::{
    credential::{CredentialError, Provenance},
    license::VENDOR_SCOPE,
    origin::Origin,
    realm::RealmRefusal,
};
use crate::{error::Kind, oci::Repository, problem::Side};

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

impl Denial {
    fn hint(&self, side: Side) -> String {
        let (repository, registry) = (&self.repository, self.repository.registry());
        match (&self.provenance, side) {
            (None, Side::Destination) => format!(
                "no credential for {registry} was found: run `docker login {registry}`, name a file that holds \
                 one with --authfile, or pass --to-username NAME with --to-password-stdin (or \
                 THORAS_MIRROR_TO_PASSWORD)"
            ),
            (None, Side::Source) if repository.is_below(VENDOR_SCOPE) => "these images need the vendor's \
                 license key: pass its file with --license, or set THORAS_LICENSE to the key or \
                 THORAS_LICENSE_FILE to its file"
                .to_owned(),
            (None, Side::Source) => format!(
                "no credential for {registry} was found: run `docker login {registry}`, or name a file that \
                 holds one with --authfile"
            ),
            (Some(Provenance::License), _) => {
                format!("check that the license key is complete, still valid and meant for {registry}")
            }
            (Some(_), _) => format!(
                "check that this user name and password are still valid, and that this user may {} {repository}",
                if self.action.contains("push") { "push to" } else { "pull from" }
            ),
        }
    }
}

/// Why a request could not be authorized. Cheap to clone: everyone who waited for one token learns why it
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
    /// What the person can do about it. The sides take credentials from different flags.
    #[must_use]
    pub fn hint(&self, side: Side) -> Option<String> {
        let hint = match self {
            Self::Denied(denial) => return Some(denial.hint(side)),
            Self::Realm { refusal: RealmRefusal::NotTheLicensedHost, .. } => {
                "use a credential made for this registry instead of the license: `docker login`, or --authfile \
                 FILE"
            }
            Self::Realm { .. } => {
                "a token server must answer over https, and from outside this machine when the registry does"
            }
            Self::NoChallenge { .. } => "check that the address is that of a registry",
            Self::Credential(error) => return Some(error.hint()),
            Self::TokenServer { .. }
            | Self::Answer { .. }
            | Self::Unreachable { .. }
            | Self::Client { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// What kind of failure this is: a setting that cannot be used is not a refusal.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Credential(error) => error.kind(),
            _ => Kind::Authentication,
        }
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
    fn each_side_is_told_of_its_own_flags() {
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
