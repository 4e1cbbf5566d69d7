//! `sync`, `bundle export` and `bundle import` verify signatures before they copy; `verify` verifies those in the mirror.

use std::fs;

use thoras_mirror::oci::Digest;

use super::{
    judge::Court,
    keyless::{ISSUER, RELEASE},
};
use crate::support::{
    Address, client,
    cosign::Cosign,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    sigstore::{Flaws, SigstoreInstance, TestSigner, bundle_without_log},
};

/// Syncs one image by its tag, plain http on both sides.
async fn sync(source: &Address, repository: &str, to: &Registry, more: &[&str]) -> Outcome {
    let image = SampleImage::multi_platform(repository);
    let to = to.address();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["sync".to_owned(), source.image(repository, &image.tag), "--to".to_owned()];
    let plain = [&source.host_port, &to.host_port].map(|host| format!("--plain-http={host}"));
    Mirror::new(arguments.into_iter().chain([format!("{}/mirror", to.host_port)]).chain(plain))
        .arguments(more.iter().copied())
        .in_folder(folder.path())
        .run()
        .await
}

/// Pushes three images: `bundle` and `tag` are signed by this key, in the two formats, `unsigned` is not.
async fn push_signed_and_unsigned(court: &Court, key: &str) {
    for repository in ["bundle", "tag", "unsigned"] {
        let image = court.image(repository, &court.push(repository).await);
        match repository {
            "bundle" => court.cosign.sign(key, &image, &[]).await,
            "tag" => court.cosign.sign_as_tag(key, &image, &[]).await,
            _ => (),
        }
    }
}

async fn nothing_was_pushed(registry: &Registry) {
    for (method, path) in [("PUT", ""), ("POST", ""), ("PATCH", "")] {
        assert_eq!(registry.count(method, path).await, 0, "{method}");
    }
}

#[tokio::test]
async fn only_signed_images_are_copied() {
    let court = Court::new().await;
    let key = court.cosign.generate_key("key").await;
    let wrong = court.cosign.generate_key("wrong").await;
    let (key, wrong) = (key.to_str().unwrap(), wrong.to_str().unwrap());
    push_signed_and_unsigned(&court, "key").await;
    let source = court.address();

    let destination = Registry::start().await;
    let strangers = ["--verify-key", wrong, "--insecure-ignore-tlog"];
    for repository in ["bundle", "tag", "unsigned"] {
        let refused = sync(source, repository, &destination, &strangers).await.expect_code(6);
        let reason = match repository {
            "unsigned" => "is not signed",
            _ => "it was made with a key other than",
        };
        assert!(refused.stderr.contains(reason) && refused.stderr.contains("hint: "), "{refused}");
    }
    let refused = sync(source, "bundle", &destination, &["--verify-key", key]).await.expect_code(6);
    assert!(refused.stderr.contains("it is not in a transparency log"), "{refused}");
    assert!(refused.stderr.contains("--insecure-ignore-tlog"), "{refused}");
    nothing_was_pushed(&destination).await;

    for repository in ["bundle", "tag"] {
        let right = ["--verify-key", wrong, "--verify-key", key, "--insecure-ignore-tlog"];
        sync(source, repository, &destination, &right).await.expect_success();
        let image = SampleImage::multi_platform(repository);
        client::assert_present(&image, destination.address(), &format!("mirror/{repository}")).await;
    }
}

#[tokio::test]
async fn a_registry_without_the_referrers_api_is_read_as_well() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let cosign = Cosign::new();
    let key = cosign.generate_key("key").await;
    let flags = ["--verify-key", key.to_str().unwrap(), "--insecure-ignore-tlog"];
    for (repository, older) in [("bundle", false), ("tag", true)] {
        let image = SampleImage::multi_platform(repository);
        client::push(&image, source.address(), repository).await;
        sync(source.address(), repository, &destination, &flags).await.expect_code(6);
        let reference = format!("{}/{repository}@{}", source.address().host_port, image.root().digest);
        if older {
            cosign.sign_as_tag("key", &reference, &[]).await;
        } else {
            cosign.sign("key", &reference, &[]).await;
        }
        sync(source.address(), repository, &destination, &flags).await.expect_success();
    }
}

