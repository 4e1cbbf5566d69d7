//! What was typed, and what it means: every value typed and checked before anything is asked of a network.
//!
//! Flags win over the environment, which clap has merged already; defaults come last.

mod network;
mod volume;

pub use volume::volume_size;

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;

use crate::{
    cli::{LoginArgs, NamingArgs, PlatformArgs, RegistryArgs, SelectionArgs, Verify},
    endpoint::{
        Error, Operation,
        registry::{
            Registries, Tuning,
            auth::{Authenticator, Credential, Credentials, Environment, License, authfile},
            network::Network,
            state_folder,
        },
    },
    enumerate::{ChartOptions, DEFAULT_CHART, DEFAULT_REPOSITORY, Input, Selection, Source},
    error::{Failure, Kind},
    event::EventSink,
    lock::Placement,
    oci::{ChartIdentity, Naming, mapping::Root, reference::hide_login},
    problem::Side,
    waiver::Waivers,
};

/// The license key itself.
const LICENSE_VARIABLE: &str = "THORAS_LICENSE";
/// A file with the license key.
const LICENSE_FILE_VARIABLE: &str = "THORAS_LICENSE_FILE";
/// The password for `--to`, where standard input is not at hand.
const TO_PASSWORD_VARIABLE: &str = "THORAS_MIRROR_TO_PASSWORD";
/// The chart, unless the command line says what to mirror.
const CHART_VARIABLE: &str = "THORAS_MIRROR_CHART";
/// Which images to keep, unless the command line says so; `--locked` takes all that the lock names.
const INCLUDE_VARIABLE: &str = "THORAS_MIRROR_INCLUDE";
/// Which images to leave out, unless the command line says so.
const EXCLUDE_VARIABLE: &str = "THORAS_MIRROR_EXCLUDE";
/// The lock to verify, unless the command line says what to verify.
const LOCK_VARIABLE: &str = "THORAS_MIRROR_LOCK";
/// The mirror to verify, unless the command line or a lock says so.
const TO_VARIABLE: &str = "THORAS_MIRROR_TO";
/// The lock that is read when none is named.
const DEFAULT_LOCK: &str = "thoras-mirror.lock";
/// Hardly a file's name without a dot is longer than this many bytes, and no license key is as short.
const LONGEST_NAME: usize = 128;
/// No password is longer than this many bytes.
const LONGEST_SECRET: u64 = 64 * 1024;

/// A variable's value; an empty one counts as none.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

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
        include: globs(&args.include, INCLUDE_VARIABLE),
        exclude: globs(&args.exclude, EXCLUDE_VARIABLE),
        with_chart: false,
    }
}

