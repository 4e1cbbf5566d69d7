//! `bundle verify` of intact and damaged bundles.

use thoras_mirror::{lock::Lock, oci::Digest};

use crate::support::{
    bundle::{SampleBundle, reference},
    documents,
    images::SampleImage,
    process::{Mirror, Outcome},
};

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

async fn verify(bundle: &[u8], more: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    std::fs::write(&path, bundle).unwrap();
    Mirror::new(["bundle", "verify"]).arg(&path).arguments(more).run().await
}

#[tokio::test]
async fn an_intact_bundle_is_verified_and_its_id_printed() {
    let images = [SampleImage::multi_platform("a"), SampleImage::docker("b")];
    let bundle = SampleBundle::new(&images.iter().collect::<Vec<_>>(), &PLATFORMS).await;
    let outcome = verify(&bundle.bytes, &["--expect", bundle.id.as_str()]).await.expect_success();
    assert!(
        outcome.stdout.contains("2 images verified") && outcome.stdout.contains(bundle.id.as_str()),
        "{outcome}"
    );
    assert!(!outcome.stderr.contains("error"), "{outcome}");
    let outcome = verify(&bundle.bytes, &["-o", "json"]).await.expect_success();
    let document = documents::run(&outcome);
    assert_eq!(document["command"], "bundle-verify");
    assert_eq!(document["bundle"], bundle.id.as_str());
    assert_eq!(document["images"][0]["status"], "verified");
    assert_eq!(document["images"][1]["digest"], images[1].root().digest.as_str());
}

#[tokio::test]
async fn an_unexpected_id_is_refused() {
    let bundle = SampleBundle::new(&[&SampleImage::multi_platform("a")], &PLATFORMS).await;
    let other = format!("sha256:{}", "0".repeat(64));
    let outcome = verify(&bundle.bytes, &["--expect", &other]).await.expect_code(6);
    assert!(outcome.stderr.contains(bundle.id.as_str()) && outcome.stderr.contains(&other), "{outcome}");
}

#[tokio::test]
async fn a_damaged_blob_is_reported_for_every_image_that_contains_it() {
    // They share their base layers.
    let images = [SampleImage::multi_platform("a"), SampleImage::multi_platform("b")];
    let bundle = SampleBundle::new(&[&images[0], &images[1]], &PLATFORMS).await;
    let is_shared = |digest: &&Digest| images[1].blobs.contains_key(*digest);
    let shared = images[0].blobs.keys().find(is_shared).unwrap();
    let mut bytes = bundle.bytes.clone();
    bytes[usize::try_from(bundle.layout.blob(shared).unwrap().extent.offset).unwrap()] ^= 1;
    let outcome = verify(&bytes, &["-o", "json"]).await.expect_code(6);
    let document = documents::run(&outcome);
    for image in document["images"].as_array().unwrap() {
        assert_eq!(image["problems"][0]["kind"], "corrupt-blob");
        assert_eq!(image["problems"][0]["digest"], shared.as_str());
    }
    let table = verify(&bytes, &[]).await.expect_code(6);
    assert_eq!(table.stderr.matches("is corrupt: its bytes hash to").count(), 2, "{table}");
}

#[tokio::test]
async fn required_platforms_come_from_the_lock_unless_a_flag_overrides_them() {
    let image = SampleImage::single_platform("one", "arm64");
    let bundle = SampleBundle::new(&[&image], &PLATFORMS).await;
    let outcome = verify(&bundle.bytes, &[]).await.expect_code(6);
    assert!(outcome.stderr.contains("linux/amd64 is missing (available: linux/arm64"), "{outcome}");
    verify(&bundle.bytes, &["--platform", "linux/arm64"]).await.expect_success();
    verify(&bundle.bytes, &["--allow-missing-platform", "app"]).await.expect_success();
}

/// A change to a lock.
type Lie<'a> = Box<dyn Fn(&mut Lock) + 'a>;

#[tokio::test]
async fn a_lock_that_contradicts_its_bundle_is_refused() {
    let image = SampleImage::multi_platform("a");
    let name = reference(&image).to_string();
    let blob = image.blobs.keys().next().unwrap().clone();
    let lies: [(&str, Lie<'_>); 4] = [
        (&name, Box::new(|lock| lock.images.clear())),
        (&name, Box::new(|lock| drop(lock.images[0].blobs.pop()))),
        (&name, Box::new(|lock| lock.images[0].platforms[0].digest = blob.clone())),
        (blob.as_str(), Box::new(|lock| lock.blobs.extend([(blob.clone(), 1)]))),
    ];
    for (named, lie) in lies {
        let bundle = SampleBundle::with_lock(&[&image], &PLATFORMS, lie).await;
        let outcome = verify(&bundle.bytes, &[]).await.expect_code(6);
        let expected = format!("thoras-mirror.lock is wrong about {named}");
        assert!(outcome.stderr.contains(&expected), "{expected}: {outcome}");
    }
}
