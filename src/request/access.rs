//! Prepares access to registries: reads certificates, the license, passwords, Docker's configuration and the proxy
//! variables. Opens no connection.

use std::{
    collections::BTreeSet,
    env,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Destinations, Login, Password, RegistrySettings,
    network::{self, NamedHost},
    registries::LicenseFrom,
    setting::{Setting, SettingOrigin},
    usage,
};
use crate::{
    bounded_read::{self, MAX_SETTINGS_SIZE},
    cli::variable,
    endpoint::{
        self,
        registry::{
            Connector, NetworkSettings, Registries, Tuning,
            auth::{
                self, Credential, CredentialError, Credentials, Environment, FoundCredential, License,
                Provenance, Scheme, read_authfile,
            },
            state_folder,
        },
        set_retries,
    },
    error::{Failure, Kind},
    event::{EventSink, warn},
    oci::{Repository, mapping::Root, reference::hide_login},
    problem::Side,
    quota::RunRegistries,
};

/// A longer value without a slash is a license key rather than a file name. In bytes.
const MAX_NAME_LENGTH: usize = 128;
/// A larger secret from standard input is an error. It is never cut: its beginning would be used as if it were the
/// whole.
const MAX_SECRET_SIZE: u64 = 64 * 1024;

/// How to connect to both sides, and with which credentials.
pub(crate) struct Access {
    connector: Connector,
    license: Option<License>,
    /// Whether the command line names the license.
    is_license_typed: bool,
    /// The hosts of `--plain-http` and `--insecure`.
    named_hosts: Vec<NamedHost>,
    authfile: Option<PathBuf>,
    helper_timeout: Option<Duration>,
}

impl Access {
    /// Reads certificates and the license.
    pub(crate) fn open(settings: &RegistrySettings, events: Arc<dyn EventSink>) -> Result<Self, Failure> {
        Self::open_shared(settings, NonZeroU32::MIN, events)
    }

    /// The same for one of several machines that share the limits of the registries and those of the user.
    pub(crate) fn open_shared(
        settings: &RegistrySettings,
        machines: NonZeroU32,
        events: Arc<dyn EventSink>,
    ) -> Result<Self, Failure> {
        if let Some(retries) = settings.retries {
            set_retries(retries);
        }
        let network = network::settings(settings)?;
        let network = NetworkSettings { rates: network.rates.shared_by(machines), ..network };
        let tuning = Tuning { machines, ..network::tuning(settings) };
        Ok(Self {
            connector: Connector::new(network, events).with_tuning(tuning),
            license: license(settings)?,
            is_license_typed: settings.is_license_typed(),
            named_hosts: network::named_hosts(settings)?,
            authfile: settings.authfile.clone(),
            helper_timeout: settings.helper_timeout,
        })
    }

    /// The registries that images come from. Only they receive the license.
    pub(crate) fn source(&self) -> Result<Registries, Failure> {
        Ok(self.connector.open(Side::Source, self.source_credentials()?))
    }

    /// The same with the login for the registry of `--to`, to read images from there.
    pub(crate) async fn source_with_login(&self, login: Option<&Login>) -> Result<Registries, Failure> {
        let credentials = self.with_login(self.source_credentials()?, Side::Source, login).await?;
        Ok(self.connector.open(Side::Source, credentials))
    }

    fn source_credentials(&self) -> Result<Credentials, Failure> {
        let credentials = self.credentials()?;
        Ok(match &self.license {
            Some(license) => credentials.with_license(license.clone()),
            None => credentials,
        })
    }

