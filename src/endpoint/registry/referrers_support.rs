//! Remembers which repositories of a host have the referrers API.
//!
//! Many registries answer 404 about a manifest that they do not know or that has no referrers, so only a refusal
//! that names the route says that a repository lacks the API. It then counts for all repositories with the same parent:
//! some servers combine registries of several kinds below different paths. A host lacks the API once requests were
//! refused in [`REFUSALS_THAT_DECIDE`] repositories and none listed a referrer.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use tokio::sync::OnceCell;

use super::{message_text::says_no_such_route, refusal::Refusal};
use crate::{endpoint::lock, oci::Repository};

/// After the host has refused requests in this many repositories, no others are tried.
const REFUSALS_THAT_DECIDE: usize = 3;

/// What is known about a manifest whose referrers are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The registry does not have it, so that a 404 need not be about the route.
    Unknown,
    /// It exists.
    Exists,
    /// It certainly has referrers: the API would not answer 404.
    HasReferrers,
}

/// What the answers of a host say about the referrers API.
#[derive(Debug, Default)]
pub(super) struct ReferrersSupport {
    known: Mutex<KnownSupport>,
    /// The first request below each parent. Others wait for its answer.
    first: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

#[derive(Debug, Default)]
struct KnownSupport {
    /// Whether a repository has the API.
    repositories: HashMap<String, bool>,
    /// Whether any repository below a parent has it. Missing if no answer tells.
    parents: HashMap<String, bool>,
    /// The repositories that refused a request, for any reason that may be the route.
    refused: HashSet<String>,
}

impl ReferrersSupport {
    /// Whether a repository has the API; `None` if that is not known.
    pub(super) fn of(&self, repository: &Repository) -> Option<bool> {
        let known = lock(&self.known);
        if let Some(has) = known.repositories.get(repository.path()) {
            return Some(*has);
        }
        let is_lacking_nearby =
            parent(repository).is_some_and(|parent| known.parents.get(parent) == Some(&false));
        let is_lacking =
            known.refused.len() >= REFUSALS_THAT_DECIDE && !known.repositories.values().any(|has| *has);
        (is_lacking_nearby || is_lacking).then_some(false)
    }

    /// Filled once a first request about a repository with the same parent has been answered. `None` if there is no
    /// parent.
    pub(super) fn first(&self, repository: &Repository) -> Option<Arc<OnceCell<()>>> {
        let parent = parent(repository)?;
        Some(Arc::clone(lock(&self.first).entry(parent.to_owned()).or_default()))
    }

    /// Records that a repository has the API.
    pub(super) fn answered(&self, repository: &Repository) {
        let mut known = lock(&self.known);
        known.repositories.insert(repository.path().to_owned(), true);
        if let Some(parent) = parent(repository) {
            known.parents.insert(parent.to_owned(), true);
        }
    }

