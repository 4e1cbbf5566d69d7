//! `bundle inspect`: what is in a bundle, without reading its blobs.

use crate::support::{
    bundle::{SampleBundle, reference},
    documents,
    images::SampleImage,
    process::Mirror,
};

#[tokio::test]
async fn inspect_reads_only_the_head() {
    let images =
        [SampleImage::with_attestations("attested"), SampleImage::single_platform("single", "arm64")];
    let bundle = SampleBundle::new(&[&images[0], &images[1]], &["linux/arm64"]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    bundle.write(&path);
    let inspect = async |form: &str| {
        Mirror::new(["bundle", "inspect", "-o", form]).arg(&path).run().await.expect_success().stdout
    };
    let (table, json) = (inspect("table").await, inspect("json").await);
    let document = documents::parse(&json, "bundle.v1.json");
    assert_eq!(document["id"], bundle.id.as_str());
    assert_eq!(document["size"], bundle.bytes.len());
    for (shown, image) in document["images"].as_array().unwrap().iter().zip(&images) {
        assert_eq!(shown["reference"], reference(image).to_string());
        assert_eq!(shown["digest"], image.root().digest.as_str());
        let manifests: usize = image.manifests.iter().map(|manifest| manifest.bytes.len()).sum();
        assert_eq!(shown["totalSize"], manifests as u64 + image.blob_bytes());
    }
    let platforms = |at: usize| document["images"][at]["platforms"].as_array().unwrap().len();
    assert_eq!((platforms(0), platforms(1)), (2, 1), "a single image's platform comes from the lock");
    // The output is the same if everything after the head is missing.
    let head = &bundle.bytes[..bundle.layout.head().len()];
    std::fs::write(&path, head).unwrap();
    assert_eq!((inspect("table").await, inspect("json").await), (table.clone(), json.clone()));
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bundle.layout.length()).unwrap();
    assert_eq!((inspect("table").await, inspect("json").await), (table, json));
}

#[tokio::test]
async fn an_image_without_a_name_shows_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let image = SampleImage::multi_platform("v1");
    image.write_oci_layout(folder.path());
    let outcome = Mirror::new(["bundle", "inspect"]).arg(folder.path()).run().await.expect_success();
    assert!(
        outcome.stdout.contains("(v1)") && outcome.stdout.contains(image.root().digest.as_str()),
        "{outcome}"
    );
}
