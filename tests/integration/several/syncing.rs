//! Every manifest and blob is read once, however many destinations there are.

use super::*;

#[tokio::test]
async fn each_blob_and_manifest_is_read_once_for_four_destinations() {
    let (source, images, names) = source().await;
    let (one, two, three) = tokio::join!(serving(), serving(), serving());
    let real = Registry::start().await;
    let to = [one.2.clone(), two.2.clone(), three.2.clone(), format!("{}/mirror", real.address().host_port)];
    let outcome = sync(&names, &to, &["--output", "json"]).run().await.expect_success();
    for server in [&one.1, &two.1, &three.1] {
        assert_mirrored(&images, &server.address, "mirror").await;
    }
    assert_mirrored(&images, real.address(), "mirror").await;

    let reads = blob_reads(&source);
    let blobs: std::collections::BTreeSet<_> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    assert_eq!(reads.len(), blobs.len(), "{reads:?}");
    assert!(reads.iter().all(|(_, count)| *count == 1), "{reads:?}");
    let manifests: usize = images.iter().map(|image| image.manifests.len()).sum();
    assert_eq!(source.count("GET", "/manifests/"), manifests);

    let document = document(&outcome);
    assert_eq!(document["images"].as_array().unwrap().len(), 8);
    assert_eq!(document["destination"], to.join(", "));
    for (there, to) in destinations(&document).iter().zip(&to) {
        assert_eq!(
            (&there["to"], &there["confirmed"], &there["failed"]),
            (&to.as_str().into(), &2.into(), &0.into())
        );
        assert_eq!(there["extraReads"], serde_json::json!({ "reads": 0, "bytes": 0, "fromDestinations": 0 }));
        let bytes: u64 = blobs
            .iter()
            .map(|blob| images.iter().find_map(|image| image.blobs.get(*blob)).unwrap().len() as u64)
            .sum();
        assert_eq!(there["bytes"]["copied"], bytes);
    }
    assert!(confirmations(&lock_of(&outcome)).iter().all(|(_, confirmed)| *confirmed));

    // One destination is damaged: only it is named.
    real.storage().delete_data(images[0].blobs.keys().next().unwrap());
    let found = verify(&outcome.folder(), &["--output", "json"]).run().await.expect_code(5);
    let verified = crate::support::documents::run(&found);
    for image in verified["images"].as_array().unwrap() {
        let is_damaged = image["destination"].as_str().unwrap().starts_with(&real.address().host_port)
            && image["source"].as_str().unwrap().contains("/app");
        let shares = image["destination"].as_str().unwrap().starts_with(&real.address().host_port);
        assert!(image["status"] == "verified" || shares, "{image}");
        assert!(!is_damaged || image["status"] == "different", "{image}");
    }
    let text = verify(&outcome.folder(), &[]).run().await.expect_code(5);
    let repair = format!("thoras-mirror sync --locked --lock thoras-mirror.lock --to {}", to[3]);
    assert!(text.stderr.contains(&repair), "{text}");
    verify(&outcome.folder(), &["--to", &to[0], "--to", &to[1]]).run().await.expect_success();
    verify(&outcome.folder(), &["--to", &to[0], "--to", &to[3]]).run().await.expect_code(5);
}

#[tokio::test]
async fn an_idle_run_reads_no_blob_and_leaves_the_lock_as_it_is() {
    let (source, _, names) = source().await;
    let (one, two) = tokio::join!(serving(), serving());
    let to = [one.2.clone(), two.2.clone()];
    let folder = tempfile::tempdir().unwrap();
    let run = || sync(&names, &to, &[]).in_folder(folder.path());
    run().run().await.expect_success();
    let lock = std::fs::read(folder.path().join("thoras-mirror.lock")).unwrap();
    source.clear();
    let outcome = run().run().await.expect_success();
    assert_eq!(std::fs::read(folder.path().join("thoras-mirror.lock")).unwrap(), lock);
    assert_eq!(blob_reads(&source), []);
    assert_eq!(source.count("HEAD", "/manifests/"), 2, "each tag is looked up once");
    assert!(outcome.stdout.contains("4 copies of 2 images confirmed"), "{outcome}");
    assert!(!outcome.stdout.contains("read again"), "{outcome}");
    // The order of the destinations does not matter to the lock.
    let turned = [to[1].clone(), to[0].clone()];
    sync(&names, &turned, &[]).in_folder(folder.path()).run().await.expect_success();
    assert_eq!(std::fs::read(folder.path().join("thoras-mirror.lock")).unwrap(), lock);
}

