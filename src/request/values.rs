//! The request of `values`: the mirror, its login, and the size of the installation.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{
    Login, NamingRule, Origins, RegistrySettings, Stdin,
    access::read_license,
    check_stdin,
    destination::root,
    selection::selection,
    setting::{flag_or_variable, variable},
    usage,
};
use crate::{
    cli::{self, DEFAULT_LOCK, PullArgs, SizeArgs, Storage, variable as names},
    enumerate::{ChartOptions, SelectedFrom, Selection},
    error::Failure,
    oci::mapping::Root,
};

/// `values`
pub(crate) struct Values {
    pub(crate) chart: ChartOptions,
    /// How to reach the registry of an `oci://` chart.
    pub(crate) registries: RegistrySettings,
    pub(crate) selection: Selection,
    /// The mirror; `None` for an install from the vendor.
    pub(crate) root: Option<Root>,
    pub(crate) naming: NamingRule,
    pub(crate) lock: ValuesLock,
    /// Pin the images to the digests in the lock.
    pub(crate) pin: bool,
    pub(crate) login: PullLogin,
    /// How many workloads will be managed.
    pub(crate) workloads: Option<u32>,
    /// Set the number of workers even if the chart scales them.
    pub(crate) fixed_workers: bool,
    pub(crate) storage: Option<Persistence>,
    /// The file to write.
    pub(crate) write: Option<PathBuf>,
    /// Overwrite the file.
    pub(crate) force: bool,
}

/// The lock to compare with.
pub(crate) struct ValuesLock {
    pub(crate) path: PathBuf,
    /// Whether it was named, so that it must exist.
    pub(crate) is_required: bool,
}

/// How the cluster logs in.
pub(crate) enum PullLogin {
    /// Not at all, or in a way that the user's own values name.
    Unset,
    /// With an existing secret.
    Secret { name: String, in_pods: bool },
    /// With a secret that the chart creates, for the mirror.
    Mirror(Login),
    /// The same for the vendor's registry.
    License(SecretString),
}

/// The volume of the metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Persistence {
    /// Grows by itself, so that no size is set.
    pub(crate) is_growable: bool,
    pub(crate) size: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) volume: Option<String>,
    pub(crate) access_mode: Option<String>,
    pub(crate) efs_file_system: Option<String>,
}

impl Values {
    pub(super) fn new(args: cli::Values, origins: &Origins) -> Result<Self, Failure> {
        refuse_two_logins(&args.pull, origins)?;
        check_stdin(&Stdin {
            selection: Some(&args.selection),
            login: Some(&args.pull.login),
            ..Stdin::default()
        })?;
        args.format().map_err(|word| {
            usage(format!("{} is `{word}`, which is not a format", names::OUTPUT))
                .with_hint("set it to yaml or json")
        })?;
        let to = flag_or_variable(args.to, names::TO).map(|to| to.value);
        let root = to.as_deref().map(root).transpose()?;
        let lock = args.lock.or_else(|| variable(names::LOCK).map(|lock| lock.value.into()));
        let (is_required, path) = (lock.is_some(), lock.unwrap_or_else(|| DEFAULT_LOCK.into()));
        if args.pin && root.is_none() {
            return Err(
                usage("--pin needs --to").with_hint("pass the mirror that the lock records with --to")
            );
        }
        let storage = persistence(&args.size)?;
        let registries =
            RegistrySettings { authfile: args.authfile, ..RegistrySettings::connection(args.connection) };
        let login = login(args.pull, root.as_ref(), args.write.is_some())?;
        let selection = selection(args.selection, false);
        let SelectedFrom::Chart(chart) = &selection.from else {
            return Err(usage("values needs a chart").with_hint(
                "manifests and lists have no values: pass --chart, or edit the manifests themselves",
            ));
        };
        Ok(Self {
            chart: (**chart).clone(),
            registries,
            selection,
            root,
            naming: args.naming.into(),
            lock: ValuesLock { path, is_required },
            pin: args.pin,
            login,
            workloads: args.size.workloads,
            fixed_workers: args.size.fixed_workers,
            storage,
            write: args.write,
            force: args.force,
        })
    }

    /// The first option that only the Thoras chart has, as the user types it.
    pub(crate) fn thoras_option(&self) -> Option<&'static str> {
        match (&self.login, self.workloads, &self.storage) {
            (PullLogin::Secret { .. }, ..) => Some("--pull-secret"),
            (PullLogin::Mirror(_), ..) => Some("--to-username"),
            (PullLogin::License(_), ..) => Some("--license"),
            (PullLogin::Unset, Some(_), _) => Some("--workloads"),
            (PullLogin::Unset, None, Some(_)) => Some("the storage options"),
            (PullLogin::Unset, None, None) => None,
        }
    }
}

