//! What was typed, and what it means: every value typed and checked before anything is asked of a network.
//!
//! Flags win over the environment, which clap has merged already; defaults come last.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;

use crate::{
    cli::{LoginArgs, NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs},
    endpoint::{
        Side,
        registry::{
            Registries,
            auth::{Authenticator, Credential, Credentials, Environment, License, authfile},
            network::{Network, NetworkSettings},
        },
    },
    enumerate::{ChartOptions, DEFAULT_CHART, DEFAULT_REPOSITORY, Input, Selection, Source},
    error::{Failure, Kind},
    event::EventSink,
    oci::{
        mapping::{Namer, Root},
        reference::normalise_registry,
    },
    waiver::Waivers,
};

/// The licence key itself.
const LICENSE_VARIABLE: &str = "THORAS_LICENSE";
/// A file with the licence key.
const LICENSE_FILE_VARIABLE: &str = "THORAS_LICENSE_FILE";
/// The password for `--to`, where standard input is not at hand.
const TO_PASSWORD_VARIABLE: &str = "THORAS_MIRROR_TO_PASSWORD";
/// No password is longer than this many bytes.
const LONGEST_SECRET: u64 = 64 * 1024;

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

/// Standard input can be read once: by a list, by manifests, by a key or by a password.
pub fn check_stdin(
    selection: Option<&SelectionArgs>,
    registries: &RegistryArgs,
    login: Option<&LoginArgs>,
) -> Result<(), Failure> {
    let is_stdin = |value: &Option<String>| value.as_deref() == Some("-");
    let mut readers = Vec::new();
    if let Some(selection) = selection {
        readers.extend(is_stdin(&selection.rendered).then_some("--rendered -"));
        readers.extend(is_stdin(&selection.images).then_some("--images -"));
    }
    readers.extend(is_stdin(&registries.license).then_some("--license -"));
    readers.extend(login.is_some_and(|login| login.to_password_stdin).then_some("--to-password-stdin"));
    if readers.len() > 1 {
        return Err(usage(format!("standard input can be read only once: {}", readers.join(", "))));
    }
    Ok(())
}