#[tokio::test]
async fn a_lock_is_copied_to_several_more_destinations_and_keeps_the_first() {
    let (source, images, names) = source().await;
    let (one, two, three) = tokio::join!(serving(), serving(), serving());
    let first = sync(&names, std::slice::from_ref(&one.2), &[]).run().await.expect_success();
    source.clear();
    let more = [two.2.clone(), three.2.clone()];
    let run = Mirror::new(["sync", "--locked", "--to", &more[0], "--to", &more[1]]);
    run.in_folder(&first.folder()).run().await.expect_success();
    assert!(blob_reads(&source).iter().all(|(_, count)| *count == 1));
    for server in [&two.1, &three.1] {
        assert_mirrored(&images, &server.address, "mirror").await;
    }
    let lock = lock_of(&first);
    assert_eq!(confirmations(&lock).len(), 6);
    assert!(confirmations(&lock).iter().all(|(_, confirmed)| *confirmed));
    verify(&first.folder(), &[]).run().await.expect_success();
}

/// All destinations get the image that the tag named when it was first looked up.
#[tokio::test]
async fn a_tag_that_moves_during_the_run_is_the_same_image_everywhere() {
    let (source, _, names) = source().await;
    let other = SampleImage::multi_platform("other");
    let (one, two) = tokio::join!(Scripted::start(), serving());
    // The first destination is slow to say what it has, so the second one asks the source long before it.
    let gate = Gate::default();
    one.on("", "/manifests/").first(2).then(Action::Hold(gate.clone()));
    let to = [format!("{}/mirror", one.address().host_port), two.2.clone()];
    let running = sync(&names, &to, &[]).start();
    source.wait_for(1, "GET", "/blobs/").await;
    source.with_store(|store| {
        store.insert("team/app", &other);
        let moved = other.root().digest.clone();
        store.repositories.get_mut("team/app").unwrap().tags.insert("1".to_owned(), moved);
    });
    gate.open();
    let outcome = running.outcome().await.expect_success();
    let lock = lock_of(&outcome);
    assert!(confirmations(&lock).iter().all(|(_, confirmed)| *confirmed), "{outcome}");
}

/// In one registry, a blob is uploaded once and mounted for the other destinations.
#[tokio::test]
async fn destinations_in_one_registry_share_blobs_by_mounting() {
    let (source, images, names) = source().await;
    let real = Registry::start().await;
    let host = &real.address().host_port;
    let to = [format!("{host}/a"), format!("{host}/b"), format!("{host}/c/d")];
    let outcome = sync(&names, &to, &["--output", "json"]).run().await.expect_success();
    for path in ["a", "b", "c/d"] {
        assert_mirrored(&images, real.address(), path).await;
    }
    let blobs: std::collections::BTreeSet<_> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    assert_eq!(real.count("PUT", "/blobs/uploads/").await, blobs.len(), "every blob is uploaded once");
    assert!(blob_reads(&source).iter().all(|(_, count)| *count == 1));
    let document = document(&outcome);
    let copied = destinations(&document).iter().map(|there| there["bytes"]["copied"].as_u64().unwrap());
    let total: u64 = blobs
        .iter()
        .map(|blob| images.iter().find_map(|image| image.blobs.get(*blob)).unwrap().len() as u64)
        .sum();
    assert_eq!(copied.sum::<u64>(), total);
}

#[tokio::test]
async fn a_dry_run_plans_every_destination_and_writes_nothing() {
    let (_source, _, names) = source().await;
    let (one, two) = tokio::join!(serving(), serving());
    let to = [one.2.clone(), two.2.clone()];
    let outcome = sync(&names, &to, &["--dry-run"]).run().await.expect_success();
    for to in &to {
        assert!(outcome.stdout.contains(&format!("{to}: 2 images planned")), "{outcome}");
    }
    assert!(!outcome.folder().join("thoras-mirror.lock").exists());
}

/// Whatever was in progress, no tag names an incomplete image, and the next run completes both destinations.
#[tokio::test]
async fn a_killed_run_converges() {
    let (source, images, names) = source().await;
    let real = tokio::join!(Registry::start(), Registry::start());
    for (seed, at) in [2_usize, 5, 8, 11].into_iter().enumerate() {
        let to = [&real.0, &real.1].map(|there| format!("{}/seed{seed}", there.address().host_port));
        source.clear();
        let moment = source.wait_for(at, "GET", "");
        crate::support::kill::kill(sync(&names, &to, &[]), moment).await;
        for there in [&real.0, &real.1] {
            assert!(there.storage().incomplete_tags().is_empty(), "killed after {at} requests");
        }
        sync(&names, &to, &[]).run().await.expect_success();
        for there in [&real.0, &real.1] {
            assert_mirrored(&images, there.address(), &format!("seed{seed}")).await;
        }
    }
}
