//! Children before parents: while a write is held at a gate, nothing that depends on it is written.

use thoras_mirror::oci::Digest;

use super::*;
use crate::support::scripted::{Action, Gate};

const BLOBS: &str = "/blobs/uploads/";
const MANIFESTS: &str = "/manifests/";

/// Two tags of one repository whose images share one layer, and that layer.
async fn sharing_a_layer() -> (ScriptedPair, [SampleImage; 2], Digest) {
    let images = ["1", "2"].map(|tag| SampleImage::single_platform(tag, "amd64"));
    let pair = ScriptedPair::with(&[("team/app", &images[0]), ("team/app", &images[1])]).await;
    let shared: Vec<_> = images[0].blobs.keys().filter(|blob| images[1].blobs.contains_key(blob)).collect();
    let [shared] = shared[..] else { panic!("they share one layer, not {shared:?}") };
    let shared = shared.clone();
    (pair, images, shared)
}

fn only_amd64() -> [&'static str; 2] {
    ["--platform", "linux/amd64"]
}

#[tokio::test]
async fn no_manifest_is_pushed_before_a_shared_blob() {
    let (pair, [one, two], shared) = sharing_a_layer().await;
    let gate = Gate::default();
    pair.destination.on("PUT", shared.as_str()).then(Action::Hold(gate.clone()));
    let running = pair.sync(&only_amd64()).start();
    let blobs = one.blobs.len() + two.blobs.len() - 1;
    pair.destination.wait_for(blobs, "PUT", BLOBS).await;
    gate.reached_by(1).await;
    pair.destination.quiet().await;
    assert_eq!(pair.destination.count("PUT", MANIFESTS), 0, "neither image is complete");
    gate.open();

    running.outcome().await.expect_success();
    assert_eq!(pair.tags(), ["mirror/app:1", "mirror/app:2"]);
    assert_eq!(pair.destination.count("PUT", BLOBS), blobs);
    assert_eq!(pair.destination.count("PUT", MANIFESTS), 2);
}

#[tokio::test]
async fn a_refused_shared_blob_fails_one_image_and_the_other_sends_it() {
    let (pair, images, shared) = sharing_a_layer().await;
    pair.destination.on("PUT", shared.as_str()).first(1).then(Action::error(403, "DENIED"));
    let outcome = pair.sync(&only_amd64()).arguments(["--output", "json"]).run().await.expect_code(4);
    let document = document(&outcome);
    let [copied, failed] = match statuses(&document)[..] {
        ["copied", "failed"] => [&images[0], &images[1]],
        ["failed", "copied"] => [&images[1], &images[0]],
        ref other => panic!("one image is copied and one fails, not {other:?}"),
    };
    assert_eq!(pair.tags(), [format!("mirror/app:{}", copied.tag)]);
    assert_eq!(pair.destination.count("PUT", MANIFESTS), 1, "the tag, once");

    let sent = |blob: &Digest| pair.destination.count("PUT", blob.as_str());
    let read = |blob: &Digest| pair.source.count("GET", blob.as_str());
    assert_eq!((sent(&shared), read(&shared)), (2, 2), "by each image once");
    for (image, most) in [(copied, 1..=1), (failed, 0..=1)] {
        for (blob, bytes) in image.blobs.iter().filter(|(blob, _)| **blob != shared) {
            assert!(most.contains(&sent(blob)), "{blob} was sent {} times", sent(blob));
            // Only the config names the platform, so it is read first.
            let is_config = bytes.starts_with(b"{");
            assert!(most.contains(&(read(blob) - usize::from(is_config))), "{blob} was read too often");
        }
    }
}

#[tokio::test]
async fn no_parent_is_pushed_before_its_child() {
    let image = SampleImage::nested_in("1", 3);
    let root = image.manifests.len() - 1;
    for (position, manifest) in image.manifests[..root].iter().enumerate() {
        let pair = ScriptedPair::with(&[("team/app", &image)]).await;
        let gate = Gate::default();
        pair.destination.on("PUT", manifest.digest.as_str()).then(Action::Hold(gate.clone()));
        let running = pair.sync(&only_amd64()).start();
        gate.reached_by(1).await;
        pair.destination.quiet().await;
        let pushed = pair.destination.count("PUT", MANIFESTS);
        assert_eq!(pushed, position + 1, "the held manifest and those below it");
        gate.open();

        running.outcome().await.expect_success();
        assert_eq!(pair.destination.count("PUT", MANIFESTS), image.manifests.len());
        assert_eq!(pair.tags(), ["mirror/app:1"]);
    }
}
