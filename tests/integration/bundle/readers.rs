//! Other tools read what `bundle export` writes: the same names, the same digests, every platform.

use std::collections::BTreeSet;

use serde_json::Value;
use thoras_mirror::oci::{Digest, media_type::OCI_INDEX};

use crate::support::{
    client::RepositoryClient, containerd::Containerd, images::SampleImage, process::Mirror, programs,
    registry::Registry, serving::Serving, skopeo, vendor::Vendor,
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
async fn skopeo_copies_every_complete_image_by_its_full_name() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let registry = Registry::start().await;
    // Older versions skip entries with Docker media types in a layout (1.9 does, 1.22 does not).
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
        // skopeo never copies an index within an index, whatever the source.
        if *repository == NESTED {
            continue;
        }
        let to = format!("docker://{}", registry.address().image("far/app", &image.tag));
        skopeo::run(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).await;
        RepositoryClient::new(registry.address(), "far/app").await.assert_present(image).await;
    }
}

#[tokio::test]
async fn oras_copies_every_complete_image_by_its_digest() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let registry = Registry::start().await;
    for (repository, image) in &vendor.images {
        let from = format!("{}@{}", bundle.display(), image.root().digest);
        let raw = oras(&["manifest", "fetch", "--oci-layout", &from]).await;
        assert_eq!(Digest::sha256(&raw), image.root().digest, "{repository}");
        let to = registry.address().image("far/app", &image.tag);
        oras(&["copy", "--from-oci-layout", "--to-plain-http", &from, &to]).await;
        RepositoryClient::new(registry.address(), "far/app").await.assert_present(image).await;
    }
}

async fn oras(arguments: &[&str]) -> Vec<u8> {
    programs::run(programs::find("THORAS_MIRROR_TEST_ORAS", "oras"), arguments.iter().copied()).await
}

/// What a cluster behind the air gap gets: imported into our registry and pulled from there.
#[tokio::test]
async fn imported_and_served_images_equal_what_the_vendor_published() {
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

/// A node without a registry, filled by `ctr images import`.
#[tokio::test]
async fn containerd_imports_every_image_by_its_full_name_with_every_platform() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let node = Containerd::start().await;
    node.ctr(&["images", "import", "--all-platforms", "--no-unpack", bundle.to_str().unwrap()]).await;
    let content = node.content().await;
    for (position, (repository, image)) in vendor.images.iter().enumerate() {
        let digest = node.digest(&vendor.reference(position)).await;
        assert_eq!(digest.as_deref(), Some(image.root().digest.as_str()), "{repository}");
        for digest in image.manifests.iter().map(|manifest| &manifest.digest).chain(image.blobs.keys()) {
            assert!(content.contains(digest.as_str()), "{repository}: {digest}");
        }
    }
}

/// A node of a cluster without a registry, where a machine serves a bundle.
#[tokio::test]
async fn containerd_pulls_every_image_from_a_served_bundle() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &[]).await;
    let serving = Serving::start(&bundle, &[]).await;
    let node = Containerd::start().await;
    for (repository, image) in &vendor.images {
        let name = serving.address.image(repository, &image.tag);
        node.ctr(&["content", "fetch", "--plain-http", "--all-platforms", &name]).await;
        assert_eq!(node.digest(&name).await.as_deref(), Some(image.root().digest.as_str()), "{repository}");
        let content = node.content().await;
        for digest in image.manifests.iter().map(|manifest| &manifest.digest).chain(image.blobs.keys()) {
            assert!(content.contains(digest.as_str()), "{repository}: {digest}");
        }
    }
}

/// containerd exports the layout that `docker save` writes with the containerd image store.
#[tokio::test]
async fn a_containerd_export_is_imported_under_its_name() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &[]).await;
    let node = Containerd::start().await;
    node.ctr(&["images", "import", "--all-platforms", "--no-unpack", bundle.to_str().unwrap()]).await;
    let (repository, image) = &vendor.images[0];
    let file = vendor.path("exported.tar");
    let name = vendor.reference(0);
    node.ctr(&["images", "export", "--all-platforms", file.to_str().unwrap(), &name]).await;
    let far = Registry::start().await;
    let to = format!("{}/far", far.address().host_port);
    let import = Mirror::new(["bundle", "import", "--to", &to]).arg(&file).run().await.expect_success();
    assert!(import.stderr.contains("digests"), "{import}");
    RepositoryClient::new(far.address(), &format!("far/{repository}")).await.assert_present(image).await;
}
