//! What the errors of a registry mean: the kind of failure, what is retried, and what the user can do.

use super::{
    auth::AuthError,
    connection_problem::ConnectionProblem,
    error::RegistryError,
    referrers_problem::immutable_tag_remedy,
    refusal::{Refusal, answers_as_web_page, may_speak_https},
    retry,
};
use crate::{
    endpoint::{EndpointError, Location, Meaning, Operation, Retry, Unavailable, cause::UNREADABLE_LIST},
    error::{Fault, Kind},
};

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
                ConnectionProblem::TimedOut.remedy(registry)
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
            Self::Protocol(_) if location.operation == Operation::ListReferrers => UNREADABLE_LIST.to_owned(),
            Self::NoChunks(_) | Self::UploadRedirected | Self::Protocol(_) | Self::Settings(_) => {
                return None;
            }
        })
    }
}

/// The registry in a location.
fn registry_of(location: &Location) -> &str {
    location.name.split('/').next().unwrap_or(&location.name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{endpoint::Error, problem::Side};

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
