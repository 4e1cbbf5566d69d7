//! The locks of all shards make the lock of a single run, or an error that names what is missing.

use std::{collections::BTreeMap, time::Duration};

use super::*;

/// How often each blob was committed at the destination, by digest.
async fn commits(destination: &Registry) -> BTreeMap<String, usize> {
    let mut commits = BTreeMap::new();
    for request in destination.requests().await {
        let digest = request.path.split("digest=").nth(1).map(|digest| digest.replace("%3A", ":"));
        let is_commit = request.method == "PUT" && request.status == 201;
        if let Some(digest) = digest.filter(|_| is_commit && !request.path.contains("/locks/")) {
            *commits.entry(digest).or_default() += 1;
        }
    }
    commits
}

#[tokio::test]
async fn four_shards_at_once_make_the_lock_of_a_single_run() {
    let fleet = Fleet::with(9).await;
    for outcome in fleet.run_all(4).await {
        let outcome = outcome.expect_success();
        assert!(outcome.stdout.contains("lock merge --from"), "{outcome}");
        assert!(!fleet.file("run.lock").exists(), "only the registry has locks");
    }
    let pushed = commits(&fleet.destination).await;
    let outcome = fleet.merge(&["--format", "json"]).run().await.expect_success();
    let merged = documents::parse(&outcome.stdout, "lock-merge.v1.json");
    assert_eq!(
        (&merged["images"], &merged["confirmed"], &merged["shards"]),
        (&12.into(), &12.into(), &4.into())
    );
    let lock: Value = serde_json::from_str(&fleet.merged()).unwrap();
    let blobs = lock["blobs"].as_object().unwrap();
    assert_eq!(pushed.len(), blobs.len());
    let again: usize = pushed.values().map(|count| count - 1).sum();
    let counted = usize::try_from(merged["repeated"]["transfers"].as_u64().unwrap()).unwrap();
    assert!(again <= counted && counted > 0, "{again} of at most {counted}");
    assert_eq!(fleet.merged(), fleet.single_lock().await);
    let lock = fleet.file("merged.lock").into_os_string().into_string().unwrap();
    Mirror::new(["verify", "--level", "bytes", "--lock", &lock]).run().await.expect_success();
}

#[tokio::test]
async fn a_missing_shard_is_named_and_repeating_one_is_harmless() {
    let fleet = Fleet::with(5).await;
    for shard in ["0/4", "2/4", "3/4"] {
        fleet.shard(shard).run().await.expect_success();
    }
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("error: shard 1 of 4 is missing"), "{outcome}");
    assert!(!fleet.file("merged.lock").exists());
    fleet.shard("1/4").run().await.expect_success();
    fleet.merge(&[]).run().await.expect_success();
    let merged = fleet.merged();
    fleet.destination.clear_requests().await;
    fleet.shard("1/4").run().await.expect_success();
    assert_eq!(fleet.destination.count("PUT", "").await, 0, "nothing has changed");
    fleet.merge(&[]).run().await.expect_success();
    assert_eq!(fleet.merged(), merged);
}

#[tokio::test]
async fn a_shard_of_another_list_is_named() {
    let mut fleet = Fleet::with(5).await;
    for shard in ["0/3", "2/3"] {
        fleet.shard(shard).run().await.expect_success();
    }
    fleet.push("team/new", &SampleImage::multi_platform("7")).await;
    fleet.write_list();
    fleet.shard("1/3").run().await.expect_success();
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("the shards come from 2 different lists or divisions"), "{outcome}");
    assert!(
        outcome.stderr.contains("shards 0, 2 of 3") && outcome.stderr.contains("shard 1 of 3"),
        "{outcome}"
    );
    for shard in ["0/3", "2/3"] {
        fleet.shard(shard).run().await.expect_success();
    }
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    let digest = |outcome: &Outcome| {
        let line = outcome.stderr.lines().find(|line| line.contains("shards 0-2 of 3")).unwrap();
        line.split_whitespace()
            .find(|word| word.starts_with("sha256:"))
            .unwrap()
            .trim_end_matches(':')
            .to_owned()
    };
    fleet.merge(&["--list", &digest(&outcome)]).run().await.expect_success();
    assert_eq!(fleet.merged(), fleet.single_lock().await);
}

