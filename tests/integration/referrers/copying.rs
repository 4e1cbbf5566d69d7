//! `sync` and `verify` of images to which something is attached: the built program between real registries.

use serde_json::Value;
use thoras_mirror::{
    endpoint::{Destination, Source},
    oci::{Digest, RawManifest, Repository, Target},
    problem::Side,
};

use super::{digests, referrer, referrer_with, registries, repository, subject, tag_of};
use crate::support::{
    Address,
    client::RepositoryClient,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    serving::Serving,
};

const NAME: &str = "team/app";

async fn put(at: &Repository, target: Target, manifest: &RawManifest) {
    registries(Side::Destination).put_manifest(at, &target, manifest).await.unwrap();
}

async fn attach(at: &Repository, manifest: &RawManifest) {
    put(at, Target::Digest(manifest.digest().clone()), manifest).await;
}

async fn listed(address: &Address, subject: &Digest) -> Vec<Digest> {
    let found = registries(Side::Source).attachments(&repository(address, "m/app"), subject).await.unwrap();
    digests(&found).into_iter().cloned().collect()
}

/// An image with a signature, an SBOM with a signature of its own, and a `.sig` tag.
struct Signed {
    image: SampleImage,
    attached: Vec<RawManifest>,
    at: Repository,
    reference: String,
}

impl Signed {
    async fn in_registry(address: &Address) -> Self {
        let image = subject("1");
        RepositoryClient::new(address, NAME).await.push(&image).await.unwrap();
        let digest = image.root().digest.clone();
        let at = repository(address, NAME);
        let sbom =
            referrer_with(&digest, "sbom", &serde_json::json!({ "artifactType": "application/spdx+json" }));
        let signature = referrer(&digest, "signature");
        let of_sbom = referrer(sbom.digest(), "signature of the SBOM");
        let older = referrer(&Digest::sha256(b"nothing"), "older");
        for manifest in [&sbom, &signature, &of_sbom] {
            attach(&at, manifest).await;
        }
        put(&at, Target::Tag(format!("{}.sig", tag_of(&digest))), &older).await;
        let reference = address.image(NAME, &image.tag);
        Self { image, attached: vec![sbom, signature, of_sbom, older], at, reference }
    }

    fn command(&self, command: &str, folder: &std::path::Path, to: &Address, more: &[&str]) -> Mirror {
        let to = format!("{}/m", to.host_port);
        let arguments = match command {
            "sync" => vec!["sync", "--to", &to, &self.reference, "--platform", "linux/amd64", "-o", "json"],
            _ => vec![command, "-o", "json"],
        };
        let arguments: Vec<String> =
            arguments.into_iter().chain(more.iter().copied()).map(str::to_owned).collect();
        Mirror::new(arguments).in_folder(folder)
    }
}

fn first(outcome: &Outcome) -> Value {
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
    document["images"][0].clone()
}

async fn copy_and_verify(source: &Address, destination: &Address) {
    let signed = Signed::in_registry(source).await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |command: &str, more: &[&str], code: i32| {
        signed.command(command, folder.path(), destination, more).run().await.expect_code(code)
    };
    let copied = first(&run("sync", &[], 0).await);
    assert_eq!(copied["status"], "copied");
    assert_eq!(
        copied["attached"],
        serde_json::json!({"signatures": 3, "attestations": 0, "sboms": 1, "others": 0})
    );
    let digest = signed.image.root().digest.clone();
    let mut there = listed(destination, &digest).await;
    there.extend(listed(destination, signed.attached[0].digest()).await);
    there.sort();
    let mut expected: Vec<Digest> =
        signed.attached.iter().map(|manifest| manifest.digest().clone()).collect();
    expected.sort();
    assert_eq!(there, expected);
    let lock: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("thoras-mirror.lock")).unwrap()).unwrap();
    assert_eq!(lock["images"][0]["attached"].as_array().unwrap().len(), 4);
    assert_eq!(first(&run("sync", &[], 0).await)["status"], "up-to-date");
    assert_eq!(first(&run("verify", &[], 0).await)["attached"]["signatures"], 3);
    // A signature appears at the source.
    let new = referrer(&digest, "new");
    attach(&signed.at, &new).await;
    assert_eq!(first(&run("sync", &[], 0).await)["status"], "repaired");
    assert!(listed(destination, &digest).await.contains(new.digest()));
    assert_eq!(first(&run("sync", &[], 0).await)["status"], "up-to-date");
}