    /// Checks the settings that are for some registries only, in a run that reads these `sources` and uses the `other`
    /// registries. Warns of a license that is sent nowhere; fails if a quota counts no request.
    pub(crate) fn check_registries<'a>(
        &self,
        settings: &RegistrySettings,
        sources: impl Iterator<Item = &'a Repository> + Clone,
        mut other: RunRegistries<'a>,
        events: &dyn EventSink,
    ) -> Result<(), Failure> {
        self.warn_of_unused_license(sources.clone(), events);
        other.read.extend(sources.map(Repository::registry));
        settings.check_quotas(&other)
    }

    /// Warns if the license that was passed is for none of these repositories, so that it is sent nowhere.
    pub(crate) fn warn_of_unused_license<'a>(
        &self,
        repositories: impl IntoIterator<Item = &'a Repository>,
        events: &dyn EventSink,
    ) {
        let Some(license) = self.license.as_ref().filter(|_| self.is_license_typed) else { return };
        let mut registries = BTreeSet::new();
        for repository in repositories {
            if license.is_for(repository) {
                return;
            }
            registries.insert(repository.registry());
        }
        let example = match registries.first() {
            Some(registry) if registries.len() == 1 => *registry,
            _ => "HOST",
        };
        let message = format!(
            "the license is not used: no image or chart is below {}; if it is for another registry, pass --license-for \
             {example}",
            license.scope()
        );
        warn(events, message);
    }

    /// Warns at the end of a run about `--plain-http HOST` and `--insecure HOST` if no request went to the host.
    pub(crate) fn warn_of_unused_hosts(&self, events: &dyn EventSink) {
        for NamedHost { flag, name, origin } in &self.named_hosts {
            if !self.connector.has_contacted(origin) {
                let scheme = if origin.is_https() { "https" } else { "http" };
                let message = format!(
                    "{flag} {name} has no effect: no request went to {scheme}://{name}; check the host and the port"
                );
                warn(events, message);
            }
        }
    }

    /// The registry that images go to.
    pub(crate) async fn destination(&self, login: Option<&Login>) -> Result<Registries, Failure> {
        let credentials = self.with_login(self.credentials()?, Side::Destination, login).await?;
        let state = state_folder(|name| env::var_os(name));
        Ok(self.connector.open(Side::Destination, credentials).with_state(state))
    }

    /// The registries of all destinations, in their order.
    pub(crate) async fn destinations(
        &self,
        destinations: &Destinations,
    ) -> Result<Vec<Arc<Registries>>, Failure> {
        let opened = destinations.iter().map(|destination| self.destination(destination.login.as_ref()));
        Ok(try_join_all(opened).await?.into_iter().map(Arc::new).collect())
    }

    /// Adds the login for the registry of `--to`.
    async fn with_login(
        &self,
        credentials: Credentials,
        side: Side,
        login: Option<&Login>,
    ) -> Result<Credentials, Failure> {
        let Some(login) = login else { return Ok(credentials) };
        let credential = credential(login)?;
        let origin = self.connector.origin(side, &login.registry).await.map_err(|error| error.failure())?;
        Ok(credentials.with_explicit(origin, credential, login.named_by()))
    }

    /// A registry with this credential and no other.
    pub(crate) async fn with_only(
        &self,
        registry: &str,
        credential: Credential,
    ) -> Result<Registries, endpoint::Error> {
        let origin = self.connector.origin(Side::Destination, registry).await?;
        let credentials = Credentials::new(&Environment::default());
        let credentials = credentials.with_explicit(origin, credential, "this login");
        Ok(self.connector.open(Side::Destination, credentials))
    }

    /// The timeout of credential helpers, if set.
    pub(crate) const fn helper_timeout(&self) -> Option<Duration> {
        self.helper_timeout
    }

    /// The login with which `sync` would push to this registry, and where it comes from. Sends no credential anywhere.
    pub(crate) async fn login_for(
        &self,
        root: &Root,
        login: Option<&Login>,
    ) -> Result<Option<FoundCredential>, Failure> {
        if let Some(login) = login.filter(|login| login.registry == root.registry()) {
            let provenance = Provenance::Explicit(login.named_by().to_owned());
            return Ok(Some(FoundCredential { credential: credential(login)?, provenance }));
        }
        // Keys of files may name a scheme. A registry on loopback that does not run has none yet.
        let origin = match self.connector.origin(Side::Destination, root.registry()).await {
            Ok(origin) => origin,
            Err(_) => auth::Origin::of_registry(root.registry(), Scheme::Https)
                .map_err(|error| usage(format!("--to {root}: {error}")))?,
        };
        let found = self.credentials()?.for_repository(&origin, &root.any_repository()).await;
        found.map_err(|error| Failure::from_error(error.kind(), &error).with_hint(error.hint()))
    }

    /// The registry that images go to, without any credential.
    pub(crate) fn anonymous(&self) -> Registries {
        self.connector.open(Side::Destination, Credentials::new(&Environment::default()))
    }

    /// The registry that images go to, with the logins of `--authfile` and no other. None without that flag.
    pub(crate) fn pull_secret(&self) -> Result<Option<Registries>, Failure> {
        if self.authfile.is_none() {
            return Ok(None);
        }
        let credentials = self.credentials_with(&Environment::default())?;
        Ok(Some(self.connector.open(Side::Destination, credentials)))
    }

    /// The license, if there is one.
    pub(crate) fn license(&self) -> Option<&License> {
        self.license.as_ref()
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        self.credentials_with(&Environment::of_process())
    }

    fn credentials_with(&self, environment: &Environment) -> Result<Credentials, Failure> {
        let mut credentials = Credentials::new(environment);
        if let Some(limit) = self.helper_timeout {
            credentials = credentials.with_helper_timeout(limit);
        }
        let Some(path) = &self.authfile else { return Ok(credentials) };
        refuse_content(path, "--authfile")?;
        let config = read_authfile(path)
            .map_err(|error| usage(format!("--authfile: {error}")).with_hint(error.hint()))?;
        Ok(credentials.with_authfile(config))
    }
}

