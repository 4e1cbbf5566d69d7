//! Which image belongs to which shard, and what a worker does about the images of others.

use std::time::Duration;

use super::*;
use crate::support::scripted::{Action, Gate, Scripted};

async fn own_sources(mirror: Mirror) -> Vec<String> {
    let outcome = mirror.arguments(["--output", "json"]).run().await.expect_success();
    sources(&document(&outcome))
}

#[tokio::test]
async fn every_image_is_in_one_shard_and_only_its_own_are_resolved() {
    let fleet = Fleet::with(6).await;
    let mut all = Vec::new();
    for shard in ["0/3", "1/3", "2/3"] {
        fleet.source.clear_requests().await;
        let own = own_sources(fleet.shard(shard)).await;
        assert_eq!(own.len(), 3, "{own:?}");
        let requests = fleet.source.requests().await;
        for image in &fleet.images {
            let repository = image.split('/').skip(1).collect::<Vec<_>>().join("/");
            let (name, tag) = repository.split_once(':').unwrap();
            let path = format!("/v2/{name}/manifests/{tag}");
            let is_asked = requests.iter().any(|request| request.path == path);
            assert_eq!(is_asked, own.contains(image), "{image} in shard {shard}");
        }
        all.extend(own);
    }
    all.sort();
    let mut images = fleet.images.clone();
    images.sort();
    assert_eq!(all, images);
}

#[tokio::test]
async fn the_order_of_the_list_does_not_matter() {
    let fleet = Fleet::with(6).await;
    let plan = |fleet: &Fleet| fleet.sync(&["--dry-run", "--shard", "1/3"]);
    let mut own = own_sources(plan(&fleet)).await;
    let reversed: Vec<String> = fleet.images.iter().rev().cloned().collect();
    fs::write(fleet.file("images"), reversed.join("\n")).unwrap();
    let mut again = own_sources(plan(&fleet)).await;
    own.sort();
    again.sort();
    assert_eq!(own, again);
}

/// An image of which every layer is this large.
async fn push_sized(fleet: &mut Fleet, name: &str, bytes: usize) {
    fleet.push(&format!("team/{name}"), &SampleImage::with_layer_size(name, bytes)).await;
}

#[tokio::test]
async fn a_plan_or_a_lock_divides_by_size() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let mut fleet = Fleet { source, destination, folder: tempfile::tempdir().unwrap(), images: Vec::new() };
    push_sized(&mut fleet, "large", 6_000_000).await;
    for number in 0..3 {
        push_sized(&mut fleet, &format!("small{number}"), 30_000).await;
    }
    fleet.write_list();
    let plan = fleet.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    let file = fleet.file("plan.json").into_os_string().into_string().unwrap();
    fs::write(&file, &plan.stdout).unwrap();
    let mut sizes = Vec::new();
    for shard in ["0/2", "1/2"] {
        let own = own_sources(fleet.sync(&["--dry-run", "--shard", shard, "--plan", &file])).await;
        sizes.push(own.len());
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3], "the large one alone");
    let unsized_shard = own_sources(fleet.sync(&["--dry-run", "--shard", "0/2"])).await;
    assert_eq!(unsized_shard.len(), 2, "nothing is known about sizes");
    fleet.sync(&[]).run().await.expect_success();
    let with_lock = own_sources(fleet.shard("0/2")).await.len();
    assert!([1, 3].contains(&with_lock), "the lock knows the sizes: {with_lock}");
}

#[tokio::test]
async fn a_shard_reports_what_it_is_part_of() {
    let fleet = Fleet::with(2).await;
    fleet.sync(&[]).run().await.expect_success();
    let outcome = fleet.sync(&["--shard", "0/4", "--output", "json"]).run().await.expect_success();
    let shard = document(&outcome)["shard"].clone();
    assert_eq!((&shard["index"], &shard["count"], &shard["listed"]), (&0.into(), &4.into(), &5.into()));
    assert!(shard["repeated"]["transfers"].as_u64().unwrap() > 0, "all images share a base layer: {shard}");
    assert!(shard["lock"].as_str().unwrap().contains("/mirror/thoras-mirror/locks:"), "{shard}");
    assert_eq!(shard["split"], serde_json::json!([format!("{}/tools", fleet.to())]));
}

#[tokio::test]
async fn a_shard_without_images_succeeds() {
    let fleet = Fleet::with(0).await;
    let outcomes = fleet.run_all(5).await;
    for outcome in outcomes {
        outcome.expect_success();
    }
    fleet.merge(&[]).run().await.expect_success();
    assert_eq!(fleet.merged(), fleet.single_lock().await);
}

#[tokio::test]
async fn locked_digests_are_shared_too() {
    let fleet = Fleet::with(4).await;
    fleet.sync(&[]).run().await.expect_success();
    let lock = fs::read_to_string(fleet.file("run.lock")).unwrap();
    let path = fleet.file("run.lock").into_os_string().into_string().unwrap();
    for shard in ["0/2", "1/2"] {
        let arguments = ["sync", "--locked", "--to", &fleet.to(), "--lock", &path, "--shard", shard];
        Mirror::new(arguments).run().await.expect_success();
    }
    fleet.merge(&[]).run().await.expect_success();
    assert_eq!(fleet.merged(), lock);
}

/// The limit is for all shards together: each copies two blobs at once.
#[tokio::test]
async fn a_limit_on_blobs_is_divided() {
    let source = Scripted::start().await;
    let image = SampleImage::multi_platform("1");
    source.with_store(|store| store.insert("team/app", &image));
    let destination = Registry::start().await;
    let to = format!("{}/mirror", destination.address().host_port);
    let name = source.address().image("team/app", "1");
    let sync = ["sync", "--to", &to, &name, "--jobs", "8", "--shard", "0/4"];
    let gate = Gate::default();
    let layers: Vec<_> = image.blobs.iter().filter(|(_, bytes)| bytes.len() > 10_000).collect();
    for (digest, _) in &layers {
        source.on("GET", digest.as_str()).then(Action::Hold(gate.clone()));
    }
    let running = Mirror::new(sync).start();
    gate.reached_by(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = layers.iter().filter(|(digest, _)| source.count("GET", digest.as_str()) > 0).count();
    assert_eq!(asked, 2, "of {}", layers.len());
    gate.open();
    running.outcome().await.expect_success();
}

/// The rate is for all shards together: a fourth of 400 kB/s takes more than two seconds for 240 kB.
#[tokio::test]
async fn a_limited_rate_is_divided() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    client::push(&SampleImage::with_large_layer("1", 200_000), source.address(), "team/app").await;
    let to = format!("{}/mirror", destination.address().host_port);
    let name = source.address().image("team/app", "1");
    let started = std::time::Instant::now();
    let sync = ["sync", "--to", &to, &name, "--platform", "linux/amd64", "--limit-rate-to", "400kB/s"];
    Mirror::new(sync).arguments(["--shard", "0/4"]).run().await.expect_success();
    assert!(started.elapsed() > Duration::from_millis(1800), "{:?}", started.elapsed());
}
