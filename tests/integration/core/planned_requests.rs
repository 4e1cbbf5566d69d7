//! Plans say what a run will do: a dry run counts the requests, and an event the bytes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use thoras_mirror::{
    event::{Event, EventSink},
    outcome::{Mirrored, PlannedRequests},
    pipeline::{self, Level, Options},
    problem::Side,
};

use super::{
    generate::{Format, ImageSpec, Listed, Node, Spec},
    mirror, mirror_all, options,
    referrers::{BUNDLE, attach_to, tag_to},
    run,
    world::World,
};
use crate::support::memory_registry::Act;

/// One index of three platforms in two repositories of the destination. Attached to it: a signature, and a tag of cosign's
/// older format that has a signature of its own.
fn signed_in_two_repositories() -> World {
    let platform = |config, layers: &[u8]| Node::Image {
        config,
        layers: layers.to_vec(),
        listed: Listed::Platform,
        format: Format::Oci,
        sha512: false,
    };
    let index = Node::Index { children: vec![0, 1, 2], format: Format::Oci };
    let world = World::new(Spec {
        nodes: vec![platform(0, &[2, 6]), platform(1, &[2, 5]), platform(2, &[2, 4]), index],
        images: (0..2).map(|to| ImageSpec { root: 3, from: 0, to, pinned: false }).collect(),
        presets: Vec::new(),
        same_registry: false,
        mounts: true,
        jobs: 3,
        seed: 11,
    });
    world.at_source(|contents, root| {
        attach_to(contents, root, BUNDLE, "signature");
        let older = tag_to(contents, root, "sig", &["older"]);
        attach_to(contents, &older, BUNDLE, "of older");
    });
    world
}

/// What the plans of all images add up to.
fn planned(mirrored: &[Mirrored]) -> PlannedRequests {
    let plans = mirrored.iter().map(|image| *image.outcome.requests.as_deref().expect("a dry run plans"));
    plans.fold(PlannedRequests::default(), |sum, plan| PlannedRequests {
        manifests_read: sum.manifests_read + plan.manifests_read,
        blobs_read: sum.blobs_read + plan.blobs_read,
        manifests_pushed: sum.manifests_pushed + plan.manifests_pushed,
        uploads: sum.uploads + plan.uploads,
        mounts: sum.mounts + plan.mounts,
    })
}

/// What the registries were asked for.
fn made(world: &World) -> PlannedRequests {
    let (source, destination) = (world.source.history(), world.destination.history());
    PlannedRequests {
        manifests_read: source.of(Side::Source, Act::ReadManifest).count() as u64,
        blobs_read: source.of(Side::Source, Act::OpenBlob).count() as u64,
        manifests_pushed: destination.of(Side::Destination, Act::PutManifest).count() as u64,
        uploads: destination.commits.len() as u64,
        mounts: destination.mounts.len() as u64,
    }
}

#[test]
fn a_dry_run_counts_the_requests_of_the_run_after_it() {
    let world = signed_in_two_repositories();
    let dry_run = Options { dry_run: true, ..options(Level::Platforms, world.jobs) };
    let planned_first = planned(&run(mirror(&world, dry_run.clone())));
    world.source.clear_history();
    world.destination.clear_history();
    mirror_all(&world, Level::Platforms);
    assert_eq!(planned_first, made(&world));
    assert!(planned_first.mounts > 0 && planned_first.uploads > 0, "{planned_first:?}");
    let nothing_to_move = planned(&run(mirror(&world, dry_run)));
    let PlannedRequests { blobs_read, manifests_pushed, uploads, mounts, .. } = nothing_to_move;
    assert_eq!((blobs_read, manifests_pushed, uploads, mounts), (0, 0, 0, 0));
}

/// The bytes of all plans.
#[derive(Debug, Default)]
struct PlannedBytes(AtomicU64);

impl EventSink for PlannedBytes {
    fn emit(&self, event: Event) {
        if let Event::Planned { bytes, .. } = event {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_plan_announces_the_bytes_that_are_copied_or_mounted() {
    let world = signed_in_two_repositories();
    let events = Arc::new(PlannedBytes::default());
    let (source, destination) = (Arc::new(world.source.clone()), Arc::new(world.destination.clone()));
    let (mappings, options) = (world.mappings(), options(Level::Platforms, world.jobs));
    let mirrored = run(pipeline::mirror(source, destination, mappings, options, events.clone()));
    let bytes = mirrored.iter().map(|image| image.outcome.bytes);
    let (copied, mounted) = bytes.fold((0, 0), |sum, bytes| (sum.0 + bytes.copied, sum.1 + bytes.mounted));
    assert!(copied > 0 && mounted > 0, "{copied} {mounted}");
    assert_eq!(events.0.load(Ordering::Relaxed), copied + mounted);
}
