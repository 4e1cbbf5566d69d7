//! The window of images in progress: it is bounded, and neither shared blobs nor failures get lost in it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use thoras_mirror::{
    event::{Event, EventSink},
    oci::{Mapping, Repository},
    outcome::{Mirrored, Status},
    pipeline::{self, Level, Options},
    problem::Side,
};

use super::{
    generate::{Format, ImageSpec, Listed, Node, Spec},
    options, run,
    world::{World, layer},
};
use crate::support::memory_registry::{
    Act,
    faults::{Effect, Fault},
};

/// More than fit into the window.
const IMAGES: usize = 300;
/// The most images in progress.
const WINDOW: usize = 64;

/// Images that all have layer 7, each in a repository of its own, and a layer that only every hundredth shares.
fn many() -> World {
    let node = |number: usize| Node::Image {
        config: 3,
        layers: vec![7, u8::try_from(number % 4).unwrap()],
        listed: Listed::Bare,
        format: Format::Oci,
        sha512: false,
    };
    let image = |number: usize| ImageSpec {
        root: number % 4,
        from: 0,
        to: u8::try_from(number % 200).unwrap(),
        pinned: false,
    };
    World::new(Spec {
        nodes: (0..4).map(node).collect(),
        images: (0..IMAGES).map(image).collect(),
        presets: Vec::new(),
        same_registry: false,
        mounts: true,
        jobs: 8,
        seed: 5,
    })
}

/// How many images were read and not finished, at most.
#[derive(Default)]
struct InProgress {
    now: Mutex<HashSet<Mapping>>,
    most: AtomicUsize,
}

impl EventSink for InProgress {
    fn emit(&self, event: Event) {
        let mut now = self.now.lock().unwrap();
        match event {
            Event::Resolved { image, .. } => drop(now.insert((*image).clone())),
            Event::Finished { outcome } => now.retain(|image| image.source != outcome.source),
            _ => {}
        }
        self.most.fetch_max(now.len(), Ordering::Relaxed);
    }
}

fn mirror(world: &World, options: Options) -> (Vec<Mirrored>, usize) {
    let events = Arc::new(InProgress::default());
    let (source, destination) = (Arc::new(world.source.clone()), Arc::new(world.destination.clone()));
    let mirroring = pipeline::mirror(source, destination, world.mappings(), options, events.clone());
    (run(mirroring), events.most.load(Ordering::Relaxed))
}

#[test]
fn the_number_of_images_in_progress_does_not_depend_on_the_number_of_images() {
    let world = many();
    let (mirrored, most) = mirror(&world, options(Level::Platforms, 8));
    assert_eq!(mirrored.len(), IMAGES);
    assert!(mirrored.iter().all(|image| image.outcome.is_confirmed()));
    assert!((WINDOW / 2..=WINDOW).contains(&most), "{most}");
    world.assert_complete();
}

#[test]
fn a_blob_is_uploaded_once_although_its_images_are_further_apart_than_the_window() {
    let world = many();
    mirror(&world, options(Level::Platforms, 8));
    let history = world.destination.history();
    let shared = layer(7).0;
    let uploads = history.commits.iter().filter(|(_, digest, _)| *digest == shared).count();
    let mounts: Vec<&Repository> =
        history.mounts.iter().filter(|mount| mount.1 == shared).map(|mount| &mount.0).collect();
    assert_eq!((uploads, mounts.len()), (1, 199), "once, and mounted into the other repositories");
}

#[test]
fn failed_and_skipped_images_lose_no_other_image_of_the_window() {
    let world = many();
    let refused: HashSet<usize> = (0..IMAGES).filter(|at| at % 7 == 3).collect();
    for at in &refused {
        let image = &world.images[*at].mapping;
        let fault = Fault::always(Side::Destination, Act::PutManifest, &image.tag, Effect::Refuse);
        world.destination.plan(fault.in_repository(&image.repository));
    }
    let missing = world.images[120].mapping.source.clone();
    world.source.edit(missing.repository(), |contents| contents.tags.remove("t120"));
    let optional = std::collections::BTreeSet::from([missing]);
    let (mirrored, _) = mirror(&world, Options { optional, ..options(Level::Platforms, 8) });
    for (at, (mirrored, image)) in mirrored.iter().zip(&world.images).enumerate() {
        assert_eq!(mirrored.outcome.source, image.mapping.source, "in the order of the request");
        match mirrored.outcome.status {
            Status::Failed => assert!(refused.contains(&at), "{:#?}", mirrored.outcome),
            Status::SkippedOptional => assert_eq!(at, 120),
            _ => assert!(mirrored.outcome.is_confirmed() && !refused.contains(&at)),
        }
    }
}

#[test]
fn fail_fast_skips_every_image_that_has_not_entered_the_window() {
    let world = many();
    let first = &world.images[0].mapping;
    let fault = Fault::always(Side::Destination, Act::ReadManifest, &first.tag, Effect::Refuse);
    world.destination.plan(fault.in_repository(&first.repository));
    let (mirrored, _) = mirror(&world, Options { fail_fast: true, ..options(Level::Platforms, 8) });
    assert_eq!(mirrored[0].outcome.status, Status::Failed);
    assert!(mirrored[WINDOW..].iter().all(|image| image.outcome.status == Status::Skipped));
    let history = world.destination.history();
    let asked: HashSet<&str> =
        history.of(Side::Destination, Act::ReadManifest).map(|entry| &*entry.what).collect();
    assert!(asked.len() <= 2 * WINDOW, "{}", asked.len());
}
