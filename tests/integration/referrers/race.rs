//! Two clients attach different manifests to one image at a registry without the referrers API.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use thoras_mirror::{
    endpoint::{Destination, Source, registry::Registries},
    oci::{Digest, RawManifest, Repository, Target},
    problem::Side,
};

use super::{digests, referrer, registries, repository, subject};
use crate::support::{client::RepositoryClient, dice::Dice, registry::Registry};

/// More runs: `THORAS_MIRROR_TEST_RACES=200`.
const RUNS: usize = 20;
/// The runs that share the registry, and the processors.
const CONCURRENCY: usize = 4;

/// Pushes manifests one after the other, from a moment on that the dice decide.
async fn attach(client: &Registries, repository: &Repository, manifests: &[RawManifest], delay: Duration) {
    tokio::time::sleep(delay).await;
    for manifest in manifests {
        let target = Target::Digest(manifest.digest().clone());
        client.put_manifest(repository, &target, manifest).await.unwrap();
    }
}

async fn race(registry: &Registry, seed: usize) {
    let image = subject(&format!("race-{seed}"));
    let name = format!("race/{seed}");
    RepositoryClient::new(registry.address(), &name).await.push(&image).await.unwrap();
    let (digest, repository) = (image.root().digest.clone(), repository(registry.address(), &name));
    let mut dice = Dice::new(&format!("race {seed}"));
    let writers: Vec<(Vec<RawManifest>, Duration)> = (0..2)
        .map(|writer| {
            let count = 1 + dice.below(2);
            let manifests = (0..count).map(|n| referrer(&digest, &format!("{writer}-{n}"))).collect();
            (manifests, Duration::from_millis(dice.below(30) as u64))
        })
        .collect();
    let pushes = writers.iter().map(|(manifests, delay)| {
        let repository = &repository;
        async move { attach(&registries(Side::Destination), repository, manifests, *delay).await }
    });
    join_all(pushes).await;
    let found = registries(Side::Source).attachments(&repository, &digest).await.unwrap();
    let found: BTreeSet<&Digest> = digests(&found).into_iter().collect();
    let expected: BTreeSet<&Digest> =
        writers.iter().flat_map(|(manifests, _)| manifests).map(RawManifest::digest).collect();
    assert_eq!(found, expected, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_lose_no_referrer_of_each_other() {
    let runs = std::env::var("THORAS_MIRROR_TEST_RACES").map_or(RUNS, |runs| runs.parse().unwrap());
    let registry = Registry::start().await;
    let races = stream::iter(0..runs).map(|seed| race(&registry, seed));
    races.buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}