fn license(settings: &RegistrySettings) -> Result<Option<License>, Failure> {
    let Some(from) = &settings.license else { return Ok(None) };
    let license = license_from(from)?;
    let Some(scope) = &settings.license_for else { return Ok(Some(license)) };
    let bound = license.bound_to(scope);
    bound.map(Some).map_err(|error| usage(format!("--license-for {}: {error}", hide_login(scope))))
}

fn license_from(from: &LicenseFrom) -> Result<License, Failure> {
    let license = match from {
        LicenseFrom::Stdin => {
            License::from_content(&read_secret_from_stdin("--license -")?, "from standard input")
        }
        LicenseFrom::Variable(content) => {
            License::from_content(content.expose_secret(), &format!("in {}", variable::LICENSE))
        }
        LicenseFrom::File(path) => {
            let Setting { value: path, origin } = path;
            let bytes = read_file(Path::new(path), origin.name("--license"))?;
            License::from_content(&String::from_utf8_lossy(&bytes), &format!("in {path}"))
        }
    };
    license.map_err(|error: CredentialError| Failure::from_error(Kind::Usage, &error).with_hint(error.hint()))
}

/// The license key in this file, or in standard input for `-`, as the vendor's registry takes it.
pub(super) fn read_license(typed: &str) -> Result<SecretString, Failure> {
    let from = match typed {
        "-" => LicenseFrom::Stdin,
        path => LicenseFrom::File(Setting::new(path.to_owned(), SettingOrigin::Flag)),
    };
    Ok(license_from(&from)?.password().clone())
}

/// The password of a login for `--to`.
pub(crate) fn read_password(login: &Login) -> Result<SecretString, Failure> {
    let password = match &login.password {
        Password::Stdin => read_secret_from_stdin("--to-password-stdin")?,
        Password::File(path) => {
            let bytes = read_file(path, "--to-password-file")?;
            String::from_utf8(bytes).map_err(|_| usage("--to-password-file: it is not UTF-8 text"))?
        }
        Password::Variable(password) => password.expose_secret().to_owned(),
    };
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(usage("the password for --to is empty").with_hint(match &login.password {
            Password::Stdin => "write the password to standard input".to_owned(),
            Password::File(path) => format!("write the password to {}", path.display()),
            Password::Variable(_) => format!("set {} to the password", variable::TO_PASSWORD),
        }));
    }
    Ok(password.to_owned().into())
}

/// The user name and password for `--to`.
fn credential(login: &Login) -> Result<Credential, Failure> {
    let password = read_password(login)?;
    Ok(Credential::basic(&login.username, password.expose_secret()))
}

/// Standard input as text. `flag` asks for it.
pub(crate) fn read_secret_from_stdin(flag: &str) -> Result<String, Failure> {
    bounded_read::read_text_from(std::io::stdin(), MAX_SECRET_SIZE).map_err(|error| {
        usage(format!("{flag}: cannot read standard input: {error}"))
            .with_hint("write only the secret to standard input")
    })
}

pub(crate) fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    refuse_content(path, what)?;
    let shown = || hide_login(&path.display().to_string());
    bounded_read::read(path, MAX_SETTINGS_SIZE).map_err(|error| {
        usage(format!("{what}: cannot read {}: {error}", shown())).with_hint(bounded_read::hint(&error))
    })
}

/// Refuses a value that is the content of a file (most likely a key) rather than its name, without repeating it.
fn refuse_content(path: &Path, what: &str) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    let is_key = text.len() > MAX_NAME_LENGTH && !text.starts_with('/') && text.bytes().all(is_encoded);
    if !(is_key || text.contains('\n') || text.trim_start().starts_with('{')) {
        return Ok(());
    }
    Err(usage(format!("{what}: expected a file name (the value is not shown because it may be a secret)"))
        .with_hint("write it to a file and pass the file's name: other users can read the command line"))
}
