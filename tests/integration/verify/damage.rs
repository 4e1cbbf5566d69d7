//! Damage to a real registry's files: one run reports all of it, and the printed commands repair it.

use insta::assert_snapshot;

use super::{Site, final_output, find, mirrored, own_layer, problem_kinds, redact, repair_commands};
use crate::support::{client, images::SampleImage};

fn image(name: &str) -> SampleImage {
    SampleImage::multi_platform(name)
}

/// Deletes the manifest under the tag through the API.
async fn delete_tag(site: &Site, image: &SampleImage) {
    let address = site.mirror.address();
    let url = format!("{}/v2/{}/manifests/{}", address.url(), mirrored(image), image.root().digest);
    let answer = address.http_client().delete(url).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

/// Puts a single-platform image under the tag.
async fn move_tag(site: &Site, image: &SampleImage) {
    let mut other = SampleImage::single_platform("other", "amd64");
    other.tag.clone_from(&image.tag);
    client::push(&other, site.mirror.address(), &mirrored(image)).await;
}

#[tokio::test]
async fn all_damage_is_reported_in_one_run_and_repaired_by_the_printed_commands() {
    let [untouched, untagged, moved] = ["untouched", "untagged", "moved"].map(image);
    let [childless, blobless, hollow] = ["childless", "blobless", "hollow"].map(image);
    let images = [&untouched, &untagged, &moved, &childless, &blobless, &hollow];
    let site = Site::of(&images).await;
    let storage = site.mirror.storage();

    delete_tag(&site, &untagged).await;
    move_tag(&site, &moved).await;
    storage.delete_manifest(&mirrored(&childless), &childless.manifests[1].digest);
    storage.unlink_blob(&mirrored(&blobless), &own_layer(&blobless));
    storage.delete_data(&own_layer(&hollow));

    let (code, document) = site.verify_json("blobs").await;
    assert_eq!(code, Some(5));
    assert_eq!(find(&document, &untouched)["status"], "verified");
    for (image, problems) in [
        (&untouched, &[] as &[&str]),
        (&untagged, &["missing-tag"]),
        (&moved, &["other-digest", "missing-platform"]),
        (&childless, &["missing-manifest"]),
        (&blobless, &["missing-blob"]),
        (&hollow, &["missing-blob"]),
    ] {
        assert_eq!(problem_kinds(&document, image), problems, "{}", image.tag);
    }
    let lost = &find(&document, &childless)["problems"][0];
    assert_eq!(lost["platform"], "linux/arm64/v8");
    assert_eq!(lost["digest"], childless.manifests[1].digest.as_str());
    assert_eq!(find(&document, &blobless)["problems"][0]["digest"], own_layer(&blobless).as_str());
    assert_eq!(
        (&document["totals"]["confirmed"], &document["totals"]["failed"]),
        (&1.into(), &5.into()),
        "{document}"
    );

    let outcome = site.run(["verify"]).await.expect_code(5);
    redact(&site).bind(|| assert_snapshot!("every_damage", final_output(&outcome)));
    let commands = repair_commands(&outcome.stderr);
    assert_eq!(commands.len(), 2, "with and without --check blobs: {commands:?}");
    for command in commands {
        let _ = site.repair(&command).await.expect_success();
    }
    let _ = site.run(["verify", "--level", "bytes"]).await.expect_success();
    assert!(storage.incomplete_tags().is_empty());
}

#[tokio::test]
async fn several_problems_of_one_image_are_all_reported() {
    let image = image("wreck");
    let site = Site::of(&[&image]).await;
    let storage = site.mirror.storage();
    let lost: Vec<_> = image.blobs.keys().take(3).collect();
    for blob in &lost {
        storage.unlink_blob(&mirrored(&image), blob);
    }
    storage.delete_manifest(&mirrored(&image), &image.manifests[0].digest);

    let (code, document) = site.verify_json("blobs").await;
    assert_eq!(code, Some(5));
    let text = find(&document, &image)["problems"].to_string();
    assert!(text.contains(image.manifests[0].digest.as_str()), "{text}");
    // The content below a deleted manifest is unknown; the content below the other one is known.
    let below = crate::support::graph::children(&image.manifests[1].bytes);
    for blob in lost.iter().filter(|blob| below.contains(&super::Child::Blob((**blob).clone()))) {
        assert!(text.contains(blob.as_str()), "{blob} is not named: {text}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_reported_with_a_remedy_other_than_a_copy() {
    let [short, rotten] = ["short", "rotten"].map(image);
    let site = Site::of(&[&short, &rotten]).await;
    let storage = site.mirror.storage();
    storage.truncate_data(&own_layer(&short), 100);
    storage.corrupt_data(&own_layer(&rotten));

    let (code, document) = site.verify_json("bytes").await;
    assert_eq!(code, Some(5));
    let problem = &find(&document, &short)["problems"][0];
    assert_eq!((&problem["kind"], &problem["found"]), (&"wrong-size".into(), &100.into()), "{problem}");
    assert_eq!(problem["expected"], short.blobs[&own_layer(&short)].len());
    assert_eq!(problem_kinds(&document, &rotten), ["corrupt-blob"]);
    assert_eq!(find(&document, &rotten)["problems"][0]["digest"], own_layer(&rotten).as_str());

    let outcome = site.run(["verify", "--level", "bytes"]).await.expect_code(5);
    redact(&site).bind(|| assert_snapshot!("wrong_bytes", final_output(&outcome)));

    // As the report says: delete it there, then sync.
    for (image, blob) in [(&short, own_layer(&short)), (&rotten, own_layer(&rotten))] {
        storage.unlink_blob(&mirrored(image), &blob);
        storage.delete_data(&blob);
    }
    let last = outcome.stderr.lines().filter_map(|line| line.split_once("then: ")).next_back().unwrap().1;
    let _ = site.repair(last).await.expect_success();
    let _ = site.run(["verify", "--level", "bytes"]).await.expect_success();
}

#[tokio::test]
async fn a_platform_that_was_never_mirrored_is_reported_with_those_present() {
    let image = image("web");
    let site = Site::of(&[&image]).await;
    let reference = site.reference(&image);
    let to = site.to();
    let arguments = ["verify", "--to", &to, &reference, "--platform", "linux/s390x", "--output", "json"];
    let prefix = format!("{}/vendor", site.source.address().host_port);
    let arguments = arguments.into_iter().chain(["--source-prefix", &prefix]);
    let outcome = crate::support::process::Mirror::new(arguments).run().await.expect_code(5);
    let document = crate::support::documents::run(&outcome);
    let problem = &find(&document, &image)["problems"][0];
    assert_eq!((&problem["kind"], &problem["platform"]), (&"missing-platform".into(), &"linux/s390x".into()));
    assert_eq!(problem["available"], serde_json::json!(["linux/amd64", "linux/arm64/v8"]));
}

#[tokio::test]
async fn a_damaged_manifest_is_a_difference() {
    let image = image("web");
    let site = Site::of(&[&image]).await;
    site.mirror.storage().corrupt_data(&image.manifests[0].digest);
    let (code, document) = site.verify_json("platforms").await;
    assert_eq!(
        (code, find(&document, &image)["status"].as_str()),
        (Some(5), Some("different")),
        "{document}"
    );
    assert_eq!(problem_kinds(&document, &image)[0], "bad-manifest", "{document}");
}
