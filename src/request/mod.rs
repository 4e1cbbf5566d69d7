//! What a command line means: one typed value for each job, validated before any file is read or any request sent.
//!
//! Flags win over the environment, which wins over the defaults. clap merges most of them; [`setting`] does where a
//! variable must not count as a flag, or where the origin of a setting matters. Only this module reads settings from
//! the environment, and only this module uses the types of [`crate::cli`].
//!
//! - [`Request`]: the jobs, with a type for each in `copying`, [`bundle`], [`nodes`] and below;
//! - [`selection`], [`destination`], [`registries`], [`signing`]: the parts that jobs share;
//! - [`shard`]: which part of the images;
//! - [`trust`]: whose signatures images need;
//! - [`ineffective`] refuses flags that would have no effect;
//! - [`access`] prepares access to registries, with [`network`] for certificates and proxies;
//! - [`repair_command`] writes a [`Sync`] as a command line; [`next_steps`](self::next_steps()) those that install the chart.

mod access;
mod bundle;
mod copy_settings;
mod copying;
mod destination;
mod files_as_images;
mod ineffective;
mod login;
mod login_flags;
mod network;
mod next_steps;
mod nodes;
mod origins;
mod registries;
mod repair_command;
mod selection;
mod setting;
mod shard;
mod signing;
mod trust;
mod values;
mod volume;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub(crate) use self::{
    access::{Access, read_file, read_password, read_secret_from_stdin},
    bundle::{Base, BundleInspect, BundleVerify, Export, ExportTo, Import, ImportFrom, Receipt, Signing},
    copy_settings::{CopySettings, Platforms, ReferrerSettings},
    copying::{CompareWith, LockedImages, Sync, Verify, united},
    destination::{Destination, Destinations, NamingRule},
    files_as_images::refuse_files_as_images,
    ineffective::refuse_ineffective,
    login::{RemoveLogin, StoreLogin},
    login_flags::{Login, Password},
    next_steps::{Installation, next_steps},
    nodes::{NodeConnection, PullFrom, PullSecret, Redirect, Running},
    origins::{Origins, refuse_unusable_variables, variable_at_fault},
    registries::{LicenseFrom, RegistrySettings},
    repair_command::repair,
    selection::{ImagesFrom, LockedChart},
    setting::{Setting, SettingOrigin},
    shard::ShardSettings,
    signing::{RequiredSignature, SigningKey},
    trust::RequiredSignatures,
    values::{Persistence, PullLogin, Values},
    volume::VolumeSize,
};
use crate::{
    cli::{self, Bundle, Command, LockCommand, LoginArgs, RegistryArgs, SelectionArgs},
    enumerate::Selection,
    error::{Failure, Kind},
    oci::{Digest, Reference, mapping::Root},
    serve::{Limits, Names, TlsFiles, UserFile},
};

/// A job and its settings.
pub(crate) enum Request {
    Images(Images),
    Sync(Box<Sync>),
    Verify(Box<Verify>),
    Values(Box<Values>),
    Inspect(Inspect),
    Export(Box<Export>),
    Import(Box<Import>),
    BundleVerify(BundleVerify),
    BundleInspect(BundleInspect),
    Doctor(Box<Doctor>),
    PullSecret(Box<PullSecret>),
    Redirect(Redirect),
    Running(Box<Running>),
    Serve(Box<Serve>),
    LockMerge(Box<LockMerge>),
    Login(Box<StoreLogin>),
    Logout(RemoveLogin),
}