    /// Records a refused request about a manifest.
    pub(super) fn refused(&self, repository: &Repository, refusal: &Refusal, subject: Subject) {
        let is_certain = is_about_route(refusal);
        let may_tell = subject != Subject::Unknown && may_be_about_route(refusal);
        if !is_certain && !may_tell {
            return;
        }
        let mut known = lock(&self.known);
        known.refused.insert(repository.path().to_owned());
        if is_certain || subject == Subject::HasReferrers {
            known.repositories.entry(repository.path().to_owned()).or_insert(false);
        }
        if let Some(parent) = parent(repository).filter(|_| is_certain) {
            known.parents.entry(parent.to_owned()).or_insert(false);
        }
    }
}

/// The path without its last part; `None` if it has only one.
fn parent(repository: &Repository) -> Option<&str> {
    repository.path().rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether the registry does not know the route.
fn is_about_route(refusal: &Refusal) -> bool {
    match refusal.status {
        404 => refusal.has_code("UNSUPPORTED") || says_no_such_route(refusal),
        400 => refusal.has_code("UNSUPPORTED"),
        status => matches!(status, 405 | 406 | 501),
    }
}

/// Whether the registry may not know the route. One that lacks the repository or the manifest names that in its code.
fn may_be_about_route(refusal: &Refusal) -> bool {
    refusal.status == 404 && refusal.code.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_ROUTE: &str = "404 page not found";

    fn repository(name: &str) -> Repository {
        Repository::new("reg.example.com", name).unwrap()
    }

    fn refusal(status: u16, code: Option<&str>, message: &str) -> Refusal {
        let (code, message) = (code.map(str::to_owned), message.to_owned());
        Refusal { status, code, message, ..Refusal::default() }
    }

    #[test]
    fn only_a_refused_route_says_that_a_repository_lacks_the_api() {
        for (status, code, message, expected) in [
            (404, None, NO_ROUTE, Some(false)),
            (404, Some("UNSUPPORTED"), "", Some(false)),
            (405, Some("UNSUPPORTED"), "", Some(false)),
            (406, None, "", Some(false)),
            (501, None, "", Some(false)),
            (404, None, "", None),
            (404, None, "not found", None),
            (404, Some("MANIFEST_UNKNOWN"), NO_ROUTE, None),
            (404, Some("NAME_UNKNOWN"), "", None),
            (400, Some("DIGEST_INVALID"), "", None),
            (400, None, "", None),
        ] {
            let support = ReferrersSupport::default();
            support.refused(&repository("x/a"), &refusal(status, code, message), Subject::Exists);
            assert_eq!(support.of(&repository("x/a")), expected, "{status} {code:?} {message}");
            assert_eq!(support.of(&repository("x/b")), expected, "the same parent");
            for other in ["a", "y/a", "x/y/a", "x"] {
                assert_eq!(support.of(&repository(other)), None, "{other}");
            }
        }
    }

    #[test]
    fn a_repository_without_a_parent_says_nothing_about_others() {
        let support = ReferrersSupport::default();
        support.refused(&repository("a"), &refusal(405, None, ""), Subject::Exists);
        assert_eq!([support.of(&repository("a")), support.of(&repository("b"))], [Some(false), None]);
        assert!(support.first(&repository("a")).is_none());
    }

    #[test]
    fn a_sibling_with_the_api_outweighs_one_without_it() {
        let support = ReferrersSupport::default();
        support.answered(&repository("x/has"));
        support.refused(&repository("x/lacks"), &refusal(404, None, NO_ROUTE), Subject::Exists);
        assert_eq!(support.of(&repository("x/lacks")), Some(false));
        assert_eq!(support.of(&repository("x/other")), None);
    }

    #[test]
    fn an_unclear_answer_about_a_manifest_with_referrers_is_clear() {
        let support = ReferrersSupport::default();
        support.refused(&repository("x/a"), &refusal(404, None, ""), Subject::HasReferrers);
        assert_eq!(support.of(&repository("x/a")), Some(false));
        assert_eq!(support.of(&repository("x/b")), None);
    }

    #[test]
    fn an_unclear_answer_about_an_unknown_manifest_counts_for_nothing() {
        let support = ReferrersSupport::default();
        for name in ["a", "b", "c", "d"] {
            support.refused(&repository(name), &refusal(404, None, ""), Subject::Unknown);
            assert_eq!(support.of(&repository(name)), None);
        }
        support.refused(&repository("x/a"), &refusal(404, None, NO_ROUTE), Subject::Unknown);
        assert_eq!(support.of(&repository("x/b")), Some(false), "a refused route is certain");
    }

    #[test]
    fn a_host_lacks_the_api_only_if_several_repositories_do_and_none_has_it() {
        let support = ReferrersSupport::default();
        for name in ["a", "a", "b"] {
            support.refused(&repository(name), &refusal(404, None, ""), Subject::Exists);
        }
        assert_eq!(support.of(&repository("other")), None, "two are too few");
        support.refused(&repository("c"), &refusal(405, None, ""), Subject::Exists);
        assert_eq!(support.of(&repository("other")), Some(false));
        support.answered(&repository("c"));
        assert_eq!(support.of(&repository("c")), Some(true));
        assert_eq!(support.of(&repository("other")), None);
        support.refused(&repository("c"), &refusal(404, None, NO_ROUTE), Subject::Exists);
        assert_eq!(support.of(&repository("c")), Some(true), "it has answered before");
    }
}
