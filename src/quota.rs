//! The quotas of registries: how many requests of an action they allow per second, minute or hour.
//!
//! A dry run tells how long a run takes at least because of them ([`crate::outcome`]). A run sends no more than that from
//! its first request on ([`crate::endpoint::registry`]). [`Quotas`] has those of a run: the built-in ones, changed by
//! `--quota`.

mod change;

use std::{num::NonZeroU32, time::Duration};

pub(crate) use self::change::RunRegistries;
pub use self::change::{QuotaChange, QuotaError, Quotas};
use crate::{problem::Side, units};

/// Requests that registries count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// GET of a manifest.
    ReadManifest,
    /// HEAD of a manifest.
    CheckManifest,
    /// PUT of a manifest.
    PushManifest,
    /// GET of a blob.
    ReadBlob,
    /// HEAD of a blob.
    CheckBlob,
    /// POST that opens an upload or mounts a blob.
    BeginUpload,
    /// PATCH with a part of a blob.
    UploadChunk,
    /// PUT that completes an upload, with the bytes of the blob or without.
    CompleteUpload,
    /// Anything else.
    Other,
}

impl Action {
    /// How many actions there are.
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    /// Whether such a request carries the bytes of a blob.
    pub(crate) fn moves_blobs(self) -> bool {
        matches!(self, Self::ReadBlob | Self::UploadChunk | Self::CompleteUpload)
    }
}

/// What a registry permits unless an account has its own quota.
#[derive(Debug)]
struct Known {
    applies: fn(&str) -> bool,
    /// The registry, for people.
    registry: &'static str,
    /// What the registry calls what it counts.
    name: &'static str,
    /// What it counts; `None` for all requests.
    action: Option<Action>,
    /// How many are permitted in any window of this length.
    most: u32,
    window: Duration,
    /// The window, and what the number depends on, for people.
    per: &'static str,
    unless: &'static str,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The quotas that registries publish, or that were observed. Some accounts have others: see [`Quotas`].
const QUOTAS: &[Known] = &[
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
    ecr("PutImage", Action::PushManifest, 10),
    ecr("InitiateLayerUpload", Action::BeginUpload, 100),
    ecr("CompleteLayerUpload", Action::CompleteUpload, 100),
    // https://docs.docker.com/docker-hub/usage/pulls/
    Known {
        applies: |host| host == "docker.io",
        registry: "Docker Hub",
        name: "pulls",
        action: Some(Action::ReadManifest),
        most: 100,
        window: Duration::from_secs(6 * 60 * 60),
        per: "in 6 hours",
        unless: " without a login",
    },
    requests(|host| host == "ghcr.io", "GHCR", 2000),
    // https://cloud.google.com/artifact-registry/quotas
    requests(
        |host| host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with(".pkg.dev"),
        "Google Artifact Registry",
        60_000,
    ),
];

const fn ecr(name: &'static str, action: Action, most: u32) -> Known {
    let applies = is_ecr;
    Known {
        applies,
        registry: "Amazon ECR",
        name,
        action: Some(action),
        most,
        window: SECOND,
        per: "per second",
        unless: "",
    }
}

const fn requests(applies: fn(&str) -> bool, registry: &'static str, most: u32) -> Known {
    Known {
        applies,
        registry,
        name: "requests",
        action: None,
        most,
        window: MINUTE,
        per: "per minute",
        unless: "",
    }
}

fn is_ecr(host: &str) -> bool {
    host.contains(".dkr.ecr") && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

/// The host of a registry that is given as `HOST` or `HOST:PORT`.
fn host_of(registry: &str) -> &str {
    registry.rsplit_once(':').map_or(registry, |(host, _)| host)
}

/// The built-in quotas of a host.
fn known_of(host: &str) -> impl Iterator<Item = &'static Known> {
    QUOTAS.iter().filter(move |known| (known.applies)(host))
}

/// Whether a registry permits so few GETs of manifests that a run must not send any in vain.
pub(crate) fn counts_manifests(registry: &str) -> bool {
    known_of(host_of(registry)).any(|known| known.action == Some(Action::ReadManifest))
}

/// What a registry permits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    known: &'static Known,
    most: u32,
}

/// The part of a quota that one of several machines may use: so many in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) most: u32,
    pub(crate) window: Duration,
}

