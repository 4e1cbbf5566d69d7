//! The requests of `login` and `logout`.

use std::path::PathBuf;

use super::{RegistrySettings, usage};
use crate::{
    cli,
    endpoint::registry::auth::{Environment, Origin, Scheme, login_file::LoginFile},
    error::Failure,
    oci::reference::normalize_registry,
};

/// `login`
pub(crate) struct StoreLogin {
    /// Normalized: `docker.io`, `registry.example.com:5000`.
    pub(crate) registry: String,
    /// Asked for if `None`.
    pub(crate) username: Option<String>,
    /// Whether standard input holds the password; otherwise it is asked for.
    pub(crate) password_stdin: bool,
    pub(crate) file: LoginFile,
    pub(crate) registries: RegistrySettings,
}

impl StoreLogin {
    pub(super) fn new(args: cli::Login) -> Result<Self, Failure> {
        let cli::Login { registry: typed, username, password_stdin, authfile, connection } = args;
        if username.as_ref().is_some_and(|name| name.contains(':')) {
            return Err(usage(
                "--username must not contain a colon: registries read it as the end of the name",
            ));
        }
        Ok(Self {
            registry: registry(&typed)?,
            username,
            password_stdin,
            file: file(authfile)?,
            registries: RegistrySettings::connection(connection),
        })
    }
}

/// `logout`
pub(crate) struct RemoveLogin {
    /// Normalized: `docker.io`, `registry.example.com:5000`.
    pub(crate) registry: String,
    pub(crate) file: LoginFile,
}

impl RemoveLogin {
    pub(super) fn new(args: cli::Logout) -> Result<Self, Failure> {
        Ok(Self { registry: registry(&args.registry)?, file: file(args.authfile)? })
    }
}

/// A registry as people type it: also as a URL, or as Docker's address of Docker Hub.
fn registry(typed: &str) -> Result<String, Failure> {
    let hint = "write it as HOST[:PORT], for example registry.example.com, or docker.io";
    if typed.contains('@') {
        // Not shown: the text before the `@` may be a password.
        return Err(usage("the registry must not contain `@`: pass the user with --username").with_hint(hint));
    }
    let bare = ["https://", "http://"].iter().find_map(|scheme| typed.strip_prefix(scheme)).unwrap_or(typed);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    if !matches!(path, "" | "v1" | "v1/" | "v2" | "v2/") {
        return Err(usage(format!("{typed} has a path: a login is for a whole registry")).with_hint(hint));
    }
    let registry = normalize_registry(host);
    match Origin::of_registry(&registry, Scheme::Https) {
        Ok(_) => Ok(registry),
        Err(error) => Err(usage(format!("`{typed}` is not a registry: {error}")).with_hint(hint)),
    }
}

fn file(authfile: Option<PathBuf>) -> Result<LoginFile, Failure> {
    match authfile {
        Some(path) => Ok(LoginFile::new(path)),
        None => LoginFile::of_docker(&Environment::of_process()).ok_or_else(|| {
            usage("cannot store the login: neither DOCKER_CONFIG nor HOME is set")
                .with_hint("pass --authfile FILE")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_read_as_people_type_it() {
        for (typed, expected) in [
            ("Registry.Example.com", "registry.example.com"),
            ("https://registry.example.com/", "registry.example.com"),
            ("https://registry.example.com/v2/", "registry.example.com"),
            ("localhost:5000", "localhost:5000"),
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
        ] {
            assert_eq!(registry(typed).unwrap(), expected);
        }
        for typed in ["registry.example.com/team", "", "a b", "host:port"] {
            let failure = registry(typed).unwrap_err();
            assert!(failure.hint.unwrap().contains("HOST[:PORT]"), "{typed}");
        }
        let failure = registry("me:s3cret@registry.example.com").unwrap_err();
        assert!(!format!("{failure:?}").contains("s3cret"));
    }
}
