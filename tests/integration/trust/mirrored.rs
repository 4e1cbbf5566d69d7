//! cosign and notation verify what this program copied: to a registry with the referrers API, to one without, through a
//! bundle, and in a bundle that is served.

use std::path::Path;

use crate::support::{
    Address, client, cosign::Cosign, images::SampleImage, notation::Notation, process::Mirror,
    registry::Registry, serving::Serving,
};

const REPOSITORY: &str = "team/app";
/// Nothing reads a server's log, and a full pipe would stop it.
const QUIET: [&str; 1] = ["--quiet"];

/// The program and the format of the signatures.
enum Signing {
    /// As referrers.
    CosignBundles(Cosign),
    /// Under `.sig` tags.
    CosignTags(Cosign),
    Notation(Notation),
}

impl Signing {
    async fn cosign() -> Cosign {
        let cosign = Cosign::new();
        cosign.generate_key("key").await;
        cosign.generate_key("wrong").await;
        cosign
    }

    async fn notation() -> Self {
        let notation = Notation::trusting("key");
        notation.generate_key("key").await;
        notation.generate_key("wrong").await;
        Self::Notation(notation)
    }

    /// Signs the index and every child.
    async fn sign(&self, image: &SampleImage, at: &Address) {
        match self {
            Self::CosignBundles(cosign) => {
                cosign.sign("key", &names(image, at, REPOSITORY)[0], &["-r"]).await;
            }
            Self::CosignTags(cosign) => {
                cosign.sign_as_tag("key", &names(image, at, REPOSITORY)[0], &["-r"]).await;
            }
            Self::Notation(notation) => {
                for name in names(image, at, REPOSITORY) {
                    notation.sign("key", &name).await;
                }
            }
        }
    }

    async fn verifies(&self, name: &str) -> (bool, String) {
        match self {
            Self::CosignBundles(cosign) | Self::CosignTags(cosign) => {
                cosign.verifies(&["--key", "key.pub", "--insecure-ignore-tlog"], name).await
            }
            Self::Notation(notation) => notation.verifies(name).await,
        }
    }
}

/// The index and its children by digest, as the tools name them. The index comes first.
fn names(image: &SampleImage, at: &Address, repository: &str) -> Vec<String> {
    let root = &image.root().digest;
    let children = image.manifests.iter().map(|manifest| &manifest.digest).filter(|digest| *digest != root);
    std::iter::once(root)
        .chain(children)
        .map(|digest| format!("{}/{repository}@{digest}", at.host_port))
        .collect()
}

async fn run(folder: &Path, words: &[&str]) {
    Mirror::new(words.iter().copied()).in_folder(folder).run().await.expect_success();
}

/// Copies a signed image to every kind of place and asks the program that signed it.
async fn verified_wherever_it_is_copied(signing: &Signing, source: &Address) {
    let (image, unsigned) = (SampleImage::multi_platform("1"), SampleImage::multi_platform("2"));
    client::push(&image, source, REPOSITORY).await;
    client::push(&unsigned, source, REPOSITORY).await;
    signing.sign(&image, source).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let serve = async |name: &str| Serving::start(&folder.join(name), &QUIET).await;
    let (synced, imported) = (serve("synced").await, serve("imported").await);
    let (synced_without_api, imported_without_api) = tokio::join!(Registry::start(), Registry::start());
    let references = [&image, &unsigned].map(|image| source.image(REPOSITORY, &image.tag));

    for to in [&synced.address, synced_without_api.address()] {
        let to = format!("{}/mirror", to.host_port);
        run(folder, &["sync", &references[0], &references[1], "--to", &to]).await;
    }
    run(folder, &["bundle", "export", &references[0], &references[1], "-o", "b.tar"]).await;
    for to in [&imported.address, imported_without_api.address()] {
        let to = format!("{}/mirror", to.host_port);
        run(folder, &["bundle", "import", "b.tar", "--to", &to]).await;
    }
    let served = serve("b.tar").await;

    for (place, at, repository) in [
        ("synced", &synced.address, "mirror/app"),
        ("synced, no API", synced_without_api.address(), "mirror/app"),
        ("imported", &imported.address, "mirror/app"),
        ("imported, no API", imported_without_api.address(), "mirror/app"),
        // Bundles are served without the common prefix of their images.
        ("served", &served.address, "app"),
    ] {
        for name in names(&image, at, repository) {
            let (accepted, said) = signing.verifies(&name).await;
            assert!(accepted, "{place}: {name}: {said}");
        }
        let (accepted, said) = signing.verifies(&names(&unsigned, at, repository)[0]).await;
        assert!(!accepted, "{place}: {said}");
    }
}

/// From a registry with the referrers API and from one without.
async fn verified_from_every_source(signing: Signing) {
    let folder = tempfile::tempdir().unwrap();
    let with_api = Serving::start(folder.path(), &QUIET).await;
    let without_api = Registry::start().await;
    for source in [&with_api.address, without_api.address()] {
        verified_wherever_it_is_copied(&signing, source).await;
    }
}

#[tokio::test]
async fn cosign_verifies_its_bundles_wherever_they_are_copied() {
    verified_from_every_source(Signing::CosignBundles(Signing::cosign().await)).await;
}

#[tokio::test]
async fn cosign_verifies_its_tags_wherever_they_are_copied() {
    verified_from_every_source(Signing::CosignTags(Signing::cosign().await)).await;
}

#[tokio::test]
async fn notation_verifies_its_signatures_wherever_they_are_copied() {
    verified_from_every_source(Signing::notation().await).await;
}

/// The tests above show nothing unless the programs also refuse here what another key signed.
#[tokio::test]
async fn what_another_key_signed_is_refused_at_the_mirror() {
    let folder = tempfile::tempdir().unwrap();
    let source = Serving::start(&folder.path().join("source"), &QUIET).await;
    let mirror = Serving::start(&folder.path().join("mirror"), &QUIET).await;
    let (cosign, Signing::Notation(notation)) = (Signing::cosign().await, Signing::notation().await) else {
        unreachable!()
    };
    let images = ["1", "2"].map(SampleImage::multi_platform);
    for image in &images {
        client::push(image, &source.address, REPOSITORY).await;
    }
    let at_source = images.each_ref().map(|image| names(image, &source.address, REPOSITORY).remove(0));
    cosign.sign("wrong", &at_source[0], &[]).await;
    notation.sign("wrong", &at_source[1]).await;
    let to = format!("{}/mirror", mirror.address.host_port);
    run(folder.path(), &["sync", &at_source[0], &at_source[1], "--to", &to]).await;
    let [by_cosign, by_notation] = images.each_ref().map(|image| names(image, &mirror.address, "mirror/app"));
    let (accepted, said) = Signing::CosignBundles(cosign).verifies(&by_cosign[0]).await;
    assert!(!accepted && said.contains("could not verify envelope"), "{said}");
    let (accepted, said) = Signing::Notation(notation).verifies(&by_notation[0]).await;
    assert!(!accepted && said.contains("signature verification failed"), "{said}");
}
