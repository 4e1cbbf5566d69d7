//! Attachments of images: each comes after its subject and before the tag, once, and only if it is wanted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;
use thoras_mirror::{
    event::Silent,
    graph::{AttachedCounts, ReferrerSelection, Referrers},
    oci::{Digest, Repository},
    outcome::{ImageOutcome, Mirrored, Status},
    pipeline::{self, Expectation, Level, Options},
    problem::Side,
};

use super::{
    cases,
    generate::{Spec, world},
    mirror, mirror_all, mirror_with_warnings, options,
    referrers::{BUNDLE, SUFFIXES, attach_to, store, tag_of, tag_to, two_tags},
    run, verify,
    world::World,
};
use crate::support::memory_registry::{Act, Answer, Contents, faults::Death};

/// What to attach to which manifest of which image.
#[derive(Debug, Clone)]
struct Attach {
    image: Index,
    subject: Index,
    how: u8,
}

fn attach() -> impl Strategy<Value = Attach> {
    (any::<Index>(), any::<Index>(), 0_u8..5).prop_map(|(image, subject, how)| Attach { image, subject, how })
}

/// Attaches manifests to those of the images, and to earlier attachments.
fn attach_all(world: &World, attached: &[Attach]) {
    let mut by_repository: BTreeMap<Repository, Vec<Digest>> = BTreeMap::new();
    for (number, Attach { image, subject, how }) in attached.iter().enumerate() {
        let image = image.get(&world.images);
        let repository = image.mapping.source.repository();
        let made = by_repository.entry(repository.clone()).or_default();
        let subjects: Vec<Digest> = image.manifests.keys().chain(made.iter()).cloned().collect();
        let subject = subject.get(&subjects);
        let digest = world.source.edit(repository, |contents| match SUFFIXES.get(usize::from(*how)) {
            // The same in every repository: several may go to one.
            Some(suffix) => tag_to(contents, subject, suffix, &[&format!("{suffix} of {subject}")]),
            None => attach_to(contents, subject, BUNDLE, &format!("{number}")),
        });
        made.push(digest);
    }
}

/// What must be at the destination of an image: by its subject and the tag that attaches it, if any.
fn expected(world: &World, position: usize) -> BTreeSet<(Digest, Option<String>, Digest)> {
    let image = &world.images[position];
    let source = world.source.edit(image.mapping.source.repository(), |contents| contents.clone());
    reachable(&source, image.manifests.keys().cloned().collect())
}

fn reachable(contents: &Contents, mut queue: Vec<Digest>) -> BTreeSet<(Digest, Option<String>, Digest)> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    while let Some(subject) = queue.pop() {
        if !seen.insert(subject.clone()) {
            continue;
        }
        for attachment in contents.attachments(&subject) {
            let tag = match attachment.link {
                thoras_mirror::oci::Link::Tag(tag) => Some(tag),
                thoras_mirror::oci::Link::Subject => None,
            };
            queue.push(attachment.descriptor.digest.clone());
            found.insert((subject.clone(), tag, attachment.descriptor.digest));
        }
    }
    found
}

/// Asserts that every tag of an image names it with all its attachments, byte for byte.
fn assert_attached_below_tags(world: &World) {
    for (position, image) in world.images.iter().enumerate() {
        let contents = world.destination.edit(&image.mapping.repository, |contents| contents.clone());
        if contents.tags.get(&image.mapping.tag) != Some(&image.root) {
            continue;
        }
        let there = reachable(&contents, image.manifests.keys().cloned().collect());
        let expected = expected(world, position);
        let lacking: Vec<_> = expected.difference(&there).collect();
        assert!(lacking.is_empty(), "{} is tagged before {lacking:?}", image.mapping.destination());
        for (_, _, digest) in &expected {
            assert_eq!(contents.missing_below(digest), BTreeSet::new());
        }
    }
}

/// Worlds whose images come under their tags only from this program.
fn untagged(mut spec: Spec) -> Spec {
    spec.presets.clear();
    spec.same_registry = false;
    spec
}

