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
use crate::support::{process::Mirror, scripted::Action, serving::Serving};

const NAME: &str = "vendor/app";
const PAGE: usize = 100;
/// What each referrer says about itself, in bytes.
const TEXT: usize = 16 * 1024;
/// More referrers: `THORAS_MIRROR_TEST_MANY=5000`.
const MANY: usize = 1000;
/// Their manifests have more bytes than are kept.
const FEW: usize = 300;
/// What a run remembers of one, in KiB.
const RECORD: u64 = 2;
/// By how much the peak differs from run to run, in KiB.
const NOISE: u64 = 2 * 1024;

/// Lists these in pages; they have no referrers.
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

/// Mirrors an image with this many referrers into `serve`. Returns the peak memory in KiB.
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
    let to = format!("{}/m", destination.address.host_port);
    let image = source.address().image(NAME, "1");
    let running = Mirror::new(["sync", "--platform", "linux/amd64", "--to", &to, &image]).start();
    let (outcome, peak) = running.outcome_and_peak().await;
    outcome.expect_success();
    let (at, client) = (repository(&destination.address, "m/app"), registries(Side::Source));
    let found = client.attachments(&at, digest).await.unwrap();
    let found: BTreeSet<&Digest> = digests(&found).into_iter().collect();
    assert_eq!(found, manifests.iter().map(RawManifest::digest).collect());
    peak
}

/// Beyond the manifests that are kept for an image (4 MiB), a referrer of 16 KiB costs no more than a record of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_referrers_of_one_image_all_arrive_in_flat_memory() {
    let many = std::env::var("THORAS_MIRROR_TEST_MANY").map_or(MANY, |many| many.parse().unwrap());
    let (few, many_kib) = (peak_memory(FEW).await, peak_memory(many).await);
    let more = (many - FEW) as u64;
    eprintln!("peak memory: {few} KiB for {FEW} referrers, {many_kib} KiB for {many}");
    let limit = NOISE + more * RECORD;
    assert!(
        many_kib < few + limit,
        "{few} KiB for {FEW}, {many_kib} KiB for {many}: more than {RECORD} KiB for each further one"
    );
}
