//! The planner in isolation: it is pure, so tests can claim any content as present.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::{collection::vec, prelude::*};
use thoras_mirror::{
    endpoint::Source as _,
    graph::{Graph, KnownManifests, ManifestBytes},
    internals::{
        plan::{Action, Plan, Planner, Presence},
        resolve,
    },
    oci::{Digest, Repository, Target},
    outcome::Bytes,
};

use super::{
    cases,
    generate::empty_world,
    run,
    survey::assert_ordered,
    world::{World, layer},
};

fn graphs(world: &World) -> Vec<Graph> {
    run(async {
        let mut graphs = Vec::new();
        for image in &world.images {
            let repository = image.mapping.source.repository();
            let root = world.source.manifest(repository, &Target::Digest(image.root.clone())).await;
            let root = root.unwrap().unwrap();
            let (known, keep) = (KnownManifests::new(), ManifestBytes::Small);
            let graph = resolve::resolve(&world.source, repository, root, &known, keep).await.unwrap();
            assert_ordered(&graph, &image.root);
            graphs.push(graph);
        }
        graphs
    })
}

/// Which of an image's manifests and blobs are present, by random bits.
fn presence(graph: &Graph, manifests: u64, looked_for: u64, blobs: u64, tag: u8) -> Presence {
    let bit = |bits: u64, at: usize| bits >> (at % 64) & 1 == 1;
    let digests = graph.nodes.iter().map(|node| node.descriptor.digest.clone());
    Presence {
        tag: match tag {
            0 => None,
            1 => Some(Digest::sha256(b"another image")),
            _ => graph.root().map(|root| root.descriptor.digest.clone()),
        },
        manifests: digests
            .enumerate()
            .filter(|(at, _)| bit(manifests, *at))
            .map(|(_, digest)| digest)
            .collect(),
        blobs: graph
            .blobs()
            .iter()
            .enumerate()
            .filter(|(at, _)| bit(looked_for, *at))
            .map(|(at, blob)| (blob.digest.clone(), bit(blobs, at)))
            .collect(),
        attached: Vec::new(),
    }
}

/// Blobs of manifests that are present.
fn below_present<'a>(graph: &'a Graph, presence: &Presence) -> HashSet<&'a Digest> {
    let there = graph.nodes.iter().filter(|node| presence.manifests.contains(&node.descriptor.digest));
    there.flat_map(|node| graph.blobs_of(node)).map(|blob| &blob.digest).collect()
}

/// Asserts that a plan does exactly what its image needs, and records which repository has which blob afterwards.
fn assert_plan(
    plan: &Plan,
    (graph, repository, source): (&Graph, &Repository, Option<&Repository>),
    presence: &Presence,
    holders: &mut HashMap<Digest, Vec<Repository>>,
) {
    let planned: Vec<&Digest> = plan.blobs.iter().map(|step| &step.blob.digest).collect();
    let needed: Vec<&Digest> = graph.blobs().iter().map(|blob| &blob.digest).collect();
    assert_eq!(planned, needed, "every blob once");
    let below = below_present(graph, presence);
    for step in &plan.blobs {
        let digest = &step.blob.digest;
        let there = presence.blobs.get(digest).copied().unwrap_or_else(|| below.contains(digest));
        let holders = holders.entry(digest.clone()).or_default();
        match &step.action {
            Action::Skip => assert!(there, "{digest} is not there"),
            action => {
                assert!(!there, "{digest} is there");
                assert_eq!(*action == Action::Await, holders.contains(repository), "{digest} comes once");
                let mountable = holders.first().or(source).filter(|from| *from != repository);
                match action {
                    Action::Mount { from } => assert!(holders.contains(from) || Some(from) == source),
                    Action::Copy => assert_eq!(mountable, None, "{digest} could be mounted"),
                    _ => {}
                }
            }
        }
        if !holders.contains(repository) {
            holders.push(repository.clone());
        }
    }
    let root = graph.nodes.len() - 1;
    let absent = |at: &usize| !presence.manifests.contains(&graph.nodes[*at].descriptor.digest);
    assert_eq!(
        plan.manifests,
        (0..root).filter(absent).collect::<Vec<_>>(),
        "children first, without the root"
    );
    assert_eq!(plan.tag, presence.tag.as_ref() != Some(&graph.nodes[root].descriptor.digest));
}