/// Which images: what [`crate::enumerate`] is asked for.
#[must_use]
pub fn selection(args: &SelectionArgs) -> Selection {
    let source = if let Some(rendered) = &args.rendered {
        Source::Rendered(Input::from(rendered.as_str()))
    } else if let Some(images) = &args.images {
        Source::List(Input::from(images.as_str()))
    } else if !args.image.is_empty() {
        Source::References(args.image.clone())
    } else {
        Source::Chart(Box::new(chart(args)))
    };
    Selection {
        source,
        image_prefixes: args.image_prefix.clone(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
    }
}

fn chart(args: &SelectionArgs) -> ChartOptions {
    ChartOptions {
        chart: args.chart.clone().unwrap_or_else(|| DEFAULT_CHART.to_owned()),
        repository: args.repo.clone().unwrap_or_else(|| DEFAULT_REPOSITORY.to_owned()),
        version: args.chart_version.clone(),
        values: args.values.clone(),
        set: args.set.iter().cloned().map(SecretString::from).collect(),
        set_string: args.set_string.iter().cloned().map(SecretString::from).collect(),
        set_file: args.set_file.clone(),
        namespace: args.namespace.clone(),
        kube_version: args.kube_version.clone(),
        api_versions: args.api_versions.clone(),
        include_crds: args.include_crds,
        helm_args: args.helm_arg.clone(),
        helm: args.helm.clone(),
    }
}

/// The root of the mirror: `--to`.
pub fn root(to: &str) -> Result<Root, Failure> {
    let refused = if to.is_empty() {
        usage("--to is empty")
    } else if to.contains('@') {
        // Not shown: what is before the `@` may be a password.
        usage("--to cannot hold a user: name the user with --to-username")
    } else if to.contains("://") {
        usage(format!("--to {to} is a URL, not the name of a place for images"))
    } else {
        match to.parse() {
            Ok(root) => return Ok(root),
            Err(error) => usage(format!("--to {to}: {error}")),
        }
    };
    Err(refused.with_hint("write it as REGISTRY/PATH, for example registry.example.com/thoras"))
}

/// The rule that names destinations. `found` is the prefix that the images share.
#[must_use]
pub fn namer(root: Root, naming: &NamingArgs, found: Option<String>) -> Namer {
    Namer::new(root, naming.naming, naming.source_prefix.clone().or(found))
}

/// Leave to lack platforms.
#[must_use]
pub fn waivers(platforms: &PlatformArgs) -> Waivers {
    Waivers::new(platforms.allow_missing_platform.clone())
}

/// How both sides are reached, and who we are there.
pub struct Access {
    network: Arc<Network>,
    license: Option<License>,
    authfile: Option<PathBuf>,
    events: Arc<dyn EventSink>,
}

impl Access {
    /// Reads certificates and the licence; opens no connection.
    pub fn new(args: &RegistryArgs, events: Arc<dyn EventSink>) -> Result<Self, Failure> {
        let plain_http =
            args.plain_http.iter().map(|registry| plain_registry(registry)).collect::<Result<_, _>>()?;
        let ca_certificates =
            args.ca_cert.iter().map(|path| read_file(path, "--ca-cert")).collect::<Result<Vec<_>, _>>()?;
        let network = Arc::new(Network::new(NetworkSettings { plain_http, ca_certificates }));
        let license = license(args)?;
        Ok(Self { network, license, authfile: args.authfile.clone(), events })
    }

    /// The registries that images come from. The licence is for them alone.
    pub fn source(&self) -> Result<Registries, Failure> {
        let mut credentials = self.credentials()?;
        if let Some(license) = &self.license {
            credentials = credentials.with_license(license.clone());
        }
        Ok(self.registries(Side::Source, credentials))
    }

    /// The registry that images go to.
    pub async fn destination(&self, root: &Root, login: &LoginArgs) -> Result<Registries, Failure> {
        let mut credentials = self.credentials()?;
        if let Some((credential, flag)) = destination_login(login)? {
            let origin = self
                .network
                .origin(root.registry())
                .await
                .map_err(|cause| Failure::from_error(cause.kind(), &cause_at(root, cause)))?;
            credentials = credentials.with_explicit(origin, credential, flag);
        }
        Ok(self.registries(Side::Destination, credentials))
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let credentials = Credentials::new(&Environment::of_process());
        let Some(path) = &self.authfile else { return Ok(credentials) };
        let config = authfile::read(path)
            .map_err(|error| Failure::from_error(Kind::Usage, &error).with_hint(error.hint()))?;
        Ok(credentials.with_authfile(config))
    }

    fn registries(&self, side: Side, credentials: Credentials) -> Registries {
        let network = Arc::clone(&self.network);
        let clients = Arc::new(move |origin: &_| network.client(origin).map_err(Into::into));
        let authenticator = Authenticator::new(credentials, clients);
        Registries::new(side, Arc::clone(&self.network), authenticator, Arc::clone(&self.events))
    }
}

fn cause_at(root: &Root, cause: crate::endpoint::Cause) -> crate::endpoint::Error {
    crate::endpoint::Error::new(
        crate::endpoint::Operation::Connect,
        Side::Destination,
        root.registry(),
        cause,
    )
}

fn plain_registry(registry: &str) -> Result<String, Failure> {
    let normal = normalise_registry(registry);
    match normal.parse::<Root>() {
        Ok(root) if root.to_string() == normal && !normal.contains('/') => Ok(normal),
        _ => Err(usage(format!("--plain-http {registry}: expected HOST or HOST:PORT"))),
    }
}

fn license(args: &RegistryArgs) -> Result<Option<License>, Failure> {
    let refused = |error: crate::endpoint::registry::auth::CredentialError| {
        Failure::from_error(Kind::Usage, &error).with_hint(error.hint())
    };
    let file =
        args.license.clone().or_else(|| env::var(LICENSE_FILE_VARIABLE).ok().filter(|path| !path.is_empty()));
    let content = env::var(LICENSE_VARIABLE).ok().filter(|content| !content.is_empty());
    let license = match (args.license.as_deref(), content, file) {
        (Some("-"), ..) => {
            License::from_content(&read_secret_from_stdin("--license -")?, "from standard input")
        }
        (None, Some(content), _) => License::from_content(&content, &format!("in {LICENSE_VARIABLE}")),
        (_, _, Some(path)) => {
            let bytes = read_file(Path::new(&path), "the licence")?;
            License::from_content(&String::from_utf8_lossy(&bytes), &format!("in {path}"))
        }
        (_, _, None) => return bind_nothing(args),
    }
    .map_err(refused)?;
    let Some(place) = &args.license_for else { return Ok(Some(license)) };
    license.bound_to(place).map(Some).map_err(|error| usage(format!("--license-for {place}: {error}")))
}

fn bind_nothing(args: &RegistryArgs) -> Result<Option<License>, Failure> {
    match &args.license_for {
        Some(_) => Err(usage("--license-for is given, but no licence")
            .with_hint(format!("pass --license FILE, or set {LICENSE_VARIABLE} or {LICENSE_FILE_VARIABLE}"))),
        None => Ok(None),
    }
}

/// The user name and password for `--to`, and the flag that gave them.
fn destination_login(login: &LoginArgs) -> Result<Option<(Credential, &'static str)>, Failure> {
    let Some(username) = &login.to_username else { return Ok(None) };
    let password = if login.to_password_stdin {
        read_secret_from_stdin("--to-password-stdin")?
    } else if let Ok(password) = env::var(TO_PASSWORD_VARIABLE) {
        password
    } else {
        return Err(usage("--to-username is given, but no password")
            .with_hint(format!("pass --to-password-stdin, or set {TO_PASSWORD_VARIABLE}")));
    };
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(usage("the password for --to is empty"));
    }
    Ok(Some((Credential::basic(username, password), "--to-username")))
}

fn read_secret_from_stdin(flag: &str) -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST_SECRET)
        .read_to_string(&mut text)
        .map_err(|error| usage(format!("{flag}: cannot read standard input: {error}")))?;
    Ok(text)
}

fn read_file(path: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| usage(format!("{what}: cannot read {}: {error}", path.display())))
}
