//! Every shape of image arrives byte for byte.

use super::*;
use crate::support::skopeo;

/// Every shape of image, each under a tag that names it.
fn shapes() -> Vec<SampleImage> {
    vec![
        SampleImage::multi_platform("oci"),
        SampleImage::docker("docker"),
        SampleImage::nested("nested"),
        SampleImage::with_attestations("attested"),
        SampleImage::odd_bytes("odd-white-space"),
        SampleImage::single_platform("single", "amd64"),
        SampleImage::odd_layers("zstd-unknown-and-empty-layers"),
        SampleImage::with_sha512_layer("sha512"),
    ]
}

#[tokio::test]
async fn every_shape_arrives_byte_for_byte_in_a_cncf_registry() {
    let shapes = shapes();
    let named: Vec<(&str, &SampleImage)> = shapes.iter().map(|image| ("team/app", image)).collect();
    let pair = RealPair::with(&named).await;
    let outcome =
        pair.sync(&["--allow-missing-platform", "*", "--output", "json"]).run().await.expect_success();
    assert_eq!(statuses(&document(&outcome)), vec!["copied"; shapes.len()]);
    let reader = client::RepositoryClient::new(pair.destination.address(), "mirror/app").await;
    for image in &shapes {
        reader.assert_present(image).await;
        let seen = skopeo::manifest(pair.destination.address(), &format!("mirror/app:{}", image.tag)).await;
        assert!(seen == image.root().bytes, "skopeo sees another manifest under {}", image.tag);
    }
    assert!(pair.destination.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn every_manifest_keeps_its_media_type() {
    for image in shapes() {
        let pair = ScriptedPair::with(&[("team/app", &image)]).await;
        pair.sync(&["--allow-missing-platform", "*"]).run().await.expect_success();
        let (manifests, blobs) = pair.destination.with_store(|store| {
            let contents = store.repository("mirror/app").clone();
            (contents.manifests, contents.blobs)
        });
        for manifest in &image.manifests {
            let expected = (manifest.media_type.clone(), manifest.bytes.clone());
            assert_eq!(manifests.get(&manifest.digest), Some(&expected), "{}", image.tag);
        }
        assert!(blobs == image.blobs, "{}", image.tag);
    }
}

#[tokio::test]
async fn attestations_are_copied_and_do_not_count_as_platforms() {
    let image = SampleImage::with_attestations("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let outcome = pair.sync(&["--output", "json"]).run().await.expect_success();
    let document = document(&outcome);
    let shown = &document["images"][0];
    assert_eq!(shown["attestations"], 2);
    let platforms = shown["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2, "{platforms:?}");
    assert_eq!(platforms[1]["platform"], "linux/arm64/v8");
}
