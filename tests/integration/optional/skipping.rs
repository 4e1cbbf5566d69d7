//! An optional image that the source does not provide is reported and fails nothing; every other error fails the run.

use super::*;

#[tokio::test]
async fn a_mention_that_does_not_exist_is_reported_and_fails_nothing() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone]);
    let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_success();
    let document = document(&outcome);
    let image = entry(&document, &gone);
    assert_eq!((&image["status"], &image["optional"]), (&"skipped-optional".into(), &true.into()));
    assert_eq!(image["skippedBecause"]["message"], "the source has no such image");
    assert_eq!(document["totals"]["images"], 2);
    assert_eq!(document["totals"]["confirmed"], 1);
    assert_eq!(document["totals"]["failed"], 0);
    assert_eq!(document["totals"]["skippedOptional"], 1);
    assert_eq!(document["exitCode"], 0);
    assert!(outcome.stderr.contains("skipped: optional, the source has no such image"), "{outcome}");
    assert_eq!(site.tags(), ["mirror/app:1"]);
    let lock = site.lock();
    let locked = entry(&lock, &gone);
    assert_eq!((&locked["optional"], locked.get("digest")), (&true.into(), None));
    assert_eq!(locked["destinations"][0]["confirmed"], false);
    assert_eq!(entry(&lock, &site.image("team/app:1")).get("optional"), None);

    let outcome = site.sync(&rendered, &["-q"]).run().await.expect_success();
    assert!(outcome.stderr.contains("skipped: optional"), "{outcome}");
    let outcome = site.sync(&rendered, &[]).run().await.expect_success();
    let note = "gone:9: skipped: optional, the source has no such image";
    assert!(outcome.stdout.contains(note) && outcome.stdout.contains("1 of 2 images confirmed"), "{outcome}");
    assert!(outcome.stdout.contains("; 1 skipped (optional)"), "{outcome}");
    let outcome = site.sync(&rendered, &["--dry-run"]).run().await.expect_success();
    assert!(outcome.stdout.contains(note) && outcome.stdout.contains("1 of 2 images planned"), "{outcome}");
}

/// Its digest, and that the mirror has it, were lost: `verify` no longer looked at it.
#[tokio::test]
async fn a_run_that_cannot_reach_the_source_forgets_nothing_bug() {
    let site = Site::start().await;
    site.add("team/extra", &SampleImage::multi_platform("1"));
    let (app, extra) = (site.image("team/app:1"), site.image("team/extra:1"));
    let rendered = site.manifests(&[&app], &[&extra]);
    let _ = site.sync(&rendered, &[]).run().await.expect_success();
    let before = site.lock();
    assert_eq!(entry(&before, &extra)["destinations"][0]["confirmed"], true);
    site.source.on("", "/v2/team/extra/").then(Action::error(403, "DENIED"));
    let outcome = site.sync(&rendered, &[]).run().await.expect_success();
    assert!(outcome.stderr.contains("skipped: optional"), "{outcome}");
    assert_eq!(site.lock(), before, "nothing is lost");
    let outcome = site.run(&["verify"], &[]).run().await.expect_success();
    assert!(outcome.stdout.contains("2 images verified"), "{outcome}");

    // An image that fails is not confirmed any more, but `sync --locked` still knows what to copy.
    site.source.on("", "/v2/team/app/").then(Action::error(403, "DENIED"));
    let _ = site.sync(&rendered, &[]).run().await.expect_code(4);
    let lock = site.lock();
    assert_eq!(entry(&lock, &app)["digest"], entry(&before, &app)["digest"]);
    assert_eq!(entry(&lock, &app)["blobs"], entry(&before, &app)["blobs"]);
    assert_eq!(entry(&lock, &app)["destinations"][0]["confirmed"], false);
}

#[tokio::test]
async fn refused_access_and_unknown_hosts_skip_a_mention_too() {
    for (status, code, reason) in [
        (401, "UNAUTHORIZED", "the source denies access to it"),
        (403, "DENIED", "the source denies access to it"),
        (404, "NAME_UNKNOWN", "the source has no such image"),
    ] {
        let site = Site::start().await;
        let gone = site.image("team/gone:9");
        site.source.on("", "/v2/team/gone/").then(Action::error(status, code));
        let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone]);
        let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_success();
        let document = document(&outcome);
        assert_eq!(entry(&document, &gone)["skippedBecause"]["message"], reason, "{status}");
    }
    let site = Site::start().await;
    let nowhere = format!("{NOWHERE}/team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&nowhere]);
    let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_success();
    let document = document(&outcome);
    let reason = &entry(&document, &nowhere)["skippedBecause"]["message"];
    assert_eq!(reason, "its host name does not resolve", "{outcome}");
}

#[tokio::test]
async fn any_other_error_fails_a_mention() {
    for (status, code) in [(400, "NAME_INVALID"), (405, "UNSUPPORTED"), (410, "GONE"), (451, "DENIED")] {
        let site = Site::start().await;
        let broken = site.image("team/broken:9");
        site.source.on("", "/v2/team/broken/").then(Action::error(status, code));
        let rendered = site.manifests(&[&site.image("team/app:1")], &[&broken]);
        let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_code(1);
        let document = document(&outcome);
        assert_eq!(entry(&document, &broken)["status"], "failed", "{status}");
        let lock = site.lock();
        assert_eq!(entry(&lock, &broken).get("optional"), None, "it was not skipped: `verify` must fail");
        let outcome = site.run(&["verify"], &[]).run().await.expect_code(5);
        assert!(outcome.stderr.contains("did not confirm it"), "{outcome}");
    }
}

