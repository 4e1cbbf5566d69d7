//! Children before parents, the tag last, whenever a run ends; and the next run converges.

use std::{collections::HashSet, time::Duration};

use proptest::{collection::vec, prelude::*, sample::Index};
use thoras_mirror::{pipeline::Level, problem::Side};

use super::{
    cases,
    generate::{Format, ImageSpec, Listed, Node, Spec, empty_world, world},
    mirror, mirror_all, movement, options, run,
    world::{World, layer},
};
use crate::support::memory_registry::{
    Act, Answer,
    faults::{Death, Effect, Fault, Gate},
};

/// The number of destination operations in a complete run.
fn operations_of_a_run(spec: &Spec) -> usize {
    let world = World::new(spec.clone());
    mirror_all(&world, Level::Platforms);
    world.destination.operations()
}

/// A run that ends at this operation, unless it completes first.
fn interrupted_run(world: &World, at: usize, death: Death) {
    world.destination.clear_history();
    world.destination.end_at(at, death);
    run(async {
        tokio::select! {
            _ = mirror(world, options(Level::Platforms, world.jobs)) => {}
            () = world.destination.killed() => {}
        }
    });
    assert_nothing_is_incomplete(world);
}

/// Fails if a manifest came before its content, or if a tag names an incomplete graph.
fn assert_nothing_is_incomplete(world: &World) {
    world.destination.history().assert_children_first();
    for (repository, contents) in world.destination.contents() {
        for (tag, root) in &contents.tags {
            let missing = contents.missing_below(root);
            assert!(missing.is_empty(), "{repository}:{tag} lacks {missing:?}");
        }
    }
}

/// A run to the end. Asserts that it completes everything and sends nothing twice.
fn completing_run(world: &World) {
    let there = movement::there(world);
    world.destination.clear_history();
    mirror_all(world, Level::Platforms);
    let history = world.destination.history();
    history.assert_children_first();
    let sent: HashSet<_> =
        history.commits.iter().map(|(repository, digest, _)| (digest.clone(), repository.clone())).collect();
    assert!(sent.is_disjoint(&there), "sent although it is there: {:?}", sent.intersection(&there));
    world.assert_complete();
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn whenever_a_run_ends_no_tag_is_incomplete_and_the_next_run_converges(
        world in world(),
        ends in vec((any::<Index>(), any::<bool>()), 1..6),
    ) {
        let operations = operations_of_a_run(&world.spec);
        for (end, killed) in ends {
            let death = if killed { Death::Killed } else { Death::Denied };
            interrupted_run(&world, end.index(operations), death);
        }
        completing_run(&world);
    }

    #[test]
    fn no_manifest_is_pushed_before_all_of_its_blobs(world in empty_world(), victim in any::<Index>()) {
        let needed: Vec<_> = world.needed().into_iter().collect();
        prop_assume!(!needed.is_empty());
        let (digest, repository) = victim.get(&needed);
        let gate = Gate::closed();
        let mounts = world.spec.mounts || world.spec.same_registry;
        let act = if mounts { Act::BeginBlob } else { Act::CommitBlob };
        let hold = Fault::always(Side::Destination, act, digest, Effect::Hold(gate.clone()));
        world.destination.plan(hold.in_repository(repository));
        run(async {
            let mirrored = mirror(&world, options(Level::Platforms, world.jobs));
            let watching = async {
                gate.reached().await;
                // Everything that does not depend on it finishes.
                tokio::time::sleep(Duration::from_secs(60)).await;
                for image in world.images.iter().filter(|image| image.mapping.repository == *repository) {
                    let needs_it = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).contains(digest.as_str());
                    let parents = image.manifests.iter().filter(|(_, bytes)| needs_it(bytes));
                    let history = world.destination.history();
                    let is_there = |what: &str| history.of(Side::Destination, Act::PutManifest).any(|put| {
                        put.repository == *repository && put.what == what && put.answer == Answer::Stored
                    });
                    for (parent, _) in parents {
                        assert!(!is_there(parent.as_str()), "{parent} came before {digest}");
                    }
                    assert!(!image.blobs.contains_key(digest) || !is_there(&image.mapping.tag), "the tag came before {digest}");
                }
                gate.open();
            };
            tokio::join!(mirrored, watching);
        });
        assert_nothing_is_incomplete(&world);
        world.assert_complete();
    }
}

