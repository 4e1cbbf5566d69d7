//! Damage at a destination: applying it, what each level must report, and that `verify` reports and `mirror` repairs
//! it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;
use thoras_mirror::{
    oci::{Digest, Repository},
    outcome::Status,
    pipeline::Level,
    problem::{Problem, Side},
};

use super::{
    cases,
    generate::{Format, ImageSpec, Listed, Node, Spec, empty_world, world},
    mirror, mirror_all, options, run, verify, with_status,
    world::{Image, World},
};
use crate::support::memory_registry::{Act, Contents, Entry, faults::WrongBytes};

/// One change to one repository of the destination.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    RemoveTag(String),
    MoveTag(String),
    RemoveManifest(Digest),
    AlterManifest(Digest),
    RemoveBlob(Digest),
    AlterBlob(Digest, WrongBytes),
}

impl Damage {
    /// Everything that can happen to a world.
    pub(super) fn all(world: &World) -> Vec<(Repository, Self)> {
        let mut all = Vec::new();
        for image in &world.images {
            let mut add = |damage| all.push((image.mapping.repository.clone(), damage));
            add(Self::RemoveTag(image.mapping.tag.clone()));
            add(Self::MoveTag(image.mapping.tag.clone()));
            for digest in image.manifests.keys() {
                add(Self::RemoveManifest(digest.clone()));
                add(Self::AlterManifest(digest.clone()));
            }
            for (digest, bytes) in &image.blobs {
                add(Self::RemoveBlob(digest.clone()));
                add(Self::AlterBlob(digest.clone(), WrongBytes::Long));
                if !bytes.is_empty() {
                    add(Self::AlterBlob(digest.clone(), WrongBytes::Wrong));
                    add(Self::AlterBlob(digest.clone(), WrongBytes::Short));
                }
            }
        }
        all
    }

    pub(super) fn apply(&self, contents: &mut Contents) {
        match self {
            Self::RemoveTag(tag) => drop(contents.tags.remove(tag)),
            Self::MoveTag(tag) => {
                let other = br#"{"schemaVersion":2,"manifests":[]}"#.as_slice();
                contents.manifests.insert(Digest::sha256(other), (None, other.into()));
                contents.tags.insert(tag.clone(), Digest::sha256(other));
            }
            Self::RemoveManifest(digest) => drop(contents.manifests.remove(digest)),
            Self::AlterManifest(digest) => {
                if let Some((_, bytes)) = contents.manifests.get_mut(digest) {
                    *bytes = [bytes.as_ref(), b" "].concat().into();
                }
            }
            Self::RemoveBlob(digest) => drop(contents.blobs.remove(digest)),
            Self::AlterBlob(digest, wrong_bytes) => {
                if let Some(bytes) = contents.blobs.get_mut(digest) {
                    *bytes = wrong_bytes.about(bytes);
                }
            }
        }
    }

    /// The lowest level that detects it.
    fn level(&self) -> Level {
        match self {
            Self::RemoveTag(_) | Self::MoveTag(_) | Self::RemoveManifest(_) | Self::AlterManifest(_) => {
                Level::Platforms
            }
            Self::RemoveBlob(_) | Self::AlterBlob(_, WrongBytes::Short | WrongBytes::Long) => Level::Blobs,
            Self::AlterBlob(_, WrongBytes::Wrong) => Level::Bytes,
        }
    }
}

