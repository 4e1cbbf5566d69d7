//! Registries and credentials that `sync` supports, read back by tools that share no code with it.

use std::{net::SocketAddr, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;
use tempfile::TempDir;
use thoras_mirror::serve::{Options as ServeOptions, Server};
use tokio::task::JoinHandle;

use super::*;
use crate::support::{
    client::RepositoryClient, registry::Options, skopeo, tls::Authority, token_server::TokenServer,
};

const USER: &str = "pusher";
const PASSWORD: &str = "correct horse: battery";

/// The registry of `thoras-mirror serve`, in the test's process.
struct Served {
    address: Address,
    running: JoinHandle<()>,
    _folder: TempDir,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(ServeOptions { listen, ..ServeOptions::new(folder.path()) }).await.unwrap();
        let host_port = server.address().to_string();
        let running = tokio::spawn(server.run(std::future::pending()));
        Self { address: Address { host_port, plain_http: true, authority: None }, running, _folder: folder }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Asserts that every platform of an image, copied by skopeo, has exactly the sample's bytes.
async fn assert_skopeo_copies(address: &Address, repository: &str, image: &SampleImage) {
    let folder = tempfile::tempdir().unwrap();
    let from = format!("docker://{}", address.image(repository, &image.tag));
    let to = format!("dir:{}", folder.path().display());
    skopeo::run(&["copy", "--all", "--preserve-digests", "--src-tls-verify=false", &from, &to]).await;
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("manifest.json") == image.root().bytes);
    for manifest in image.manifests.iter().filter(|manifest| manifest.digest != image.root().digest) {
        assert!(
            read(&format!("{}.manifest.json", manifest.digest.hex())) == manifest.bytes,
            "{}",
            manifest.digest
        );
    }
    for (digest, bytes) in &image.blobs {
        assert!(read(digest.hex()) == *bytes, "{digest}");
    }
}

async fn assert_mirrored(address: &Address, image: &SampleImage) {
    client::assert_present(image, address, "mirror/app").await;
    let seen = skopeo::manifest(address, &format!("mirror/app:{}", image.tag)).await;
    assert!(seen == image.root().bytes, "skopeo sees another manifest");
    assert_skopeo_copies(address, "mirror/app", image).await;
}

#[tokio::test]
async fn from_a_cncf_registry_into_another() {
    let image = SampleImage::multi_platform("1");
    let pair = RealPair::with(&[("team/app", &image)]).await;
    let outcome = pair.sync(&[]).run().await.expect_success();
    assert!(outcome.stdout.contains("1 image confirmed"), "{outcome}");
    assert_mirrored(pair.destination.address(), &image).await;
    assert!(pair.destination.storage().incomplete_tags().is_empty());
}

#[tokio::test]
async fn from_thoras_mirror_serve_into_a_cncf_registry_and_back() {
    let image = SampleImage::docker("1");
    let (ours, theirs, back) = tokio::join!(Served::start(), Registry::start(), Served::start());
    client::push(&image, &ours.address, "team/app").await;
    let from = [ours.address.image("team/app", "1")];
    sync(&from, &mirror_at(theirs.address()), &[]).run().await.expect_success();
    assert_mirrored(theirs.address(), &image).await;

    let from = [theirs.address().image("mirror/app", "1")];
    sync(&from, &mirror_at(&back.address), &[]).run().await.expect_success();
    assert_mirrored(&back.address, &image).await;
}

/// A public source with one image, and a destination that requires a password.
async fn into_htpasswd() -> (SampleImage, RealPair) {
    let image = SampleImage::multi_platform("1");
    let mut pair = RealPair::with(&[("team/app", &image)]).await;
    pair.destination = Registry::start_with(Options::default().htpasswd(USER, PASSWORD)).await;
    (image, pair)
}

async fn assert_present_signed_in(registry: &Registry, image: &SampleImage) {
    let client = RepositoryClient::signed_in(registry.address(), "mirror/app", USER, PASSWORD).await;
    client.assert_present(image).await;
}

#[tokio::test]
async fn a_password_from_standard_input() {
    let (image, pair) = into_htpasswd().await;
    let run = pair.sync(&["--to-username", USER, "--to-password-stdin"]).stdin(format!("{PASSWORD}\n"));
    run.run().await.expect_success();
    assert_present_signed_in(&pair.destination, &image).await;
}

#[tokio::test]
async fn a_password_from_the_environment() {
    let (image, pair) = into_htpasswd().await;
    let run = pair.sync(&["--to-username", USER]).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD);
    run.run().await.expect_success();
    assert_present_signed_in(&pair.destination, &image).await;
}