fn assert_sums(plan: &Plan, graph: &Graph) {
    let bytes = plan.bytes();
    assert_eq!(bytes.copied + bytes.mounted + bytes.present, graph.blob_bytes());
    let moving = plan.blobs.iter().filter(|step| step.action != Action::Skip).count();
    assert_eq!(plan.moving(), moving);
    assert_eq!(plan.is_idle(), moving == 0 && plan.manifests.is_empty() && !plan.tag);
    if plan.is_idle() {
        assert_eq!(bytes, Bytes { present: graph.blob_bytes(), ..Bytes::default() });
    }
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn plans_are_sufficient_and_copy_each_blob_once(
        world in empty_world(),
        present in vec((any::<u64>(), any::<u64>(), any::<u64>(), 0_u8..3), 4),
    ) {
        let (mut planner, mut holders) = (Planner::default(), HashMap::new());
        let mut brought: BTreeMap<(Digest, Repository), usize> = BTreeMap::new();
        for ((image, graph), (manifests, looked_for, blobs, tag)) in world.images.iter().zip(&graphs(&world)).zip(present) {
            let presence = presence(graph, manifests, looked_for, blobs, tag);
            let repository = &image.mapping.repository;
            let source = world.spec.same_registry.then(|| image.mapping.source.repository());
            let plan = planner.add(graph, repository, source, &presence);
            assert_plan(&plan, (graph, repository, source), &presence, &mut holders);
            assert_sums(&plan, graph);
            for step in plan.blobs.iter().filter(|step| matches!(step.action, Action::Copy | Action::Mount { .. })) {
                *brought.entry((step.blob.digest.clone(), repository.clone())).or_default() += 1;
            }
        }
        prop_assert!(brought.values().all(|count| *count == 1), "{:?}", brought);
    }

    #[test]
    fn a_complete_destination_needs_no_steps(world in empty_world()) {
        let mut planner = Planner::default();
        for (image, graph) in world.images.iter().zip(&graphs(&world)) {
            let presence = presence(graph, u64::MAX, 0, 0, 2);
            prop_assert!(planner.add(graph, &image.mapping.repository, None, &presence).is_idle());
        }
    }
}

/// What a planner does about each blob of an image at an empty repository.
fn actions(planner: &mut Planner, graph: &Graph, repository: &Repository) -> BTreeMap<Digest, Action> {
    let plan = planner.add(graph, repository, None, &Presence::default());
    plan.blobs.into_iter().map(|step| (step.blob.digest, step.action)).collect()
}

#[test]
fn a_blob_that_did_not_arrive_in_a_finished_repository_is_not_mounted_from_it() {
    let graph = &graphs(&World::of_layers(&[&[1, 2]]))[0];
    let [first, second, third]: [Repository; 3] =
        ["first", "second", "third"].map(|name| format!("mirror.example.com/{name}").parse().unwrap());
    let [arrived, lost] = [1, 2].map(|number| layer(number).0);
    let mount = |from: &Repository| Action::Mount { from: from.clone() };
    let mut planner = Planner::default();
    assert!(actions(&mut planner, graph, &first).values().all(|action| *action == Action::Copy));
    assert!(actions(&mut planner, graph, &first).values().all(|action| *action == Action::Await));
    planner.forget(&first, std::slice::from_ref(&lost));

    let steps = actions(&mut planner, graph, &second);
    assert_eq!((&steps[&arrived], &steps[&lost]), (&mount(&first), &Action::Copy));
    // The first repository still has what was lost in the second.
    planner.forget(&second, &[arrived.clone(), lost.clone()]);
    let steps = actions(&mut planner, graph, &third);
    assert_eq!((&steps[&arrived], &steps[&lost]), (&mount(&first), &Action::Copy));
    // Nothing is remembered about finished repositories but that.
    let steps = actions(&mut planner, graph, &first);
    assert_eq!((&steps[&arrived], &steps[&lost]), (&Action::Copy, &mount(&third)));
}
