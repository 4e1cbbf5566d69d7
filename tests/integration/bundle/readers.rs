//! Other programs read our bundles: the same names, the same digests, every platform.

use crate::support::{
    bundle::{SampleBundle, reference},
    images::SampleImage,
    registry::Registry,
    skopeo,
};
use thoras_mirror::oci::{Digest, media_type::OCI_INDEX};

#[tokio::test]
async fn skopeo_reads_every_image_and_copies_it_whole() {
    let images = [
        SampleImage::multi_platform("multi"),
        SampleImage::docker("docker"),
        SampleImage::with_attestations("attested"),
        SampleImage::odd_bytes("odd"),
    ];
    let bundle = SampleBundle::new(&images.iter().collect::<Vec<_>>(), &["linux/amd64"]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    bundle.write(&path);
    let registry = Registry::start().await;
    // Older ones pass over whatever has Docker's media types in a layout (1.9 does, 1.22 does not).
    let reads_docker = skopeo::version().await >= (1, 22);
    for image in images.iter().filter(|image| reads_docker || image.root().media_type == OCI_INDEX) {
        let from = format!("oci-archive:{}:{}", path.display(), reference(image));
        let raw = skopeo::run(&["inspect", "--raw", &from]).await;
        assert_eq!(Digest::sha256(&raw), image.root().digest, "{}", image.tag);
        let to = format!("docker://{}", registry.address().image("far/app", &image.tag));
        skopeo::run(&["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", &from, &to]).await;
        for manifest in &image.manifests {
            let name = format!("far/app@{}", manifest.digest);
            assert_eq!(skopeo::manifest(registry.address(), &name).await, manifest.bytes);
        }
    }
}
