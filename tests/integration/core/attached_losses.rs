//! Attached manifests that are large, that get lost, or that are not copied.

use thoras_mirror::{
    oci::Digest,
    pipeline::Level,
    problem::{Problem, Side},
};

use super::{
    attached::{assert_idle, verify_recorded},
    mirror, mirror_all, mirror_with_warnings, options,
    referrers::{BUNDLE, attach_to, tag_to, two_tags},
    run,
};
use crate::support::memory_registry::{
    Act,
    faults::{Effect, Fault},
};

/// A manifest of more than 64 KiB is not kept in memory until it is pushed.
#[test]
fn a_large_attached_manifest_arrives_whole() {
    let world = two_tags();
    let entry = "x".repeat(70_000);
    let large = world.at_source(|contents, root| tag_to(contents, root, "sig", &[&entry]));
    let mirrored = mirror_all(&world, Level::Blobs);
    let arrived = world.at_destination(|contents, _| contents.manifests.get(&large).cloned());
    assert!(arrived.is_some_and(|(_, bytes)| bytes.len() > 70_000));
    assert_idle(&world);
    world.at_destination(|contents, root| tag_to(contents, root, "sig", &[&entry, "mirror"]));
    for outcome in verify_recorded(&world, &mirrored) {
        assert_eq!(outcome.problems, [], "the tag has all entries, and one of the mirror's own");
    }
}

#[test]
fn a_signature_that_the_destination_loses_fails_the_image() {
    let world = two_tags();
    let signature = world.at_source(|contents, root| attach_to(contents, root, BUNDLE, "signature"));
    world.destination.plan(Fault::always(Side::Destination, Act::PutManifest, &signature, Effect::Forget));
    for image in run(mirror(&world, options(Level::Platforms, 1))) {
        let [Problem::MissingAttachment { digest, .. }] = image.outcome.problems.as_slice() else {
            panic!("{:?}", image.outcome)
        };
        assert_eq!(*digest, signature);
    }
}

#[test]
fn a_warning_says_what_is_listed_but_not_copied() {
    let world = two_tags();
    let foreign = world.at_source(|contents, root| {
        let foreign = attach_to(contents, &Digest::sha256(b"another"), BUNDLE, "foreign");
        contents.falsely_listed.insert(root.clone(), vec![foreign.clone()]);
        foreign
    });
    let (_, warnings) = mirror_with_warnings(&world, options(Level::Platforms, 1));
    assert_eq!(warnings.len(), world.images.len(), "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.contains(foreign.as_str())), "{warnings:?}");
}
