//! All stores of credentials, in order of precedence.
//!
//! 1. the login for this side (`--to-username` and its password), bound to the host of `--to`;
//! 2. the license, bound to the vendor's registry ([`super::license`]);
//! 3. `--authfile`;
//! 4. `REGISTRY_AUTH_FILE`, `DOCKER_AUTH_CONFIG`, `DOCKER_CONFIG` or `~/.docker/config.json`;
//! 5. the `auth.json` of Podman, Skopeo and Buildah: below `XDG_RUNTIME_DIR`, or without it `/run/containers/UID`, then
//!    below `~/.config/containers`;
//! 6. Helm's: `HELM_REGISTRY_CONFIG`, or `registry/config.json` below `HELM_CONFIG_HOME` or `~/.config/helm`.
//!
//! The first with a key for the repository wins. The last three groups are read on first use, so a broken file does not affect
//! a run that does not need it.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::{
    credential::{Credential, CredentialError, FoundCredential, Provenance},
    docker_config::DockerConfig,
    environment::{ConfigLocation, Environment},
    helper::Helpers,
    license::License,
    origin::Origin,
};
use crate::oci::Repository;

#[derive(Debug)]
struct Explicit {
    registry: Origin,
    credential: Credential,
    flag: String,
}

#[derive(Debug)]
struct LazyConfig {
    location: ConfigLocation,
    config: OnceCell<Result<Option<DockerConfig>, CredentialError>>,
}

/// The credentials of one side, source or destination.
#[derive(Debug)]
pub struct Credentials {
    explicit: Option<Explicit>,
    license: Option<License>,
    authfile: Option<DockerConfig>,
    environment: Vec<LazyConfig>,
    helpers: Helpers,
}

impl Credentials {
    /// Only the credentials from the environment.
    #[must_use]
    pub fn new(environment: &Environment) -> Self {
        let lazy = |location| LazyConfig { location, config: OnceCell::new() };
        Self {
            explicit: None,
            license: None,
            authfile: None,
            environment: environment.locations().into_iter().map(lazy).collect(),
            helpers: Helpers::default(),
        }
    }

    /// Adds the credential from the flag or variable `flag`. It is sent only to `registry`.
    #[must_use]
    pub fn with_explicit(mut self, registry: Origin, credential: Credential, flag: &str) -> Self {
        credential.remember();
        self.explicit = Some(Explicit { registry, credential, flag: flag.to_owned() });
        self
    }

    /// Adds the license.
    #[must_use]
    pub fn with_license(mut self, license: License) -> Self {
        license.credential().remember();
        self.license = Some(license);
        self
    }

    /// Adds the content of `--authfile` (see [`super::authfile::read`]).
    #[must_use]
    pub fn with_authfile(mut self, config: DockerConfig) -> Self {
        self.authfile = Some(config);
        self
    }

    /// Sets the timeout of credential helpers.
    #[must_use]
    pub fn with_helper_timeout(mut self, limit: Duration) -> Self {
        self.helpers = self.helpers.with_time_limit(limit);
        self
    }

    /// The credential for a repository, or `None` when there is none. `registry` must be the origin that serves the
    /// repository's registry; for any other, such as the target of a redirect, there is none.
    pub(crate) async fn for_repository(
        &self,
        registry: &Origin,
        repository: &Repository,
    ) -> Result<Option<FoundCredential>, CredentialError> {
        let found = self.find(registry, repository).await?;
        if let Some(found) = &found {
            found.credential.remember();
        }
        Ok(found)
    }

