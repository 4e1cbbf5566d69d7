//! `inspect`: an image as the registry shows it.

use insta::assert_snapshot;
use thoras_mirror::oci::Digest;

use crate::support::{
    Address, client, documents,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    scripted::{Action, Scripted},
};

async fn registry_with(images: &[&SampleImage]) -> Registry {
    let registry = Registry::start().await;
    for image in images {
        client::push(image, registry.address(), "vendor/app").await;
    }
    registry
}

fn reference(address: &Address, image: &SampleImage) -> String {
    address.image("vendor/app", &image.tag)
}

async fn inspect(arguments: &[&str]) -> Outcome {
    Mirror::new(["inspect"].iter().chain(arguments)).run().await
}

#[tokio::test]
async fn the_table_shows_platforms_digests_sizes_and_attestations() {
    let image = SampleImage::with_attestations("attested");
    let registry = registry_with(&[&image]).await;
    let outcome = inspect(&[&reference(registry.address(), &image)]).await.expect_success();
    assert_eq!(outcome.stderr, "");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&registry.address().host_port, "REGISTRY");
    settings.bind(|| assert_snapshot!("table", outcome.stdout));
}

#[tokio::test]
async fn json_contains_what_the_manifests_say() {
    let image = SampleImage::with_attestations("attested");
    let registry = registry_with(&[&image]).await;
    let outcome = inspect(&["-o", "json", &reference(registry.address(), &image)]).await.expect_success();
    let document = documents::parse(&outcome.stdout, "inspect.v1.json");
    let shown = &document["images"][0];
    assert_eq!(shown["digest"], image.root().digest.as_str());
    assert_eq!(shown["mediaType"], image.root().media_type);
    assert_eq!(shown["manifestSize"], image.root().bytes.len());
    let manifests: usize = image.manifests.iter().map(|manifest| manifest.bytes.len()).sum();
    assert_eq!(shown["totalSize"], manifests as u64 + image.blob_bytes());
    let platforms = shown["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2, "attestations are no platforms: {shown}");
    assert_eq!(platforms[0]["platform"], "linux/amd64");
    assert_eq!(platforms[0]["digest"], image.manifests[0].digest.as_str());
    assert_eq!(platforms[0]["mediaType"], image.manifests[0].media_type);
    assert_eq!(platforms[0]["layers"], 2);
    let attestations = shown["attestations"].as_array().unwrap();
    assert_eq!(attestations.len(), 2);
    assert_eq!(attestations[0]["digest"], image.manifests[1].digest.as_str());
    assert_eq!(attestations[0]["about"], image.manifests[0].digest.as_str());
}

#[tokio::test]
async fn every_shape_of_image_can_be_shown() {
    let images = [
        SampleImage::docker("docker"),
        SampleImage::single_platform("single", "arm64"),
        SampleImage::nested("nested"),
        SampleImage::odd_layers("odd"),
    ];
    let registry = registry_with(&images.iter().collect::<Vec<_>>()).await;
    let references: Vec<String> = images.iter().map(|image| reference(registry.address(), image)).collect();
    let arguments: Vec<&str> = references.iter().map(String::as_str).chain(["-o", "json"]).collect();
    let outcome = inspect(&arguments).await.expect_success();
    let document = documents::parse(&outcome.stdout, "inspect.v1.json");
    let platforms = |index: usize| {
        let all = document["images"][index]["platforms"].as_array().unwrap().iter();
        all.map(|one| one["platform"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(platforms(0), ["linux/amd64", "linux/arm64/v8"]);
    assert_eq!(platforms(1), ["linux/arm64"]);
    assert_eq!(platforms(2), ["linux/amd64", "linux/arm64/v8"]);
    assert_eq!(platforms(3), ["linux/amd64"]);
}

#[tokio::test]
async fn raw_bytes_hash_to_the_digest_whatever_their_white_space() {
    let image = SampleImage::odd_bytes("odd");
    let registry = registry_with(&[&image]).await;
    for by in [reference(registry.address(), &image), {
        format!("{}/vendor/app@{}", registry.address().host_port, image.root().digest)
    }] {
        // A format from the environment does not apply to `--raw`.
        let raw = Mirror::new(["inspect", "--raw", &by]).env("THORAS_MIRROR_OUTPUT", "json").run().await;
        let raw = raw.expect_success();
        assert_eq!(raw.stdout.as_bytes(), image.root().bytes);
        assert_eq!(Digest::sha256(raw.stdout.as_bytes()), image.root().digest);
        assert_eq!(raw.stderr, "");
    }
    let two = inspect(&["--raw", "quay.io/a/b:1", "quay.io/a/c:1"]).await.expect_code(2);
    assert!(two.stderr.contains("--raw takes exactly one image"), "{two}");
}

#[tokio::test]
async fn an_image_that_fails_does_not_hide_the_others() {
    let image = SampleImage::multi_platform("here");
    let registry = registry_with(&[&image]).await;
    let (here, gone) =
        (reference(registry.address(), &image), registry.address().image("vendor/app", "gone"));
    let outcome = inspect(&[&gone, &here]).await.expect_code(1);
    assert!(outcome.stdout.contains(image.root().digest.as_str()), "{outcome}");
    assert!(outcome.stderr.contains(&gone), "{outcome}");

    let outcome = inspect(&[&gone, &here, "-o", "json"]).await.expect_code(1);
    let document = documents::parse(&outcome.stdout, "inspect.v1.json");
    assert_eq!(document["images"].as_array().unwrap().len(), 1);
    assert_eq!(document["failures"].as_array().unwrap().len(), 1);
    assert_eq!(document["exitCode"], 1);
}

#[tokio::test]
async fn an_empty_line_separates_an_error_from_the_images_above_it_bug() {
    let image = SampleImage::multi_platform("here");
    let registry = registry_with(&[&image]).await;
    let gone = registry.address().image("vendor/app", "gone");
    let both = inspect(&[&gone, &reference(registry.address(), &image)]).await.expect_code(1);
    assert!(both.stderr.contains("\n\nerror: ") || both.stderr.starts_with("\nerror: "), "{both}");
    let alone = inspect(&[&gone]).await.expect_code(1);
    assert!(alone.stderr.starts_with("error: "), "{alone}");
}

#[tokio::test]
async fn a_missing_image_is_reported_as_missing() {
    let registry = Registry::start().await;
    let gone = registry.address().image("vendor/app", "gone");
    let outcome = inspect(&[&gone]).await.expect_code(1);
    assert_eq!(outcome.stdout, "");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&registry.address().host_port, "REGISTRY");
    settings.bind(|| assert_snapshot!("no_such_image", outcome.stderr));
}

#[tokio::test]
async fn an_invalid_reference_is_a_usage_error() {
    for wrong in ["https://quay.io/a/b", "quay.io/A/b:1", "quay.io/a/b:", ""] {
        let outcome = inspect(&[wrong]).await.expect_code(2);
        assert!(outcome.stderr.contains("error:"), "{outcome}");
    }
}

#[tokio::test]
async fn a_refusal_is_distinguished_from_a_missing_image() {
    let registry = Scripted::start().await;
    registry.on("GET", "/manifests/").then(Action::error(403, "DENIED"));
    let outcome = inspect(&[&registry.address().image("vendor/app", "1")]).await.expect_code(4);
    assert!(outcome.stderr.contains("DENIED") && outcome.stderr.contains("credentials"), "{outcome}");
}

#[tokio::test]
async fn text_from_a_registry_is_escaped_for_the_terminal() {
    let registry = Scripted::start().await;
    let message =
        serde_json::json!({ "errors": [{ "code": "DENIED\u{1b}[2J", "message": "\u{1b}]0;x\u{7}" }] });
    let answer = crate::support::scripted::Answer::json(400, &message);
    registry.on("GET", "/manifests/").answer(answer);
    let image = registry.address().image("vendor/app", "1");
    for form in ["table", "json"] {
        let outcome = inspect(&[&image, "-o", form]).await.expect_code(1);
        for text in [&outcome.stdout, &outcome.stderr] {
            assert!(!text.contains(['\u{1b}', '\u{7}']), "{outcome:?}");
        }
    }
}
