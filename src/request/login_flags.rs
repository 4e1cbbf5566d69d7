//! `--to-username` and its password: a login for the registry of one destination.

use std::{collections::BTreeSet, env, path::PathBuf};

use secrecy::SecretString;

use super::{SettingOrigin, destination::root, setting, usage};
use crate::{
    cli::{LoginArgs, variable},
    error::{Failure, escape},
    oci::{mapping::Root, reference::normalize_registry},
};

/// A user name for `--to`, and its password.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// The only registry that receives them: that of `--to` or `THORAS_MIRROR_TO`, never one that a lock names.
    pub(crate) registry: String,
    pub(crate) username: String,
    pub(crate) password: Password,
    /// Where the user name comes from.
    pub(crate) origin: SettingOrigin,
}

/// The login for `--to` of a command that also does without one. A pipeline may export a user name and a password for
/// other commands: without a destination they are not used.
pub(super) fn optional_login(args: LoginArgs, to: Option<String>) -> Result<Option<Login>, Failure> {
    let named = setting::flag_or_variable(to, variable::TO).map(|to| to.value);
    let exported = setting::variable(variable::TO_USERNAME).map(|name| name.value);
    if named.is_none() && args.to_username == exported && !args.to_password_stdin {
        return Ok(None);
    }
    let named = named.as_deref().filter(|_| args.to_username.is_some()).map(root).transpose()?;
    Login::new(args, named.as_ref())
}

/// Where a password comes from.
#[derive(Debug, Clone)]
pub(crate) enum Password {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// The environment.
    Variable(SecretString),
}

impl Login {
    /// `named` is the destination that the user named, if any.
    pub(super) fn new(args: LoginArgs, named: Option<&Root>) -> Result<Option<Self>, Failure> {
        Self::for_one_of(args, named.map_or(&[], std::slice::from_ref))
    }

    /// The same for several destinations: the login is for the registry of one of them.
    pub(super) fn for_one_of(args: LoginArgs, named: &[Root]) -> Result<Option<Self>, Failure> {
        let LoginArgs { to_username, to_password_stdin } = args;
        let Some(username) = to_username else { return Ok(None) };
        if named.is_empty() {
            let to = variable::TO;
            return Err(usage(format!(
                "--to-username applies to one registry, but neither --to nor {to} names it"
            ))
            .with_hint(format!(
                "set {to} to REGISTRY/PATH; or omit --to-username, and use `docker login` or --authfile FILE, which \
                 name their registry"
            )));
        }
        let exported = setting::variable(variable::TO_USERNAME);
        let exported = exported.filter(|name| name.value == username).map(|name| name.origin);
        let origin = exported.unwrap_or(SettingOrigin::Flag);
        let RegistryUser { registry, username } = registry_user(&username, named)?;
        let password = if to_password_stdin {
            Password::Stdin
        } else if let Ok(password) = env::var(variable::TO_PASSWORD) {
            Password::Variable(password.into())
        } else {
            return Err(usage("--to-username needs a password")
                .with_hint(format!("pass --to-password-stdin, or set {}", variable::TO_PASSWORD)));
        };
        Ok(Some(Self { registry, username, password, origin }))
    }

    /// The flag or the variable that holds the user name.
    pub(super) fn named_by(&self) -> &str {
        self.origin.name("--to-username")
    }

    /// This login, if it is for the registry of `root`.
    pub(crate) fn for_root(login: Option<&Self>, root: &Root) -> Option<Self> {
        login.filter(|login| login.registry == root.registry()).cloned()
    }
}

/// `[HOST=]NAME`: a user of one registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RegistryUser {
    pub(super) registry: String,
    pub(super) username: String,
}

/// The user in `[HOST=]NAME`. `roots` are the destinations, at least one.
pub(super) fn registry_user(typed: &str, roots: &[Root]) -> Result<RegistryUser, Failure> {
    let user = |registry: &str, username: &str| RegistryUser {
        registry: registry.to_owned(),
        username: username.to_owned(),
    };
    let registries: BTreeSet<&str> = roots.iter().map(Root::registry).collect();
    let host = typed.split_once('=').map(|(host, name)| (normalize_registry(host), name));
    if let Some((host, name)) = &host {
        if registries.contains(host.as_str()) {
            if name.is_empty() {
                return Err(usage(format!("--to-username {host}= has no name")));
            }
            return Ok(user(host, name));
        }
        // Any other text before the sign may belong to the name.
        if host.contains(['.', ':']) || host == "localhost" || registries.len() > 1 {
            let known: Vec<&str> = registries.into_iter().collect();
            let message = format!("--to-username is for {}, which is not the registry of --to", escape(host));
            return Err(usage(message).with_hint(format!("--to has {}", known.join(", "))));
        }
    }
    let mut each = registries.into_iter();
    match (each.next(), each.next()) {
        (Some(only), None) => Ok(user(only, typed)),
        _ => Err(usage("--to-username does not say for which of several registries it is").with_hint(
            "write it as HOST=NAME; for the others, use `docker login` or --authfile FILE, which name their registry",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_for_one_registry() {
        let login = |typed: &str, to: &[&str]| {
            let roots: Vec<Root> = to.iter().map(|root| root.parse().unwrap()).collect();
            registry_user(typed, &roots).map_err(|failure| failure.message)
        };
        let user = |registry: &str, username: &str| {
            Ok(RegistryUser { registry: registry.to_owned(), username: username.to_owned() })
        };
        assert_eq!(login("ci", &["a.io/x"]), user("a.io", "ci"));
        assert_eq!(login("ci", &["a.io/x", "a.io/y"]), user("a.io", "ci"));
        assert_eq!(login("cn=ci", &["a.io/x"]), user("a.io", "cn=ci"));
        assert_eq!(login("a.io=ci", &["a.io/x"]), user("a.io", "ci"));
        assert_eq!(login("b.io:5000=c=i", &["a.io/x", "b.io:5000/x"]), user("b.io:5000", "c=i"));
        for (typed, to) in [
            ("ci", &["a.io/x", "b.io/x"][..]),
            ("cn=ci", &["a.io/x", "b.io/x"]),
            ("c.io=ci", &["a.io/x", "b.io/x"]),
            ("c.io=ci", &["a.io/x"]),
            ("a.io=", &["a.io/x"]),
        ] {
            assert!(login(typed, to).is_err(), "{typed} {to:?}");
        }
    }
}