#[tokio::test]
async fn a_password_from_dockers_configuration() {
    let (image, pair) = into_htpasswd().await;
    let folder = tempfile::tempdir().unwrap();
    write_docker_config(folder.path(), &pair.destination.address().host_port);
    pair.sync(&[]).env("DOCKER_CONFIG", folder.path()).run().await.expect_success();
    assert_present_signed_in(&pair.destination, &image).await;
}

fn write_docker_config(folder: &Path, host: &str) {
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = json!({ "auths": { host: { "auth": auth } } });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[tokio::test]
async fn a_wrong_password_exits_with_4_and_is_not_printed() {
    let (_, pair) = into_htpasswd().await;
    let run = pair.sync(&["--to-username", USER, "-v"]).env("THORAS_MIRROR_TO_PASSWORD", "not-the-password");
    let outcome = run.run().await.expect_code(4);
    assert!(outcome.stderr.contains("hint:") && outcome.stderr.contains("--to-username"), "{outcome}");
    assert!(!outcome.to_string().contains("not-the-password"), "{outcome}");
    assert!(
        !outcome.to_string().contains(&BASE64_STANDARD.encode(format!("{USER}:not-the-password"))),
        "{outcome}"
    );
    assert!(pair.destination.storage().tags().is_empty());
}

#[tokio::test]
async fn the_destinations_password_never_goes_to_the_source() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    pair.destination.demand("Basic realm=\"r\"", &[&basic]);
    let run = pair.sync(&["--to-username", USER]).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD);
    run.run().await.expect_success();
    assert!(pair.source.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn a_private_authority_must_be_configured() {
    let authority = Authority::new();
    let image = SampleImage::multi_platform("1");
    let mut pair = RealPair::with(&[("team/app", &image)]).await;
    pair.destination = Registry::start_with(Options::default().tls(&authority)).await;

    let refused = pair.sync(&[]).run().await.expect_code(1);
    assert!(refused.stderr.contains("--ca-cert FILE"), "{refused}");
    assert!(refused.stderr.contains("certificate"), "{refused}");

    let file = authority.certificate_file().display().to_string();
    pair.sync(&["--ca-cert", &file]).run().await.expect_success();
    client::assert_present(&image, pair.destination.address(), "mirror/app").await;
}

#[tokio::test]
async fn tokens_that_expire_immediately_are_renewed_on_both_sides() {
    let image = SampleImage::multi_platform("1");
    let (source_tokens, destination_tokens) =
        tokio::join!(TokenServer::start(None), TokenServer::start(None));
    let (source, destination) = tokio::join!(
        Registry::start_with(Options::default().tokens(&source_tokens)),
        Registry::start_with(Options::default().tokens(&destination_tokens)),
    );
    source_tokens.allow_everyone("team/app", &["pull"]);
    source_tokens.allow("seeder", "seed", "team/app", &["pull", "push"]);
    destination_tokens.allow(USER, PASSWORD, "mirror/app", &["pull", "push"]);
    for tokens in [&source_tokens, &destination_tokens] {
        tokens.set_expires_in(1);
    }
    let seeder = RepositoryClient::signed_in(source.address(), "team/app", "seeder", "seed").await;
    seeder.push(&image).await.unwrap();

    let from = [source.address().image("team/app", "1")];
    let run = sync(&from, &mirror_at(destination.address()), &["--to-username", USER]);
    run.env("THORAS_MIRROR_TO_PASSWORD", PASSWORD).run().await.expect_success();
    assert_present_signed_in(&destination, &image).await;
    let asked = destination_tokens.requests();
    assert!(asked.iter().all(|request| request.status == 200), "{asked:?}");
}
