//! What is copied, how often, and how it is counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use thoras_mirror::{
    oci::{Digest, Platform, Repository},
    outcome::{Mirrored, Status},
    pipeline::{Level, Options},
    problem::{Problem, Side},
};

use super::{
    cases,
    generate::{empty_world, world},
    mirror, mirror_all, options, run,
    world::{Image, World},
};
use crate::support::memory_registry::Act;

/// The digest that an image's tag names at the destination.
fn tag(world: &World, image: &Image) -> Option<Digest> {
    world
        .destination
        .edit(&image.mapping.repository, |contents| contents.tags.get(&image.mapping.tag).cloned())
}

/// How often the configs of all images have to be read to learn platforms.
fn learned(world: &World) -> HashMap<String, usize> {
    let mut learned = HashMap::new();
    for digest in world.images.iter().flat_map(|image| &image.learned_from) {
        *learned.entry(digest.to_string()).or_default() += 1;
    }
    learned
}

/// How often each blob was opened at the source, to be copied.
fn opened_to_copy(world: &World) -> HashMap<String, usize> {
    let learned = learned(world);
    let mut opened = world.destination.history().opened(Side::Source);
    if !world.spec.same_registry {
        opened.extend(world.source.history().opened(Side::Source));
    }
    for (digest, count) in &mut opened {
        let to_learn = learned.get(digest).copied().unwrap_or_default();
        assert!(*count >= to_learn, "the source's config {digest} must be read to learn a platform");
        *count -= to_learn;
    }
    opened
}

/// The needed blobs that are present, each with its repository at the destination.
pub(super) fn there(world: &World) -> HashSet<(Digest, Repository)> {
    let contents = world.destination.contents();
    let is_there = |(digest, repository): &(Digest, Repository)| {
        contents.get(repository).is_some_and(|contents| contents.blobs.contains_key(digest))
    };
    world.needed().into_iter().filter(is_there).collect()
}

fn assert_counts(world: &World, mirrored: &[Mirrored]) {
    let history = world.destination.history();
    for (image, mirrored) in world.images.iter().zip(mirrored) {
        let bytes = mirrored.outcome.bytes;
        assert_eq!(bytes.copied + bytes.mounted + bytes.present, image.blob_bytes(), "{bytes:?}");
    }
    let copied: u64 = mirrored.iter().map(|mirrored| mirrored.outcome.bytes.copied).sum();
    let mounted: u64 = mirrored.iter().map(|mirrored| mirrored.outcome.bytes.mounted).sum();
    assert_eq!((copied, mounted), (history.committed_bytes(), history.mounted_bytes()));
}

fn assert_moved_once(world: &World, there: &HashSet<(Digest, Repository)>) {
    let history = world.destination.history();
    let mut arrivals: BTreeMap<(Digest, Repository), usize> = BTreeMap::new();
    for (repository, digest, _) in history.commits.iter().chain(&history.mounts) {
        *arrivals.entry((digest.clone(), repository.clone())).or_default() += 1;
    }
    for (place, count) in &arrivals {
        assert_eq!(*count, 1, "{place:?} arrives more than once");
    }
    let arrived: HashSet<_> = arrivals.into_keys().collect();
    let absent: HashSet<_> = world.needed().into_iter().filter(|place| !there.contains(place)).collect();
    assert_eq!(arrived, absent, "exactly what is needed and absent arrives");
    let mut commits: HashMap<String, usize> = HashMap::new();
    for (_, digest, _) in &history.commits {
        *commits.entry(digest.to_string()).or_default() += 1;
    }
    for (digest, opened) in opened_to_copy(world) {
        let committed = commits.get(&digest).copied().unwrap_or_default();
        assert_eq!(opened, committed, "{digest} is read as often as it is committed");
        assert!(opened <= 1 || !world.spec.mounts, "{digest} is read {opened} times");
    }
    if !world.spec.mounts {
        assert!(history.mounts.is_empty());
    } else if world.spec.same_registry {
        assert!(history.commits.is_empty(), "everything can be mounted from the source");
    }
}

