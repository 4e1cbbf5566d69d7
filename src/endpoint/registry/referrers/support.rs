//! Which repositories of a host have the referrers API.
//!
//! An answer about one repository says little about others: some servers combine repositories of several kinds, and
//! many answer 404 for what they do not know. So a repository lacks the API once the host refuses the route itself
//! there; a host lacks it once it has done so in [`ENOUGH`] repositories and never listed a referrer.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::super::refusal::Refusal;
use crate::oci::Repository;

/// After the host has refused the route in so many repositories, it is not requested in others.
const ENOUGH: usize = 3;

/// What the answers of a host say about the referrers API.
#[derive(Debug, Default)]
pub(in super::super) struct ReferrersSupport {
    /// Whether a repository has the API.
    repositories: Mutex<HashMap<String, bool>>,
}

impl ReferrersSupport {
    /// Whether a repository has the API; `None` if that is not known.
    pub(super) fn of(&self, repository: &Repository) -> Option<bool> {
        let known = self.known();
        if let Some(has) = known.get(repository.path()) {
            return Some(*has);
        }
        (known.len() >= ENOUGH && !known.values().any(|has| *has)).then_some(false)
    }

    /// Records that a repository has the API.
    pub(super) fn answered(&self, repository: &Repository) {
        self.known().insert(repository.path().to_owned(), true);
    }

    /// Records a refused request. It counts only if the refusal is about the route, not about the repository or the
    /// manifest.
    pub(super) fn refused(&self, repository: &Repository, refusal: &Refusal) {
        if is_about_route(refusal) {
            self.known().entry(repository.path().to_owned()).or_insert(false);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the registry does not know the route. A router answers 404 without an error code; a registry that lacks the
/// repository or the manifest names that in its code.
fn is_about_route(refusal: &Refusal) -> bool {
    match refusal.status {
        404 => refusal.code.is_none() || refusal.has_code("UNSUPPORTED"),
        400 => refusal.has_code("UNSUPPORTED"),
        status => matches!(status, 405 | 406 | 501),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        Repository::new("reg.example.com", name).unwrap()
    }

    fn refusal(status: u16, code: Option<&str>) -> Refusal {
        Refusal { status, code: code.map(str::to_owned), ..Refusal::default() }
    }

    #[test]
    fn only_a_refused_route_says_that_a_repository_lacks_the_api() {
        for (status, code, expected) in [
            (404, None, Some(false)),
            (404, Some("UNSUPPORTED"), Some(false)),
            (405, Some("UNSUPPORTED"), Some(false)),
            (406, None, Some(false)),
            (404, Some("MANIFEST_UNKNOWN"), None),
            (404, Some("NAME_UNKNOWN"), None),
            (400, Some("DIGEST_INVALID"), None),
            (400, None, None),
        ] {
            let support = ReferrersSupport::default();
            support.refused(&repository("a"), &refusal(status, code));
            assert_eq!(support.of(&repository("a")), expected, "{status} {code:?}");
            assert_eq!(support.of(&repository("b")), None);
        }
    }

    #[test]
    fn a_host_lacks_the_api_only_if_several_repositories_do_and_none_has_it() {
        let support = ReferrersSupport::default();
        for name in ["a", "a", "b"] {
            support.refused(&repository(name), &refusal(404, None));
        }
        assert_eq!(support.of(&repository("other")), None, "two are too few");
        support.refused(&repository("c"), &refusal(405, None));
        assert_eq!(support.of(&repository("other")), Some(false));
        support.answered(&repository("c"));
        assert_eq!(support.of(&repository("c")), Some(true));
        assert_eq!(support.of(&repository("other")), None);
        support.refused(&repository("c"), &refusal(404, None));
        assert_eq!(support.of(&repository("c")), Some(true), "it has answered before");
    }
}