#[tokio::test]
async fn a_mention_that_is_incomplete_at_the_source_fails() {
    let site = Site::start().await;
    let broken = SampleImage::multi_platform("9");
    site.add("team/broken", &broken);
    let child = &broken.manifests[0].digest;
    site.source
        .on("GET", &format!("/v2/team/broken/manifests/{child}"))
        .then(Action::error(404, "MANIFEST_UNKNOWN"));
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&site.image("team/broken:9")]);
    site.sync(&rendered, &[]).run().await.expect_code(1);
}

#[tokio::test]
async fn what_a_pod_spec_names_or_a_person_adds_is_never_optional() {
    let site = Site::start().await;
    let (app, gone) = (site.image("team/app:1"), site.image("team/gone:9"));
    let rendered = site.manifests(&[&app, &gone], &[&gone]);
    site.sync(&rendered, &[]).run().await.expect_code(1);
    let rendered = site.manifests(&[&app], &[&gone]);
    site.sync(&rendered, &["--add", &gone]).run().await.expect_code(1);
    site.run(&["sync", "--to", &site.to(), &app, &gone], &[]).run().await.expect_code(1);
}

#[tokio::test]
async fn a_mention_that_exists_is_mirrored_and_verified_like_any_other() {
    let site = Site::start().await;
    let tool = SampleImage::multi_platform("2");
    site.add("team/tool", &tool);
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&site.image("team/tool:2")]);
    site.sync(&rendered, &[]).run().await.expect_success();
    let lock = site.lock();
    let locked = entry(&lock, &site.image("team/tool:2"));
    assert_eq!((&locked["optional"], &locked["destinations"][0]["confirmed"]), (&true.into(), &true.into()));
    site.run(&["verify"], &[]).run().await.expect_success();
    site.destination.with_store(|store| store.repositories.remove("mirror/tool"));
    site.run(&["verify"], &[]).run().await.expect_code(5);
}

#[tokio::test]
async fn verify_reports_what_was_skipped_with_a_lock_and_against_the_source() {
    let site = Site::start().await;
    let digest = format!("team/pinned@sha256:{}", "1".repeat(64));
    let gone = [site.image("team/gone:9"), site.image(&digest), format!("{NOWHERE}/x/y:1")];
    let mentions: Vec<&str> = gone.iter().map(String::as_str).collect();
    let rendered = site.manifests(&[&site.image("team/app:1")], &mentions);
    site.sync(&rendered, &[]).run().await.expect_success();
    let with_lock = ["verify", "-o", "json"];
    let (to, rendered) = (site.to(), rendered.to_str().unwrap());
    let with_source = ["verify", "-o", "json", "--against", "source", "--to", &to, "--rendered", rendered];
    for arguments in [&with_lock[..], &with_source] {
        let document = document(&site.run(arguments, &[]).run().await.expect_success());
        for image in &gone {
            assert_eq!(entry(&document, image)["status"], "skipped-optional", "{document}");
        }
        assert_eq!(entry(&document, &site.image("team/app:1"))["status"], "verified");
        site.run(arguments, &["--strict"]).run().await.expect_code(5);
    }
}

#[tokio::test]
async fn a_locked_run_skips_what_the_lock_skipped_and_keeps_the_lock() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone]);
    site.sync(&rendered, &[]).run().await.expect_success();
    let before = std::fs::read(site.folder.path().join("thoras-mirror.lock")).unwrap();
    let locked = ["sync", "--locked", "--to", &site.to(), "-o", "json"];
    let outcome = site.run(&locked, &[]).run().await.expect_success();
    assert_eq!(entry(&document(&outcome), &gone)["status"], "skipped-optional");
    assert_eq!(std::fs::read(site.folder.path().join("thoras-mirror.lock")).unwrap(), before);
    let outcome = site.run(&locked, &["--strict"]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("has no digest for"), "{outcome}");
    let other = Scripted::start().await;
    let to = format!("{}/prod", other.address().host_port);
    site.run(&["sync", "--locked", "--to", &to], &[]).run().await.expect_success();
    assert_eq!(entry(&site.lock(), &gone)["destinations"].as_array().unwrap().len(), 2);
    site.run(&["verify"], &[]).run().await.expect_success();
}

#[tokio::test]
async fn a_run_that_skips_everything_fails() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{image: \"{gone}\"}}\n");
    let rendered = site.file(&text);
    let outcome = site.sync(&rendered, &[]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("the only image is optional and was skipped"), "{outcome}");
    let rendered = rendered.to_str().unwrap();
    let export = ["bundle", "export", "-o", "out.tar", "--rendered", rendered];
    site.run(&export, &[]).run().await.expect_code(1);
    assert!(!site.folder.path().join("out.tar").exists());
}

#[tokio::test]
async fn doctor_does_not_count_an_optional_image_against_its_registry() {
    let site = Site::start().await;
    let gone = format!("{NOWHERE}/team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone, &site.image("team/a:1")]);
    let (to, rendered) = (site.to(), rendered.to_str().unwrap());
    let doctor = ["doctor", "--to", &to, "--rendered", rendered];
    let outcome = site.run(&doctor, &[]).run().await.expect_success();
    assert!(outcome.stdout.contains("is optional and will be skipped"), "{outcome}");
    site.run(&doctor, &["--strict"]).run().await.expect_code(1);
}
