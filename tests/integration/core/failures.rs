//! One image fails, the others do not.

use std::time::Duration;

use proptest::{prelude::*, sample::Index};
use thoras_mirror::{
    error::Kind,
    oci::{Digest, Repository},
    outcome::{Mirrored, Status},
    pipeline::{Level, Options},
    problem::{Problem, Side},
};

use super::{
    cases,
    generate::{Spec, empty_world, spec, world},
    mirror, mirror_all, options, run,
    world::{Image, World, layer},
};
use crate::support::memory_registry::{
    Act, Answer,
    faults::{Effect, Fault, Gate, WrongBytes},
};

/// A world whose source and destination have nothing in common.
pub(super) fn separate_world() -> impl Strategy<Value = World> {
    spec(0).prop_map(|spec| World::new(Spec { same_registry: false, ..spec }))
}

/// A blob that some image needs, and the repository that needs it.
pub(super) fn victim(world: &World, index: Index) -> Option<(Digest, Repository)> {
    let needed: Vec<_> = world.needed().into_iter().collect();
    (!needed.is_empty()).then(|| index.get(&needed).clone())
}

pub(super) fn try_all(world: &World) -> Vec<Mirrored> {
    let mirrored = run(mirror(world, options(Level::Platforms, world.jobs)));
    world.destination.history().assert_children_first();
    mirrored
}

/// How often a blob was committed or mounted in a repository.
fn arrivals(world: &World, repository: &Repository, digest: &Digest) -> usize {
    let history = world.destination.history();
    let arrivals = history.commits.iter().chain(&history.mounts);
    arrivals.filter(|arrival| (&arrival.0, &arrival.1) == (repository, digest)).count()
}