impl Quota {
    /// What the registry calls what it counts.
    pub(crate) fn name(self) -> &'static str {
        self.known.name
    }

    /// What it counts; `None` for all requests.
    pub(crate) fn action(self) -> Option<Action> {
        self.known.action
    }

    /// Whether a run can keep to it: it sends nothing for hours otherwise.
    pub(crate) fn is_short(self) -> bool {
        self.known.window <= MINUTE
    }

    /// What each of so many machines may use. All of them together never exceed the quota: if it is smaller than their
    /// number, each gets one request in a longer window.
    pub(crate) fn shared_by(self, machines: NonZeroU32) -> Share {
        let Self { known: Known { window, .. }, most } = self;
        match most / machines {
            0 => Share { most: 1, window: window.saturating_mul(machines.get()) / most.max(1) },
            most => Share { most, window: *window },
        }
    }

    /// `10 per second`, for people.
    pub(crate) fn limit(self) -> String {
        let Known { most, per, unless, .. } = self.known;
        // That is about the built-in number.
        let unless = if self.most == *most { unless } else { "" };
        format!("{} {per}{unless}", units::thousands(self.most.into()))
    }

    /// Whether it can limit what is sent to a registry on this side of a copy.
    fn counts_at(self, side: Side) -> bool {
        match self.known.action {
            None | Some(Action::CheckManifest | Action::CheckBlob | Action::Other) => true,
            Some(Action::ReadManifest | Action::ReadBlob) => side == Side::Source,
            Some(
                Action::PushManifest | Action::BeginUpload | Action::UploadChunk | Action::CompleteUpload,
            ) => side == Side::Destination,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(registry: &str) -> Vec<Quota> {
        Quotas::default().of(registry).collect()
    }

    #[test]
    fn quotas_are_found_by_host() {
        let names = |registry| of(registry).into_iter().map(Quota::name).collect::<Vec<_>>();
        for ecr in ["1.dkr.ecr.us-east-1.amazonaws.com", "1.dkr.ecr-fips.cn-north-1.amazonaws.com.cn:443"] {
            assert_eq!(names(ecr), ["PutImage", "InitiateLayerUpload", "CompleteLayerUpload"]);
        }
        assert_eq!(names("europe-docker.pkg.dev"), ["requests"]);
        for other in
            ["public.ecr.aws", "amazonaws.com", "127.0.0.1:5000", "notghcr.io", "pkg.dev.example.com"]
        {
            assert_eq!(names(other), [""; 0], "{other}");
        }
        assert!(counts_manifests("docker.io") && !counts_manifests("ghcr.io"));
        assert!(of("docker.io").iter().all(|quota| !quota.is_short()));
        assert!(of("ghcr.io").iter().all(|quota| quota.is_short()));
    }

    #[test]
    fn a_limit_is_written_for_people() {
        let limits = |registry| of(registry).into_iter().map(Quota::limit).collect::<Vec<_>>();
        let ecr = limits("1.dkr.ecr.us-east-1.amazonaws.com");
        assert_eq!(ecr, ["10 per second", "100 per second", "100 per second"]);
        assert_eq!(limits("docker.io"), ["100 in 6 hours without a login"]);
        assert_eq!(limits("ghcr.io"), ["2,000 per minute"]);
    }

    /// All machines together send no more than the quota, however small it is.
    #[test]
    fn machines_never_exceed_a_quota_together_bug() {
        for (most, machines, share) in [
            (10, 1, (10, 1000)),
            (10, 4, (2, 1000)),
            (10, 10, (1, 1000)),
            (10, 11, (1, 1100)),
            (1, 7, (1, 7000)),
            (3_u32, u32::MAX, (1, 1_431_655_765_000)),
        ] {
            let quota = Quotas::new(vec![format!("PutImage={most}").parse().unwrap()]).unwrap();
            let quota = quota.of("1.dkr.ecr.us-east-1.amazonaws.com").next().unwrap();
            let found = quota.shared_by(NonZeroU32::new(machines).unwrap());
            assert_eq!((found.most, found.window.as_millis()), share, "{most} for {machines}");
            let together = u128::from(found.most) * u128::from(machines) * 1000;
            assert!(together <= u128::from(most) * found.window.as_millis(), "{most} for {machines}");
        }
    }
}