pub(super) fn assert_idle(world: &World) {
    world.destination.clear_history();
    world.source.clear_history();
    let mirrored = mirror_all(world, Level::Platforms);
    let statuses: Vec<Status> = mirrored.iter().map(|image| image.outcome.status).collect();
    assert!(statuses.iter().all(|status| *status == Status::UpToDate), "{statuses:?}");
    let new = mirrored.iter().map(|image| image.outcome.attached_new);
    assert!(new.clone().all(|new| new == AttachedCounts::default()), "{:?}", new.collect::<Vec<_>>());
    assert_eq!(world.destination.history().writes(), Vec::<&crate::support::memory_registry::Entry>::new());
    let read = world.source.history().of(Side::Source, Act::ReadManifest).count();
    assert_eq!(read, 0, "everything is read from the destination");
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn no_tag_comes_before_what_is_attached_and_the_next_runs_converge(
        world in world(),
        attached in vec(attach(), 0..8),
        ends in vec((any::<Index>(), any::<bool>()), 0..5),
    ) {
        let spec = untagged(world.spec.clone());
        let operations = {
            let world = World::new(spec.clone());
            attach_all(&world, &attached);
            mirror_all(&world, Level::Platforms);
            world.destination.operations()
        };
        let world = World::new(spec);
        attach_all(&world, &attached);
        for (end, killed) in ends {
            world.destination.clear_history();
            world.destination.end_at(end.index(operations), if killed { Death::Killed } else { Death::Denied });
            run(async {
                tokio::select! {
                    _ = mirror(&world, options(Level::Platforms, world.jobs)) => {}
                    () = world.destination.killed() => {}
                }
            });
            world.destination.history().assert_children_first();
            assert_attached_below_tags(&world);
        }
        world.destination.clear_history();
        mirror_all(&world, Level::Platforms);
        let history = world.destination.history();
        history.assert_children_first();
        let mut commits: Vec<_> = history.commits.iter().collect();
        let all = commits.len();
        commits.sort();
        commits.dedup();
        prop_assert_eq!(commits.len(), all, "each blob once");
        world.assert_complete();
        assert_attached_below_tags(&world);
        assert_idle(&world);
    }
}

fn puts(world: &World, what: &str) -> usize {
    let history = world.destination.history();
    history.of(Side::Destination, Act::PutManifest).filter(|put| put.what == what).count()
}

