//! Thousands of referrers of one image, through the whole program.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use thoras_mirror::{
    endpoint::Source,
    oci::{Digest, RawManifest},
    problem::Side,
};

use super::{
    SampleImage, Scripted, digests, entry, next_page, page, referrer_with, registries, repository, store_tag,
    subject,
};
use crate::support::{
    process::Mirror,
    scripted::{Action, Gate},
    serving::Serving,
};

const NAME: &str = "vendor/app";
const PAGE: usize = 100;
/// What each referrer says about itself, in bytes.
const TEXT: usize = 16 * 1024;
/// More referrers: `THORAS_MIRROR_TEST_MANY=5000`.
const MANY: usize = 400;
const FEW: usize = 40;

/// Lists these in pages; nothing is attached to them.
fn list(source: &Scripted, subject: &Digest, manifests: &[RawManifest]) {
    let entries: Vec<Value> = manifests.iter().map(entry).collect();
    let path = format!("/v2/{NAME}/referrers/{subject}");
    source.on("GET", "/referrers/").answer(page(&[]));
    source.on("GET", &path.clone()).then(Action::decide(move |request| {
        let number = request.path.rsplit_once("page=").map_or(0, |(_, number)| number.parse().unwrap());
        let rest = &entries[number * PAGE..];
        Some(match rest.split_at_checked(PAGE) {
            Some((entries, [_, ..])) => next_page(entries, &format!("{path}?page={}", number + 1)),
            _ => page(rest),
        })
    }));
}

/// Mirrors an image with so many referrers into `serve`. Returns the peak memory in KiB.
async fn peak_memory(count: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let destination = Serving::start(&folder.path().join("registry"), &["--access-log", "/dev/null"]).await;
    let (source, image) = (Scripted::start().await, SampleImage { tag: "1".to_owned(), ..subject("many") });
    source.with_store(|store| store.insert(NAME, &image));
    let digest = &image.root().digest;
    let more =
        json!({ "artifactType": "application/spdx+json", "annotations": { "text": "x".repeat(TEXT) } });
    let manifests: Vec<RawManifest> = (0..count)
        .map(|number| {
            let mut more = more.clone();
            more["annotations"]["number"] = json!(number.to_string());
            referrer_with(digest, "", &more)
        })
        .collect();
    for manifest in &manifests {
        store_tag(&source, NAME, "referrer", manifest.media_type().as_str(), manifest.bytes());
    }
    source.with_store(|store| store.repository(NAME).tags.remove("referrer"));
    list(&source, digest, &manifests);
    // Another image keeps the process alive.
    let last = SampleImage { tag: "1".to_owned(), ..SampleImage::single_platform("last", "amd64") };
    source.with_store(|store| store.insert("vendor/last", &last));
    let gate = Gate::default();
    source.on("", "vendor/last/manifests/").then(Action::Hold(gate.clone()));
    let to = format!("{}/m", destination.address.host_port);
    let images = [NAME, "vendor/last"].map(|name| source.address().image(name, "1"));
    let running = Mirror::new(["sync", "--platform", "linux/amd64", "--to", &to]).arguments(images).start();
    let (at, client) = (repository(&destination.address, "m/app"), registries(Side::Source));
    while client.digest(&at, "1").await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    source.quiet().await;
    let peak = running.peak_memory();
    gate.open();
    running.outcome().await.expect_success();
    let found = client.attachments(&at, digest).await.unwrap();
    let found: BTreeSet<&Digest> = digests(&found).into_iter().collect();
    assert_eq!(found, manifests.iter().map(RawManifest::digest).collect());
    peak
}

/// Peak memory grows by less than what the referrers say about themselves. Not flat: it grows by about 10 KiB for each
/// referrer of 16 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_referrers_of_one_image_all_arrive_in_bounded_memory() {
    let many = std::env::var("THORAS_MIRROR_TEST_MANY").map_or(MANY, |many| many.parse().unwrap());
    let (few, many_kib) = (peak_memory(FEW).await, peak_memory(many).await);
    let added = ((many - FEW) * TEXT / 1024) as u64;
    // The manifests that are kept for an image, those in progress, and a part of each.
    let limit = 8 * 1024 + added * 2 / 3;
    assert!(
        many_kib < few + limit,
        "{few} KiB for {FEW}, {many_kib} KiB for {many}: {added} KiB more were copied"
    );
}
