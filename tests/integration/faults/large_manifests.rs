//! Manifests of several megabytes: memory does not grow with their number.

use super::{Case, REPOSITORY, requests};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Gate, Scripted},
};

const MIB: usize = 1 << 20;
/// How much more memory four times as many manifests may take, in KiB: less than the manifests that were added.
const GROWTH: u64 = 64 * 1024;

/// Mirrors the images, and a last one that is held back until the others have been confirmed. Returns the peak memory.
async fn peak_memory(images: &[SampleImage]) -> u64 {
    let (source, destination) = (Scripted::start().await, Scripted::start().await);
    let last = SampleImage::single_platform("last", "amd64");
    let mut names = vec![source.address().image("vendor/last", "last")];
    source.with_store(|store| store.insert("vendor/last", &last));
    for (number, image) in images.iter().enumerate() {
        let repository = format!("vendor/app{number}");
        source.with_store(|store| store.insert(&repository, image));
        names.push(source.address().image(&repository, &image.tag));
    }
    let gate = Gate::default();
    source.on("GET", "vendor/last/manifests/").then(Action::Hold(gate.clone()));
    let to = format!("{}/mirror", destination.address().host_port);
    let mut sync = Mirror::new(["sync", "--platform", "linux/amd64", "--to", &to]);
    for name in names {
        sync = sync.arg(name);
    }
    let running = sync.start();
    // Every root is read once before it is pushed, and once to confirm it.
    let roots = images.len();
    for (number, image) in images.iter().enumerate() {
        destination.wait_for(2, "GET", &format!("app{number}/manifests/{}", image.tag)).await;
    }
    let children: usize = images.iter().map(|image| image.manifests.len() - 1).sum();
    destination.wait_for(2 * roots + children, "GET", "/manifests/").await;
    destination.quiet().await;
    let peak = running.peak_memory();
    gate.open();
    running.outcome().await.expect_success();
    destination.with_store(|store| {
        for (number, image) in images.iter().enumerate() {
            let contents = store.repository(&format!("mirror/app{number}"));
            assert_eq!(contents.tags[&image.tag], image.root().digest);
            assert_eq!(contents.manifests.len(), image.manifests.len());
        }
    });
    peak
}

#[tokio::test]
async fn memory_does_not_grow_with_the_children_of_an_index() {
    let index = |children| [SampleImage::with_large_manifests("large", children, 3 * MIB)];
    let (few, many) = (peak_memory(&index(8)).await, peak_memory(&index(32)).await);
    assert!(many < few + GROWTH, "{few} KiB for 24 MiB of manifests, {many} KiB for 96 MiB");
}

#[tokio::test]
async fn memory_does_not_grow_with_the_images() {
    let images = |count: usize| {
        let image = |number| SampleImage::with_large_manifest(&format!("large-{number}"), 3 * MIB);
        (0..count).map(image).collect::<Vec<_>>()
    };
    let (few, many) = (peak_memory(&images(8)).await, peak_memory(&images(32)).await);
    assert!(many < few + GROWTH, "{few} KiB for 24 MiB of manifests, {many} KiB for 96 MiB");
}

/// Without the bytes of its children, an index is copied byte for byte all the same.
#[tokio::test]
async fn large_manifests_are_read_again_when_they_are_pushed_and_a_second_run_is_idle() {
    let case = Case::with(SampleImage::with_large_manifests("1", 4, 200_000)).await;
    case.survives().await;
    case.holds_the_image(REPOSITORY);
}

/// A registry whose digests cannot be requested: the root is read again by its tag.
#[tokio::test]
async fn a_large_root_that_exists_only_under_its_tag_is_read_again_by_tag() {
    let case = Case::with(SampleImage::with_large_manifest("1", 200_000)).await;
    case.source.on("GET", "/manifests/sha256:").then(Action::error(404, "MANIFEST_UNKNOWN"));
    case.run().await.expect_success();
    assert_eq!(requests(&case.source, "GET", "/manifests/1").len(), 2);
    case.holds_the_image(REPOSITORY);
}