#[test]
fn what_is_attached_to_two_tags_moves_once_and_the_root_comes_by_digest_first() {
    let world = two_tags();
    let signature = world.at_source(|contents, root| attach_to(contents, root, BUNDLE, "signature"));
    let of_signature = world.at_source(|contents, _| attach_to(contents, &signature, BUNDLE, "timestamp"));
    let cosign_tag = world.at_source(|contents, root| {
        tag_to(contents, root, "sig", &["older"]);
        tag_of(root, "sig")
    });
    let mirrored = mirror_all(&world, Level::Platforms);
    let counts = AttachedCounts { signatures: 3, ..AttachedCounts::default() };
    assert!(mirrored.iter().all(|image| image.outcome.attached == counts), "{mirrored:?}");
    for what in [signature.as_str(), of_signature.as_str(), &cosign_tag, world.images[0].root.as_str()] {
        assert_eq!(puts(&world, what), 1, "{what}");
    }
    let stored = world.destination.history().stored();
    let at = |what: &str| stored.iter().position(|stored| stored == what).unwrap();
    let wanted =
        [world.images[0].root.as_str(), signature.as_str(), of_signature.as_str(), &cosign_tag, "t0"];
    assert!(wanted.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{stored:?}");
    assert_idle(&world);
}

/// More blobs than one image starts at once, in two tags of one repository: the second waits for those of the first.
#[test]
fn hundreds_of_attached_blobs_arrive_once_although_few_are_started_at_once() {
    const MANY: usize = 600;
    let world = two_tags();
    world.at_source(|contents, root| {
        for number in 0..MANY {
            attach_to(contents, root, BUNDLE, &format!("signature {number}"));
        }
    });
    let mirrored = mirror_all(&world, Level::Platforms);
    assert!(mirrored.iter().all(|image| image.outcome.attached.signatures == MANY), "{mirrored:?}");
    let history = world.destination.history();
    history.assert_children_first();
    let commits: BTreeSet<_> = history.commits.iter().collect();
    assert!(commits.len() > MANY && commits.len() == history.commits.len(), "each blob once");
    assert_attached_below_tags(&world);
    assert_idle(&world);
}

/// A `.sig` tag must not come before the signature of the manifest that it names, nor that signature before the manifest.
#[test]
fn a_tagged_attachment_with_a_signature_of_its_own_comes_by_digest_first() {
    let world = two_tags();
    let [older, of_older, tag, plain] = world.at_source(|contents, root| {
        let older = tag_to(contents, root, "sig", &["older"]);
        let of_older = attach_to(contents, &older, BUNDLE, "of older");
        let plain = tag_to(contents, root, "att", &["plain"]);
        [older.to_string(), of_older.to_string(), tag_of(root, "sig"), plain.to_string()]
    });
    mirror_all(&world, Level::Platforms);
    let stored = world.destination.history().stored();
    let at = |what: &str| stored.iter().position(|stored| stored == what).unwrap();
    assert!(at(&older) < at(&of_older) && at(&of_older) < at(&tag) && at(&tag) < at("t0"), "{stored:?}");
    assert_eq!(puts(&world, &plain), 0, "it has no attachments: its tag is enough");
    assert_idle(&world);
}

#[test]
fn an_image_to_which_nothing_is_attached_costs_no_request_at_the_destination() {
    let world = two_tags();
    let cost = |options: Options| {
        let world = two_tags();
        run(mirror(&world, options));
        let listed = |memory: &crate::support::memory_registry::Memory, side| {
            memory.history().of(side, Act::ListAttachments).count()
        };
        let puts = world.destination.history().of(Side::Destination, Act::PutManifest).count();
        let expected = world.source.history().of(Side::Source, Act::ExpectAttachments).count();
        let listings = (listed(&world.source, Side::Source), listed(&world.destination, Side::Destination));
        (expected, listings, puts)
    };
    let all = options(Level::Platforms, world.jobs);
    let none = Options { referrers: ReferrerSelection::none(), ..all.clone() };
    let recorded = Options { recorded: Some(HashMap::new()), ..all.clone() };
    assert_eq!(cost(all), (2, (6, 0), 4), "one listing for each manifest of each tag");
    assert_eq!(cost(none), (0, (0, 0), 4));
    assert_eq!(cost(recorded), (0, (0, 0), 4));
}

#[test]
fn a_signature_that_appeared_since_the_last_run_is_copied_and_nothing_else() {
    let world = two_tags();
    mirror_all(&world, Level::Platforms);
    let child =
        world.images[0].manifests.keys().find(|digest| **digest != world.images[0].root).unwrap().clone();
    let signature = world.at_source(|contents, _| attach_to(contents, &child, BUNDLE, "new"));
    world.destination.clear_history();
    let mirrored = mirror_all(&world, Level::Platforms);
    assert!(mirrored.iter().any(|image| image.outcome.status == Status::Repaired));
    let new = AttachedCounts { signatures: 1, ..AttachedCounts::default() };
    assert_eq!(mirrored[0].outcome.attached_new, new);
    let history = world.destination.history();
    let pushed: Vec<&str> = history.of(Side::Destination, Act::PutManifest).map(|put| &*put.what).collect();
    assert_eq!(pushed, [signature.as_str()]);
    assert_idle(&world);
}

#[test]
fn a_foreign_subject_a_missing_manifest_and_a_loop_are_not_attachments() {
    let world = two_tags();
    let root = world.images[0].root.clone();
    world.at_source(|contents, _| {
        let foreign = attach_to(contents, &Digest::sha256(b"another"), BUNDLE, "foreign");
        let without = store(contents, &["no subject"], &json!({}));
        contents.falsely_listed.insert(root.clone(), vec![foreign, without, root.clone()]);
        let older = tag_to(contents, &root, "sig", &["older"]);
        // Tags may name anything: here, a signature whose own signature is the image.
        contents.tags.insert(tag_of(&older, "sig"), root.clone());
    });
    let (mirrored, warnings) = mirror_with_warnings(&world, options(Level::Platforms, world.jobs));
    assert_eq!(warnings.len(), 2 * world.images.len(), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("its subject is")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("it has no subject")), "{warnings:?}");
    assert_eq!(mirrored[0].outcome.attached.signatures, 2);
    world.destination.clear_history();
    mirror_all(&world, Level::Platforms);
    assert_eq!(world.destination.history().stored(), [""; 0]);
}

