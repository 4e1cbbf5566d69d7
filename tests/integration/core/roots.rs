//! Which root is copied: of a tag that moves, that is missing, or that two images share.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use thoras_mirror::{
    event::Silent,
    oci::{Digest, Mapping},
    outcome::{Mirrored, Status},
    pipeline::{self, Level, Options},
    problem::Side,
};

use super::{options, run, world::World};
use crate::support::memory_registry::{
    Act,
    faults::{Effect, Fault, Gate},
};

async fn mirror(world: &World, mappings: Vec<Mapping>, options: Options) -> Vec<Mirrored> {
    let (source, destination) = (Arc::new(world.source.clone()), Arc::new(world.destination.clone()));
    pipeline::mirror(source, destination, mappings, options, Arc::new(Silent)).await
}

fn defaults() -> Options {
    options(Level::Platforms, 1)
}

/// The digest is learned first, because the destination has an image. Its manifest is gone when it is read.
#[test]
fn a_tag_that_moves_while_it_is_read_is_read_again() {
    let world = World::of_layers(&[&[8], &[8, 1], &[8, 2]]);
    let mapping = world.images[0].mapping.clone();
    let [second, third]: [Digest; 2] = [world.images[1].root.clone(), world.images[2].root.clone()];
    let name = |root: &Digest| {
        world.source.edit(mapping.source.repository(), |contents| {
            contents.tags.insert(mapping.source.tag().unwrap().to_owned(), root.clone());
        });
    };
    run(mirror(&world, vec![mapping.clone()], defaults()));
    name(&second);
    let gate = Gate::closed();
    let held = Fault::always(Side::Source, Act::ReadManifest, &second, Effect::Hold(gate.clone()));
    world.source.plan(held.times(1));
    let mirrored = run(async {
        let moving = async {
            gate.reached().await;
            name(&third);
            world.source.edit(mapping.source.repository(), |contents| contents.manifests.remove(&second));
            gate.open();
        };
        tokio::join!(mirror(&world, vec![mapping.clone()], defaults()), moving).0
    });
    assert_eq!((mirrored[0].outcome.status, &mirrored[0].outcome.digest), (Status::Copied, &Some(third)));
}

#[test]
fn a_missing_image_is_asked_for_once_and_skipped_only_if_it_is_optional_and_not_strict() {
    for (is_optional, strict) in [(true, false), (true, true), (false, false), (false, true)] {
        let world = World::of_layers(&[&[8]]);
        let mapping = &world.images[0].mapping;
        world.source.edit(mapping.source.repository(), |contents| contents.tags.clear());
        let optional: BTreeSet<_> = is_optional.then(|| mapping.source.clone()).into_iter().collect();
        let outcome = run(mirror(&world, world.mappings(), Options { optional, strict, ..defaults() }))
            .remove(0)
            .outcome;
        let is_skipped = is_optional && !strict;
        assert_eq!(outcome.status, if is_skipped { Status::SkippedOptional } else { Status::Failed });
        assert_eq!(outcome.failure.is_some(), !is_skipped);
        if let Some(because) = outcome.skipped_because {
            assert!(
                because.causes.iter().any(|cause| cause.contains(mapping.source.repository().path())),
                "{because:?}"
            );
        }
        assert_eq!(world.source.history().of(Side::Source, Act::ReadManifest).count(), 1);
    }
}

#[test]
fn two_images_with_one_tag_must_have_one_digest() {
    let statuses = |roots: [&[u8]; 2], second_is_optional: bool| {
        let world = World::of_layers(&roots);
        let mut mappings = world.mappings();
        mappings[1].tag = mappings[0].tag.clone();
        let optional = second_is_optional.then(|| mappings[1].source.clone()).into_iter().collect();
        let mirrored = run(mirror(&world, mappings, Options { optional, ..defaults() }));
        mirrored.iter().map(|image| image.outcome.is_confirmed()).collect::<Vec<_>>()
    };
    assert_eq!(statuses([&[8], &[8, 1]], false), [false, false]);
    assert_eq!(statuses([&[8], &[8, 1]], true), [true, false], "an optional image fails no other one");
    assert_eq!(statuses([&[8], &[8]], false), [true, true]);
}

#[test]
fn a_tag_that_names_another_image_stays_unless_it_may_be_overwritten() {
    for overwrite in [true, false] {
        let world = World::of_layers(&[&[8], &[8, 1]]);
        let [old, new] = [0, 1].map(|at| world.images[at].root.clone());
        let first = &world.images[0].mapping;
        let second = Mapping { tag: first.tag.clone(), ..world.images[1].mapping.clone() };
        run(mirror(&world, vec![first.clone()], defaults()));
        let outcome =
            run(mirror(&world, vec![second], Options { overwrite, ..defaults() })).remove(0).outcome;
        let named = world.destination.edit(&first.repository, |contents| contents.tags[&first.tag].clone());
        assert_eq!(named, if overwrite { new } else { old.clone() });
        assert_eq!(outcome.is_confirmed(), overwrite);
        assert_eq!(outcome.moved_from, overwrite.then_some(old));
    }
}

/// Otherwise the source is asked afterwards, because it need not send what the destination has.
#[test]
fn a_new_destination_is_asked_at_the_same_time_as_the_source() {
    for (new_destination, expected) in [(true, 1), (false, 0)] {
        let world = World::of_layers(&[&[8]]);
        let gate = Gate::closed();
        let tag = &world.images[0].mapping.tag;
        let held = Fault::always(Side::Destination, Act::ReadManifest, tag, Effect::Hold(gate.clone()));
        world.destination.plan(held.times(1));
        let read = || world.source.history().of(Side::Source, Act::ReadManifest).count();
        let waiting = async {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let read = read();
            gate.open();
            read
        };
        let options = Options { new_destination, ..defaults() };
        let (mirrored, before) =
            run(async { tokio::join!(mirror(&world, world.mappings(), options.clone()), waiting) });
        assert_eq!(before, expected);
        assert_eq!((mirrored[0].outcome.status, read()), (Status::Copied, 1), "in all");
        world.source.clear_history();
        let again = run(mirror(&world, world.mappings(), options));
        assert_eq!(again[0].outcome.status, Status::UpToDate);
        assert_eq!(read(), expected, "a wrong expectation costs one request and no failure");
    }
}
