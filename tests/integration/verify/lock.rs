//! Which lock is read, and the messages if it is missing or records a failed image.

use insta::assert_snapshot;
use serde_json::Value;

use super::{Site, final_output, find, problem_kinds, redact, repair_commands, vendor};
use crate::support::{client, documents, images::SampleImage, process::Mirror, registry::Registry};

#[tokio::test]
async fn without_a_lock_it_names_the_file_and_three_remedies() {
    let outcome = Mirror::new(["verify"]).run().await.expect_code(2);
    assert_snapshot!("missing_lock", outcome.stderr);
    assert!(outcome.stderr.contains("thoras-mirror.lock"));
    for way in ["sync --to REGISTRY/PATH", "verify --lock FILE", "verify --to REGISTRY/PATH"] {
        assert!(outcome.stderr.contains(way), "{outcome}");
    }
    let outcome = Mirror::new(["verify", "--lock", "other.lock", "-o", "json"]).run().await.expect_code(2);
    let document = documents::run(&outcome);
    assert_eq!(document["failures"][0]["message"], "there is no lock at other.lock");
}

#[tokio::test]
async fn a_broken_lock_is_unreadable_input() {
    let folder = tempfile::tempdir().unwrap();
    for (content, expected) in [
        ("{", "thoras-mirror.lock is not a thoras-mirror lock file"),
        ("{\"schema\":\"thoras-mirror/lock/v9\"}", "this program reads `thoras-mirror/lock/v2` and earlier"),
    ] {
        std::fs::write(folder.path().join("thoras-mirror.lock"), content).unwrap();
        let outcome = Mirror::new(["verify"]).in_folder(folder.path()).run().await.expect_code(3);
        assert!(outcome.stderr.contains(expected), "{outcome}");
    }
}