#[test]
fn only_what_is_selected_is_copied_and_read() {
    let world = two_tags();
    let [signature, sbom, of_sbom] = world.at_source(|contents, root| {
        let sbom = attach_to(contents, root, "application/spdx+json", "sbom");
        let of_sbom = attach_to(contents, &sbom, BUNDLE, "of sbom");
        tag_to(contents, root, "att", &["attestation"]);
        [attach_to(contents, root, BUNDLE, "signature"), sbom, of_sbom]
    });
    let copied = |referrers: Referrers, types: &[&str]| {
        let types: Vec<String> = types.iter().map(ToString::to_string).collect();
        let referrers = ReferrerSelection::new(referrers, &types).unwrap();
        let world = two_tags();
        world.at_source(|contents, root| {
            let sbom = attach_to(contents, root, "application/spdx+json", "sbom");
            attach_to(contents, &sbom, BUNDLE, "of sbom");
            tag_to(contents, root, "att", &["attestation"]);
            attach_to(contents, root, BUNDLE, "signature");
        });
        let mirrored = run(mirror(&world, Options { referrers, ..options(Level::Platforms, 3) }));
        assert!(mirrored.iter().all(|image| image.outcome.is_confirmed()));
        let has =
            |digest: &Digest| world.at_destination(|contents, _| contents.manifests.contains_key(digest));
        let has_tag = world.at_destination(|contents, root| contents.tags.contains_key(&tag_of(root, "att")));
        (has(&signature), has(&sbom), has(&of_sbom), has_tag)
    };
    assert_eq!(copied(Referrers::All, &[]), (true, true, true, true));
    assert_eq!(copied(Referrers::Signatures, &[]), (true, false, false, false));
    assert_eq!(copied(Referrers::All, &["*spdx*"]), (false, true, false, false));
    assert_eq!(copied(Referrers::None, &[]), (false, false, false, false));
}

/// Verifies what a run recorded.
pub(super) fn verify_recorded(world: &World, mirrored: &[Mirrored]) -> Vec<ImageOutcome> {
    let expectations = world.images.iter().zip(mirrored).map(|(image, mirrored)| {
        let mut expectation = Expectation::new(image.mapping.clone(), image.root.clone());
        expectation.attached = mirrored.content.attached.to_vec();
        expectation
    });
    let destination = Arc::new(world.destination.clone());
    run(pipeline::verify(destination, expectations.collect(), Level::Blobs, Arc::new(Silent)))
}

#[test]
fn verify_reports_what_is_missing_changed_or_not_listed_and_nothing_else() {
    let world = two_tags();
    let [signature, sbom] = world.at_source(|contents, root| {
        tag_to(contents, root, "sig", &["vendor"]);
        ["signature", "sbom"].map(|name| attach_to(contents, root, BUNDLE, name))
    });
    let mirrored = mirror_all(&world, Level::Platforms);
    // More at the destination is no difference.
    world.at_destination(|contents, root| attach_to(contents, root, BUNDLE, "the mirror's own"));
    for outcome in verify_recorded(&world, &mirrored) {
        assert_eq!((outcome.status, outcome.attached.signatures), (Status::Verified, 3));
    }
    assert_eq!(verify(&world, Level::Bytes)[0].problems, []);
    world.at_destination(|contents, root| {
        contents.manifests.remove(&signature);
        contents.unlisted.insert(sbom.clone());
        let other = tag_to(contents, root, "sig", &["another"]);
        contents.blobs.remove(&Digest::sha256(b"vendor"));
        assert!(contents.manifests.contains_key(&other));
    });
    let outcome = &verify_recorded(&world, &mirrored)[0];
    assert_eq!(outcome.status, Status::Different);
    let kinds: Vec<String> = outcome
        .problems
        .iter()
        .map(|problem| serde_json::to_value(problem).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    let mut sorted = kinds.clone();
    sorted.sort();
    assert_eq!(sorted, ["missing-attachment", "missing-blob", "other-attachment", "unlisted-attachment"]);
}

#[test]
fn three_hundred_attachments_of_one_image_are_copied() {
    let world = two_tags();
    world.at_source(|contents, root| {
        for number in 0..300 {
            attach_to(contents, root, "application/spdx+json", &number.to_string());
        }
    });
    let mirrored = mirror_all(&world, Level::Platforms);
    assert_eq!(mirrored[0].outcome.attached.sboms, 300);
    let answers = world.destination.history();
    assert!(answers.of(Side::Destination, Act::PutManifest).all(|put| put.answer == Answer::Stored));
}
