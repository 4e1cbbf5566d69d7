//! The settings for connecting to registries on both sides, with credentials. [`super::Access`] applies them.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{
    setting::{Setting, SettingOrigin, variable},
    usage,
};
use crate::{
    cli::{ConnectionArgs, RateArgs, RegistryArgs, variable as names},
    endpoint::registry::{QuotaChange, Quotas, RateLimits},
    error::Failure,
    quota::RunRegistries,
};

/// How to connect to registries.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegistrySettings {
    pub(crate) license: Option<LicenseFrom>,
    /// The only registry that receives the license, if not the vendor's: `HOST[/PATH]`.
    pub(crate) license_for: Option<String>,
    pub(crate) authfile: Option<PathBuf>,
    /// `HOST[:PORT]` each.
    pub(crate) plain_http: Vec<String>,
    /// `[HOST[:PORT]=]FILE` each.
    pub(crate) ca_cert: Vec<String>,
    /// `[HOST[:PORT]=]FILE` each.
    pub(crate) client_cert: Vec<String>,
    /// `[HOST[:PORT]=]FILE` each.
    pub(crate) client_key: Vec<String>,
    /// `HOST[:PORT]` each.
    pub(crate) insecure: Vec<String>,
    /// How often a request is retried, if set.
    pub(crate) retries: Option<u16>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) helper_timeout: Option<Duration>,
    pub(crate) rates: RateLimits,
    /// How many requests registries permit.
    pub(crate) quotas: Quotas,
    /// Whether the command line names these, rather than a variable.
    pub(crate) are_quotas_typed: bool,
}

/// Where the license key comes from.
#[derive(Debug, Clone)]
pub(crate) enum LicenseFrom {
    /// `--license -`
    Stdin,
    /// The key itself, from the environment.
    Variable(SecretString),
    /// A file.
    File(Setting<String>),
}

impl RegistrySettings {
    pub(super) fn new(args: RegistryArgs) -> Result<Self, Failure> {
        let license = license(args.license);
        if args.license_for.is_some() && license.is_none() {
            let (content, file) = (names::LICENSE, names::LICENSE_FILE);
            return Err(usage("--license-for needs a license")
                .with_hint(format!("pass --license FILE, or set {content} or {file}")));
        }
        let connection = Self::connection(args.connection);
        Ok(Self { license, license_for: args.license_for, authfile: args.authfile, ..connection })
    }

    /// How to connect, without credentials.
    pub(super) fn connection(args: ConnectionArgs) -> Self {
        let seconds = |seconds: Option<u16>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Self {
            license: None,
            license_for: None,
            authfile: None,
            plain_http: args.plain_http,
            ca_cert: args.ca_cert,
            client_cert: args.client_cert,
            client_key: args.client_key,
            insecure: args.insecure,
            retries: args.retries,
            connect_timeout: seconds(args.connect_timeout),
            stall_timeout: seconds(args.stall_timeout),
            helper_timeout: seconds(args.helper_timeout),
            rates: RateLimits::default(),
            quotas: Quotas::default(),
            are_quotas_typed: false,
        }
    }

    /// The same with limited rates. The limit of a side wins over the one for both.
    pub(super) fn with_rates(self, args: RateArgs) -> Result<Self, Failure> {
        let RateArgs { both, source, destination, quota } = args;
        let rates = RateLimits { source: source.or(both), destination: destination.or(both) };
        let by_variable = variable(names::QUOTA).is_some_and(|set| {
            let changes: Result<Vec<QuotaChange>, _> = set.value.split(',').map(str::parse).collect();
            changes.as_ref() == Ok(&quota)
        });
        let are_quotas_typed = !quota.is_empty() && !by_variable;
        let quotas = Quotas::new(quota).map_err(|error| usage(format!("--quota: {error}")))?;
        Ok(Self { rates, quotas, are_quotas_typed, ..self })
    }

    /// Fails if the command line changes a quota that counts no request of the run. A variable may be set for other
    /// commands.
    pub(crate) fn check_quotas(&self, run: &RunRegistries<'_>) -> Result<(), Failure> {
        let idle = self.quotas.changes().iter().find(|change| !run.is_affected_by(change));
        let Some(idle) = idle.filter(|_| self.are_quotas_typed) else { return Ok(()) };
        let names = run.names();
        let hint = if names.is_empty() {
            "omit it: no registry of this run has a known quota that applies".to_owned()
        } else {
            format!("omit it; the quotas that apply to this run: {}", names.join(", "))
        };
        Err(usage(format!("--quota {idle} has no effect: it counts no request of this run")).with_hint(hint))
    }
}

impl RegistrySettings {
    /// Whether the command line names the license or its registry. A variable may be set for other commands.
    pub(super) fn is_license_typed(&self) -> bool {
        let from_flag = match &self.license {
            Some(LicenseFrom::File(file)) => file.origin == SettingOrigin::Flag,
            Some(LicenseFrom::Stdin) => true,
            Some(LicenseFrom::Variable(_)) | None => false,
        };
        from_flag || self.license_for.is_some()
    }
}

/// The flag wins over the variables; `THORAS_LICENSE` wins over `THORAS_LICENSE_FILE`.
fn license(typed: Option<String>) -> Option<LicenseFrom> {
    match typed {
        Some(typed) if typed == "-" => Some(LicenseFrom::Stdin),
        Some(typed) => Some(LicenseFrom::File(Setting::new(typed, SettingOrigin::Flag))),
        None => {
            let content = variable(names::LICENSE).map(|content| LicenseFrom::Variable(content.value.into()));
            content.or_else(|| variable(names::LICENSE_FILE).map(LicenseFrom::File))
        }
    }
}
