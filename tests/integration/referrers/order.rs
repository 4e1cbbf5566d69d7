//! While the push of a signature is held, the tag of its image does not exist.

use thoras_mirror::oci::{Digest, media_type::OCI_MANIFEST};

use super::{Scripted, referrer, store_tag, subject, tag_of};
use crate::support::{
    process::Mirror,
    scripted::{Action, Gate},
};

/// Holds the push of the manifest at this path, asserts that no tag of the image was pushed, and lets it end.
async fn holding(source: &Scripted, destination: &Scripted, path: &str) {
    let gate = Gate::default();
    destination.on("PUT", path).then(Action::Hold(gate.clone()));
    let to = format!("{}/mirror", destination.address().host_port);
    let image = source.address().image("vendor/app", "1");
    let sync = Mirror::new(["sync", "--to", &to, &image, "--platform", "linux/amd64"]).start();
    gate.reached_by(1).await;
    destination.quiet().await;
    assert_eq!(destination.count("PUT", "/mirror/app/manifests/1"), 0, "the tag must wait for {path}");
    assert_eq!(destination.count("PUT", "/manifests/sha256:"), 1 + usize::from(path.contains("sha256:")));
    gate.open();
    sync.outcome().await.expect_success();
    let pushed: Vec<String> = destination
        .requests()
        .into_iter()
        .filter(|request| request.is("PUT", "/manifests/"))
        .map(|request| request.path)
        .collect();
    assert!(pushed.last().unwrap().ends_with("/manifests/1"), "{pushed:?}");
    assert!(pushed[pushed.len() - 2].ends_with(path), "{pushed:?}");
}

/// Two registries with the referrers API; the first has an image.
async fn registries_with_the_api() -> (Scripted, Scripted, Digest) {
    let (source, destination) = (Scripted::start().await, Scripted::start().await);
    for registry in [&source, &destination] {
        registry.with_store(|store| store.has_referrers_api = true);
    }
    let image = subject("1");
    source.with_store(|store| store.insert("vendor/app", &image));
    (source, destination, image.root().digest.clone())
}

#[tokio::test]
async fn the_tag_waits_for_a_referrer() {
    let (source, destination, image) = registries_with_the_api().await;
    let signature = referrer(&image, "signature");
    store_tag(&source, "vendor/app", "any", OCI_MANIFEST, signature.bytes());
    holding(&source, &destination, &format!("/manifests/{}", signature.digest())).await;
}

#[tokio::test]
async fn the_tag_waits_for_a_sig_tag() {
    let (source, destination, image) = registries_with_the_api().await;
    let older = referrer(&Digest::sha256(b"nothing"), "older");
    let tag = format!("{}.sig", tag_of(&image));
    store_tag(&source, "vendor/app", &tag, OCI_MANIFEST, older.bytes());
    holding(&source, &destination, &format!("/manifests/{tag}")).await;
}
