//! Registries that say one digest and send another: what `verify` takes on trust, and what it does not.

use thoras_mirror::oci::Digest;

use super::problem_kinds;
use crate::support::{
    documents,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Scripted},
};

const LEVELS: [&str; 3] = ["platforms", "blobs", "bytes"];

/// A source and a mirror of `web:1`, and another image that both hold as well, under no tag.
struct Liars {
    source: Scripted,
    mirror: Scripted,
    image: SampleImage,
    other: SampleImage,
    synced: Outcome,
}

impl Liars {
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

/// Names this digest, whatever is sent.
fn named(digest: &Digest) -> Action {
    Action::header("docker-content-digest", digest.as_str())
}

#[tokio::test]
async fn a_mirror_that_names_the_right_digest_and_sends_another_image_is_found_out_bug() {
    let site = Liars::start().await;
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
async fn a_wrong_header_over_the_right_bytes_is_said_and_no_difference() {
    let site = Liars::start().await;
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
async fn a_source_that_names_an_old_digest_is_found_out_where_every_byte_is_read() {
    let site = Liars::start().await;
    // The tag has moved on, and a cache before the source still answers HEAD as before.
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
