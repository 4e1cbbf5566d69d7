//! The requests that a dry run expects, and the quotas of registries that they meet.
//!
//! It counts only what registries limit. A run sends more requests: for tokens, existence checks, pieces of large blobs.

use std::{collections::BTreeMap, num::NonZeroU32};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageOutcome, Status};
use crate::{
    oci::Reference,
    problem::Side,
    quota::{Action, Quota, Quotas, Share},
};

/// What a run will ask of the source and the destination for one image, or for several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRequests {
    /// Manifests that are read from the source.
    pub manifests_read: u64,
    /// Blobs that are read from the source.
    pub blobs_read: u64,
    /// Manifests that are pushed, by digest and by tag.
    pub manifests_pushed: u64,
    /// Blobs that are uploaded.
    pub uploads: u64,
    /// Blobs that are mounted from another repository of the destination.
    pub mounts: u64,
}

impl PlannedRequests {
    fn plus(self, other: Self) -> Self {
        Self {
            manifests_read: self.manifests_read.saturating_add(other.manifests_read),
            blobs_read: self.blobs_read.saturating_add(other.blobs_read),
            manifests_pushed: self.manifests_pushed.saturating_add(other.manifests_pushed),
            uploads: self.uploads.saturating_add(other.uploads),
            mounts: self.mounts.saturating_add(other.mounts),
        }
    }

    /// How many of these a quota counts.
    fn counted(self, action: Option<Action>) -> u64 {
        match action {
            None => self.total(),
            Some(Action::ReadManifest) => self.manifests_read,
            Some(Action::ReadBlob) => self.blobs_read,
            Some(Action::PushManifest) => self.manifests_pushed,
            Some(Action::BeginUpload | Action::CompleteUpload) => self.uploads,
            Some(Action::CheckManifest | Action::CheckBlob | Action::UploadChunk | Action::Other) => 0,
        }
    }

    /// The minimum number of HTTP requests: an upload takes two, to begin and to complete it.
    fn total(self) -> u64 {
        let Self { manifests_read, blobs_read, manifests_pushed, uploads, mounts } = self;
        let parts = [manifests_read, blobs_read, manifests_pushed, uploads, uploads, mounts];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

/// What a run will ask of one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegistryRequests {
    /// `HOST[:PORT]`.
    pub(crate) registry: String,
    /// Whether it is read from or written to.
    pub(crate) side: Side,
    /// The requests; what belongs to the other side is zero.
    #[serde(flatten)]
    pub(crate) requests: PlannedRequests,
    /// The registry's known quotas that apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) quotas: Vec<MetQuota>,
}

/// A known quota, and what it means for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetQuota {
    /// What the registry counts.
    pub(crate) action: &'static str,
    /// How many of these the run will send.
    pub(crate) requests: u64,
    /// What it permits: `10 per second`, or with `--shard` `10 per second, shared by 4 machines`.
    pub(crate) limit: String,
    /// The minimum duration of the run under this quota, in seconds.
    pub(crate) seconds: u64,
}

/// The requests of a dry run, by registry; without those to the source if the images come from a bundle. Each of
/// `machines` sends those for its own images, and may use its part of the `quotas`.
pub(crate) fn by_registry(
    images: &[ImageOutcome],
    source_is_registry: bool,
    quotas: &Quotas,
    machines: NonZeroU32,
) -> Vec<RegistryRequests> {
    let mut found: BTreeMap<(Side, String), PlannedRequests> = BTreeMap::new();
    let mut add = |side: Side, registry: &str, requests: PlannedRequests| {
        let sum = found.entry((side, registry.to_owned())).or_default();
        *sum = sum.plus(requests);
    };
    // With several destinations, an image is read once for all of them.
    let mut read: BTreeMap<&Reference, PlannedRequests> = BTreeMap::new();
    for image in images.iter().filter(|image| image.status == Status::Planned) {
        let Some(requests) = image.requests.as_deref() else { continue };
        let source = read.entry(&image.source).or_default();
        source.manifests_read = source.manifests_read.max(requests.manifests_read);
        source.blobs_read = source.blobs_read.max(requests.blobs_read);
        if let Ok(destination) = image.destination.parse::<Reference>() {
            let requests = PlannedRequests { manifests_read: 0, blobs_read: 0, ..*requests };
            add(Side::Destination, destination.repository().registry(), requests);
        }
    }
    for (source, requests) in read.into_iter().filter(|_| source_is_registry) {
        add(Side::Source, source.repository().registry(), requests);
    }
    let of_registry = |((side, registry), requests): ((Side, String), PlannedRequests)| {
        let quotas = quotas.of(&registry).map(|quota| MetQuota::of(quota, requests, machines));
        let quotas = quotas.filter(|met| met.requests > 0).collect();
        RegistryRequests { registry, side, requests, quotas }
    };
    found.into_iter().map(of_registry).collect()
}