/// What was typed, else what the environment holds.
fn globs(typed: &[String], name: &str) -> Vec<String> {
    if !typed.is_empty() {
        return typed.to_vec();
    }
    variable(name).map(|value| value.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn chart(args: &SelectionArgs) -> ChartOptions {
    ChartOptions {
        chart: named_chart(args).unwrap_or_else(|| DEFAULT_CHART.to_owned()),
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

fn named_chart(args: &SelectionArgs) -> Option<String> {
    args.chart.clone().or_else(|| variable(CHART_VARIABLE))
}

/// The chart of an earlier run, to be packaged again: by the name and version that its lock has, unless another
/// place is named.
#[must_use]
pub fn locked_chart(args: &SelectionArgs, locked: &ChartIdentity) -> ChartOptions {
    ChartOptions {
        chart: named_chart(args).unwrap_or_else(|| locked.name.clone()),
        version: args.chart_version.clone().or_else(|| Some(locked.version.clone())),
        ..chart(args)
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
    } else if to.rsplit_once('/').is_some_and(|(_, last)| last.contains(':')) {
        usage(format!("--to {to} ends in a tag, but every image keeps its own"))
    } else {
        match to.parse() {
            Ok(root) => return Ok(root),
            Err(error) => usage(format!("--to {to}: {error}")),
        }
    };
    Err(refused.with_hint("write it as REGISTRY/PATH, for example registry.example.com/thoras"))
}

/// Where images go and how they are named there. `usual` is what counts where nothing was typed.
#[must_use]
pub fn placement(root: &Root, args: &NamingArgs, usual: (Naming, Option<String>)) -> Placement {
    let (naming, source_prefix) = usual;
    Placement {
        to: Some(root.to_string()),
        naming: args.naming.unwrap_or(naming),
        source_prefix: args.source_prefix.clone().or(source_prefix),
        chart: None,
    }
}

/// What a mirror is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yardstick {
    /// The record in this file.
    Lock(PathBuf),
    /// The source; the mirror is here.
    Source(String),
}

/// What `verify` compares with. A flag wins over the environment, and there a lock wins over `--to`: who records
/// runs wants them verified.
#[must_use]
pub fn yardstick(args: &Verify) -> Yardstick {
    let typed_lock = args.lock.clone().map(Yardstick::Lock);
    let typed = args.to.clone().map(Yardstick::Source).or(typed_lock);
    typed
        .or_else(|| variable(LOCK_VARIABLE).map(|path| Yardstick::Lock(path.into())))
        .or_else(|| variable(TO_VARIABLE).map(Yardstick::Source))
        .unwrap_or_else(|| Yardstick::Lock(DEFAULT_LOCK.into()))
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
    helper_timeout: Option<Duration>,
    tuning: Tuning,
    events: Arc<dyn EventSink>,
}

impl Access {
    /// Reads certificates and the license; opens no connection.
    pub fn new(args: &RegistryArgs, events: Arc<dyn EventSink>) -> Result<Self, Failure> {
        let network = Arc::new(Network::new(network::settings(args)?));
        let license = license(args)?;
        let helper_timeout = args.helper_timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let (authfile, tuning) = (args.authfile.clone(), network::tuning(args));
        Ok(Self { network, license, authfile, helper_timeout, tuning, events })
    }

    /// The registries that images come from. The license is for them alone.
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
            let origin = self.network.origin(root.registry()).await.map_err(|error| {
                Error::new(Operation::Connect, Side::Destination, root.registry(), error).failure()
            })?;
            credentials = credentials.with_explicit(origin, credential, flag);
        }
        let state = state_folder(|name| env::var_os(name));
        Ok(self.registries(Side::Destination, credentials).with_state(state))
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let mut credentials = Credentials::new(&Environment::of_process());
        if let Some(limit) = self.helper_timeout {
            credentials = credentials.with_helper_timeout(limit);
        }
        let Some(path) = &self.authfile else { return Ok(credentials) };
        refuse_content(path, "--authfile")?;
        let config = authfile::read(path)
            .map_err(|error| usage(format!("--authfile: {error}")).with_hint(error.hint()))?;
        Ok(credentials.with_authfile(config))
    }

    fn registries(&self, side: Side, credentials: Credentials) -> Registries {
        let network = Arc::clone(&self.network);
        let clients = Arc::new(move |origin: &_| network.client(origin).map_err(Into::into));
        let authenticator = Authenticator::new(credentials, clients);
        let events = Arc::clone(&self.events);
        Registries::new(side, Arc::clone(&self.network), authenticator, events).with_tuning(self.tuning)
    }
}

fn license(args: &RegistryArgs) -> Result<Option<License>, Failure> {
    let refused = |error: crate::endpoint::registry::auth::CredentialError| {
        Failure::from_error(Kind::Usage, &error).with_hint(error.hint())
    };
    let file = args.license.clone().or_else(|| variable(LICENSE_FILE_VARIABLE));
    let content = variable(LICENSE_VARIABLE);
    let license = match (args.license.as_deref(), content, file) {
        (Some("-"), ..) => {
            License::from_content(&read_secret_from_stdin("--license -")?, "from standard input")
        }
        (None, Some(content), _) => License::from_content(&content, &format!("in {LICENSE_VARIABLE}")),
        (_, _, Some(path)) => {
            let bytes = read_file(Path::new(&path), "the license")?;
            License::from_content(&String::from_utf8_lossy(&bytes), &format!("in {path}"))
        }
        (_, _, None) => return bind_nothing(args),
    }
    .map_err(refused)?;
    let Some(place) = &args.license_for else { return Ok(Some(license)) };
    license
        .bound_to(place)
        .map(Some)
        .map_err(|error| usage(format!("--license-for {}: {error}", hide_login(place))))
}

fn bind_nothing(args: &RegistryArgs) -> Result<Option<License>, Failure> {
    match &args.license_for {
        Some(_) => Err(usage("--license-for is given, but no license")
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
    refuse_content(path, what)?;
    let shown = || hide_login(&path.display().to_string());
    fs::read(path).map_err(|error| usage(format!("{what}: cannot read {}: {error}", shown())))
}

/// Refuses what is the content of a file rather than its name, a key most likely, without repeating it.
fn refuse_content(path: &Path, what: &str) -> Result<(), Failure> {
    let text = path.to_string_lossy();
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(&byte);
    let is_key = text.len() > LONGEST_NAME && !text.starts_with('/') && text.bytes().all(is_encoded);
    if !(is_key || text.contains('\n') || text.trim_start().starts_with('{')) {
        return Ok(());
    }
    Err(usage(format!("{what}: what was given is not the name of a file, and is not repeated here"))
        .with_hint("write it into a file and name that one: others can read what stands on a command line"))
}