impl Request {
    /// Validates a command line.
    pub(crate) fn new(command: Command, origins: &Origins) -> Result<Self, Failure> {
        Ok(match command {
            Command::Images(args) => Self::Images(Images::new(*args)?),
            Command::Sync(args) => Self::Sync(Box::new(Sync::new(*args)?)),
            Command::Verify(args) => Self::Verify(Box::new(Verify::new(*args)?)),
            Command::Values(args) => Self::Values(Box::new(Values::new(*args, origins)?)),
            Command::Inspect(args) => Self::Inspect(Inspect::new(args)?),
            Command::Bundle(Bundle::Export(args)) | Command::Export(args) => {
                Self::Export(Box::new(Export::new(*args)?))
            }
            Command::Bundle(Bundle::Import(args)) | Command::Import(args) => {
                Self::Import(Box::new(Import::new(*args)?))
            }
            Command::Bundle(Bundle::Verify(args)) => Self::BundleVerify(BundleVerify::new(*args)?),
            Command::Bundle(Bundle::Inspect(args)) => Self::BundleInspect(BundleInspect::new(*args)?),
            Command::Doctor(args) => Self::Doctor(Box::new(Doctor::new(*args, origins.clone())?)),
            Command::PullSecret(args) => Self::PullSecret(Box::new(PullSecret::new(*args)?)),
            Command::Redirect(args) => Self::Redirect(Redirect::new(args)?),
            Command::Running(args) => Self::Running(Box::new(Running::new(*args)?)),
            Command::Serve(args) => Self::Serve(Box::new(Serve::new(args)?)),
            Command::Lock(LockCommand::Merge(args)) => Self::LockMerge(Box::new(LockMerge::new(*args)?)),
            Command::Login(args) => Self::Login(Box::new(StoreLogin::new(args)?)),
            Command::Logout(args) => Self::Logout(RemoveLogin::new(args)?),
        })
    }
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

/// Everything that can read standard input.
#[derive(Default)]
struct Stdin<'a> {
    bundle: bool,
    /// Whether the password of a key comes from there.
    sign_password: bool,
    pods: bool,
    selection: Option<&'a SelectionArgs>,
    registries: Option<&'a RegistryArgs>,
    login: Option<&'a LoginArgs>,
}

/// Refuses a command line with two readers of standard input, which can be read only once.
fn check_stdin(stdin: &Stdin<'_>) -> Result<(), Failure> {
    let is_stdin = |value: &Option<String>| value.as_deref() == Some("-");
    let mut readers = Vec::new();
    readers.extend(stdin.bundle.then_some("the bundle"));
    readers.extend(stdin.sign_password.then_some("--sign-password-stdin"));
    readers.extend(stdin.pods.then_some("the pods"));
    if let Some(selection) = stdin.selection {
        readers.extend(is_stdin(&selection.rendered).then_some("--rendered -"));
        readers.extend(is_stdin(&selection.images).then_some("--images -"));
        readers.extend(selection.add_images.iter().filter(|file| *file == "-").map(|_| "--add-images -"));
        readers.extend(selection.add_running.iter().filter(|file| *file == "-").map(|_| "--add-running -"));
    }
    readers.extend(stdin.registries.filter(|args| is_stdin(&args.license)).map(|_| "--license -"));
    readers.extend(stdin.login.filter(|login| login.to_password_stdin).map(|_| "--to-password-stdin"));
    if readers.len() > 1 {
        return Err(usage(format!(
            "standard input can be read only once, but these read it: {}",
            readers.join(", ")
        )));
    }
    Ok(())
}

/// `images`
pub(crate) struct Images {
    pub(crate) selection: Selection,
    /// For a chart that is in a registry.
    pub(crate) registries: RegistrySettings,
    /// Fail if a chart is named but not rendered.
    pub(crate) strict: bool,
}

impl Images {
    fn new(args: cli::Images) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            ..Stdin::default()
        })?;
        let strict = args.selection.strict;
        let selection = selection::selection(args.selection, false);
        // Without such a chart no registry is asked, and a mistake in these settings does no harm.
        let registries = if selection.needs_registry() {
            RegistrySettings::new(args.registries)?
        } else {
            RegistrySettings::default()
        };
        Ok(Self { selection, registries, strict })
    }
}

/// `inspect`
pub(crate) struct Inspect {
    pub(crate) images: Vec<Reference>,
    /// Print the manifest of the only image byte for byte.
    pub(crate) raw: bool,
    pub(crate) referrers: ReferrerSettings,
    /// The login for the registry of `--to`.
    pub(crate) login: Option<Login>,
    pub(crate) registries: RegistrySettings,
}