/// The fallback index lists the referrers: the verification and the copy share one answer.
#[tokio::test]
async fn a_root_is_asked_once_what_is_attached_to_it() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let cosign = Cosign::new();
    let key = cosign.generate_key("key").await;
    let image = SampleImage::multi_platform("app");
    client::push(&image, source.address(), "app").await;
    let digest = &image.root().digest;
    cosign.sign("key", &format!("{}/app@{digest}", source.address().host_port), &[]).await;
    source.clear_requests().await;
    let flags = ["--verify-key", key.to_str().unwrap(), "--insecure-ignore-tlog"];
    sync(source.address(), "app", &destination, &flags).await.expect_success();
    let index = format!("/manifests/sha256-{}", digest.hex());
    let requests = source.requests().await;
    let reads = requests.iter().filter(|request| request.method == "GET" && request.path.ends_with(&index));
    assert_eq!(reads.count(), 1, "{requests:#?}");
}

#[tokio::test]
async fn a_policy_decides_for_each_image() {
    let court = Court::new().await;
    let instance = SigstoreInstance::new();
    let folder = tempfile::tempdir().unwrap();
    instance.write_trusted_root(&folder.path().join("root.json"));
    let image = court.push("team-keyless").await;
    let signer = instance.issue(RELEASE, ISSUER, Flaws::default());
    court.attach_bundle("team-keyless", &image, &instance.bundle(&signer, &image)).await;
    court.push("public-base").await;
    let policy = folder.path().join("policy.yaml");
    let host = &court.address().host_port;
    let text = format!(
        "images:\n- match: {host}/team-*\n  identity: {RELEASE}\n  issuer: {ISSUER}\n  trusted-root: root.json\n\
         - match: {host}/public-*\n  unsigned: true\notherwise: require\n"
    );
    fs::write(&policy, text).unwrap();
    let destination = Registry::start().await;
    let flags = ["--verify-policy", policy.to_str().unwrap()];
    for (repository, code) in [("team-keyless", 0), ("public-base", 0), ("team-other", 6), ("elsewhere", 6)] {
        if code != 0 {
            court.push(repository).await;
        }
        sync(court.address(), repository, &destination, &flags).await.expect_code(code);
    }
    let refused = sync(court.address(), "elsewhere", &destination, &flags).await;
    assert!(refused.stderr.contains("matches no rule of the policy"), "{refused}");

    fs::write(&policy, "images: [{match: '*', kye: a.pub}]\notherwise: allow\n").unwrap();
    let refused = sync(court.address(), "elsewhere", &destination, &flags).await.expect_code(3);
    assert!(refused.stderr.contains("images[0]: unknown field `kye`"), "{refused}");
}

/// The type of a referrer may be missing or wrong; a signature must be found all the same, after everything else.
#[tokio::test]
async fn a_signature_is_found_among_many_referrers() {
    let court = Court::new().await;
    let signer = TestSigner::with_key();
    let key = court.cosign.file("key.pub");
    signer.write_public_key(&key);
    let image: Digest = court.push("app").await;
    for number in 0..20 {
        court.attach("app", &image, "application/spdx+json", format!("{{\"number\":{number}}}")).await;
    }
    court.attach_bundle("app", &image, &bundle_without_log(&TestSigner::with_key(), &image)).await;
    court.attach_bundle("app", &image, &bundle_without_log(&signer, &image)).await;
    let destination = Registry::start().await;
    let flags = ["--verify-key", key.to_str().unwrap(), "--insecure-ignore-tlog"];
    sync(court.address(), "app", &destination, &flags).await.expect_success();
}

#[tokio::test]
async fn an_export_leaves_out_what_is_not_signed() {
    let court = Court::new().await;
    let key = court.cosign.generate_key("key").await;
    let image = court.push("app").await;
    let folder = tempfile::tempdir().unwrap();
    let reference = court.address().image("app", &SampleImage::multi_platform("app").tag);
    let plain = format!("--plain-http={}", court.address().host_port);
    let export = || {
        Mirror::new([
            "bundle",
            "export",
            "-o",
            "b.tar",
            &reference,
            &plain,
            "--insecure-ignore-tlog",
            "--verify-key",
        ])
        .arg(&key)
        .in_folder(folder.path())
        .run()
    };
    let refused = export().await.expect_code(6);
    assert!(refused.stderr.contains("is not signed"), "{refused}");
    assert!(!folder.path().join("b.tar").exists());
    court.cosign.sign("key", &court.image("app", &image), &[]).await;
    let exported = export().await.expect_success();
    assert!(exported.stdout.contains(&format!("1 image signed by key {}", key.display())), "{exported}");
    assert!(folder.path().join("b.tar").exists());
}