#[tokio::test]
async fn an_image_in_two_shards_is_named() {
    let fleet = Fleet::with(5).await;
    let sync = |shard: &str, plan: &str| fleet.sync(&["--shard", shard, "--plan", plan]);
    // Sizes divide the list in another way than numbers do.
    let plan = fleet.sync(&["--dry-run", "--output", "json"]).run().await.expect_success();
    let mut plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    for image in plan["images"].as_array_mut().unwrap() {
        let is_large = image["source"].as_str().unwrap().contains("app4");
        image["blobs"]
            .as_array_mut()
            .unwrap()
            .retain(|blob| is_large || blob["size"].as_u64().unwrap() < 1000);
        for blob in image["blobs"].as_array_mut().unwrap() {
            blob["size"] = if is_large { 1_u64 << 40 } else { 1 }.into();
        }
    }
    let file = fleet.file("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    sync("0/2", file.to_str().unwrap()).run().await.expect_success();
    fleet.shard("1/2").run().await.expect_success();
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    let named =
        outcome.stderr.contains("is in shard 0 and in shard 1") || outcome.stderr.contains("but in no shard");
    assert!(named && outcome.stderr.contains("team/"), "{outcome}");
    assert!(outcome.stderr.contains("the same --lock or --plan"), "{outcome}");
}

#[tokio::test]
async fn shards_with_other_options_are_refused() {
    let fleet = Fleet::with(2).await;
    fleet.shard("0/2").run().await.expect_success();
    fleet.sync(&["--shard", "1/2", "--platform", "linux/amd64"]).run().await.expect_success();
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("shard 1 has a different list of platforms than shard 0"), "{outcome}");
}

/// A killed shard leaves no lock; the same shard again completes it.
#[tokio::test]
async fn a_killed_shard_is_repeated() {
    let fleet = Fleet::with(6).await;
    // However fast the machine is, the victim does not end before it is killed.
    let slow = fleet.shard("1/2").arguments(["--limit-rate-to", "1kB/s"]);
    let (shard, victim) = (fleet.shard("0/2").start(), slow.start());
    tokio::time::sleep(Duration::from_millis(60)).await;
    victim.kill();
    victim.outcome().await;
    shard.outcome().await.expect_success();
    let outcome = fleet.merge(&[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("shard 1 of 2 is missing"), "{outcome}");
    fleet.shard("1/2").run().await.expect_success();
    fleet.merge(&[]).run().await.expect_success();
    assert_eq!(fleet.merged(), fleet.single_lock().await);
}

#[tokio::test]
async fn an_image_that_failed_is_named_with_its_shard() {
    let mut fleet = Fleet::with(3).await;
    let lost = fleet.source.address().image("team/lost", "1");
    fleet.images.push(lost.clone());
    fleet.write_list();
    let outcomes = fleet.run_all(2).await;
    let failed = outcomes.iter().position(|outcome| outcome.status.code() == Some(1)).unwrap();
    let outcome = fleet.merge(&[]).run().await.expect_code(1);
    assert!(outcome.stderr.contains(&format!("{lost} (shard {failed})")), "{outcome}");
    let lock: Value = serde_json::from_str(&fleet.merged()).unwrap();
    assert_eq!(lock["images"].as_array().unwrap().len(), 7, "it stays in the lock, unconfirmed");
    fleet.sync(&[]).run().await.expect_code(1);
    assert_eq!(fleet.merged(), fs::read_to_string(fleet.file("run.lock")).unwrap());
}

/// What a run without the source knows from the shard's earlier lock is kept, as a single run keeps it.
#[tokio::test]
async fn a_shard_without_its_source_keeps_what_it_knew() {
    let fleet = Fleet::with(2).await;
    for outcome in fleet.run_all(2).await {
        outcome.expect_success();
    }
    fleet.merge(&[]).run().await.expect_success();
    let digests = |lock: &str| -> Vec<Value> {
        let lock: Value = serde_json::from_str(lock).unwrap();
        lock["images"].as_array().unwrap().iter().map(|image| image["digest"].clone()).collect()
    };
    let known = digests(&fleet.merged());
    let Fleet { source, destination, folder, images } = fleet;
    drop(source);
    let fleet = Fleet { source: Registry::start().await, destination, folder, images };
    for outcome in fleet.run_all(2).await {
        assert_ne!(outcome.status.code(), Some(0), "{outcome}");
    }
    fleet.merge(&[]).run().await.expect_code(1);
    assert_eq!(digests(&fleet.merged()), known);
}

/// The lock that exists has another destination: a merge keeps it, as a single run does.
#[tokio::test]
async fn other_destinations_in_the_lock_stay() {
    let fleet = Fleet::with(3).await;
    let other = Registry::start().await;
    let place = format!("{}/other", other.address().host_port);
    let list = fleet.file("images").into_os_string().into_string().unwrap();
    let locks =
        ["run.lock", "merged.lock"].map(|name| fleet.file(name).into_os_string().into_string().unwrap());
    for lock in &locks {
        let first = ["sync", "--to", &place, "--images", &list, "--lock", lock];
        Mirror::new(first).run().await.expect_success();
    }
    for outcome in fleet.run_all(2).await {
        outcome.expect_success();
    }
    fleet.merge(&[]).run().await.expect_success();
    fleet.sync(&[]).run().await.expect_success();
    assert_eq!(fleet.merged(), fs::read_to_string(&locks[0]).unwrap());
    assert!(fleet.merged().contains(&place));
}

#[tokio::test]
async fn a_mirror_without_locks_is_an_error() {
    let destination = Registry::start().await;
    let from = format!("{}/mirror", destination.address().host_port);
    let outcome = Mirror::new(["lock", "merge", "--from", &from]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("no shard has pushed its lock"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("{from}/thoras-mirror/locks")), "{outcome}");
}
