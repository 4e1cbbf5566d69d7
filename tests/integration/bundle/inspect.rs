//! `bundle inspect`: what is in a bundle, without reading its blobs.

use crate::support::{
    built_bundle::BundleBuilder,
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
    let head = &bundle.bytes[..bundle.layout.head().unwrap().len()];
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

#[tokio::test]
async fn the_names_of_an_import_are_shown() {
    let images = [SampleImage::multi_platform("1"), SampleImage::multi_platform("2")];
    let bundle = SampleBundle::new(&[&images[0], &images[1]], &["linux/amd64"]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    bundle.write(&path);
    let names = async |more: &[&str]| -> Vec<String> {
        let run = Mirror::new(["bundle", "inspect", "-o", "json"]).arg(&path).arguments(more.iter().copied());
        let document = documents::parse(&run.run().await.expect_success().stdout, "bundle.v1.json");
        let images = document["images"].as_array().unwrap().clone();
        images.iter().map(|image| image["destination"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]).await, ["team/app:1", "team/app:2"]);
    let to = ["--to", "reg.example.org/mirror"];
    assert_eq!(names(&to).await, ["reg.example.org/mirror/team/app:1", "reg.example.org/mirror/team/app:2"]);
    assert_eq!(names(&["--naming", "last"]).await, ["app:1", "app:2"]);
    let table = Mirror::new(["bundle", "inspect"]).arg(&path).run().await.expect_success().stdout;
    assert!(table.contains("IMPORTED AS") && table.contains(" team/app:1 "), "{table}");
}

#[tokio::test]
async fn volumes_are_mentioned() {
    let images = [SampleImage::multi_platform("1")];
    let bundle = BundleBuilder::new(&[("reg.example.com/team/app:1", &images[0])]).build();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("b.tar");
    std::fs::write(&whole, &bundle.bytes).unwrap();
    let set = bundle.write_volumes(folder.path(), "b.tar", 40_000);
    let inspect = async |path: &std::path::Path| {
        Mirror::new(["bundle", "inspect"]).arg(path).run().await.expect_success().stdout
    };
    let text = inspect(&whole).await;
    assert!(text.contains("beside  b.tar.001, b.tar.002"), "{text}");
    assert!(text.contains("b.tar.volumes.json: volumes that do not belong to this file"), "{text}");
    let index = folder.path().join("b.tar.volumes.json");
    let text = inspect(&index).await;
    let (count, last) = (set.volumes.len(), &set.volumes.last().unwrap().name);
    assert!(text.contains(&format!("volumes {count}: b.tar.001 to {last}")), "{text}");
    std::fs::remove_file(folder.path().join("b.tar.002")).unwrap();
    assert!(inspect(&index).await.contains("missing b.tar.002"));
}
