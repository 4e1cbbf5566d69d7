//! The quotas of registries: how many requests of an action they allow per second, minute or hour.
//!
//! A dry run tells how long a run takes at least because of them ([`crate::outcome`]). A run sends no more than that from
//! its first request on ([`crate::endpoint::registry`]).

use std::time::Duration;

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

/// What a registry permits.
#[derive(Debug)]
pub(crate) struct Quota {
    applies: fn(&str) -> bool,
    /// What the registry calls what it counts.
    pub(crate) name: &'static str,
    /// What it counts; `None` for all requests.
    pub(crate) action: Option<Action>,
    /// How many are permitted in any window of this length.
    pub(crate) most: u32,
    pub(crate) window: Duration,
    /// Both for people.
    pub(crate) limit: &'static str,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The quotas that registries publish, or that were observed. Some accounts have others.
const QUOTAS: &[Quota] = &[
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
    Quota {
        applies: is_ecr,
        name: "PutImage",
        action: Some(Action::PushManifest),
        most: 10,
        window: SECOND,
        limit: "10 per second",
    },
    Quota {
        applies: is_ecr,
        name: "InitiateLayerUpload",
        action: Some(Action::BeginUpload),
        most: 100,
        window: SECOND,
        limit: "100 per second",
    },
    Quota {
        applies: is_ecr,
        name: "CompleteLayerUpload",
        action: Some(Action::CompleteUpload),
        most: 100,
        window: SECOND,
        limit: "100 per second",
    },
    // https://docs.docker.com/docker-hub/usage/pulls/
    Quota {
        applies: |registry| registry == "docker.io",
        name: "pulls of manifests",
        action: Some(Action::ReadManifest),
        most: 100,
        window: Duration::from_secs(6 * 60 * 60),
        limit: "100 in 6 hours without a login",
    },
    Quota {
        applies: |registry| registry == "ghcr.io",
        name: "requests",
        action: None,
        most: 2000,
        window: MINUTE,
        limit: "2,000 per minute",
    },
    // https://cloud.google.com/artifact-registry/quotas
    Quota {
        applies: |registry| {
            registry == "gcr.io" || registry.ends_with(".gcr.io") || registry.ends_with(".pkg.dev")
        },
        name: "requests",
        action: None,
        most: 60_000,
        window: MINUTE,
        limit: "60,000 per minute",
    },
];

fn is_ecr(registry: &str) -> bool {
    registry.contains(".dkr.ecr")
        && (registry.ends_with(".amazonaws.com") || registry.ends_with(".amazonaws.com.cn"))
}

/// The quotas of a registry, given as `HOST` or `HOST:PORT`.
pub(crate) fn of(registry: &str) -> impl Iterator<Item = &'static Quota> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    QUOTAS.iter().filter(move |quota| (quota.applies)(host))
}

/// Whether a registry permits so few GETs of manifests that a run must not send any in vain.
pub(crate) fn counts_manifests(registry: &str) -> bool {
    of(registry).any(|quota| quota.action == Some(Action::ReadManifest))
}

impl Quota {
    /// Whether a run can keep to it: it sends nothing for hours otherwise.
    pub(crate) fn is_short(&self) -> bool {
        self.window <= MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_found_by_host() {
        let names = |registry| of(registry).map(|quota| quota.name).collect::<Vec<_>>();
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
        assert!(of("docker.io").all(|quota| !quota.is_short()) && of("ghcr.io").all(Quota::is_short));
    }
}