#[tokio::test]
async fn images_require_to_and_a_named_lock_must_exist() {
    let outcome = Mirror::new(["verify", "quay.io/a/b:1"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--to REGISTRY/PATH"), "{outcome}");
    let outcome = Mirror::new(["verify", "--to", "reg.example.com/a", "--lock", "x"]).run().await;
    assert!(outcome.expect_code(2).stderr.contains("there is no lock at x"));
}

#[tokio::test]
async fn flags_override_the_environment() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    let lock = site.folder().join("thoras-mirror.lock");
    // As in a pipeline that also runs sync: both are set, and they do not conflict.
    let verify = |arguments: &[&str]| {
        Mirror::new(["verify"].iter().chain(arguments))
            .env("THORAS_MIRROR_TO", "127.0.0.1:1/elsewhere")
            .env("THORAS_MIRROR_LOCK", "absent.lock")
            .env("THORAS_MIRROR_CHART", "absent")
    };
    let _ = verify(&["--lock", lock.to_str().unwrap()]).run().await.expect_success();
    let prefix = format!("{}/vendor", site.source.address().host_port);
    let from_source = ["--to", &site.to(), &site.reference(&image), "--source-prefix", &prefix];
    let _ = verify(&from_source).run().await.expect_success();
    let outcome = verify(&[]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("absent.lock"), "{outcome}");
}

#[tokio::test]
async fn an_exported_to_never_makes_verify_ignore_the_lock() {
    let image = SampleImage::multi_platform("web");
    let site = Site::of(&[&image]).await;
    let (to, reference) = (site.to(), site.reference(&image));
    // The tag moves at the source: only the comparison with the source finds that.
    let newer = SampleImage { tag: "web".to_owned(), ..SampleImage::docker("newer") };
    client::push(&newer, site.source.address(), &vendor(&image)).await;
    let prefix = format!("{}/vendor", site.source.address().host_port);
    let verify = |more: &[&str]| {
        Mirror::new(["verify"].iter().chain(more)).in_folder(&site.folder()).env("THORAS_MIRROR_TO", &to)
    };
    let _ = verify(&[]).run().await.expect_success();
    let _ = verify(&["--to", &to]).run().await.expect_success();
    let _ = verify(&["--against", "lock"]).run().await.expect_success();
    let against = ["--against", "source", "--source-prefix", &prefix, &reference];
    let outcome = verify(&against).run().await.expect_code(5);
    assert!(outcome.stderr.contains(newer.root().digest.as_str()), "{outcome}");

    // Images and filters select from the lock.
    let _ = verify(&[&reference]).run().await.expect_success();
    let _ = verify(&["--include", "*web*"]).run().await.expect_success();
    let outcome = verify(&["x.example/a/b:1"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("x.example/a/b:1 is not in the lock"), "{outcome}");
    let _ = verify(&["--exclude", "*web*"]).run().await.expect_code(2);
    let outcome = verify(&["--naming", "full"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--against source compares it with the source"), "{outcome}");
    let outcome = verify(&["--to", "127.0.0.1:1/other"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("has no destination 127.0.0.1:1/other"), "{outcome}");
    let elsewhere = verify(&[]).env("THORAS_MIRROR_TO", "127.0.0.1:1/other");
    let outcome = elsewhere.run().await.expect_success();
    assert!(outcome.stderr.contains("; ignoring THORAS_MIRROR_TO"), "{outcome}");

    // A platform that is passed is required in addition to those of the lock.
    let outcome = verify(&["--platform", "linux/s390x"]).run().await.expect_code(5);
    assert!(outcome.stderr.contains("linux/s390x is missing"), "{outcome}");
    // Without a lock, the source is implied.
    std::fs::remove_file(site.folder().join("thoras-mirror.lock")).unwrap();
    let _ = verify(&["--source-prefix", &prefix, &reference]).run().await.expect_code(5);
}

#[tokio::test]
async fn a_failed_image_stays_unconfirmed_until_the_printed_repair_has_run() {
    let [good, late] = ["good", "late"].map(SampleImage::multi_platform);
    let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
    client::push(&good, source.address(), &vendor(&good)).await;
    let references = [&good, &late].map(|image| source.address().image(&vendor(image), &image.tag));
    let to = format!("{}/mirror", mirror.address().host_port);
    let sync = ["sync", "--to", &to, &references[0], &references[1]];
    let synced = Mirror::new(sync).run().await.expect_code(1);
    let site = Site { source, mirror, synced };
    let lock: Value =
        serde_json::from_slice(&std::fs::read(site.folder().join("thoras-mirror.lock")).unwrap()).unwrap();
    assert_eq!(lock["images"][0]["destinations"][0]["confirmed"], true, "{lock}");
    assert_eq!(lock["images"][1]["destinations"][0]["confirmed"], false, "{lock}");

    let (code, document) = site.verify_json("platforms").await;
    assert_eq!(code, Some(5));
    assert_eq!(find(&document, &good)["status"], "verified");
    assert_eq!(problem_kinds(&document, &late), ["missing-tag", "never-confirmed"]);

    let outcome = site.run(["verify"]).await.expect_code(5);
    redact(&site).bind(|| assert_snapshot!("never_confirmed", final_output(&outcome)));
    client::push(&late, site.source.address(), &vendor(&late)).await;
    for command in repair_commands(&outcome.stderr) {
        let _ = site.repair(&command).await.expect_success();
    }
    let _ = site.run(["verify"]).await.expect_success();
}

#[tokio::test]
async fn a_repair_keeps_the_names_and_platforms_of_the_lock_bug() {
    // The repair must not derive names from the filtered images, or use the default platforms.
    let [web, worker] = ["web", "worker"].map(|name| SampleImage::single_platform(name, "amd64"));
    let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
    client::push(&web, source.address(), "vendor/deep/web").await;
    client::push(&worker, source.address(), "vendor/worker").await;
    let references =
        [source.address().image("vendor/deep/web", "web"), source.address().image("vendor/worker", "worker")];
    let to = format!("{}/mirror", mirror.address().host_port);
    let sync = ["sync", "--to", &to, "--include", "*web*", "--platform", "linux/amd64", "--lock", "my lock"];
    let synced = Mirror::new(sync.into_iter().chain(references.iter().map(String::as_str))).run().await;
    let site = Site { source, mirror, synced: synced.expect_success() };
    let tags = site.mirror.storage().tags();
    assert!(tags.contains_key("mirror/deep/web:web"), "{tags:?}");

    site.mirror.storage().unlink_blob("mirror/deep/web", &super::own_layer(&web));
    let outcome = site.run(["verify", "--lock", "my lock"]).await.expect_code(5);
    let commands = repair_commands(&outcome.stderr);
    let expected = format!(
        "thoras-mirror sync --locked --lock 'my lock' --to {to} --platform linux/amd64 --check blobs"
    );
    assert_eq!(commands, [expected]);
    let _ = site.repair(&commands[0]).await.expect_success();
    let _ = site.run(["verify", "--lock", "my lock"]).await.expect_success();
    assert_eq!(site.mirror.storage().tags(), tags, "nothing was pushed under another name");
}
