//! `login` and `logout`: store a login in Docker's configuration once the registry has accepted it, and remove it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::{
    endpoint::{
        Error,
        registry::{
            RegistryError,
            auth::{Credential, helper::Helpers, login_file::Stored},
        },
    },
    error::{Failure, Kind},
    event::EventSink,
    oci::Repository,
    request::{Access, RemoveLogin, StoreLogin},
};

/// A user name and a password.
pub(crate) struct NewLogin {
    pub(crate) username: String,
    pub(crate) password: SecretString,
}

/// Checks the login at the registry and stores it. Returns what happened, in one line.
pub(crate) async fn store(
    request: &StoreLogin,
    login: NewLogin,
    events: Arc<dyn EventSink>,
) -> Result<String, Failure> {
    let registry = &request.registry;
    let NewLogin { username, password } = login;
    let access = Access::open(&request.registries, events)?;
    let credential = Credential::basic(&username, password.expose_secret());
    let registries = access.with_only(registry, credential).await.map_err(|error| unreachable(&error))?;
    // A login is for the whole registry, so any repository will do.
    let repository: Repository =
        format!("{registry}/login").parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let greeting = registries.greet(&repository).await.map_err(|error| unreachable(&error))?;
    let checked = match greeting.status {
        200 => "; not checked: the registry accepts requests without a login",
        401 => {
            registries.log_in(&repository).await.map_err(|error| refused(registry, &error))?;
            ", after the registry accepted it"
        }
        status => {
            let message = format!("{registry} answered {status} to /v2/, so it is not a registry");
            return Err(Failure::new(Kind::Image, message).with_hint("check the name and the port"));
        }
    };
    let stored = request.file.store(registry, &username, &password, &helpers(&access)).await;
    let stored = stored.map_err(|error| Failure::from_error(error.kind(), &error).with_hint(error.hint()))?;
    Ok(format!("stored the login of {username} for {registry} in {}{checked}", place(&stored)))
}

/// Removes a login. Returns what happened, in one line.
pub(crate) async fn remove(request: &RemoveLogin) -> Result<String, Failure> {
    let registry = &request.registry;
    let removed = request.file.erase(registry, &Helpers::default()).await;
    let removed =
        removed.map_err(|error| Failure::from_error(error.kind(), &error).with_hint(error.hint()))?;
    Ok(match removed {
        Some(stored) => format!("removed the login for {registry} from {}", place(&stored)),
        None => format!("there was no login for {registry}"),
    })
}

fn helpers(access: &Access) -> Helpers {
    let helpers = Helpers::default();
    match access.helper_timeout() {
        Some(limit) => helpers.with_time_limit(limit),
        None => helpers,
    }
}

fn place(stored: &Stored) -> String {
    match stored {
        Stored::File(path) => path.display().to_string(),
        Stored::Helper(program) => format!("the store of {program}"),
    }
}

fn refused(registry: &str, error: &Error) -> Failure {
    let is_denied = match error.cause.downcast_ref() {
        Some(RegistryError::Auth(error)) => error.is_denied(),
        Some(RegistryError::Refused(refusal)) => matches!(refusal.status, 401 | 403),
        _ => false,
    };
    if !is_denied {
        return unreachable(error);
    }
    let message = format!("{registry} refused this user name and password; nothing was stored");
    let failure = Failure::new(Kind::Authentication, message);
    failure.with_hint("check both; some registries take an access token instead of the account's password")
}

/// There is only one side here, so it is not named.
fn unreachable(error: &Error) -> Failure {
    let mut failure = error.failure();
    failure.message = failure.message.replace(&format!(" ({})", error.location.side), "");
    failure
}