fn image(config: u8, layers: &[u8], listed: Listed) -> Node {
    Node::Image { config, layers: layers.to_vec(), listed, format: Format::Oci, sha512: false }
}

fn index(children: &[usize]) -> Node {
    Node::Index { children: children.to_vec(), format: Format::Oci }
}

/// Three images of one graph, four indexes deep, in two repositories. The destination is empty.
fn nested(seed: u64) -> Spec {
    let nodes = vec![
        image(0, &[2, 6, 7], Listed::Platform),
        image(1, &[2, 6, 8], Listed::Platform),
        index(&[0]),
        index(&[1, 2]),
        index(&[3, 0, 3]),
        index(&[4]),
    ];
    let to = |root, to| ImageSpec { root, from: 0, to, pinned: false };
    let images = vec![to(5, 0), to(3, 0), to(4, 1)];
    Spec { nodes, images, presets: Vec::new(), same_registry: false, mounts: true, jobs: 3, seed }
}

#[test]
fn a_copy_of_a_nested_image_survives_a_kill_at_any_operation() {
    for (seed, death) in [(1, Death::Killed), (2, Death::Denied), (3, Death::Killed)] {
        let spec = nested(seed);
        for at in 0..operations_of_a_run(&spec) {
            let world = World::new(spec.clone());
            interrupted_run(&world, at, death);
            completing_run(&world);
        }
    }
}

#[test]
fn one_destination_survives_a_kill_at_each_operation_in_turn() {
    let world = World::new(nested(4));
    for at in 0..operations_of_a_run(&world.spec) {
        interrupted_run(&world, at, Death::Killed);
    }
    completing_run(&world);
}

/// Holds one manifest of a nested image and returns what else was pushed once nothing else can proceed.
fn pushed_while_held(spec: Spec, held: impl Fn(&World) -> String) -> Vec<String> {
    let world = World::new(spec);
    let gate = Gate::closed();
    let fault = Fault::always(Side::Destination, Act::PutManifest, &held(&world), Effect::Hold(gate.clone()));
    world.destination.plan(fault);
    run(async {
        let watching = async {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let history = world.destination.history();
            gate.open();
            history.of(Side::Destination, Act::PutManifest).map(|put| put.what.clone()).collect()
        };
        tokio::join!(mirror(&world, options(Level::Platforms, world.jobs)), watching).1
    })
}

#[test]
fn while_the_innermost_manifest_is_held_no_index_is_pushed() {
    let spec = Spec {
        nodes: vec![image(0, &[2], Listed::Platform), index(&[0]), index(&[1]), index(&[2])],
        images: vec![ImageSpec { root: 3, from: 0, to: 0, pinned: false }],
        ..nested(5)
    };
    let innermost = |world: &World| {
        let is_image = |bytes: &[u8]| !String::from_utf8_lossy(bytes).contains("\"manifests\"");
        let image = world.images[0].manifests.iter().find(|(_, bytes)| is_image(bytes));
        image.unwrap().0.to_string()
    };
    assert_eq!(pushed_while_held(spec, innermost), [""; 0]);
}

#[test]
fn while_the_shared_blob_of_two_tags_is_held_no_manifest_is_pushed() {
    let spec = Spec {
        nodes: vec![image(3, &[8], Listed::Bare), image(3, &[8, 2], Listed::Bare)],
        images: (0..2).map(|root| ImageSpec { root, from: 0, to: 0, pinned: false }).collect(),
        ..nested(6)
    };
    let world = World::new(spec);
    let gate = Gate::closed();
    let (shared, _) = layer(8);
    world.destination.plan(Fault::always(
        Side::Destination,
        Act::CommitBlob,
        &shared,
        Effect::Hold(gate.clone()),
    ));
    run(async {
        let watching = async {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            let history = world.destination.history();
            assert_eq!(history.of(Side::Destination, Act::PutManifest).count(), 0);
            gate.open();
        };
        tokio::join!(mirror(&world, options(Level::Platforms, world.jobs)), watching);
    });
    assert_nothing_is_incomplete(&world);
    assert_eq!(world.destination.history().commits.iter().filter(|commit| commit.1 == shared).count(), 1);
    world.assert_complete();
}