/// A problem in two words.
pub(super) fn name(problem: &Problem) -> String {
    match problem {
        Problem::MissingTag => "missing tag".to_owned(),
        Problem::OtherDigest { found, .. } => format!("moved {found}"),
        Problem::MissingManifest { digest, .. } | Problem::MissingBlob { digest, .. } => {
            format!("missing {digest}")
        }
        Problem::BadManifest { digest, .. } | Problem::CorruptBlob { digest, .. } => {
            format!("corrupt {digest}")
        }
        Problem::WrongSize { digest, .. } => format!("wrong size {digest}"),
        Problem::MissingPlatform { platform, .. } => format!("no {platform}"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn names(problems: &[Problem]) -> Vec<String> {
    let mut names: Vec<String> = problems.iter().map(name).collect();
    names.sort();
    names
}

/// The problems of an image at the destination that this level detects, computed without the code under test.
pub(super) fn expected(image: &Image, contents: &Contents, level: Level) -> Vec<String> {
    let Some(root) = contents.tags.get(&image.mapping.tag) else { return vec!["missing tag".to_owned()] };
    let Some((_, bytes)) = contents.manifests.get(root) else { return vec!["missing tag".to_owned()] };
    if !root.matches(bytes) {
        return vec![format!("corrupt {root}")];
    }
    let mut problems = BTreeSet::new();
    if *root != image.root {
        problems.insert(format!("moved {root}"));
    }
    let (mut queue, mut blobs) = (vec![root.clone()], BTreeMap::new());
    let mut seen = BTreeSet::from([root.clone()]);
    while let Some(digest) = queue.pop() {
        let Some((_, bytes)) = contents.manifests.get(&digest) else {
            problems.insert(format!("missing {digest}"));
            continue;
        };
        if !digest.matches(bytes) {
            problems.insert(format!("corrupt {digest}"));
            continue;
        }
        let manifest: Value = serde_json::from_slice(bytes).unwrap();
        let listed = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        let digest_of = |listed: &Value| listed["digest"].as_str().unwrap().parse::<Digest>().unwrap();
        queue.extend(listed("manifests").iter().map(digest_of).filter(|child| seen.insert(child.clone())));
        let config = manifest.get("config").cloned();
        for blob in config.into_iter().chain(listed("layers")) {
            blobs.insert(digest_of(&blob), blob["size"].as_u64().unwrap());
        }
    }
    for (digest, size) in blobs {
        problems.extend(wrong_blob(&digest, size, contents, level));
    }
    problems.into_iter().collect()
}

fn wrong_blob(digest: &Digest, size: u64, contents: &Contents, level: Level) -> Option<String> {
    if level == Level::Platforms {
        return None;
    }
    let Some(bytes) = contents.blobs.get(digest) else { return Some(format!("missing {digest}")) };
    let found = bytes.len() as u64;
    if found < size || (found > size && level == Level::Blobs) {
        return Some(format!("wrong size {digest}"));
    }
    (level == Level::Bytes && !digest.matches(bytes)).then(|| format!("corrupt {digest}"))
}

/// Asserts that no blob was read that this level does not need, apart from configs that name a platform.
pub(super) fn assert_no_unneeded_reads(world: &World, level: Level, entries: &[Entry]) {
    let learned = |what: &str| world.images.iter().any(|image| image.learns_from(what) > 0);
    for entry in entries {
        match entry.act {
            Act::LookForBlob => assert_eq!(level, Level::Blobs, "{entry:?}"),
            Act::OpenBlob => assert!(level == Level::Bytes || learned(&entry.what), "{entry:?}"),
            Act::ReadTag | Act::ReadManifest => {}
            other => panic!("{other:?} while only looking"),
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn verify_reports_all_damage_that_its_level_detects_and_mirror_repairs_it(
        world in empty_world(),
        damage in any::<Index>(),
    ) {
        mirror_all(&world, Level::Platforms);
        let (repository, damage) = damage.get(&Damage::all(&world)).clone();
        world.destination.edit(&repository, |contents| damage.apply(contents));
        let contents = |image: &Image| world.destination.edit(&image.mapping.repository, |contents| contents.clone());
        for level in [Level::Platforms, Level::Blobs, Level::Bytes] {
            world.destination.clear_history();
            for (image, outcome) in world.images.iter().zip(verify(&world, level)) {
                let expected = expected(image, &contents(image), level);
                prop_assert_eq!(&names(&outcome.problems), &expected, "{:?} at {:?}: {:#?}", damage, level, outcome);
                let status = if expected.is_empty() { Status::Verified } else { Status::Different };
                prop_assert_eq!((outcome.status, &outcome.failure), (status, &None));
            }
            assert_no_unneeded_reads(&world, level, &world.destination.history().entries);
        }

        world.destination.clear_history();
        let level = damage.level();
        let suffers: Vec<bool> =
            world.images.iter().map(|image| !expected(image, &contents(image), level).is_empty()).collect();
        prop_assert!(suffers.contains(&true), "some level sees every damage");
        let mirrored = run(mirror(&world, options(level, world.jobs)));
        for (suffers, mirrored) in suffers.iter().zip(&mirrored) {
            let outcome = &mirrored.outcome;
            match (suffers, level) {
                (false, _) => prop_assert_eq!(outcome.status, Status::UpToDate),
                // A registry keeps a blob that it already has.
                (true, Level::Bytes) => prop_assert_eq!(outcome.status, Status::Failed),
                // Another image may already have repaired it.
                (true, _) => prop_assert!(outcome.is_confirmed(), "{:#?}", outcome),
            }
        }
        let repaired = with_status(&mirrored, &[Status::Copied, Status::Repaired]);
        prop_assert_eq!(repaired.is_empty(), level == Level::Bytes);
        if matches!(damage, Damage::RemoveBlob(_) | Damage::AlterBlob(..)) {
            let copied = with_status(&mirrored, &[Status::Copied]);
            prop_assert!(copied.is_empty(), "the tag was right before");
        }
        if level != Level::Bytes {
            world.assert_complete();
            let sides = world.destination.history();
            let written = sides.writes();
            prop_assert!(written.iter().all(|entry| entry.side == Side::Destination && entry.repository == repository));
        }
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn one_run_repairs_all_damage_that_its_level_detects(world in world(), damages in vec(any::<Index>(), 1..8)) {
        let all = Damage::all(&world);
        for damage in damages {
            let (repository, damage) = damage.get(&all);
            // A blob that was lengthened, then shortened, has the right size again.
            if damage.level() <= Level::Blobs && !matches!(damage, Damage::AlterBlob(_, WrongBytes::Short)) {
                world.destination.edit(repository, |contents| damage.apply(contents));
            }
        }
        mirror_all(&world, Level::Blobs);
        world.assert_complete();
        world.destination.clear_history();
        let second = mirror_all(&world, Level::Bytes);
        prop_assert_eq!(with_status(&second, &[Status::UpToDate]).len(), second.len());
    }
}

/// A bug found by the property test: the damaged config ended the survey, so the problem was neither reported nor
/// repaired.
#[test]
fn a_platform_config_of_the_wrong_size_is_reported_and_repaired() {
    let config_only =
        Node::Image { config: 1, layers: vec![1], listed: Listed::Bare, format: Format::Oci, sha512: false };
    let world = World::new(Spec {
        nodes: vec![config_only],
        images: vec![ImageSpec { root: 0, from: 0, to: 0, pinned: false }],
        presets: Vec::new(),
        same_registry: false,
        mounts: true,
        jobs: 1,
        seed: 1,
    });
    mirror_all(&world, Level::Platforms);
    let image = &world.images[0];
    let config = &image.learned_from[0];
    world.destination.edit(&image.mapping.repository, |contents| {
        Damage::AlterBlob(config.clone(), WrongBytes::Long).apply(contents);
    });
    let outcome = &verify(&world, Level::Blobs)[0];
    assert_eq!((outcome.status, &outcome.failure), (Status::Different, &None));
    assert_eq!(names(&outcome.problems), [format!("wrong size {config}")]);
    assert_eq!(mirror_all(&world, Level::Blobs)[0].outcome.status, Status::Repaired);
    world.assert_complete();
}
