//! Descriptors that contain the bytes which they describe.

use thoras_mirror::oci::Digest;

use super::{Case, REPOSITORY};
use crate::support::{images::SampleImage, scripted::Action};

/// The config of an image of one manifest.
fn config(image: &SampleImage) -> Digest {
    let document: serde_json::Value = serde_json::from_slice(&image.root().bytes).unwrap();
    document["config"]["digest"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_config_inside_its_manifest_needs_no_request() {
    let case = Case::with(SampleImage::single_platform("1", "amd64").with_inline_config(|_| ())).await;
    let config = config(&case.image);
    // The registry does not even have it.
    case.source.with_store(|store| store.repository("vendor/app").blobs.remove(&config));
    case.run().await.expect_success();
    assert_eq!(case.source.count("", config.as_str()), 0);
    case.destination.with_store(|store| assert!(store.repository(REPOSITORY).blobs.contains_key(&config)));
    case.converges().await;
}

#[tokio::test]
async fn inline_data_that_does_not_match_is_ignored() {
    let changes: [fn(&mut Vec<u8>); 3] = [|data| data[0] ^= 1, Vec::clear, |data| data.push(b' ')];
    for change in changes {
        let case = Case::with(SampleImage::single_platform("1", "amd64").with_inline_config(change)).await;
        let config = config(&case.image);
        case.run().await.expect_success();
        assert!(case.source.count("GET", config.as_str()) > 0, "the registry's bytes are used");
        case.converges().await;
    }
}

#[tokio::test]
async fn inline_data_does_not_prove_that_the_destination_has_a_blob() {
    let case = Case::with(SampleImage::single_platform("1", "amd64").with_inline_config(|_| ())).await;
    let config = config(&case.image);
    case.destination.on("PUT", config.as_str()).nth(1).then(Action::error(500, "UNKNOWN"));
    case.run().await.expect_success();
    assert_eq!(case.destination.count("PUT", config.as_str()), 2);
    case.converges().await;
}