impl Inspect {
    fn new(args: cli::Inspect) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            registries: Some(&args.registries),
            login: Some(&args.login),
            ..Stdin::default()
        })?;
        let parse = |text: &String| {
            text.parse::<Reference>().map_err(|error| Failure::from_error(Kind::Usage, &error))
        };
        let images: Vec<Reference> = args.images.iter().map(parse).collect::<Result<_, _>>()?;
        if args.raw && images.len() > 1 {
            return Err(usage("--raw takes exactly one image"));
        }
        let login = login_flags::optional_login(args.login, args.to)?;
        Ok(Self {
            images,
            raw: args.raw,
            referrers: ReferrerSettings::new(args.referrers)?,
            login,
            registries: RegistrySettings::new(args.registries)?,
        })
    }
}

/// `doctor`
pub(crate) struct Doctor {
    pub(crate) selection: Selection,
    /// Whether `sync` would fail because of optional images and charts that are not rendered.
    pub(crate) strict: bool,
    pub(crate) destination: Destination,
    pub(crate) registries: RegistrySettings,
    /// The lock that `sync` would write.
    pub(crate) lock: PathBuf,
    /// How long each check may take.
    pub(crate) timeout: Duration,
    pub(crate) origins: Origins,
}

impl Doctor {
    fn new(args: cli::Doctor, origins: Origins) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            registries: Some(&args.registries),
            login: Some(&args.destination.login),
            ..Stdin::default()
        })?;
        let destination = Destination::new(args.destination)?;
        Ok(Self {
            origins,
            strict: args.selection.strict,
            selection: selection::selection(args.selection, false).except_below([&destination.root]),
            destination,
            registries: RegistrySettings::new(args.registries)?,
            lock: args.lock,
            timeout: Duration::from_secs(args.timeout.into()),
        })
    }
}

/// `lock merge`
pub(crate) struct LockMerge {
    /// The mirror.
    pub(crate) root: Root,
    /// The lock to write.
    pub(crate) output: PathBuf,
    /// The digest of the list, to choose one of several.
    pub(crate) list: Option<Digest>,
    /// The number of shards, to choose one of several.
    pub(crate) shards: Option<u32>,
    pub(crate) login: Option<Login>,
    pub(crate) registries: RegistrySettings,
}

impl LockMerge {
    fn new(args: cli::LockMerge) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            registries: Some(&args.registries),
            login: Some(&args.login),
            ..Stdin::default()
        })?;
        let root = destination::root(&args.from)?;
        Ok(Self {
            login: Login::new(args.login, Some(&root))?,
            root,
            output: args.output,
            list: args.list,
            shards: args.shards,
            registries: RegistrySettings::new(args.registries)?,
        })
    }
}

/// `serve`
pub(crate) struct Serve {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) names: Names,
    /// The signature that the bundle must have.
    pub(crate) signed: Option<RequiredSignature>,
    pub(crate) listen: SocketAddr,
    pub(crate) writable: bool,
    pub(crate) allow_sparse: bool,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) users: Option<UserFile>,
    pub(crate) limits: Limits,
    /// The file of the access log; standard error if `None`.
    pub(crate) access_log: Option<PathBuf>,
}

impl Serve {
    fn new(args: cli::Serve) -> Result<Self, Failure> {
        bundle::refuse_stdin(&args.paths)?;
        let cli::ServeAccess { tls_cert, tls_key, htpasswd, push_user } = args.access;
        let defaults = Limits::default();
        Ok(Self {
            paths: args.paths,
            signed: RequiredSignature::new(args.signed),
            names: Names { naming: args.naming.naming, source_prefix: args.naming.source_prefix },
            listen: args.listen,
            writable: !args.read_only,
            allow_sparse: args.allow_sparse,
            tls: tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key }),
            users: htpasswd.map(|htpasswd| UserFile { htpasswd, pushers: push_user }),
            limits: Limits {
                connections: usize::try_from(args.max_connections).unwrap_or(defaults.connections),
                blob_bytes: args.max_blob_bytes.unwrap_or(defaults.blob_bytes),
                ..defaults
            },
            access_log: args.access_log,
        })
    }
}
