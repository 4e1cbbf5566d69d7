//! Images with sha512 digests: a registry computes sha256 for what is pushed by tag, so they are pushed by digest.

use thoras_mirror::oci::{Algorithm, Digest, Hasher};

use super::{assert_says, run};
use crate::support::{
    Address, client, documents,
    images::SampleImage,
    registry::Registry,
    scripted::{Action, Answer, Scripted},
    serving::Serving,
};

/// A vendor whose `app/web:web` has a sha512 digest.
async fn vendor(folder: &std::path::Path) -> (Serving, SampleImage, Digest) {
    let vendor = Serving::start(&folder.join("vendor"), &[]).await;
    let web = SampleImage::multi_platform("web");
    client::push(&web, &vendor.address, "app/web").await;
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&web.root().bytes);
    let digest = hasher.finish();
    let url = format!("{}/v2/app/web/manifests/{digest}?tag=web", vendor.address.url());
    let put = vendor.address.http_client().put(url).header("content-type", &web.root().media_type);
    assert_eq!(put.body(web.root().bytes.clone()).send().await.unwrap().status(), 201);
    (vendor, web, digest)
}

/// The digest that a registry names for a tag.
async fn digest_at(address: &Address, repository: &str, tag: &str) -> String {
    let url = format!("{}/v2/{repository}/manifests/{tag}", address.url());
    let answer = address.http_client().head(url).send().await.unwrap();
    answer.headers()["docker-content-digest"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn sha512_digests_survive_tags_bundles_and_verification() {
    let folder = tempfile::tempdir().unwrap();
    let (vendor, _, digest) = vendor(folder.path()).await;
    let mirror = Serving::start(&folder.path().join("mirror"), &[]).await;
    let (from, to) = (&vendor.address.host_port, &mirror.address.host_port);
    let references = [
        format!("{from}/app/web:web"),
        format!("{from}/app/web@{digest}"),
        format!("{from}/app/web:web@{digest}"),
    ];
    for (number, reference) in references.iter().enumerate() {
        let run = |command: &str| run(command, &[]).in_folder(folder.path()).run();
        let tag = if number == 1 { format!("mirror-{}", &digest.hex()[..16]) } else { "web".to_owned() };
        let synced = run(&format!("sync {reference} --to {to}/m{number} -o json")).await.expect_success();
        assert_eq!(documents::run(&synced)["images"][0]["digest"], digest.as_str());
        assert_eq!(digest_at(&mirror.address, &format!("m{number}/web"), &tag).await, digest.as_str());
        let _ = run(&format!("verify --to {to}/m{number} --level bytes")).await.expect_success();
        let again = run(&format!("sync --locked --to {to}/m{number} -o json")).await.expect_success();
        assert_eq!(documents::run(&again)["images"][0]["status"], "up-to-date");

        let file = format!("b{number}.tar");
        let _ = run(&format!("bundle export -o {file} {reference}")).await.expect_success();
        let _ = run(&format!("bundle verify {file}")).await.expect_success();
        let _ =
            run(&format!("bundle import {file} --to {to}/b{number} --lock b.lock")).await.expect_success();
        assert_eq!(digest_at(&mirror.address, &format!("b{number}/web"), &tag).await, digest.as_str());
        let served = Serving::start(&folder.path().join(&file), &[]).await;
        assert_eq!(digest_at(&served.address, "web", &tag).await, digest.as_str());
        std::fs::remove_file(folder.path().join("b.lock")).unwrap();
        std::fs::remove_file(folder.path().join("thoras-mirror.lock")).unwrap();
    }
}

#[tokio::test]
async fn a_registry_that_keeps_only_sha256_fails_the_image_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (vendor, _, digest) = vendor(folder.path()).await;
    let mirror = Registry::start().await;
    let from = &vendor.address.host_port;
    for reference in [format!("{from}/app/web:web"), format!("{from}/app/web@{digest}")] {
        let to = format!("{}/m", mirror.address().host_port);
        let outcome = run(&format!("sync --to {to} {reference}"), &[]).run().await.expect_code(1);
        assert_says(&outcome, "the image has a sha512 digest, which the registry does not accept");
        assert_eq!(mirror.storage().tags().len(), 0, "no tag points to the sha256 of the same bytes");
    }
}

#[tokio::test]
async fn a_tag_that_the_registry_does_not_set_fails_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let (vendor, web, _) = vendor(folder.path()).await;
    let mirror = Scripted::start().await;
    mirror.on("PUT", "?tag=web").then(Action::Answer(Answer::status(201)));
    let command =
        format!("sync --to {}/m {}/app/web:web", mirror.address().host_port, vendor.address.host_port);
    let outcome = run(&command, &[]).run().await.expect_code(1);
    assert_says(&outcome, "does not set a tag for a push by digest: the tag does not exist");
    // Another manifest is under the tag.
    mirror.with_store(|store| store.insert("m/web", &web));
    let outcome = run(&command, &[]).run().await.expect_code(1);
    assert_says(&outcome, &format!("the tag points to {}", web.root().digest));
}
