//! Names, rules and the lock of an import, and what it refuses before it starts.

use super::importing::*;
use crate::support::{client, skopeo};

#[tokio::test]
async fn images_arrive_under_their_names_and_the_lock_lets_verify_run_alone() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let file = team.file(&bundle.bytes);
    let outcome = import(&file, &team.to(), &["--output", "json"]).run().await.expect_success();
    team.assert_imported();
    let document = document(&outcome);
    assert_eq!(document["command"], "bundle-import");
    assert_eq!(document["bundle"], bundle.id.to_string());
    for (name, image) in [("mirror/app:1", &team.app), ("mirror/web:2", &team.web)] {
        let manifest = skopeo::manifest(team.registry.address(), name).await;
        assert_eq!(manifest, image.root().bytes);
        let repository = name.split_once(':').unwrap().0;
        client::assert_present(image, team.registry.address(), repository).await;
    }
    Mirror::new(["verify", "--level", "bytes"]).in_folder(&outcome.folder()).run().await.expect_success();
}

#[tokio::test]
async fn a_second_import_pushes_nothing_and_writes_the_same_lock() {
    let team = Team::start().await;
    let file = team.file(&team.bundle().bytes);
    let lock = team.folder.path().join("far.lock");
    let more = ["--lock", lock.to_str().unwrap()];
    import(&file, &team.to(), &more).run().await.expect_success();
    let first = std::fs::read(&lock).unwrap();
    team.registry.clear_requests().await;
    let outcome = import(&file, &team.to(), &more).run().await.expect_success();
    team.assert_untouched().await;
    assert_eq!(std::fs::read(&lock).unwrap(), first);
    assert!(outcome.stdout.contains("up-to-date"), "{outcome}");
}

#[tokio::test]
async fn names_follow_the_bundles_naming_rule_unless_flags_override_it() {
    let team = Team::start().await;
    let file = team.file(&team.bundle().bytes);
    import(&file, &team.to(), &["--naming", "full"]).run().await.expect_success();
    import(&file, &team.to(), &["--source-prefix", "registry.example.com"]).run().await.expect_success();
    let tags = team.registry.storage().tags();
    let names: Vec<&str> = tags.keys().map(String::as_str).collect();
    let full = ["mirror/registry.example.com/team/app:1", "mirror/registry.example.com/team/web:2"];
    assert_eq!(names, [full.as_slice(), &["mirror/team/app:1", "mirror/team/web:2"]].concat());
}

#[tokio::test]
async fn a_bundle_with_an_unexpected_id_is_refused_before_any_transfer() {
    let team = Team::start().await;
    let bundle = team.bundle();
    let file = team.file(&bundle.bytes);
    let other = format!("sha256:{}", "0".repeat(64));
    let outcome = import(&file, &team.to(), &["--expect", &other]).run().await.expect_code(6);
    assert!(outcome.stderr.contains(&bundle.id.to_string()), "{outcome}");
    team.assert_untouched().await;
    import(&file, &team.to(), &["--expect", bundle.id.as_str()]).run().await.expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let team = Team::start().await;
    let file = team.file(&team.bundle().bytes);
    let outcome = import(&file, &team.to(), &["--dry-run"]).run().await.expect_success();
    assert!(outcome.stdout.contains("TO COPY"), "{outcome}");
    assert!(!outcome.folder().join("thoras-mirror.lock").exists());
    team.assert_untouched().await;
}

#[tokio::test]
async fn platforms_and_waivers_come_from_the_bundle_unless_flags_override_them() {
    let image = SampleImage::single_platform("1", "amd64");
    let build = |change: fn(&mut Value)| BundleBuilder::new(&[(APP, &image)]).lock(change).build().bytes;
    let team = Team::start().await;
    let lenient = team.file(&build(|lock| lock["images"][0]["waived"] = serde_json::json!(["linux/arm64"])));
    import(&lenient, &team.to(), &[]).run().await.expect_success();
    let strict = team.file(&build(|_| ()));
    let outcome = import(&strict, &team.to(), &[]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("no linux/arm64"), "{outcome}");
    import(&strict, &team.to(), &["--platform", "linux/amd64"]).run().await.expect_success();
    import(&strict, &team.to(), &["--allow-missing-platform", "app"]).run().await.expect_success();
}

#[tokio::test]
async fn no_overwrite_keeps_a_tag_that_points_to_another_digest() {
    let team = Team::start().await;
    let other = SampleImage::single_platform("1", "arm64");
    client::push(&other, team.registry.address(), "mirror/app").await;
    let file = team.file(&team.bundle().bytes);
    let outcome = import(&file, &team.to(), &["--no-overwrite"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("--no-overwrite"), "{outcome}");
    assert_eq!(team.registry.storage().tags()["mirror/app:1"], other.root().digest);
    import(&file, &team.to(), &[]).run().await.expect_success();
    team.assert_imported();
}

#[tokio::test]
async fn a_file_that_is_not_a_bundle_is_refused_with_a_remedy() {
    let team = Team::start().await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    builder.append_data(&mut header, "manifest.json", std::io::empty()).unwrap();
    let file = team.file(&builder.into_inner().unwrap());
    let outcome = import(&file, &team.to(), &[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("bundle.tar looks like an archive of `docker save`"), "{outcome}");
    assert!(outcome.stderr.contains("skopeo copy docker-archive:FILE"), "{outcome}");
    import(&team.folder.path().join("none"), &team.to(), &[]).run().await.expect_code(3);
}
