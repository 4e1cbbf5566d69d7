//! The environment variables and files that hold credentials.

use std::{env, ffi::OsString, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{authfile, credential::CredentialError, docker_config::DockerConfig};

/// The environment variables that locate credentials. [`Default`] has none set.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `REGISTRY_AUTH_FILE`: a file, which must exist.
    pub registry_auth_file: Option<PathBuf>,
    /// `DOCKER_AUTH_CONFIG`: the content of a Docker configuration.
    pub docker_auth_config: Option<SecretString>,
    /// `DOCKER_CONFIG`: the folder of `config.json`, instead of `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`: holds `containers/auth.json`.
    pub runtime: Option<PathBuf>,
    /// `/run/containers/UID`: holds `auth.json` for a user without `XDG_RUNTIME_DIR`.
    pub run_containers: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`: holds `containers/auth.json` and `helm`, instead of `~/.config`.
    pub config_home: Option<PathBuf>,
    /// `HELM_REGISTRY_CONFIG`: Helm's logins.
    pub helm_registry_config: Option<PathBuf>,
    /// `HELM_CONFIG_HOME`: holds `registry/config.json`, instead of `helm` in the folder for configurations.
    pub helm_config_home: Option<PathBuf>,
}

impl Environment {
    /// The environment and the user of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let own = rustix::process::getuid().as_raw();
        Self {
            run_containers: Some(PathBuf::from(format!("/run/containers/{own}"))),
            ..Self::of(|name| env::var_os(name))
        }
    }

    /// Reads each variable with `variable`. An empty variable counts as unset.
    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        Self {
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            docker_auth_config: text("DOCKER_AUTH_CONFIG")
                .map(|content| SecretString::from(content.to_string_lossy().into_owned())),
            docker_config: path("DOCKER_CONFIG"),
            home: path("HOME"),
            runtime: path("XDG_RUNTIME_DIR"),
            run_containers: None,
            config_home: path("XDG_CONFIG_HOME"),
            helm_registry_config: path("HELM_REGISTRY_CONFIG"),
            helm_config_home: path("HELM_CONFIG_HOME"),
        }
    }

    /// Where credentials may be, in order of precedence.
    pub(super) fn locations(&self) -> Vec<ConfigLocation> {
        let below_home = |name: &str| self.home.as_ref().map(|home| home.join(name));
        let docker = self.docker_config.clone().or_else(|| below_home(".docker"));
        let config_home = self.config_home.clone().or_else(|| below_home(".config"));
        let containers = |folder: &PathBuf| folder.join("containers/auth.json");
        // As containers-auth.json(5) says: the second only without the first.
        let runtime = self.runtime.as_ref().map(containers);
        let own = self.run_containers.as_ref().map(|folder| folder.join("auth.json"));
        // The folder may belong to root and be closed to this user.
        let runtime = runtime.or_else(|| own.filter(|file| file.exists()));
        let helm_home = self.helm_config_home.clone();
        let helm_home = helm_home.or_else(|| config_home.as_ref().map(|folder| folder.join("helm")));
        let helm = helm_home.map(|folder| folder.join("registry/config.json"));
        [
            self.registry_auth_file.clone().map(ConfigLocation::Required),
            self.docker_auth_config.clone().map(ConfigLocation::Content),
            docker.map(|folder| ConfigLocation::Optional(folder.join("config.json"))),
            runtime.map(ConfigLocation::Optional),
            config_home.as_ref().map(containers).map(ConfigLocation::Optional),
            self.helm_registry_config.clone().or(helm).map(ConfigLocation::Optional),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A file or variable that is read on first use.
#[derive(Debug)]
pub(super) enum ConfigLocation {
    Required(PathBuf),
    Optional(PathBuf),
    Content(SecretString),
}

impl ConfigLocation {
    pub(super) fn read(&self) -> Result<Option<DockerConfig>, CredentialError> {
        match self {
            Self::Required(path) => authfile::read(path).map(Some),
            Self::Optional(path) => authfile::read_if_present(path),
            Self::Content(text) => authfile::parse(text.expose_secret(), "DOCKER_AUTH_CONFIG").map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_count_as_unset() {
        let environment =
            Environment::of(|name| Some(if name == "HOME" { "/h".into() } else { OsString::new() }));
        assert_eq!(environment.home, Some(PathBuf::from("/h")));
        assert!(environment.registry_auth_file.is_none() && environment.docker_auth_config.is_none());
    }
}
