//! Optional images in bundles.

use super::*;

/// A bundle of `team/app:1` whose export skipped a mention.
async fn bundle_without(site: &Site, gone: &str) -> Outcome {
    let rendered = site.manifests(&[&site.image("team/app:1")], &[gone]);
    let export = ["bundle", "export", "-o", "b.tar", "--format", "json", "--lock", "b.lock"];
    site.run(&export, &["--rendered", rendered.to_str().unwrap()]).run().await.expect_success()
}

#[tokio::test]
async fn an_export_skips_a_missing_mention_and_everything_that_reads_the_bundle_says_so() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let outcome = bundle_without(&site, &gone).await;
    let exported = document(&outcome);
    assert_eq!(entry(&exported, &gone)["status"], "skipped-optional");
    assert_eq!(exported["totals"]["skippedOptional"], 1);
    assert!(outcome.stderr.contains("skipped: optional, the source has no such image"), "{outcome}");
    let lock: Value =
        serde_json::from_slice(&std::fs::read(site.folder.path().join("b.lock")).unwrap()).unwrap();
    assert_eq!(entry(&lock, &gone)["optional"], true);
    assert_eq!(entry(&lock, &gone)["destinations"][0]["confirmed"], false);

    let verified = site.run(&["bundle", "verify", "b.tar", "-o", "json"], &[]).run().await.expect_success();
    let verified = document(&verified);
    assert_eq!(entry(&verified, &gone)["status"], "skipped-optional");
    assert_eq!(
        (&verified["totals"]["confirmed"], &verified["failures"]),
        (&1.into(), &serde_json::json!([]))
    );

    // Skipped when the bundle was written: --strict of these commands is not the remedy.
    let import = ["bundle", "import", "--to", &site.to(), "b.tar"];
    for command in [&["bundle", "verify", "b.tar"][..], &import] {
        let shown = site.run(command, &[]).run().await.expect_success().stdout;
        assert!(shown.contains("; if it is needed, export again with --strict"), "{shown}");
        assert!(!shown.contains("--strict makes this an error"), "{shown}");
    }

    for command in [&["bundle", "verify", "b.tar"][..], &import] {
        let strict = site.run(command, &["--strict"]).run().await.expect_code(1);
        assert!(
            strict.stderr.contains("the export skipped it, because the source did not provide it"),
            "{strict}"
        );
    }

    let inspected = site.run(&["bundle", "inspect", "b.tar", "-o", "json"], &[]).run().await.expect_success();
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(
        (&inspected["skipped"], &inspected["leftOut"]),
        (&serde_json::json!([gone]), &serde_json::json!([]))
    );

    let imports: [(&[&str], Option<&str>); 2] = [(&["b.tar"], None), (&["-"], Some("b.tar"))];
    for (file, stdin) in imports {
        let mut import = site.run(&["bundle", "import", "--to", &site.to(), "-o", "json"], file);
        if let Some(name) = stdin {
            import = import.stdin_from(std::fs::File::open(site.folder.path().join(name)).unwrap());
        }
        let imported = document(&import.run().await.expect_success());
        assert_eq!(entry(&imported, &gone)["status"], "skipped-optional");
        assert_eq!(site.tags(), ["mirror/app:1"]);
        assert_eq!(entry(&site.lock(), &gone)["optional"], true);
        site.run(&["verify"], &[]).run().await.expect_success();
        site.run(&["verify", "--strict"], &[]).run().await.expect_code(5);
        site.run(&["sync", "--locked", "--to", &site.to()], &[]).run().await.expect_success();
    }
}

#[tokio::test]
async fn an_export_to_a_stream_skips_a_missing_mention() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&gone]);
    let export = ["bundle", "export", "-o", "-", "--rendered", rendered.to_str().unwrap()];
    let captured = site.run(&export, &[]).run_captured().await;
    assert_eq!(captured.status.code(), Some(0), "{}", captured.stderr);
    std::fs::write(site.folder.path().join("b.tar"), captured.stdout).unwrap();
    site.run(&["bundle", "verify", "b.tar"], &[]).run().await.expect_success();
}

#[tokio::test]
async fn a_second_export_finds_the_bundle_complete() {
    let site = Site::start().await;
    let gone = site.image("team/gone:9");
    bundle_without(&site, &gone).await;
    let again = document(&bundle_without(&site, &gone).await);
    assert_eq!(entry(&again, &site.image("team/app:1"))["status"], "up-to-date");
}

#[tokio::test]
async fn a_mention_that_failed_otherwise_still_fails_the_export_and_the_import() {
    let site = Site::start().await;
    let broken = site.image("team/broken:9");
    site.source.on("", "/v2/team/broken/").then(Action::error(400, "NAME_INVALID"));
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&broken]);
    let export =
        ["bundle", "export", "-o", "b.tar", "--keep-going", "--rendered", rendered.to_str().unwrap()];
    site.run(&export, &[]).run().await.expect_code(1);
    site.run(&["bundle", "verify", "b.tar"], &[]).run().await.expect_code(1);
    site.run(&["bundle", "import", "--to", &site.to(), "b.tar"], &[]).run().await.expect_code(1);
}

#[tokio::test]
async fn an_optional_image_in_a_damaged_bundle_is_not_excused() {
    let site = Site::start().await;
    let tool = SampleImage::multi_platform("2");
    site.add("team/tool", &tool);
    let rendered = site.manifests(&[&site.image("team/app:1")], &[&site.image("team/tool:2")]);
    let export = ["bundle", "export", "-o", "b.tar", "--rendered", rendered.to_str().unwrap()];
    site.run(&export, &[]).run().await.expect_success();
    let path = site.folder.path().join("b.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let own_layer = tool.blobs.values().max_by_key(|bytes| bytes.len()).unwrap();
    let at = bytes.windows(own_layer.len()).position(|window| window == &own_layer[..]).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    site.run(&["bundle", "verify", "b.tar"], &[]).run().await.expect_code(6);
}