fn assert_idle(world: &World, first: &[Mirrored], check: Level) {
    world.destination.clear_history();
    world.source.clear_history();
    let second = mirror_all(world, check);
    for ((image, first), second) in world.images.iter().zip(first).zip(&second) {
        let (first, second) = (&first.outcome, &second.outcome);
        assert_eq!(second.status, Status::UpToDate);
        assert_eq!((&second.digest, &second.media_type), (&first.digest, &first.media_type));
        assert_eq!((&second.platforms, second.attestations), (&first.platforms, first.attestations));
        assert_eq!(second.bytes.present, image.blob_bytes());
        assert_eq!(second.moved_from, None);
    }
    assert!(world.destination.history().writes().is_empty(), "{:?}", world.destination.history().writes());
    let of_the_source = world.source.history();
    let read = of_the_source.of(Side::Source, Act::ReadManifest).collect::<Vec<_>>();
    assert!(read.is_empty(), "the destination has all manifests: {read:?}");
    let opened = opened_to_copy(world);
    assert!(opened.values().all(|count| *count == 0), "nothing is read to be copied: {opened:?}");
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::Platforms, Level::Blobs, Level::Bytes])
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn each_blob_moves_once_bytes_add_up_and_a_second_run_is_idle(world in world(), check in level()) {
        let there = there(&world);
        let tags: Vec<Option<Digest>> = world.images.iter().map(|image| tag(&world, image)).collect();
        let mirrored = mirror_all(&world, check);
        world.destination.history().assert_children_first();
        world.assert_complete();
        assert_counts(&world, &mirrored);
        assert_moved_once(&world, &there);
        for ((image, tag), mirrored) in world.images.iter().zip(tags).zip(&mirrored) {
            prop_assert_eq!(mirrored.outcome.digest.as_ref(), Some(&image.root));
            let status = if tag.as_ref() == Some(&image.root) { Status::UpToDate } else { Status::Copied };
            prop_assert_eq!(mirrored.outcome.status, status);
        }
        assert_idle(&world, &mirrored, check);
    }

    #[test]
    fn a_dry_run_changes_nothing_and_reports_what_a_run_would_copy(world in world(), check in level()) {
        let before = world.destination.contents();
        let planned = run(mirror(&world, Options { dry_run: true, ..options(check, 2) }));
        prop_assert!(world.destination.history().writes().is_empty());
        for (image, planned) in world.images.iter().zip(&planned) {
            let (status, bytes) = (planned.outcome.status, planned.outcome.bytes);
            prop_assert!(matches!(status, Status::Planned | Status::UpToDate), "{:?}", planned.outcome);
            prop_assert_eq!(bytes.copied + bytes.mounted + bytes.present, image.blob_bytes());
            let is_tagged = before.get(&image.mapping.repository).and_then(|contents| contents.tags.get(&image.mapping.tag)) == Some(&image.root);
            prop_assert_eq!(status == Status::UpToDate, is_tagged);
        }
        let sum = |of: fn(&Mirrored) -> u64, images: &[Mirrored]| images.iter().map(of).sum::<u64>();
        let arriving = sum(|image| image.outcome.bytes.copied + image.outcome.bytes.mounted, &planned);
        world.destination.clear_history();
        mirror_all(&world, check);
        let history = world.destination.history();
        prop_assert_eq!(arriving, history.committed_bytes() + history.mounted_bytes());
    }

    #[test]
    fn an_image_without_a_required_platform_fails_before_any_transfer(
        world in empty_world(),
        required in prop::sample::subsequence(vec!["linux/amd64", "linux/arm64"], 0..=2),
    ) {
        let platforms: Vec<Platform> = required.iter().map(|platform| platform.parse().unwrap()).collect();
        let options = Options { platforms, ..options(Level::Platforms, world.jobs) };
        let mirrored = run(mirror(&world, options));
        for (image, mirrored) in world.images.iter().zip(&mirrored) {
            let has = |platform: &str| image.platforms.iter().any(|has| has.trim_end_matches("/v8") == platform);
            let mut lacking: Vec<&str> = required.iter().copied().filter(|platform| !has(platform)).collect();
            if !mirrored.outcome.kind.is_image() {
                lacking.clear();
            }
            let named: Vec<String> = mirrored.outcome.problems.iter().map(|problem| match problem {
                Problem::MissingPlatform { platform, .. } => platform.to_string(),
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(&named, &lacking);
            prop_assert_eq!(mirrored.outcome.is_confirmed(), lacking.is_empty());
            let tag = tag(&world, image);
            prop_assert_eq!(tag.is_some(), lacking.is_empty());
        }
        if mirrored.iter().all(|mirrored| !mirrored.outcome.is_confirmed()) {
            prop_assert!(world.destination.history().writes().is_empty());
        }
        let of_side = |side, act| world.destination.history().of(side, act).count();
        prop_assert_eq!(of_side(Side::Destination, Act::LookForBlob), 0, "an empty destination is not asked for blobs");
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_tag_that_names_another_image_is_moved_only_if_overwriting_is_allowed(world in world(), overwrite in any::<bool>()) {
        let before: Vec<Option<Digest>> = world.images.iter().map(|image| tag(&world, image)).collect();
        let mirrored = run(mirror(&world, Options { overwrite, ..options(Level::Platforms, world.jobs) }));
        for ((image, before), mirrored) in world.images.iter().zip(before).zip(mirrored) {
            let other = before.filter(|before| *before != image.root);
            match other {
                Some(other) if !overwrite => {
                    prop_assert_eq!(mirrored.outcome.status, Status::Failed);
                    prop_assert_eq!(tag(&world, image), Some(other));
                }
                other => {
                    prop_assert!(mirrored.outcome.is_confirmed(), "{:?}", mirrored.outcome);
                    prop_assert_eq!(mirrored.outcome.moved_from, other);
                    prop_assert_eq!(tag(&world, image), Some(image.root.clone()));
                }
            }
        }
    }
}