/// Asserts that exactly the images that `fails` selects failed, with an error of this kind that names the victim, and
/// that they are not tagged.
pub(super) fn assert_failed(
    world: &World,
    mirrored: &[Mirrored],
    (victim, kind): (&Digest, Kind),
    fails: impl Fn(&Image) -> bool,
) {
    for (image, mirrored) in world.images.iter().zip(mirrored) {
        let tag = world
            .destination
            .edit(&image.mapping.repository, |contents| contents.tags.get(&image.mapping.tag).cloned());
        let outcome = &mirrored.outcome;
        if !fails(image) {
            assert!(outcome.is_confirmed(), "{outcome:#?}");
            assert_eq!(tag.as_ref(), Some(&image.root));
            continue;
        }
        assert_eq!((outcome.status, tag), (Status::Failed, None));
        let failure = outcome.failure.as_ref().unwrap();
        assert!(failure.message.contains(victim.as_str()), "{failure:?}");
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}

/// Asserts that the next run, without faults, completes everything.
pub(super) fn assert_converges(world: &World) {
    world.destination.clear_history();
    world.source.clear_history();
    mirror_all(world, Level::Platforms);
    world.destination.history().assert_children_first();
    world.assert_complete();
}

pub(super) fn wrong_bytes() -> impl Strategy<Value = WrongBytes> {
    prop::sample::select(vec![WrongBytes::Wrong, WrongBytes::Short, WrongBytes::Long])
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn a_blob_missing_at_the_source_fails_only_the_images_that_need_it(
        world in empty_world(),
        index in any::<Index>(),
    ) {
        let Some((lost, _)) = victim(&world, index) else { return Ok(()) };
        let mut copies = Vec::new();
        for image in &world.images {
            let source = image.mapping.source.repository();
            let bytes = world.source.edit(source, |contents| contents.blobs.remove(&lost));
            copies.push((source.clone(), bytes));
        }
        let mirrored = try_all(&world);
        assert_failed(&world, &mirrored, (&lost, Kind::Image), |image| image.blobs.contains_key(&lost));
        for (repository, bytes) in copies {
            world.source.edit(&repository, |contents| {
                contents.blobs.extend(bytes.map(|bytes| (lost.clone(), bytes)));
            });
        }
        assert_converges(&world);
    }

    #[test]
    fn a_blob_missing_in_one_source_repository_is_copied_from_another(
        world in separate_world(),
        index in any::<Index>(),
        from in any::<Index>(),
    ) {
        let Some((lost, _)) = victim(&world, index) else { return Ok(()) };
        let loser = from.get(&world.images).mapping.source.repository().clone();
        world.source.edit(&loser, |contents| contents.blobs.remove(&lost));
        let mirrored = try_all(&world);
        let suffers = |image: &Image| {
            image.mapping.source.repository() == &loser && image.blobs.contains_key(&lost)
        };
        let is_elsewhere = world.images.iter().any(|image| image.blobs.contains_key(&lost) && !suffers(image));
        for (image, mirrored) in world.images.iter().zip(&mirrored) {
            let outcome = &mirrored.outcome;
            prop_assert!(outcome.is_confirmed() || suffers(image), "{:#?}", outcome);
            prop_assert!(!outcome.is_confirmed() || !suffers(image) || is_elsewhere, "{:#?}", outcome);
        }
    }

    #[test]
    fn a_blob_refused_by_one_repository_fails_only_its_images(world in empty_world(), index in any::<Index>()) {
        let Some((refused, repository)) = victim(&world, index) else { return Ok(()) };
        let fault = Fault::always(Side::Destination, Act::BeginBlob, &refused, Effect::Refuse);
        world.destination.plan(fault.in_repository(&repository));
        let mirrored = try_all(&world);
        assert_failed(&world, &mirrored, (&refused, Kind::Authentication), |image| {
            image.mapping.repository == repository && image.blobs.contains_key(&refused)
        });
        assert_converges(&world);
    }

    #[test]
    fn a_blob_that_is_refused_once_fails_one_image_and_another_takes_over(
        world in empty_world(),
        index in any::<Index>(),
    ) {
        let Some((refused, repository)) = victim(&world, index) else { return Ok(()) };
        let fault = Fault::always(Side::Destination, Act::BeginBlob, &refused, Effect::Refuse);
        world.destination.plan(fault.times(1).in_repository(&repository));
        let mirrored = try_all(&world);
        let failed: Vec<_> = mirrored.iter().filter(|image| image.outcome.status == Status::Failed).collect();
        prop_assert_eq!(failed.len(), 1);
        prop_assert_eq!(failed[0].outcome.failure.as_ref().unwrap().kind, Kind::Authentication);
        let confirmed = mirrored.iter().filter(|image| image.outcome.is_confirmed()).count();
        prop_assert_eq!(confirmed, mirrored.len() - 1);
        prop_assert!(arrivals(&world, &repository, &refused) <= 1, "one image takes over");
        assert_converges(&world);
    }

    #[test]
    fn broken_transfers_are_retried_and_resumed(
        world in separate_world(),
        index in any::<Index>(),
        effect in prop_oneof![
            (0_usize..400).prop_map(Effect::BreakAfter),
            Just(Effect::Break),
            wrong_bytes().prop_map(Effect::WrongBytes),
        ],
        at_the_source in any::<bool>(),
        times in 1_usize..5,
    ) {
        let Some((victim, repository)) = victim(&world, index) else { return Ok(()) };
        // Learning a platform is not retried here: a registry's client does that.
        prop_assume!(world.images.iter().all(|image| image.learns_from(victim.as_str()) == 0));
        let fault = match effect {
            Effect::Break if !at_the_source => Fault::always(Side::Destination, Act::CommitBlob, &victim, effect),
            // Wrong bytes are read again exactly once.
            Effect::WrongBytes(_) => Fault::always(Side::Source, Act::OpenBlob, &victim, effect).times(1),
            effect => Fault::always(Side::Source, Act::OpenBlob, &victim, effect),
        };
        let times = times.min(fault.times);
        let fault = fault.times(times);
        world.destination.plan(Fault { repository: None, ..fault.clone() });
        world.source.plan(fault);
        let mirrored = try_all(&world);
        for mirrored in &mirrored {
            prop_assert!(mirrored.outcome.is_confirmed(), "{:#?}", mirrored.outcome);
        }
        prop_assert_eq!(arrivals(&world, &repository, &victim), 1);
        world.assert_complete();
    }

    #[test]
    fn a_transfer_that_always_breaks_fails_eventually(world in separate_world(), index in any::<Index>()) {
        let Some((victim, _)) = victim(&world, index) else { return Ok(()) };
        world.destination.plan(Fault::always(Side::Destination, Act::CommitBlob, &victim, Effect::Break));
        let mirrored = try_all(&world);
        assert_failed(&world, &mirrored, (&victim, Kind::Image), |image| image.blobs.contains_key(&victim));
        assert_converges(&world);
    }

    #[test]
    fn a_blob_that_the_destination_loses_once_is_uploaded_again(spec in spec(0), index in any::<Index>()) {
        let world = World::new(Spec { mounts: false, same_registry: false, ..spec });
        let Some((lost, repository)) = victim(&world, index) else { return Ok(()) };
        let fault = Fault::always(Side::Destination, Act::CommitBlob, &lost, Effect::Forget);
        world.destination.plan(fault.times(1).in_repository(&repository));
        mirror_all(&world, Level::Blobs);
        let history = world.destination.history();
        prop_assert!(!history.refused.is_empty(), "its manifest was refused at first");
        prop_assert_eq!(&history.incomplete_tags, &[""; 0]);
        prop_assert_eq!(arrivals(&world, &repository, &lost), 2, "once lost, once restored");
        world.assert_complete();
    }

    #[test]
    fn a_destination_that_loses_content_is_detected(world in separate_world(), index in any::<Index>()) {
        world.destination.accept_incomplete_manifests();
        let things: Vec<(Repository, String)> = world.images.iter().flat_map(|image| {
            // A manifest that is also a root is stored under its tag.
            let is_root = |digest: &Digest| world.images.iter().any(|image| image.root == *digest);
            let manifests = image.manifests.keys().filter(|digest| !is_root(digest)).map(ToString::to_string);
            let things = manifests.chain(image.blobs.keys().map(ToString::to_string)).chain([image.mapping.tag.clone()]);
            things.map(|thing| (image.mapping.repository.clone(), thing)).collect::<Vec<_>>()
        }).collect();
        let (repository, forgotten) = index.get(&things);
        for act in [Act::BeginBlob, Act::CommitBlob, Act::PutManifest] {
            let fault = Fault::always(Side::Destination, act, forgotten, Effect::Forget);
            world.destination.plan(fault.in_repository(repository));
        }
        let mirrored = run(mirror(&world, options(Level::Blobs, world.jobs)));
        for (image, mirrored) in world.images.iter().zip(&mirrored) {
            let digests = image.manifests.keys().chain(image.blobs.keys());
            let has_it = digests.map(Digest::as_str).chain([image.mapping.tag.as_str()]).any(|thing| thing == forgotten);
            let suffers = has_it && image.mapping.repository == *repository;
            let outcome = &mirrored.outcome;
            prop_assert_eq!(outcome.is_confirmed(), !suffers, "{:#?}", outcome);
            let named = outcome.problems.iter().any(|problem| match problem {
                Problem::MissingTag => *forgotten == image.mapping.tag,
                Problem::MissingManifest { digest, .. } | Problem::MissingBlob { digest, .. } => digest.as_str() == forgotten,
                _ => false,
            });
            prop_assert_eq!(named, suffers, "{:#?}", outcome);
        }
    }

    #[test]
    fn fail_fast_starts_nothing_after_a_failure(world in world(), index in any::<Index>()) {
        let at = index.index(world.images.len());
        let image = &world.images[at];
        world.destination.plan(
            Fault::always(Side::Destination, Act::ReadManifest, &image.mapping.tag, Effect::Refuse)
                .in_repository(&image.mapping.repository),
        );
        let mirrored = run(mirror(&world, Options { fail_fast: true, ..options(Level::Platforms, world.jobs) }));
        prop_assert_eq!(mirrored[at].outcome.status, Status::Failed);
        for (image, mirrored) in world.images.iter().zip(&mirrored) {
            let history = world.destination.history();
            let tagged = history.of(Side::Destination, Act::PutManifest).any(|put| {
                (&put.repository, &put.what) == (&image.mapping.repository, &image.mapping.tag) && put.answer == Answer::Stored
            });
            match mirrored.outcome.status {
                Status::Failed | Status::Skipped | Status::UpToDate => prop_assert!(!tagged),
                _ => prop_assert!(tagged),
            }
        }
    }
}

#[test]
fn manifests_refused_at_once_for_one_lost_blob_both_succeed() {
    let world = World::of_layers(&[&[8], &[8, 1]]);
    let (layer, _) = layer(8);
    let fault = Fault::always(Side::Destination, Act::CommitBlob, &layer, Effect::Forget);
    world.destination.plan(fault.times(1));
    mirror_all(&world, Level::Platforms);
    let history = world.destination.history();
    assert_eq!((history.refused.len(), history.incomplete_tags.len()), (2, 0));
    assert_eq!(arrivals(&world, &world.images[0].mapping.repository, &layer), 2, "once lost, once restored");
    world.assert_complete();
}

#[test]
fn a_manifest_that_is_refused_for_another_reason_than_missing_content_is_pushed_once() {
    let world = World::of_layers(&[&[8]]);
    let tag = &world.images[0].mapping.tag;
    world.destination.plan(Fault::always(Side::Destination, Act::PutManifest, tag, Effect::Refuse));
    let mirrored = try_all(&world);
    assert_eq!(mirrored[0].outcome.status, Status::Failed);
    let history = world.destination.history();
    assert_eq!(history.of(Side::Destination, Act::PutManifest).count(), 1);
    assert_eq!(history.of(Side::Destination, Act::LookForBlob).count(), 0, "nothing was lost");
}

#[test]
fn a_transfer_that_makes_progress_is_retried_beyond_the_attempt_limit() {
    let world = World::of_layers(&[&[8]]);
    let (layer, _) = layer(8);
    let breaking = Fault::always(Side::Source, Act::OpenBlob, &layer, Effect::BreakAfter(350));
    world.source.plan(breaking.times(20));
    let mirrored = try_all(&world);
    assert!(mirrored[0].outcome.is_confirmed(), "{:#?}", mirrored[0].outcome);
    let opened = world.source.history().opened(Side::Source)[layer.as_str()];
    assert!(opened > 5, "opened only {opened} times");
    world.assert_complete();
}

#[test]
fn an_image_not_yet_planned_when_another_fails_is_skipped() {
    let world = World::of_layers(&[&[1], &[2]]);
    let gate = Gate::closed();
    let fault = |image: usize, effect| {
        Fault::always(Side::Destination, Act::ReadManifest, &world.images[image].mapping.tag, effect)
    };
    world.destination.plan(fault(0, Effect::Refuse));
    world.destination.plan(fault(1, Effect::Hold(gate.clone())));
    let mirrored = run(async {
        let opening = async {
            gate.reached().await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            gate.open();
        };
        let options = Options { fail_fast: true, ..options(Level::Platforms, 1) };
        tokio::join!(mirror(&world, options), opening).0
    });
    let statuses: Vec<Status> = mirrored.iter().map(|image| image.outcome.status).collect();
    assert_eq!(statuses, [Status::Failed, Status::Skipped]);
    assert!(world.destination.history().writes().is_empty());
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn copied_bytes_equal_committed_bytes_even_when_images_fail(
        world in world(),
        index in any::<Index>(),
        act in prop::sample::select(vec![Act::BeginBlob, Act::CommitBlob, Act::PutManifest]),
        times in 1_usize..4,
    ) {
        let refusals: Vec<_> = world.images.iter().flat_map(|image| {
            let digests = if act == Act::PutManifest { &image.manifests } else { &image.blobs };
            let whats = digests.keys().map(ToString::to_string).chain([image.mapping.tag.clone()]);
            whats.map(|what| (image.mapping.repository.clone(), what)).collect::<Vec<_>>()
        }).collect();
        let (repository, what) = index.get(&refusals);
        let fault = Fault::always(Side::Destination, act, what, Effect::Refuse);
        world.destination.plan(fault.in_repository(repository).times(times));
        let mirrored = try_all(&world);
        let sum = |of: fn(&Mirrored) -> u64| mirrored.iter().map(of).sum::<u64>();
        let history = world.destination.history();
        prop_assert_eq!(sum(|image| image.outcome.bytes.copied), history.committed_bytes());
        prop_assert_eq!(sum(|image| image.outcome.bytes.mounted), history.mounted_bytes());
        for (image, mirrored) in world.images.iter().zip(&mirrored) {
            let bytes = mirrored.outcome.bytes;
            let sum = bytes.copied + bytes.mounted + bytes.present;
            prop_assert!(sum <= image.blob_bytes(), "{:?}", bytes);
            prop_assert!(!mirrored.outcome.is_confirmed() || sum == image.blob_bytes(), "{:?}", bytes);
        }
    }
}
