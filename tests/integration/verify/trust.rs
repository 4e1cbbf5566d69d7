//! Registries whose header names one digest and whose bytes have another: what `verify` trusts, and what it checks.

use thoras_mirror::oci::Digest;

use super::problem_kinds;
use crate::support::{
    documents,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Scripted},
};

const LEVELS: [&str; 3] = ["platforms", "blobs", "bytes"];

/// A source and a mirror of `web:1`. Both also have another, untagged image.
struct WrongDigests {
    source: Scripted,
    mirror: Scripted,
    image: SampleImage,
    other: SampleImage,
    synced: Outcome,
}

impl WrongDigests {
    async fn start() -> Self {
        let (source, mirror) = tokio::join!(Scripted::start(), Scripted::start());
        let (image, other) = (SampleImage::multi_platform("1"), SampleImage::docker("other"));
        source.with_store(|store| store.insert("vendor/web", &image));
        let arguments =
            ["sync", "--to", &mirror.address().host_port, &source.address().image("vendor/web", "1")];
        let synced = Mirror::new(arguments).run().await.expect_success();
        for (registry, repository) in [(&source, "vendor/web"), (&mirror, "web")] {
            registry.with_store(|store| store.insert(repository, &other));
        }
        Self { source, mirror, image, other, synced }
    }

    async fn by_lock(&self, level: &str) -> Outcome {
        Mirror::new(["verify", "-o", "json", "--level", level]).in_folder(&self.synced.folder()).run().await
    }

    async fn by_source(&self, level: &str) -> Outcome {
        let image = self.source.address().image("vendor/web", "1");
        let to = &self.mirror.address().host_port;
        Mirror::new(["verify", "-o", "json", "--to", to, "--level", level, &image]).run().await
    }
}

/// Names this digest in the header, whatever the bytes are.
fn named(digest: &Digest) -> Action {
    Action::header("docker-content-digest", digest.as_str())
}

#[tokio::test]
async fn a_mirror_that_names_the_right_digest_and_sends_another_image_is_detected_bug() {
    let site = WrongDigests::start().await;
    site.mirror.with_store(|store| {
        store.repository("web").tags.insert("1".to_owned(), site.other.root().digest.clone());
    });
    site.mirror.on("", "/web/manifests/1").then(named(&site.image.root().digest));
    for level in LEVELS {
        for outcome in [site.by_lock(level).await, site.by_source(level).await] {
            let document = documents::run(&outcome);
            assert_eq!(problem_kinds(&document, &site.image), ["bad-manifest"], "{level}");
            let outcome = outcome.expect_code(5);
            for digest in [site.image.root().digest.as_str(), site.other.root().digest.as_str()] {
                assert!(outcome.stderr.contains(digest), "{outcome}");
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_digest_header_over_the_right_bytes_is_a_warning_not_a_difference() {
    let site = WrongDigests::start().await;
    site.mirror.on("", "/web/manifests/1").then(named(&Digest::sha256(b"nothing")));
    for level in LEVELS {
        let outcome = site.by_lock(level).await.expect_success();
        assert!(
            outcome.stderr.contains("warning: ") && outcome.stderr.contains("so using these bytes"),
            "{outcome}"
        );
    }
}

#[tokio::test]
async fn a_source_that_names_an_old_digest_is_detected_at_level_bytes() {
    let site = WrongDigests::start().await;
    // The tag has moved, and a cache in front of the source still gives the old answer to HEAD.
    site.source.with_store(|store| {
        store.repository("vendor/web").tags.insert("1".to_owned(), site.other.root().digest.clone());
    });
    site.source.on("HEAD", "/manifests/1").then(named(&site.image.root().digest));
    for level in ["platforms", "blobs"] {
        let _ = site.by_source(level).await.expect_success();
    }
    assert_eq!(site.source.count("GET", "/manifests/1"), 1, "only the sync read it");
    let outcome = site.by_source("bytes").await;
    let document = documents::run(&outcome);
    assert_eq!(problem_kinds(&document, &site.image), ["other-digest"]);
    let _ = outcome.expect_code(5);
}

/// A lock that says where the copies at one destination are, and names another registry for them.
#[tokio::test]
async fn a_copy_that_is_not_below_its_destination_is_not_verified_bug() {
    let site = WrongDigests::start().await;
    let elsewhere = Scripted::start().await;
    let host = &site.mirror.address().host_port;
    let path = site.synced.folder().join("thoras-mirror.lock");
    let lock = std::fs::read_to_string(&path).unwrap();
    let name = format!("{host}/web:1");
    assert!(lock.contains(&name), "{lock}");
    std::fs::write(&path, lock.replace(&name, &format!("{}/web:1", elsewhere.address().host_port))).unwrap();
    let outcome = site.by_lock("platforms").await.expect_code(3);
    assert!(outcome.stderr.contains(&format!("which is not below {host}")), "{outcome}");
    assert_eq!(elsewhere.requests().len(), 0);
}