#[tokio::test]
async fn a_registry_with_the_api_gets_everything_and_a_later_signature() {
    let source = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(&folder.path().join("registry"), &[]).await;
    copy_and_verify(source.address(), &server.address).await;
}

#[tokio::test]
async fn a_registry_without_the_api_gets_everything_and_a_later_signature() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(&folder.path().join("registry"), &[]).await;
    let destination = Registry::start().await;
    copy_and_verify(&server.address, destination.address()).await;
}

/// The index of referrers and the `.sig` tag name the attachments of the image. They change with those: only the image's
/// own tag must not move.
#[tokio::test]
async fn no_overwrite_adds_to_the_tags_of_what_is_attached_and_moves_no_image() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let signed = Signed::in_registry(source.address()).await;
    let folder = tempfile::tempdir().unwrap();
    let to = destination.address();
    let sync = async |code| {
        signed.command("sync", folder.path(), to, &["--no-overwrite"]).run().await.expect_code(code)
    };
    assert_eq!(first(&sync(0).await)["status"], "copied");
    let digest = signed.image.root().digest.clone();
    let new = referrer(&digest, "new");
    attach(&signed.at, &new).await;
    let older_tag = format!("{}.sig", tag_of(&digest));
    // What the tag has, and one more entry.
    let layer = serde_json::json!({
        "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2,
    });
    let mut signed_again = layer.clone();
    signed_again["annotations"] = serde_json::json!({ "dev.cosignproject.cosign/signature": "another" });
    let layers = serde_json::json!({ "layers": [layer, signed_again] });
    let older = referrer_with(&Digest::sha256(b"nothing"), "another", &layers);
    put(&signed.at, Target::Tag(older_tag.clone()), &older).await;
    let before = destination.storage().tags();
    assert_eq!(first(&sync(0).await)["status"], "repaired");
    assert!(listed(to, &digest).await.contains(new.digest()));
    let after = destination.storage().tags();
    let moved = |suffix: &str| {
        let tag = after.keys().find(|tag| tag.ends_with(suffix)).unwrap();
        before[tag] != after[tag]
    };
    assert!(moved(&tag_of(&digest)), "the index has another entry");
    assert!(moved(&older_tag), "the older format as well");
    assert!(!moved(&format!(":{}", signed.image.tag)), "{after:?}");
}

#[tokio::test]
async fn a_locked_sync_and_verify_go_by_the_lock_and_verify_against_the_source_finds_what_is_new() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let signed = Signed::in_registry(source.address()).await;
    let folder = tempfile::tempdir().unwrap();
    let to = destination.address();
    signed.command("sync", folder.path(), to, &[]).run().await.expect_code(0);
    let new = referrer(&signed.image.root().digest, "new");
    attach(&signed.at, &new).await;
    signed.command("verify", folder.path(), to, &[]).run().await.expect_code(0);
    let root = format!("{}/m", to.host_port);
    let locked = Mirror::new(
        ["sync", "--locked", "--to", &root, "--platform", "linux/amd64", "-o", "json"].map(str::to_owned),
    );
    let outcome = locked.in_folder(folder.path()).run().await.expect_code(0);
    assert_eq!(first(&outcome)["status"], "up-to-date");
    let against = ["--against", "source", "--to", &root, &signed.reference, "--platform", "linux/amd64"];
    let outcome = signed.command("verify", folder.path(), to, &against).run().await.expect_code(5);
    let problems = first(&outcome)["problems"].clone();
    assert_eq!(problems[0]["kind"], "missing-attachment", "{problems}");
    assert_eq!(problems[0]["digest"], new.digest().as_str());
    let without =
        signed.command("verify", folder.path(), to, &[&against[..], &["--referrers", "none"]].concat());
    without.run().await.expect_code(0);
}