#[tokio::test]
async fn a_large_manifest_that_changes_between_two_readings_is_not_pushed() {
    let case = Case::with(SampleImage::with_large_manifest("1", 200_000)).await;
    let other = SampleImage::with_large_manifest("1", 300_000);
    case.source.on("GET", "/manifests/sha256:").then(Action::error(404, "MANIFEST_UNKNOWN"));
    let media_type = other.root().media_type.clone();
    let bytes = other.root().bytes.clone();
    case.source.on("GET", "/manifests/1").nth(2).then(Action::alter(move |_| {
        crate::support::scripted::Answer::status(200).header("content-type", &media_type).body(bytes.clone())
    }));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("cannot read manifest") && failure.contains("it does not exist"), "{failure}");
    assert_eq!(case.destination.count("PUT", "/manifests/"), 0);
}

/// Everything that reads a bundle holds its manifests in memory, and refuses one with more than 48 MiB.
#[tokio::test]
async fn a_bundle_that_no_reader_would_accept_is_not_written_bug() {
    let source = Scripted::start().await;
    let image = SampleImage::with_large_manifests("large", 7, 7 * MIB);
    source.with_store(|store| store.insert("vendor/app", &image));
    let name = source.address().image("vendor/app", &image.tag);
    for output in ["b.tar", "-"] {
        let export = ["bundle", "export", "-o", output, "--platform", "linux/amd64", &name];
        let outcome = Mirror::new(export).run().await.expect_code(1);
        assert!(outcome.stderr.contains("at most 48.0 MiB"), "{outcome}");
        assert!(outcome.stderr.contains("export the images in several bundles"), "{outcome}");
        assert!(!outcome.folder().join("b.tar").exists());
    }
    assert_eq!(requests(&source, "GET", "/blobs/").len(), 0, "it is refused before any download");
    assert_eq!(
        requests(&source, "GET", "/manifests/").len(),
        2,
        "the index states the sizes of its children"
    );
}

/// All of them were read and held in memory first.
#[tokio::test]
async fn an_export_stops_reading_manifests_when_they_are_too_many_bug() {
    let (few, many) = (refused_export(16).await, refused_export(64).await);
    assert!(many < few + 112 * 1024, "{few} KiB for 64 MiB of manifests, {many} KiB for 256 MiB");
}

/// The peak memory of a refused export of this many images with a manifest of 4 MiB each.
async fn refused_export(images: usize) -> u64 {
    let source = Scripted::start().await;
    let (gate, large) = (Gate::default(), Gate::default());
    let held = SampleImage::single_platform("held", "amd64");
    source.with_store(|store| store.insert("vendor/a", &held));
    source.on("GET", "vendor/a/manifests/").then(Action::Hold(gate.clone()));
    source.on("GET", "/manifests/large-").then(Action::Hold(large.clone()));
    let mut names = vec![source.address().image("vendor/a", "held")];
    for number in 0..images {
        let image = SampleImage::with_large_manifest(&format!("large-{number}"), 4 * MIB);
        source.with_store(|store| store.insert(&format!("vendor/app{number}"), &image));
        names.push(source.address().image(&format!("vendor/app{number}"), &image.tag));
    }
    let export = Mirror::new(["bundle", "export", "-o", "b.tar", "--platform", "linux/amd64"]);
    let running = export.arguments(names.iter().map(String::as_str)).start();
    // It is asked for first. The export ends when the manifests are too many, except that it waits for this one.
    gate.reached_by(1).await;
    large.open();
    source.wait_for(48 / 4 + 1, "GET", "/manifests/large-").await;
    source.quiet().await;
    let peak = running.peak_memory();
    gate.open();
    let outcome = running.outcome().await.expect_code(1);
    assert!(outcome.stderr.contains("at most 48.0 MiB"), "{outcome}");
    peak
}