    async fn find(
        &self,
        registry: &Origin,
        repository: &Repository,
    ) -> Result<Option<FoundCredential>, CredentialError> {
        let serves = Origin::of_registry(repository.registry(), registry.scheme());
        if serves.as_ref() != Ok(registry) {
            return Ok(None);
        }
        if let Some(explicit) = self.explicit.as_ref().filter(|explicit| explicit.registry == *registry) {
            let provenance = Provenance::Explicit(explicit.flag.clone());
            return Ok(Some(FoundCredential { credential: explicit.credential.clone(), provenance }));
        }
        if let Some(license) = self.license.as_ref().filter(|license| license.covers(registry, repository)) {
            return Ok(Some(FoundCredential {
                credential: license.credential(),
                provenance: Provenance::License,
            }));
        }
        if let Some(config) = &self.authfile
            && let Some(found) = config.find(registry, repository, &self.helpers).await?
        {
            return Ok(Some(found));
        }
        for lazy in &self.environment {
            let config = lazy.config.get_or_init(async || lazy.location.read()).await.as_ref();
            if let Some(config) = config.map_err(Clone::clone)?
                && let Some(found) = config.find(registry, repository, &self.helpers).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use base64::{Engine, engine::general_purpose::STANDARD};
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::endpoint::registry::auth::{authfile, origin::Scheme};

    const VENDOR: &str = "us-east4-docker.pkg.dev/thoras-registry/platform/services";

    fn config(registry: &str, user: &str) -> String {
        json!({ "auths": { registry: { "auth": STANDARD.encode(format!("{user}:p")) } } }).to_string()
    }

    fn write(folder: &std::path::Path, name: &str, content: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        file
    }

    async fn user(credentials: &Credentials, repository: &str) -> Option<String> {
        let repository: Repository = repository.parse().unwrap();
        let registry = Origin::of_registry(repository.registry(), Scheme::Https).unwrap();
        let found = credentials.for_repository(&registry, &repository).await.unwrap()?;
        match found.credential {
            Credential::Basic { username, .. } => Some(username),
            Credential::IdentityToken(_) => None,
        }
    }

    fn license() -> License {
        License::from_content("a2V5", "in f").unwrap()
    }

    #[tokio::test]
    async fn credentials_are_used_in_order_of_precedence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, "docker/config.json", &config("quay.io", "docker"));
        write(path, "run/containers/auth.json", &config("quay.io", "runtime"));
        write(path, "home/.config/containers/auth.json", &config("quay.io", "config-home"));
        write(path, "home/.docker/config.json", &config("quay.io", "home"));
        let mut environment = Environment {
            registry_auth_file: Some(write(path, "auth.json", &config("quay.io", "file"))),
            docker_auth_config: Some(SecretString::from(config("quay.io", "content"))),
            docker_config: Some(path.join("docker")),
            home: Some(path.join("home")),
            runtime: Some(path.join("run")),
            ..Environment::default()
        };
        let authfile = authfile::parse(&config("quay.io", "authfile"), "f").unwrap();
        let all = Credentials::new(&environment).with_authfile(authfile);
        assert_eq!(user(&all, "quay.io/a").await.unwrap(), "authfile");
        let mut order = Vec::new();
        for forget in [
            |_: &mut Environment| {},
            |environment: &mut Environment| environment.registry_auth_file = None,
            |environment: &mut Environment| environment.docker_auth_config = None,
            |environment: &mut Environment| environment.docker_config = None,
        ] {
            forget(&mut environment);
            order.push(user(&Credentials::new(&environment), "quay.io/a").await.unwrap());
        }
        assert_eq!(order, ["file", "content", "docker", "home"]);
        std::fs::remove_dir_all(path.join("home/.docker")).unwrap();
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "runtime");
        environment.runtime = None;
        let own = write(path, "run/containers/1000/auth.json", &config("quay.io", "own")).with_file_name("");
        environment.run_containers = Some(own);
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "own");
        environment.runtime = Some(path.join("run"));
        assert_eq!(
            user(&Credentials::new(&environment), "quay.io/a").await.unwrap(),
            "runtime",
            "one of them"
        );
        (environment.runtime, environment.run_containers) = (None, None);
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "config-home");
        std::fs::remove_dir_all(path.join("home/.config/containers")).unwrap();
        write(path, "home/.config/helm/registry/config.json", &config("quay.io", "helm"));
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "helm");
        write(path, "helm/registry/config.json", &config("quay.io", "helm-home"));
        environment.helm_config_home = Some(path.join("helm"));
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "helm-home");
        environment.helm_registry_config = Some(write(path, "h.json", &config("quay.io", "helm-file")));
        assert_eq!(user(&Credentials::new(&environment), "quay.io/a").await.unwrap(), "helm-file");
        assert_eq!(user(&Credentials::new(&environment), "ghcr.io/a").await, None);
    }

    #[tokio::test]
    async fn explicit_credentials_are_bound_to_their_host() {
        let to = Origin::of_registry("mirror.example", Scheme::Https).unwrap();
        let credentials = Credentials::new(&Environment::default()).with_explicit(
            to,
            Credential::basic("me", "p"),
            "--to-username",
        );
        assert_eq!(user(&credentials, "mirror.example/any/path").await.unwrap(), "me");
        assert_eq!(user(&credentials, "mirror.example:8443/a").await, None);
        assert_eq!(user(&credentials, "other.example/a").await, None);
        let repository: Repository = "mirror.example/a".parse().unwrap();
        let plain = Origin::of_registry("mirror.example", Scheme::Http).unwrap();
        assert!(credentials.for_repository(&plain, &repository).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_license_precedes_the_files_but_only_for_its_own_repositories() {
        let authfile = authfile::parse(&config("us-east4-docker.pkg.dev", "file"), "f").unwrap();
        let credentials =
            Credentials::new(&Environment::default()).with_license(license()).with_authfile(authfile);
        assert_eq!(user(&credentials, VENDOR).await.unwrap(), "_json_key_base64");
        assert_eq!(user(&credentials, "us-east4-docker.pkg.dev/other/app").await.unwrap(), "file");
        assert_eq!(user(&credentials, "quay.io/thoras-registry/app").await, None);
    }

    #[tokio::test]
    async fn an_origin_other_than_the_registrys_gets_no_credential() {
        let credentials = Credentials::new(&Environment::default()).with_license(license());
        let repository: Repository = VENDOR.parse().unwrap();
        for registry in ["evil.example", "us-east4-docker.pkg.dev:8443"] {
            let registry = Origin::of_registry(registry, Scheme::Https).unwrap();
            assert!(credentials.for_repository(&registry, &repository).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_broken_file_is_an_error_only_on_use() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "config.json", "{\"auths\": s3cret");
        let environment =
            Environment { docker_config: Some(folder.path().to_owned()), ..Environment::default() };
        let credentials = Credentials::new(&environment).with_license(license());
        assert!(user(&credentials, VENDOR).await.is_some());
        let repository: Repository = "quay.io/a".parse().unwrap();
        let registry = Origin::of_registry("quay.io", Scheme::Https).unwrap();
        let error = credentials.for_repository(&registry, &repository).await.unwrap_err();
        assert!(
            error.to_string().contains("config.json") && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let environment = Environment {
            docker_auth_config: Some(SecretString::from(config("quay.io", "s3cret"))),
            ..Environment::default()
        };
        let to = Origin::of_registry("mirror.example", Scheme::Https).unwrap();
        let credentials = Credentials::new(&environment).with_explicit(
            to,
            Credential::basic("me", "s3cret"),
            "--to-username",
        );
        assert!(!format!("{credentials:?} {environment:?}").contains("s3cret"));
    }
}