impl MetQuota {
    /// The first `most` may be sent at once; the others follow at the permitted rate.
    fn of(quota: Quota, planned: PlannedRequests, machines: NonZeroU32) -> Self {
        let requests = planned.counted(quota.action());
        let Share { most, window } = quota.shared_by(machines);
        let waiting = u128::from(requests.saturating_sub(most.into()));
        let milliseconds = waiting.saturating_mul(window.as_millis()).div_ceil(u128::from(most));
        let shared = match machines.get() {
            1 => String::new(),
            machines => format!(", shared by {machines} machines"),
        };
        Self {
            action: quota.name(),
            requests,
            limit: format!("{}{shared}", quota.limit()),
            seconds: u64::try_from(milliseconds.div_ceil(1000)).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Mapping;

    fn image(source: &str, destination: &str, requests: PlannedRequests) -> ImageOutcome {
        let mapping = Mapping::to(source.parse().unwrap(), &destination.parse().unwrap());
        ImageOutcome { requests: Some(Box::new(requests)), ..ImageOutcome::new(&mapping, Status::Planned) }
    }

    fn planned(images: &[ImageOutcome], source_is_registry: bool) -> Vec<RegistryRequests> {
        by_registry(images, source_is_registry, &Quotas::default(), NonZeroU32::MIN)
    }

    #[test]
    fn requests_are_added_up_for_each_registry_and_quotas_imply_a_time() {
        let requests = PlannedRequests {
            manifests_read: 40,
            blobs_read: 30,
            manifests_pushed: 55,
            uploads: 30,
            mounts: 10,
        };
        let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let images = ["a", "b", "c"].map(|name| {
            image(&format!("docker.io/vendor/{name}:1"), &format!("{ecr}/mirror/{name}:1"), requests)
        });
        let found = planned(&images, true);
        let quotas: Vec<Vec<(&str, u64, u64)>> = found
            .iter()
            .map(|there| there.quotas.iter().map(|met| (met.action, met.requests, met.seconds)).collect())
            .collect();
        assert_eq!(found[0].registry, "docker.io");
        assert_eq!((found[0].requests.manifests_read, found[0].requests.uploads), (120, 0));
        assert_eq!(quotas[0], [("pulls", 120, 4320)], "20 more than 100 in six hours");
        assert_eq!((found[1].registry.as_str(), found[1].requests.blobs_read), (ecr, 0));
        assert_eq!(
            quotas[1],
            [("PutImage", 165, 16), ("InitiateLayerUpload", 90, 0), ("CompleteLayerUpload", 90, 0)]
        );
        assert_eq!(planned(&images, false).len(), 1, "a bundle has no quota");
    }

    #[test]
    fn quotas_that_were_changed_and_are_shared_imply_another_time() {
        let requests = PlannedRequests { manifests_pushed: 50, ..PlannedRequests::default() };
        let image = image("r.io/a:1", "1.dkr.ecr.us-east-1.amazonaws.com/a:1", requests);
        for (most, machines, limit, seconds) in [
            (10, 1, "10 per second", 4),
            (49, 1, "49 per second", 1),
            (50, 1, "50 per second", 0),
            (1, 1, "1 per second", 49),
            (10, 5, "10 per second, shared by 5 machines", 24),
            (2, 5, "2 per second, shared by 5 machines", 123),
            (1_000, 5, "1,000 per second, shared by 5 machines", 0),
        ] {
            let quotas = Quotas::new(vec![format!("PutImage={most}").parse().unwrap()]).unwrap();
            let machines = NonZeroU32::new(machines).unwrap();
            let found = by_registry(std::slice::from_ref(&image), true, &quotas, machines);
            let met: Vec<_> = found.iter().flat_map(|there| &there.quotas).collect();
            assert_eq!((met[0].limit.as_str(), met[0].seconds), (limit, seconds));
        }
    }

    #[test]
    fn several_destinations_share_what_is_read() {
        let requests =
            PlannedRequests { manifests_read: 3, blobs_read: 4, uploads: 4, ..PlannedRequests::default() };
        let less = PlannedRequests { blobs_read: 1, uploads: 1, ..requests };
        let images = [("a.example.com/x:1", requests), ("b.example.com/x:1", less)]
            .map(|(to, requests)| image("reg.example.com/x:1", to, requests));
        let found = planned(&images, true);
        let counts = found.iter().map(|there| (there.requests.blobs_read, there.requests.uploads));
        assert_eq!(counts.collect::<Vec<_>>(), [(4, 0), (0, 4), (0, 1)]);
    }

    #[test]
    fn what_is_up_to_date_asks_for_nothing() {
        let mut idle = image("ghcr.io/a/b:1", "reg.example.com/b:1", PlannedRequests::default());
        idle.status = Status::UpToDate;
        assert_eq!(planned(&[idle], true), []);
    }
}
