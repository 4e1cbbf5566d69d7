//! Sample images have the shapes they claim to have, and registries accept them.

use std::collections::BTreeSet;

use oci_client::errors::OciDistributionError;
use thoras_mirror::oci::Digest;

use crate::support::{
    client::{self, RepositoryClient},
    graph::missing_below,
    images::SampleImage,
    registry::Registry,
    skopeo,
};

fn all_shapes() -> Vec<SampleImage> {
    vec![
        SampleImage::multi_platform("multi"),
        SampleImage::docker("docker"),
        SampleImage::single_platform("single", "arm64"),
        SampleImage::with_attestations("attested"),
        SampleImage::nested("nested"),
        SampleImage::odd_bytes("odd-bytes"),
        SampleImage::odd_layers("odd-layers"),
    ]
}

#[test]
fn images_are_complete_and_deterministic() {
    let sha512 = SampleImage::with_sha512_layer("sha512");
    for (image, again) in all_shapes().into_iter().zip(all_shapes()).chain([(sha512.clone(), sha512)]) {
        assert_eq!(image.root().digest, again.root().digest);
        assert!(image.blobs.iter().all(|(digest, bytes)| digest.matches(bytes)));
        let manifest = |digest: &Digest| {
            let found = image.manifests.iter().find(|manifest| manifest.digest == *digest)?;
            Some(found.bytes.to_vec())
        };
        let missing = missing_below(&image.root().digest, &manifest, &|blob| image.blobs.contains_key(blob));
        assert_eq!(missing, BTreeSet::new(), "{}", image.tag);
    }
}

#[test]
fn images_share_their_base_layers_only() {
    let (one, other) = (SampleImage::multi_platform("one"), SampleImage::multi_platform("other"));
    assert_eq!(one.blobs.keys().filter(|digest| other.blobs.contains_key(digest)).count(), 2);
}

#[tokio::test]
async fn a_registry_accepts_every_shape_and_returns_the_same_bytes() {
    let registry = Registry::start().await;
    let client = RepositoryClient::new(registry.address(), "team/app").await;
    for image in all_shapes() {
        client.push(&image).await.unwrap();
        client.assert_present(&image).await;
        let name = format!("team/app:{}", image.tag);
        assert_eq!(skopeo::manifest(registry.address(), &name).await, image.root().bytes);
        assert_eq!(registry.storage().tags()[&name], image.root().digest);
    }
    assert_eq!(registry.storage().incomplete_tags().len(), 0);
}

#[tokio::test]
async fn skopeo_copies_from_a_layout() {
    let registry = Registry::start().await;
    let image = SampleImage::with_attestations("1.2.3");
    let folder = tempfile::tempdir().unwrap();
    image.write_oci_layout(folder.path());
    let source = format!("oci:{}:1.2.3", folder.path().display());
    let destination = format!("docker://{}", registry.address().image("app", "1.2.3"));
    skopeo::run(&["copy", "--all", "--dest-tls-verify=false", &source, &destination]).await;
    client::assert_present(&image, registry.address(), "app").await;
}

#[tokio::test]
async fn a_missing_image_is_not_present() {
    let registry = Registry::start().await;
    let reader = RepositoryClient::new(registry.address(), "team/app").await;
    let error = reader.manifest("absent").await.unwrap_err();
    assert!(matches!(error, OciDistributionError::RegistryError { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_accepts_sha512_layers() {
    let registry = Registry::start().await;
    let image = SampleImage::with_sha512_layer("1");
    client::push(&image, registry.address(), "app").await;
    client::assert_present(&image, registry.address(), "app").await;
    assert_eq!(registry.storage().incomplete_tags().len(), 0);
}
