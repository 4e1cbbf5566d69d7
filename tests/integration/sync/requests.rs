//! The exact number of requests that a cold copy makes to the destination.

use std::collections::BTreeSet;

use super::*;
use crate::support::{
    registry::LoggedRequest,
    scripted::{Action, Answer, Gate},
};

/// The requests to an empty registry: a POST and a PUT for every distinct blob, a POST for every mount, a PUT for every
/// manifest and a GET that confirms it, a GET of the tag; one probe for http; one probe for self-mounts; and the config
/// of an image without an index, which alone names its platform.
#[tokio::test]
async fn a_cold_copy_makes_no_unnecessary_request() {
    let images = [
        SampleImage::multi_platform("a"),
        SampleImage::multi_platform("b"),
        SampleImage::docker("c"),
        SampleImage::with_attestations("d"),
        SampleImage::single_platform("e", "amd64"),
    ];
    let named: Vec<(String, &SampleImage)> =
        images.iter().map(|image| (format!("team/{}", image.tag), image)).collect();
    let named: Vec<(&str, &SampleImage)> =
        named.iter().map(|(name, image)| (name.as_str(), *image)).collect();
    let pair = RealPair::with(&named).await;
    let platforms = ["--allow-missing-platform", "*"];
    let outcome = pair.sync(&platforms).run().await.expect_success();

    let requests = pair.destination.requests().await;
    let count = |method: &str, path: &str| {
        requests.iter().filter(|request| request.method == method && request.path.contains(path)).count()
    };
    let blobs: usize = images.iter().map(|image| image.blobs.len()).sum();
    let distinct: BTreeSet<_> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    let manifests: usize = images.iter().map(|image| image.manifests.len()).sum();
    assert!(blobs > distinct.len(), "some are shared");
    let expected = [
        ("GET", "/v2/", 1 + images.len() + manifests + 1),
        ("HEAD", "", 0),
        ("POST", "/blobs/uploads/?mount=", blobs + 1),
        ("PUT", "/blobs/uploads/", distinct.len()),
        ("PUT", "/manifests/", manifests),
        ("DELETE", "", 0),
        ("PATCH", "", 0),
    ];
    for (method, path, expected) in expected {
        assert_eq!(count(method, path), expected, "{method} {path}: {requests:#?}");
    }
    let sum: usize = expected.iter().map(|(.., count)| count).sum();
    assert_eq!(requests.len(), sum, "{outcome}");
}

#[tokio::test]
async fn a_dry_run_counts_what_the_run_asks_of_both_registries() {
    let images = ["a", "b"].map(SampleImage::multi_platform);
    let named = [("team/a", &images[0]), ("team/b", &images[1])];
    let pair = RealPair::with(&named).await;
    let planned = pair.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout).unwrap();
    let [from, to] = [0, 1].map(|at| planned["requests"][at].clone());
    assert_eq!((&from["side"], &to["side"]), (&"source".into(), &"destination".into()), "{planned:#}");
    pair.source.clear_requests().await;
    pair.destination.clear_requests().await;
    pair.sync(&[]).run().await.expect_success();

    let (source, destination) = (pair.source.requests().await, pair.destination.requests().await);
    let count = |requests: &[LoggedRequest], method: &str, path: &str| {
        requests.iter().filter(|request| request.method == method && request.path.contains(path)).count()
    };
    let mounts = destination.iter().filter(|request| request.path.contains("from=mirror")).count();
    for (planned, sent) in [
        (&from["manifestsRead"], count(&source, "GET", "/manifests/")),
        (&from["blobsRead"], count(&source, "GET", "/blobs/")),
        (&to["manifestsPushed"], count(&destination, "PUT", "/manifests/")),
        (&to["uploads"], count(&destination, "PUT", "/blobs/uploads/")),
    ] {
        assert_eq!(*planned, sent, "{from:#} {to:#}");
    }
    let blobs: usize = images.iter().map(|image| image.blobs.len()).sum();
    let distinct: BTreeSet<_> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    assert_eq!(to["mounts"], blobs - distinct.len(), "{mounts} mounts were requested");
}

/// Forks of distribution have its upload sessions, but not always its self-mount.
#[tokio::test]
async fn a_registry_that_only_resembles_distribution_is_detected_after_one_blob() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    let ignores_mounts =
        Action::alter(
            |answer: Answer| {
                if answer.status == 201 { Answer::error(400, "UNSUPPORTED") } else { answer }
            },
        );
    pair.destination.on("POST", "from=mirror%2Fapp").then(ignores_mounts);
    pair.sync(&["--jobs", "1"]).run().await.expect_success();
    assert_eq!(pair.destination.count("POST", "mount="), 2, "the first blob, and the question about it");
    assert_eq!(pair.destination.count("HEAD", "/blobs/"), image.blobs.len() - 1);
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), image.blobs.len());
}

/// Neither its sessions nor its mounts tell whether a blob is present, so every blob is checked with HEAD.
#[tokio::test]
async fn a_registry_other_than_distribution_is_not_sent_blobs_that_it_has() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.destination.with_store(|store| store.repository("mirror/app").blobs = image.blobs.clone());
    let other_make = |answer: Answer| match answer.status.as_u16() {
        202 => answer,
        _ => Answer::status(202).header("location", "/v2/mirror/app/blobs/uploads/1"),
    };
    pair.destination.on("POST", "from=mirror%2Fapp").then(Action::alter(other_make));
    pair.sync(&[]).run().await.expect_success();
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), 0);
    assert_eq!(pair.destination.count("HEAD", "/blobs/"), image.blobs.len());
    assert_eq!(pair.tags(), ["mirror/app:1"]);
}

/// A mount that fails for now is sent again as an upload, whose answer says nothing about the blob.
#[tokio::test]
async fn a_mount_that_failed_for_now_does_not_upload_a_present_blob_bug() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.destination.with_store(|store| store.repository("mirror/app").blobs = image.blobs.clone());
    pair.destination.on("POST", "mount=").nth(3).answer(Answer::status(503));
    pair.sync(&["--jobs", "1"]).run().await.expect_success();
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), 0);
    assert_eq!(pair.destination.count("HEAD", "/blobs/"), 1);
}

/// All blobs are asked for at once, and the answer about the first one shows that such answers mean nothing.
#[tokio::test]
async fn answers_on_their_way_are_not_taken_for_missing_blobs_bug() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("team/app", &image)]).await;
    pair.destination.with_store(|store| store.repository("mirror/app").blobs = image.blobs.clone());
    let opened = Answer::status(202).header("location", "/v2/mirror/app/blobs/uploads/1");
    let first = image.blobs.keys().next().unwrap().as_str().replace(':', "%3A");
    let (gate, later) = (Gate::default(), Gate::default());
    pair.destination.on("POST", "mount=").then(Action::HoldThen(later.clone(), opened.clone()));
    pair.destination.on("POST", &first).then(Action::HoldThen(gate.clone(), opened));
    let running = pair.sync(&[]).start();
    pair.destination.wait_for(image.blobs.len(), "POST", "mount=").await;
    gate.open();
    pair.destination.wait_for(1, "DELETE", "/blobs/uploads/").await;
    later.open();
    running.outcome().await.expect_success();
    assert_eq!(pair.destination.count("PUT", "/blobs/uploads/"), 0);
    assert_eq!(pair.destination.count("HEAD", "/blobs/"), image.blobs.len());
}
