//! The keys of a Docker configuration: which repositories an entry applies to.
//!
//! The same registry is written in many ways: `quay.io`, `https://quay.io`, `https://quay.io/v2/`,
//! `quay.io/team`, and Docker Hub as `https://index.docker.io/v1/`. Kubernetes and containers/image read a
//! path in a key as a prefix of repositories; `docker_credential` 1.4 does not find such a key when asked for
//! the host, and takes `https://host/path` for the whole host. Hence this type.

use super::origin::{Origin, Scheme};
use crate::oci::{Repository, reference::normalize_registry};

/// The address under which `docker login` stores Docker Hub's credentials, in files and in helpers.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// A parsed key. It keeps its spelling because helpers expect it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigKey {
    written: String,
    scheme: Option<Scheme>,
    registry: String,
    path: String,
}

impl ConfigKey {
    /// Parses a key; `None` when it does not name a registry.
    #[must_use]
    pub(super) fn parse(written: &str) -> Option<Self> {
        let text = written.trim();
        let (scheme, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (Some(Scheme::Https), rest),
            (None, Some(rest)) => (Some(Scheme::Http), rest),
            (None, None) => (None, text),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let registry = normalize_registry(host);
        Origin::of_registry(&registry, Scheme::Https).ok()?;
        let path = without_api_version(path, scheme.is_some()).trim_matches('/').to_owned();
        Some(Self { written: written.to_owned(), scheme, registry, path })
    }

    /// The key as written in the file.
    #[must_use]
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Whether it names a registry (normalized: `docker.io`) as a whole.
    #[must_use]
    pub(super) fn is_for_whole(&self, registry: &str) -> bool {
        self.path.is_empty() && self.registry == registry
    }

    /// How closely the key fits a repository reached at `registry`: the length of its path, or `None` when it does not
    /// apply. A key with a scheme applies to that scheme only.
    #[must_use]
    pub(super) fn fit(&self, registry: &Origin, repository: &Repository) -> Option<usize> {
        let scheme = registry.scheme();
        let same_scheme = self.scheme.is_none_or(|own| own == scheme);
        let same_origin = || Origin::of_registry(&self.registry, scheme).is_ok_and(|own| own == *registry);
        let below = || match repository.path().strip_prefix(&self.path) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        (same_scheme && same_origin() && below()).then_some(self.path.len())
    }

    /// The server to ask a credential helper about: the key as written, or Docker Hub's well-known address.
    #[must_use]
    pub(super) fn server(&self) -> &str {
        if self.path.is_empty() { server_for(&self.registry).unwrap_or(&self.written) } else { &self.written }
    }
}

/// The server to ask a helper about when only the host is known.
#[must_use]
pub(super) fn host_server(repository: &Repository) -> &str {
    server_for(repository.registry()).unwrap_or(repository.registry())
}

/// The key under which `docker login` stores the login for a whole registry.
#[must_use]
pub(super) fn login_key(registry: &str) -> &str {
    server_for(registry).unwrap_or(registry)
}

fn server_for(registry: &str) -> Option<&'static str> {
    (registry == "docker.io").then_some(DOCKER_HUB_SERVER)
}

/// Strips `/v1/` and `/v2/`. Without a scheme, only the bare `host/v2/` counts as an API address, so that a key for the
/// repositories below `host/v2` does not apply to the whole host.
fn without_api_version(path: &str, is_url: bool) -> &str {
    for version in ["v1", "v2"] {
        match path.strip_prefix(version) {
            Some("/") => return "",
            Some("") if is_url => return "",
            Some(rest) if is_url && rest.starts_with('/') => return rest,
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fit_over(scheme: Scheme, key: &str, repository: &str) -> Option<usize> {
        let repository: Repository = repository.parse().unwrap();
        let registry = Origin::of_registry(repository.registry(), scheme).unwrap();
        ConfigKey::parse(key)?.fit(&registry, &repository)
    }

    fn fit(key: &str, repository: &str) -> Option<usize> {
        fit_over(Scheme::Https, key, repository)
    }

    #[test]
    fn full_path_parents_and_host_fit_in_that_order() {
        let repository = "us-east4-docker.pkg.dev/thoras-registry/platform/services";
        let fits: Vec<_> = [
            "us-east4-docker.pkg.dev/thoras-registry/platform/services",
            "us-east4-docker.pkg.dev/thoras-registry/platform",
            "us-east4-docker.pkg.dev/thoras-registry",
            "us-east4-docker.pkg.dev",
        ]
        .into_iter()
        .map(|key| fit(key, repository).unwrap())
        .collect();
        assert!(fits.is_sorted_by(|one, next| one > next), "{fits:?}");
    }

    #[test]
    fn paths_end_at_component_boundaries() {
        assert_eq!(fit("host.io/team", "host.io/team2/app"), None);
        assert_eq!(fit("host.io/team/app/x", "host.io/team/app"), None);
        assert_eq!(fit("host.io/team/", "host.io/team/app"), Some(4));
    }

    #[test]
    fn a_url_with_a_path_does_not_apply_to_the_whole_host() {
        assert_eq!(fit("https://host.io/team", "host.io/other/app"), None);
        assert_eq!(fit("https://host.io/team", "host.io/team/app"), Some(4));
    }

    #[test]
    fn spellings_of_one_registry_are_the_same() {
        for key in [
            "host.io",
            "HOST.io",
            "host.io:443",
            "https://host.io",
            "https://host.io/",
            "https://host.io/v1/",
            "https://host.io/v2/",
            "https://host.io/v2",
            "host.io/v1/",
            "host.io/v2/",
        ] {
            assert_eq!(fit(key, "host.io/a"), Some(0), "{key}");
        }
        assert_eq!(fit("https://host.io/v2/team", "host.io/team/app"), Some(4));
        assert_eq!(fit("host.io/v2", "host.io/a"), None, "a repository may be called v2");
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "docker.io",
            "index.docker.io",
            "registry-1.docker.io",
            "https://index.docker.io/v1/",
            "https://docker.io/v1/",
            "https://registry-1.docker.io/v2/",
        ] {
            assert_eq!(fit(key, "docker.io/library/nginx"), Some(0), "{key}");
            assert_eq!(ConfigKey::parse(key).unwrap().server(), "https://index.docker.io/v1/");
        }
        assert_eq!(fit("docker.io/library", "docker.io/library/nginx"), Some(7));
    }

    #[test]
    fn ports_and_named_schemes_are_exact() {
        assert_eq!(fit("host.io", "host.io:5000/a"), None);
        assert_eq!(fit("host.io:5000", "host.io/a"), None);
        assert_eq!(fit_over(Scheme::Http, "localhost:5000", "localhost:5000/a"), Some(0));
        assert_eq!(fit_over(Scheme::Http, "http://localhost:5000", "localhost:5000/a"), Some(0));
        assert_eq!(fit_over(Scheme::Http, "https://localhost:5000", "localhost:5000/a"), None);
        assert_eq!(fit("http://host.io", "host.io/a"), None);
    }

    #[test]
    fn a_key_that_names_no_registry_is_ignored() {
        for text in ["", "https://", "user:pass@host.io", "a b"] {
            assert_eq!(ConfigKey::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,60}") {
            let repository: Repository = "host.io/team/app".parse().unwrap();
            let registry = Origin::of_registry("host.io", Scheme::Https).unwrap();
            let _ = ConfigKey::parse(&text).and_then(|key| key.fit(&registry, &repository));
        }
    }
}
