//! `verify --to`: without a lock, against the current digests at the source.

use super::{Site, find, own_layer, problem_kinds, repair_commands, vendor};
use crate::support::{
    client, documents,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Action, Scripted},
};

/// Verifies in a folder without a lock.
async fn verify(site: &Site, images: &[&SampleImage], more: &[&str]) -> Outcome {
    let (to, references) = (site.to(), images.iter().map(|image| site.reference(image)).collect::<Vec<_>>());
    let prefix = format!("{}/vendor", site.source.address().host_port);
    let arguments = ["verify", "--to", &to, "--source-prefix", &prefix].into_iter();
    Mirror::new(arguments.chain(more.iter().copied()).chain(references.iter().map(String::as_str)))
        .run()
        .await
}

#[tokio::test]
async fn a_mirror_equal_to_its_source_is_verified_without_a_lock() {
    let [web, worker] = ["web", "worker"].map(SampleImage::multi_platform);
    let site = Site::of(&[&web, &worker]).await;
    let outcome = verify(&site, &[&web, &worker], &["-o", "json"]).await.expect_success();
    let document = documents::run(&outcome);
    assert_eq!(document["totals"]["confirmed"], 2);
    assert_eq!(find(&document, &web)["digest"], web.root().digest.as_str());
    assert_eq!(
        site.source.count("GET", "/blobs/").await,
        2 * web.blobs.len() - 2,
        "only the sync read blobs"
    );
}

#[tokio::test]
async fn a_tag_moved_at_the_source_is_reported_and_the_printed_command_copies_it() {
    let web = SampleImage::multi_platform("web");
    let site = Site::of(&[&web]).await;
    let mut newer = SampleImage::docker("newer");
    newer.tag = "web".to_owned();
    client::push(&newer, site.source.address(), &vendor(&web)).await;

    let outcome = verify(&site, &[&web], &["-o", "json"]).await.expect_code(5);
    let document = documents::run(&outcome);
    let problem = &find(&document, &web)["problems"][0];
    assert_eq!(problem["expected"], newer.root().digest.as_str());
    assert_eq!(problem["found"], web.root().digest.as_str());

    let commands = repair_commands(&outcome.stderr);
    assert_eq!(commands.len(), 1, "{outcome}");
    assert!(
        commands[0].ends_with(&site.reference(&web)),
        "names the images that were asked for: {commands:?}"
    );
    let _ = site.repair(&commands[0]).await.expect_success();
    let _ = verify(&site, &[&web], &["--level", "bytes"]).await.expect_success();
}

#[tokio::test]
async fn an_image_missing_at_the_source_fails_and_the_others_are_verified() {
    let [web, absent] = ["web", "absent"].map(SampleImage::multi_platform);
    let site = Site::of(&[&web]).await;
    let outcome = verify(&site, &[&web, &absent], &["-o", "json"]).await.expect_code(5);
    let document = documents::run(&outcome);
    assert_eq!(find(&document, &web)["status"], "verified");
    assert_eq!(problem_kinds(&document, &absent), ["missing-tag"]);
    let failure = find(&document, &absent)["failure"]["message"].as_str().unwrap();
    assert!(failure.contains(&site.reference(&absent)) && failure.contains("(source)"), "{failure}");
}

#[tokio::test]
async fn an_unreachable_registry_is_reported_once_for_all_its_images() {
    let [web, worker] = ["web", "worker"].map(SampleImage::multi_platform);
    let site = Site::of(&[&web, &worker]).await;
    let Site { source: _source, mirror, synced } = site;
    let gone = mirror.address().host_port.clone();
    drop(mirror);
    let verify = Mirror::new(["verify"]).in_folder(&synced.folder());
    let outcome = verify.run().await.expect_code(1);
    let line = format!("error: web:web, worker:worker: cannot reach registry {gone} (destination)");
    assert_eq!(outcome.stderr.matches(&line).count(), 1, "{outcome}");
    assert!(outcome.stderr.contains("no connection"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("check that a server is running at {gone}")), "{outcome}");
}

#[tokio::test]
async fn a_blob_that_cannot_be_queried_does_not_hide_problems_of_others_bug() {
    let web = SampleImage::multi_platform("web");
    let (source, mirror) = (Scripted::start().await, Scripted::start().await);
    source.with_store(|store| store.insert("vendor/web", &web));
    mirror.with_store(|store| store.insert("mirror/web", &web));
    let forbidden = own_layer(&web);
    let lost = web.blobs.keys().find(|blob| **blob != forbidden).unwrap();
    mirror.with_store(|store| store.repository("mirror/web").blobs.remove(lost));
    mirror.on("HEAD", forbidden.as_str()).then(Action::error(403, "DENIED"));

    let to = format!("{}/mirror", mirror.address().host_port);
    let reference = source.address().image("vendor/web", "web");
    let outcome = Mirror::new(["verify", "--to", &to, &reference, "-o", "json"]).run().await.expect_code(5);
    let document = documents::run(&outcome);
    assert_eq!(problem_kinds(&document, &web), ["missing-blob"]);
    assert!(find(&document, &web)["failure"]["message"].as_str().unwrap().contains(forbidden.as_str()));
    assert_eq!(find(&document, &web)["status"], "different");

    mirror.with_store(|store| store.insert("mirror/web", &web));
    let _ = Mirror::new(["verify", "--to", &to, &reference]).run().await.expect_code(4);
}
