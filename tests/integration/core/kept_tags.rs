//! Tags of cosign's older format at the destination that have entries of their own: nothing there is lost.

use thoras_mirror::{
    oci::Digest,
    outcome::Status,
    pipeline::{Level, Options},
    problem::{Problem, Side},
};

use super::{
    attached::{assert_idle, verify_recorded},
    mirror, mirror_all, options,
    referrers::{tag_of, tag_to, two_tags},
    run,
    world::World,
};
use crate::support::memory_registry::Act;

fn older_tag(world: &World, suffix: &str) -> Option<Digest> {
    world.at_destination(|contents, root| contents.tags.get(&tag_of(root, suffix)).cloned())
}

#[test]
fn a_countersigned_tag_is_kept_and_reported_and_a_later_run_is_idle() {
    let world = two_tags();
    world.at_source(|contents, root| tag_to(contents, root, "sig", &["vendor"]));
    let own = world.at_destination(|contents, root| tag_to(contents, root, "sig", &["vendor", "mirror"]));
    let mirrored = mirror_all(&world, Level::Platforms);
    assert_eq!(older_tag(&world, "sig"), Some(own.clone()));
    let [kept] = mirrored[0].outcome.kept_tags.as_slice() else { panic!("{:?}", mirrored[0].outcome) };
    assert_eq!((&kept.digest, kept.entries), (&own, 1));
    assert_idle(&world);
    for outcome in verify_recorded(&world, &mirrored) {
        assert_eq!(outcome.problems, []);
    }
}

/// Another manifest with the same entries has nothing that the source lacks.
#[test]
fn a_tag_with_the_same_entries_in_another_manifest_is_kept_but_not_reported() {
    let world = two_tags();
    world.at_source(|contents, root| tag_to(contents, root, "sig", &["first", "second"]));
    let own = world.at_destination(|contents, root| tag_to(contents, root, "sig", &["second", "first"]));
    let mirrored = mirror_all(&world, Level::Platforms);
    assert_eq!(older_tag(&world, "sig"), Some(own));
    assert_eq!(mirrored[0].outcome.kept_tags, []);
    assert_idle(&world);
}

#[test]
fn an_older_state_of_a_tag_is_replaced_even_without_overwriting() {
    let world = two_tags();
    world.at_destination(|contents, root| tag_to(contents, root, "att", &["first"]));
    let new = world.at_source(|contents, root| tag_to(contents, root, "att", &["first", "second"]));
    let mirrored = run(mirror(&world, Options { overwrite: false, ..options(Level::Platforms, 3) }));
    assert!(mirrored.iter().all(|image| image.outcome.is_confirmed()), "{:?}", mirrored[0].outcome);
    assert_eq!(older_tag(&world, "att"), Some(new));
}

#[test]
fn an_sbom_is_replaced_although_the_destination_has_another() {
    let world = two_tags();
    world.at_destination(|contents, root| tag_to(contents, root, "sbom", &["old"]));
    let new = world.at_source(|contents, root| tag_to(contents, root, "sbom", &["new"]));
    mirror_all(&world, Level::Platforms);
    assert_eq!(older_tag(&world, "sbom"), Some(new));
}

#[test]
fn a_missing_manifest_whose_tag_names_another_is_asked_for_once_by_each_image() {
    let world = two_tags();
    let vendor = world.at_source(|contents, root| tag_to(contents, root, "sig", &["vendor"]));
    let mirrored = mirror_all(&world, Level::Platforms);
    world.at_destination(|contents, root| {
        contents.manifests.remove(&vendor);
        tag_to(contents, root, "sig", &["mirror"])
    });
    world.destination.clear_history();
    let outcomes = verify_recorded(&world, &mirrored);
    assert!(outcomes.iter().all(|outcome| outcome.status == Status::Different), "{outcomes:?}");
    let history = world.destination.history();
    let asked = history.of(Side::Destination, Act::ReadManifest).filter(|read| read.what == vendor.as_str());
    assert_eq!(asked.count(), outcomes.len());
}

#[test]
fn a_tag_that_would_lose_entries_is_kept_and_no_image_is_tagged() {
    let world = two_tags();
    world.at_source(|contents, root| tag_to(contents, root, "sig", &["both", "vendor"]));
    let own = world.at_destination(|contents, root| tag_to(contents, root, "sig", &["both", "mirror"]));
    let mirrored = run(mirror(&world, options(Level::Platforms, 3)));
    for image in &mirrored {
        assert_eq!(image.outcome.status, Status::Failed);
        assert!(matches!(image.outcome.problems.as_slice(), [Problem::DivergedAttachment { .. }]));
    }
    assert_eq!(older_tag(&world, "sig"), Some(own));
    assert_eq!(world.at_destination(|contents, _| contents.tags.len()), 1);
}