#[tokio::test]
async fn missing_files_are_reported_before_any_request() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    for flags in [["--verify-key", "/none/a.pub"], ["--verify-policy", "/none/p.yaml"]] {
        source.clear_requests().await;
        let refused = sync(source.address(), "app", &destination, &flags).await.expect_code(3);
        assert!(refused.stderr.contains("/none/"), "{refused}");
        assert_eq!(source.count("", "app").await, 0);
    }
}

#[tokio::test]
async fn a_bundle_and_the_mirror_are_verified_as_well() {
    let court = Court::new().await;
    let key = court.cosign.generate_key("key").await;
    let wrong = court.cosign.generate_key("wrong").await;
    let (key, wrong) = (key.to_str().unwrap(), wrong.to_str().unwrap());
    push_signed_and_unsigned(&court, "key").await;
    let (source, destination) = (court.address(), Registry::start().await);
    let at = destination.address();
    let plain = [&source.host_port, &at.host_port].map(|host| format!("--plain-http={host}"));
    let folder = tempfile::tempdir().unwrap();
    let run =
        |words: &[&str]| Mirror::new(words.iter().copied()).arguments(&plain).in_folder(folder.path()).run();
    let to = format!("{}/mirror", at.host_port);
    let images = ["bundle", "tag", "unsigned"]
        .map(|repository| source.image(repository, &SampleImage::multi_platform(repository).tag));
    let [bundle, tag, unsigned] = &images;
    run(&["bundle", "export", "-o", "all.tar", bundle, tag, unsigned]).await.expect_success();

    let import = ["bundle", "import", "all.tar", "--to", &to];
    let required = ["--verify-key", key, "--insecure-ignore-tlog"];
    let refused = run(&[&import[..], &required].concat()).await.expect_code(6);
    assert!(refused.stderr.contains("unsigned") && refused.stderr.contains("is not signed"), "{refused}");
    for repository in ["bundle", "tag"] {
        let image = SampleImage::multi_platform(repository);
        client::assert_present(&image, at, &format!("mirror/{repository}")).await;
    }
    assert_eq!(destination.count("PUT", "/v2/mirror/unsigned/manifests/").await, 0);

    run(&import).await.expect_success();
    let verify = ["verify", "--to", &to];
    run(&verify).await.expect_success();
    run(&[&verify[..], &required, &[bundle, tag]].concat()).await.expect_success();
    let refused = run(&[&verify[..], &required].concat()).await.expect_code(5);
    assert!(refused.stderr.contains("is not signed"), "{refused}");
    let strangers = ["--verify-key", wrong, "--insecure-ignore-tlog", bundle];
    let refused = run(&[&verify[..], &strangers].concat()).await.expect_code(5);
    assert!(refused.stderr.contains("it was made with a key other than"), "{refused}");
    // The report names the key, in JSON with the manifest that holds the signature.
    let signed = format!("2 images signed by key {key}");
    let json = ["-o", "json"];
    let import_both = [&import[..], &required, &["--exclude", "*unsigned*"]].concat();
    let verify_both = [&verify[..], &required, &[bundle, tag]].concat();
    for command in [import_both, verify_both] {
        let shown = run(&command).await.expect_success();
        assert!(shown.stdout.lines().any(|line| line == signed), "{shown}");
        let shown = run(&[&command[..], &json].concat()).await.expect_success();
        let document: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        for image in document["images"].as_array().unwrap() {
            let signature = &image["signature"];
            assert_eq!(signature["key"], key, "{shown}");
            assert!(signature["manifest"].as_str().unwrap().starts_with("sha256:"), "{shown}");
        }
    }
}
