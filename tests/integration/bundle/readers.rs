//! Other programs read what `bundle export` writes: the same names, the same digests, every platform.

use std::collections::BTreeSet;

use serde_json::Value;
use thoras_mirror::oci::{Digest, media_type::OCI_INDEX};

use crate::support::{
    client::RepositoryClient, images::SampleImage, process::Mirror, registry::Registry, serving::Serving,
    skopeo, vendor::Vendor,
};

const NESTED: &str = "deep/nested";

async fn vendor() -> Vendor {
    let images = vec![
        ("multi", SampleImage::multi_platform("1")),
        ("docker", SampleImage::docker("2")),
        ("attested", SampleImage::with_attestations("3")),
        (NESTED, SampleImage::nested("4")),
        ("odd", SampleImage::odd_bytes("5")),
    ];
    Vendor::start(images).await
}

/// The platforms that an index names, as text.
fn platforms(index: &[u8]) -> BTreeSet<String> {
    let index: Value = serde_json::from_slice(index).unwrap();
    let children = index["manifests"].as_array().unwrap().iter();
    children
        .filter(|child| child["platform"].is_object())
        .map(|child| child["platform"].to_string())
        .collect()
}

#[tokio::test]
async fn skopeo_reads_every_image_by_its_full_name_and_copies_it_whole() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let registry = Registry::start().await;
    // Older ones pass over whatever has Docker's media types in a layout (1.9 does, 1.22 does not).
    let reads_docker = skopeo::version().await >= (1, 22);
    for (position, (repository, image)) in vendor.images.iter().enumerate() {
        if !reads_docker && image.root().media_type != OCI_INDEX {
            continue;
        }
        let from = format!("oci-archive:{}:{}", bundle.display(), vendor.reference(position));
        let raw = skopeo::run(&["inspect", "--raw", &from]).await;
        assert_eq!(Digest::sha256(&raw), image.root().digest, "{repository}");
        assert_eq!(platforms(&raw), platforms(&image.root().bytes), "{repository}");
        assert!(!platforms(&raw).is_empty(), "{repository}");
        // Wherever it is from, skopeo does not copy an index within an index.
        if *repository == NESTED {
            continue;
        }
        let to = format!("docker://{}", registry.address().image("far/app", &image.tag));
        skopeo::run(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).await;
        RepositoryClient::new(registry.address(), "far/app").await.assert_present(image).await;
    }
}

/// What a cluster gets that was never near the vendor's registry: imported into a registry of ours, and from there.
#[tokio::test]
async fn what_is_imported_and_what_is_served_is_what_the_vendor_published() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &[]).await;
    let empty = tempfile::tempdir().unwrap();
    let far = Serving::start(empty.path(), &[]).await;
    let to = format!("{}/far", far.address.host_port);
    let import = Mirror::new(["bundle", "import", "--to", &to]).arg(&bundle).run().await.expect_success();
    let near = Serving::start(&bundle, &[]).await;
    for (repository, image) in &vendor.images {
        for (address, repository) in
            [(&far.address, format!("far/{repository}")), (&near.address, (*repository).to_owned())]
        {
            RepositoryClient::new(address, &repository).await.assert_present(image).await;
            let raw = skopeo::manifest(address, &format!("{repository}:{}", image.tag)).await;
            assert_eq!(Digest::sha256(&raw), image.root().digest, "{repository}");
            assert_eq!(platforms(&raw), platforms(&image.root().bytes), "{repository}");
        }
    }
    let verify = Mirror::new(["verify", "--level", "bytes"]).in_folder(&import.folder());
    verify.run().await.expect_success();
}
