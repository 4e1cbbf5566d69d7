//! `resolve` and `confirm` in isolation: what they read and what they report.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::{collection::vec, prelude::*, sample::Index};
use thoras_mirror::{
    endpoint::{Error, Source},
    graph::{ForeignLayers, Graph, KnownManifests, ManifestBytes, children},
    internals::{
        confirm::{self, Coverage, Expected},
        resolve,
    },
    oci::{Digest, Platform, Target},
    pipeline::Level,
    problem::Side,
};

use super::{
    cases,
    damage::{Damage, assert_no_unneeded_reads, expected, name},
    generate::empty_world,
    mirror_all, run,
    world::Image,
};
use crate::support::memory_registry::{Act, Memory};

/// Reads an image's graph from one side's repository.
async fn graph(memory: &Memory, image: &Image, known: &KnownManifests) -> Result<Graph, Error> {
    let repository = image.mapping.source.repository();
    let root = memory.manifest(repository, &Target::Digest(image.root.clone())).await?.unwrap();
    resolve::resolve(memory, repository, root, known, ManifestBytes::Small).await
}

/// Fails unless a graph is ordered as its documentation says.
pub(super) fn assert_ordered(graph: &Graph, root: &Digest) {
    let mut heights: BTreeMap<&Digest, usize> = BTreeMap::new();
    for node in &graph.nodes {
        let below = children(&node.contents).map(|child| heights.get(&child.digest).expect("children first"));
        let height = below.map(|height| height + 1).max().unwrap_or(0);
        assert_eq!(node.height, height);
        assert_eq!(heights.insert(&node.descriptor.digest, height), None, "each manifest once");
    }
    assert_eq!(graph.root().map(|node| &node.descriptor.digest), Some(root));
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_graph_lists_everything_once_with_children_first(world in empty_world()) {
        for image in &world.images {
            let graph = run(graph(&world.source, image, &KnownManifests::new())).unwrap();
            assert_ordered(&graph, &image.root);
            let manifests: BTreeSet<_> = graph.nodes.iter().map(|node| (node.descriptor.digest.clone(), node.manifest.as_ref().unwrap().bytes().clone())).collect();
            prop_assert_eq!(manifests, image.manifests.clone().into_iter().collect());
            let blobs: Vec<(Digest, u64)> = graph.blobs().into_iter().map(|blob| (blob.digest.clone(), blob.size)).collect();
            let once: BTreeMap<Digest, u64> = blobs.iter().cloned().collect();
            prop_assert_eq!(once.len(), blobs.len());
            prop_assert_eq!(once, image.blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len() as u64)).collect());
            prop_assert_eq!(graph.blob_bytes(), image.blob_bytes());
            let platforms: BTreeSet<String> = graph.platform_names().iter().map(ToString::to_string).collect();
            prop_assert_eq!(&platforms, &image.platforms);
        }
    }

    #[test]
    fn known_manifests_are_not_read_again(world in empty_world(), known in any::<u64>()) {
        for image in &world.images {
            let whole = run(graph(&world.source, image, &KnownManifests::new())).unwrap();
            let is_known = |(at, _): &(usize, _)| known >> (at % 64) & 1 == 1;
            let known: KnownManifests = whole.nodes.iter().enumerate().filter(is_known)
                .map(|(_, node)| (node.descriptor.digest.clone(), node.clone())).collect();
            world.source.clear_history();
            let again = run(graph(&world.source, image, &known)).unwrap();
            assert_ordered(&again, &image.root);
            let read: Vec<String> = world.source.history().of(Side::Source, Act::ReadManifest).map(|entry| entry.what.clone()).collect();
            let once: HashSet<String> = read.iter().cloned().collect();
            prop_assert_eq!(once.len(), read.len());
            let needed = image.manifests.keys().filter(|digest| **digest == image.root || !known.contains_key(digest));
            prop_assert_eq!(once, needed.map(ToString::to_string).collect());
        }
    }

    #[test]
    fn resolve_fails_on_an_incomplete_graph_and_survey_lists_what_is_missing(world in empty_world(), index in any::<Index>()) {
        let image = &world.images[0];
        let repository = image.mapping.source.repository();
        let children: Vec<&Digest> = image.manifests.keys().filter(|digest| **digest != image.root).collect();
        if children.is_empty() {
            return Ok(());
        }
        let lost = (*index.get(&children)).clone();
        world.source.edit(repository, |contents| contents.manifests.remove(&lost));
        let error = run(graph(&world.source, image, &KnownManifests::new())).unwrap_err();
        prop_assert!(error.to_string().contains(lost.as_str()), "{}", error);
        let survey = run(async {
            let root = world.source.manifest(repository, &Target::Digest(image.root.clone())).await.unwrap().unwrap();
            resolve::survey(&world.source, repository, root).await.unwrap()
        });
        prop_assert_eq!(survey.missing.iter().map(|child| &child.digest).collect::<Vec<_>>(), [&lost]);
        let found: BTreeSet<&Digest> = survey.nodes.iter().map(|node| &node.descriptor.digest).collect();
        prop_assert!(found.iter().all(|digest| image.manifests.contains_key(*digest)) && !found.contains(&lost));
    }

    #[test]
    fn a_survey_reports_exactly_what_is_wrong(
        world in empty_world(),
        damages in vec(any::<Index>(), 0..6),
        level in prop::sample::select(vec![Level::Platforms, Level::Blobs, Level::Bytes]),
        required in prop::sample::subsequence(vec!["linux/amd64", "linux/arm64", "linux/s390x"], 0..=3),
    ) {
        mirror_all(&world, Level::Platforms);
        let all = Damage::all(&world);
        for damage in damages {
            let (repository, damage) = damage.get(&all);
            world.destination.edit(repository, |contents| damage.apply(contents));
        }
        let required: Vec<Platform> = required.iter().map(|platform| platform.parse().unwrap()).collect();
        for image in &world.images {
            let repository = &image.mapping.repository;
            world.destination.clear_history();
            let coverage = Coverage { level, foreign_layers: ForeignLayers::default() };
            let survey = run(confirm::survey(&world.destination, repository, &image.mapping.target(), coverage)).unwrap();
            assert_no_unneeded_reads(&world, level, &world.destination.history().entries);

            let problems = confirm::problems_of(&survey, Expected { digest: Some(&image.root), platforms: &required });
            let (platforms, rest): (Vec<_>, Vec<_>) = problems.iter().map(name).partition(|name| name.starts_with("no "));
            let mut rest = rest;
            rest.sort();
            let contents = world.destination.edit(repository, |contents| contents.clone());
            prop_assert_eq!(&rest, &expected(image, &contents, level), "{:?}", problems);

            if let Some(graph) = &survey.graph {
                // A platform whose manifest is reported as missing is not reported twice.
                let is_named = |platform: &Platform| graph.missing.iter().any(|child| {
                    child.platform.as_ref().is_some_and(|other| platform.is_served_by(other))
                });
                let lacking: Vec<String> = graph.lacks(&required).iter().filter(|platform| !is_named(platform)).map(|platform| format!("no {platform}")).collect();
                prop_assert_eq!(platforms, lacking);
                for node in &graph.nodes {
                    prop_assert!(node.descriptor.digest.matches(node.manifest.as_ref().unwrap().bytes()));
                }
            } else {
                prop_assert!(platforms.is_empty());
            }
            let whole = confirm::problems_of(&survey, Expected { digest: None, platforms: &[] });
            prop_assert_eq!(whole, survey.problems.clone(), "nothing expected, nothing added");
        }
    }
}
