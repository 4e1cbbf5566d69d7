//! `--quota`: the quotas of an account whose registry raised or lowered them.

use std::{
    collections::BTreeMap,
    fmt,
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
};

use super::{Known, QUOTAS, Quota, host_of, known_of};
use crate::{oci::reference::normalize_registry, problem::Side};

/// A quota that differs from the built-in one: `[HOST/]NAME=N`.
///
/// ```
/// use thoras_mirror::endpoint::registry::QuotaChange;
///
/// let raised: QuotaChange = "PutImage=100".parse()?;
/// assert_eq!(raised.to_string(), "PutImage=100");
/// assert!("PutImage=0".parse::<QuotaChange>().is_err());
/// # Ok::<(), thoras_mirror::endpoint::registry::QuotaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaChange {
    /// The only registry that it is about; every registry with such a quota if `None`.
    host: Option<String>,
    name: &'static str,
    most: NonZeroU32,
}

/// Why a change is not one of a quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// It does not have the form of a change.
    #[error("expected [HOST/]NAME=N, such as PutImage=100")]
    Form,
    /// No registry has such a quota.
    #[error("there is no quota `{name}`; known quotas: {known}")]
    Name {
        /// What was given.
        name: String,
        /// The names of quotas and their registries.
        known: String,
    },
    /// The registry has no such quota.
    #[error("{host} has no known quota `{name}`; known quotas: {known}")]
    Host {
        /// The registry.
        host: String,
        /// The name of the quota.
        name: &'static str,
        /// The names of its quotas; those of all registries if it has none.
        known: String,
    },
    /// It is not a number, or zero.
    #[error("N is a whole number of at least 1: how many {name} the registry permits {per}")]
    Number {
        /// The name of the quota.
        name: &'static str,
        /// `per second`
        per: &'static str,
    },
    /// Two changes of one quota.
    #[error("{quota} has two values, {first} and {second}")]
    Twice {
        /// `[HOST/]NAME`
        quota: String,
        /// The values, in their order.
        first: u32,
        /// The values, in their order.
        second: u32,
    },
}

impl FromStr for QuotaChange {
    type Err = QuotaError;

    /// Names may be written in lower case. A port of the host is ignored: quotas belong to hosts.
    fn from_str(text: &str) -> Result<Self, QuotaError> {
        let (quota, number) = text.trim().split_once('=').ok_or(QuotaError::Form)?;
        let (host, name) = match quota.trim().rsplit_once('/') {
            Some((host, name)) => (Some(host_of(&normalize_registry(host)).to_owned()), name),
            None => (None, quota.trim()),
        };
        if name.is_empty() || host.as_ref().is_some_and(String::is_empty) {
            return Err(QuotaError::Form);
        }
        let is_named = |known: &&Known| known.name.eq_ignore_ascii_case(name);
        let named = QUOTAS.iter().find(is_named);
        let named = named.ok_or_else(|| QuotaError::Name { name: name.to_owned(), known: names(QUOTAS) })?;
        let known = match &host {
            None => named,
            Some(host) => known_of(host).find(is_named).ok_or_else(|| QuotaError::Host {
                host: host.clone(),
                name: named.name,
                known: match names(known_of(host)) {
                    none if none.is_empty() => names(QUOTAS),
                    some => some,
                },
            })?,
        };
        let Known { name, per, .. } = known;
        let most: NonZeroU64 = number.trim().parse().map_err(|_| QuotaError::Number { name, per })?;
        let most = NonZeroU32::try_from(most).unwrap_or(NonZeroU32::MAX);
        Ok(Self { host, name, most })
    }
}

/// `PutImage (Amazon ECR), requests (GHCR, Google Artifact Registry)`
fn names<'a>(quotas: impl IntoIterator<Item = &'a Known>) -> String {
    let mut registries: Vec<(&str, Vec<&str>)> = Vec::new();
    for Known { name, registry, .. } in quotas {
        match registries.iter_mut().find(|(other, _)| other == name) {
            Some((_, registries)) => registries.push(registry),
            None => registries.push((name, vec![registry])),
        }
    }
    let names = registries.iter().map(|(name, registries)| format!("{name} ({})", registries.join(", ")));
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for QuotaChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.quota(), self.most)
    }
}

impl QuotaChange {
    /// `[HOST/]NAME`
    fn quota(&self) -> String {
        self.host.as_ref().map_or_else(|| self.name.to_owned(), |host| format!("{host}/{}", self.name))
    }

    fn is_of(&self, known: &Known, host: &str) -> bool {
        self.name == known.name && self.host.as_ref().is_none_or(|own| own == host)
    }
}

/// The quotas of a run: the built-in ones with these changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas(Vec<QuotaChange>);

impl Quotas {
    /// The built-in quotas with these changes. One for a single registry wins over one for all.
    pub fn new(changes: Vec<QuotaChange>) -> Result<Self, QuotaError> {
        for (at, change) in changes.iter().enumerate() {
            let earlier = changes.iter().take(at).find(|earlier| earlier.quota() == change.quota());
            if let Some(earlier) = earlier.filter(|earlier| earlier.most != change.most) {
                let (first, second) = (earlier.most.get(), change.most.get());
                return Err(QuotaError::Twice { quota: change.quota(), first, second });
            }
        }
        Ok(Self(changes))
    }

    /// The changes.
    pub(crate) fn changes(&self) -> &[QuotaChange] {
        &self.0
    }

    /// The quotas of a registry, given as `HOST` or `HOST:PORT`.
    pub(crate) fn of(&self, registry: &str) -> impl Iterator<Item = Quota> {
        let host = host_of(registry);
        known_of(host).map(move |known| {
            let changes = || self.0.iter().filter(|change| change.is_of(known, host));
            let own = changes().find(|change| change.host.is_some()).or_else(|| changes().next());
            Quota { known, most: own.map_or(known.most, |change| change.most.get()) }
        })
    }

    /// Only the changes that have an effect on a run.
    pub(crate) fn of_run(&self, run: &RunRegistries<'_>) -> Self {
        Self(self.0.iter().filter(|change| run.is_affected_by(change)).cloned().collect())
    }
}

/// The registries of a run, `HOST[:PORT]` each.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunRegistries<'a> {
    /// Those that it only reads.
    pub(crate) read: Vec<&'a str>,
    /// Those that it writes to.
    pub(crate) written: Vec<&'a str>,
    /// Whether the command has a dry run, the only use of quotas over hours.
    pub(crate) has_dry_run: bool,
}

impl RunRegistries<'_> {
    /// Whether the run would be different without the change.
    pub(crate) fn is_affected_by(&self, change: &QuotaChange) -> bool {
        self.quotas().any(|(quota, host)| change.is_of(quota.known, host))
    }

    /// The quotas that count requests of this run, with the hosts that have them: `requests (ghcr.io)`.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut hosts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (quota, host) in self.quotas() {
            let hosts = hosts.entry(quota.name()).or_default();
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts.iter().map(|(name, hosts)| format!("{name} ({})", hosts.join(", "))).collect()
    }

    fn quotas(&self) -> impl Iterator<Item = (Quota, &str)> {
        let read = self.read.iter().map(|registry| (Side::Source, host_of(registry)));
        let written = self.written.iter().map(|registry| (Side::Destination, host_of(registry)));
        read.chain(written).flat_map(move |(side, host)| {
            let quotas = known_of(host).map(|known| Quota { known, most: known.most });
            let is_met = move |quota: &Quota| quota.counts_at(side) && (quota.is_short() || self.has_dry_run);
            quotas.filter(is_met).map(move |quota| (quota, host))
        })
    }
}

#[cfg(test)]
mod tests;