/// A secret that exists, or the license, leaves no use for a login that was typed. One in the environment is for `sync`.
fn refuse_two_logins(args: &PullArgs, origins: &Origins) -> Result<(), Failure> {
    let other = match args {
        PullArgs { pull_secret: Some(_), .. } => "--pull-secret",
        PullArgs { license: Some(_), .. } => "--license",
        _ => return Ok(()),
    };
    match ["--to-username", "--to-password-stdin"].into_iter().find(|flag| origins.is_typed(flag)) {
        Some(flag) => Err(usage(format!("{other} cannot be used with {flag}: the chart accepts one login"))
            .with_hint(format!("omit {other} or {flag}"))),
        None => Ok(()),
    }
}

fn login(args: PullArgs, mirror: Option<&Root>, writes_file: bool) -> Result<PullLogin, Failure> {
    let PullArgs { pull_secret, pull_secret_in_pods, license, login } = args;
    let needs_file = |flag: &str| {
        usage(format!("{flag} puts a password into the values, which are not printed: it needs --write FILE"))
            .with_hint("pass --write FILE, or name a secret in the cluster with --pull-secret NAME")
    };
    if let Some(license) = license {
        if mirror.is_some() {
            return Err(usage(
                "--license cannot be used with --to: the mirror must never receive the license",
            )
            .with_hint(
                "for the mirror's login, pass --pull-secret NAME, or --to-username and --to-password-stdin",
            ));
        }
        if !writes_file {
            return Err(needs_file("--license"));
        }
        return Ok(PullLogin::License(read_license(&license)?));
    }
    if let Some(name) = pull_secret {
        return Ok(PullLogin::Secret { name, in_pods: pull_secret_in_pods });
    }
    // The variables that `sync` uses say nothing about the cluster, unless a file for passwords is written.
    if !(writes_file || login.to_password_stdin) {
        return Ok(PullLogin::Unset);
    }
    if login.to_username.is_some() && mirror.is_none() {
        return Err(usage("--to-username needs --to"));
    }
    match Login::new(login, mirror)? {
        None => Ok(PullLogin::Unset),
        Some(_) if !writes_file => Err(needs_file("--to-username")),
        Some(login) => Ok(PullLogin::Mirror(login)),
    }
}

fn persistence(args: &SizeArgs) -> Result<Option<Persistence>, Failure> {
    let SizeArgs { workloads, fixed_workers: _, storage, storage_size, .. } = args;
    if let Some(size) = storage_size
        && !is_quantity(size)
    {
        return Err(usage(format!("--storage-size {size} is not a size"))
            .with_hint("write it as Kubernetes does, for example 100Gi"));
    }
    match storage {
        Some(Storage::Fixed) if workloads.is_none() && storage_size.is_none() => {
            return Err(usage("--storage fixed needs a size")
                .with_hint("pass --workloads N (1 GB each), or --storage-size SIZE"));
        }
        Some(Storage::Growable) if storage_size.is_some() => {
            return Err(usage("--storage growable takes no --storage-size"));
        }
        _ => {}
    }
    let is_growable = *storage == Some(Storage::Growable);
    let by_workloads = workloads.filter(|_| !is_growable).map(|count| format!("{count}Gi"));
    let wanted = Persistence {
        is_growable,
        size: storage_size.clone().or(by_workloads),
        class: args.storage_class.clone(),
        volume: args.volume_name.clone(),
        access_mode: args.access_mode.clone(),
        efs_file_system: args.efs_file_system.clone(),
    };
    let Persistence { size, class, volume, access_mode, efs_file_system, .. } = &wanted;
    let is_any = storage.is_some()
        || [size, class, volume, access_mode, efs_file_system].iter().any(|setting| setting.is_some());
    Ok(is_any.then_some(wanted))
}

/// A number with one of Kubernetes' suffixes.
fn is_quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    digits.parse::<f64>().is_ok_and(|number| number > 0.0 && number.is_finite())
        && matches!(suffix, "" | "k" | "M" | "G" | "T" | "P" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_quantities() {
        for text in ["100Gi", "1.5Ti", "500M", "1000000"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "Gi", "100GB", "-1Gi", "0Gi", "1e400", "inf"] {
            assert!(!is_quantity(text), "{text}");
        }
    }
}
