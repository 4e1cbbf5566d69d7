//! The requests of `pull-secret`, `running` and `redirect`, which connect a cluster to the mirror.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use super::{
    Login, Password, RegistrySettings, Stdin, check_stdin,
    destination::root,
    login_flags::{RegistryUser, registry_user},
    setting::{SettingOrigin, flag_or_variable},
    usage,
};
use crate::{
    cli::{self, LoginArgs, variable as names},
    endpoint::registry::auth::{Origin, Reach, Scheme},
    enumerate::Input,
    error::Failure,
    oci::{mapping::Root, reference::normalize_registry},
    output::RedirectFormat,
    vendor,
};

/// The name of the mirror's pull secret.
pub(super) const DEFAULT_SECRET: &str = "thoras-mirror-pull";

/// `pull-secret`
pub(crate) struct PullSecret {
    pub(crate) registry: PullFrom,
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// The file to write; standard output if `None`.
    pub(crate) file: Option<NewFile>,
    pub(crate) registries: RegistrySettings,
}

/// The registry that a pull secret is for.
pub(crate) enum PullFrom {
    /// The mirror.
    Mirror { root: Root, login: Option<Login> },
    /// The vendor's, with the license.
    Vendor,
}

/// A file to write.
pub(crate) struct NewFile {
    pub(crate) path: PathBuf,
    /// Whether to replace an existing file.
    pub(crate) overwrite: bool,
}

impl PullSecret {
    pub(super) fn new(args: cli::PullSecret) -> Result<Self, Failure> {
        let to = if args.vendor { None } else { flag_or_variable(args.to, names::TO) };
        // With --vendor, a login in the environment is for something else.
        let login = (!args.vendor).then_some(&args.login);
        check_stdin(&Stdin { registries: Some(&args.registries), login, ..Stdin::default() })?;
        let registry = match to {
            None if args.vendor => PullFrom::Vendor,
            None => {
                return Err(usage("pull-secret needs a registry").with_hint(
                    "pass --to REGISTRY/PATH for the mirror, or --vendor for the vendor's registry",
                ));
            }
            Some(to) => {
                let root = root(&to.value)?;
                let login = login_from(args.login, args.to_password_file, &root)?;
                PullFrom::Mirror { root, login }
            }
        };
        let registries = RegistrySettings::new(args.registries)?;
        if matches!(registry, PullFrom::Vendor) && registries.license.is_none() {
            let (content, file) = (names::LICENSE, names::LICENSE_FILE);
            return Err(usage("--vendor needs the license")
                .with_hint(format!("pass --license FILE, or set {content} or {file}")));
        }
        if args.write.is_none() && !args.show && io::stdout().is_terminal() {
            return Err(usage("a secret is not printed to a terminal").with_hint(
                "pipe it to `kubectl apply -f -`, write it to a file with --write FILE, or pass --show",
            ));
        }
        let file = args.write.map(|path| NewFile { path, overwrite: args.force });
        let name = args.name.unwrap_or_else(|| {
            let name = if args.vendor { vendor::PULL_SECRET } else { DEFAULT_SECRET };
            name.to_owned()
        });
        Ok(Self { registry, name, namespace: args.namespace, file, registries })
    }
}

fn login_from(
    args: LoginArgs,
    password_file: Option<PathBuf>,
    root: &Root,
) -> Result<Option<Login>, Failure> {
    match (args.to_username, password_file) {
        (Some(username), Some(path)) => {
            let RegistryUser { registry, username } = registry_user(&username, std::slice::from_ref(root))?;
            Ok(Some(Login {
                registry,
                username,
                password: Password::File(path),
                origin: SettingOrigin::Flag,
            }))
        }
        (to_username, _) => Login::new(LoginArgs { to_username, ..args }, Some(root)),
    }
}

/// `running`
pub(crate) struct Running {
    /// What the cluster runs, as `kubectl` prints it.
    pub(crate) pods: Input,
    pub(crate) lock: PathBuf,
    /// The mirror; every destination of the lock if `None`.
    pub(crate) root: Option<Root>,
    /// Only these namespaces, unless empty.
    pub(crate) namespaces: Vec<String>,
    /// Whether nodes may pull an image under its source name from the mirror.
    pub(crate) may_redirect: bool,
    pub(crate) login: Option<Login>,
    pub(crate) registries: RegistrySettings,
}

impl Running {
    pub(super) fn new(args: cli::Running) -> Result<Self, Failure> {
        check_stdin(&Stdin {
            pods: args.file == "-",
            registries: Some(&args.registries),
            login: Some(&args.login),
            ..Stdin::default()
        })?;
        let root = args.to.as_deref().map(root).transpose()?;
        Ok(Self {
            pods: Input::from(args.file.as_str()),
            lock: args.lock,
            login: Login::new(args.login, root.as_ref())?,
            root,
            namespaces: args.namespace,
            may_redirect: !args.no_redirect,
            registries: RegistrySettings::new(args.registries)?,
        })
    }
}

/// `redirect`
pub(crate) struct Redirect {
    pub(crate) root: Root,
    pub(crate) format: RedirectFormat,
    pub(crate) lock: PathBuf,
    /// The folder to write to; standard output if `None`.
    pub(crate) folder: Option<PathBuf>,
    /// Whether to replace existing files in the folder.
    pub(crate) overwrite: bool,
    /// The name of the Kubernetes objects.
    pub(crate) name: String,
    /// Whether nodes may pull from the source what the mirror lacks.
    pub(crate) fallback: bool,
    pub(crate) connection: NodeConnection,
}

/// How nodes connect to the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeConnection {
    /// Scheme, host and port.
    pub(crate) origin: Origin,
    /// Whether nodes check the certificate.
    pub(crate) checks_certificate: bool,
    /// The file on the nodes with its certificate authority.
    pub(crate) authority: Option<String>,
}

impl Redirect {
    pub(super) fn new(args: cli::Redirect) -> Result<Self, Failure> {
        let root = root(&args.to)?;
        let connection = NodeConnection::new(&root, &args)?;
        Ok(Self {
            root,
            format: args.format,
            lock: args.lock,
            folder: args.output_dir,
            overwrite: args.force,
            name: args.name,
            fallback: !args.no_fallback,
            connection,
        })
    }
}

impl NodeConnection {
    fn new(root: &Root, args: &cli::Redirect) -> Result<Self, Failure> {
        let names_mirror =
            |hosts: &[String]| hosts.iter().any(|host| normalize_registry(host) == root.registry());
        let origin = |scheme| {
            let origin = Origin::of_registry(root.registry(), scheme);
            origin.map_err(|error| usage(format!("--to {root}: {error}")))
        };
        let is_insecure = names_mirror(&args.insecure);
        let encrypted = origin(Scheme::Https)?;
        // As in Docker and containerd, a registry on loopback uses http, unless something says otherwise.
        let is_local = encrypted.reach() == Reach::Loopback
            && encrypted.port() != Scheme::Https.default_port()
            && args.node_ca_cert.is_none()
            && !is_insecure;
        let is_plain = is_local || names_mirror(&args.plain_http);
        let origin = if is_plain { origin(Scheme::Http)? } else { encrypted };
        Ok(Self { origin, checks_certificate: !is_insecure, authority: args.node_ca_cert.clone() })
    }
}
