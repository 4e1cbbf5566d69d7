//! `app:1` and `app:1@DIGEST` in one chart.

use super::*;

struct Pinned {
    site: Site,
    tag: String,
    digest: String,
    with_digest: String,
}

async fn pinned() -> Pinned {
    let site = Site::start().await;
    let tag = site.image("team/app:1");
    let digest = SampleImage::multi_platform("1").root().digest.to_string();
    let with_digest = format!("{tag}@{digest}");
    Pinned { site, tag, digest, with_digest }
}

/// Another image under the tag 1.
fn moved() -> SampleImage {
    SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("moved") }
}

#[tokio::test]
async fn a_tag_and_the_same_tag_pinned_are_one_destination_in_sync_and_in_bundles() {
    let Pinned { site, tag, digest, with_digest } = pinned().await;
    let rendered = site.manifests(&[&tag, &with_digest], &[]);
    let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_success();
    let synced = document(&outcome);
    for image in [&tag, &with_digest] {
        assert_eq!(entry(&synced, image)["destination"], format!("{}/app:1", site.to()));
        assert_eq!(entry(&synced, image)["digest"], digest);
    }
    assert_eq!(site.tags(), ["mirror/app:1"]);
    site.run(&["verify"], &[]).run().await.expect_success();
    site.run(&["sync", "--locked", "--to", &site.to()], &[]).run().await.expect_success();
    let export = ["bundle", "export", "-o", "b.tar", "--rendered", rendered.to_str().unwrap()];
    site.run(&export, &[]).run().await.expect_success();
    site.run(&["bundle", "verify", "b.tar"], &[]).run().await.expect_success();
    for (file, stdin) in [("b.tar", false), ("-", true)] {
        std::fs::remove_file(site.folder.path().join("thoras-mirror.lock")).unwrap();
        site.destination.with_store(|store| store.repositories.clear());
        let mut import = site.run(&["bundle", "import", "--to", &site.to(), file], &[]);
        if stdin {
            import = import.stdin_from(std::fs::File::open(site.folder.path().join("b.tar")).unwrap());
        }
        import.run().await.expect_success();
        assert_eq!(site.tags(), ["mirror/app:1"]);
        site.run(&["verify"], &[]).run().await.expect_success();
    }
}

#[tokio::test]
async fn a_tag_that_moved_after_it_was_pinned_fails_before_anything_is_pushed() {
    let Pinned { site, tag, digest, with_digest } = pinned().await;
    let moved = moved();
    site.add("team/app", &moved);
    let rendered = site.manifests(&[&tag, &with_digest], &[]);
    let outcome = site.sync(&rendered, &[]).run().await.expect_code(1);
    let causes = [
        format!("{tag} is {} at the source", moved.root().digest),
        format!("{with_digest} is pinned to {digest}"),
    ];
    for cause in &causes {
        assert!(outcome.stderr.contains(cause), "{outcome}");
    }
    assert_eq!(site.tags(), [""; 0]);
    let export = ["bundle", "export", "-o", "b.tar", "--rendered", rendered.to_str().unwrap()];
    let outcome = site.run(&export, &[]).run().await.expect_code(1);
    assert!(causes.iter().all(|cause| outcome.stderr.contains(cause)), "{outcome}");
    assert!(!site.folder.path().join("b.tar").exists());
    let glob = format!("*@{digest}");
    site.sync(&rendered, &["--exclude", &glob]).run().await.expect_success();
}

#[tokio::test]
async fn a_pinned_mention_never_fails_the_tag_of_a_pod_spec() {
    let Pinned { site, tag, with_digest, .. } = pinned().await;
    site.add("team/app", &moved());
    let rendered = site.manifests(&[&tag], &[&with_digest]);
    let outcome = site.sync(&rendered, &["-o", "json"]).run().await.expect_code(1);
    let document = document(&outcome);
    assert_eq!(entry(&document, &tag)["status"], "copied");
    assert_eq!(entry(&document, &with_digest)["status"], "failed");
    let tagged = site.destination.with_store(|store| store.repository("mirror/app").tags["1"].to_string());
    assert_eq!(tagged, moved().root().digest.to_string());
}

#[tokio::test]
async fn one_tag_with_two_digests_is_refused_before_any_request() {
    let Pinned { site, tag, with_digest, .. } = pinned().await;
    let other = format!("{tag}@sha256:{}", "2".repeat(64));
    let rendered = site.manifests(&[&with_digest, &other], &[]);
    let rendered = rendered.to_str().unwrap();
    for command in [
        &["sync", "--to", &site.to()][..],
        &["bundle", "export", "-o", "b.tar"],
        &["verify", "--to", &site.to()],
    ] {
        let outcome = site.run(command, &["--rendered", rendered]).run().await.expect_code(2);
        assert!(outcome.stderr.contains("2 images would give"), "{outcome}");
        assert!(outcome.stderr.contains("app:1 different digests:"), "{outcome}");
        assert!(outcome.stderr.contains("a tag can have only one digest"), "{outcome}");
    }
    assert_eq!(site.source.requests().len() + site.destination.requests().len(), 0);
}

#[tokio::test]
async fn a_mention_of_another_digest_gives_way() {
    let Pinned { site, tag, with_digest, .. } = pinned().await;
    let moved = moved();
    let other = format!("{tag}@{}", moved.root().digest);
    site.add("team/app", &moved);
    let rendered = site.manifests(&[&with_digest], &[&other]);
    site.sync(&rendered, &[]).run().await.expect_success();
    assert_eq!(site.tags(), ["mirror/127.0.0.1-PORT/team/app:1", "mirror/app:1"]);
}

/// A bundle holds both under their own names, which other programs read. Only an import gives them one tag.
#[tokio::test]
async fn a_listed_tag_with_two_digests_is_exported_with_a_warning_and_refused_by_the_import() {
    let Pinned { site, tag, with_digest, .. } = pinned().await;
    let moved = moved();
    let other = format!("{tag}@{}", moved.root().digest);
    site.add("team/app", &moved);
    for (second, code) in [(&other, 2), (&tag, 1)] {
        let export = ["bundle", "export", "-o", "b.tar", &with_digest, second];
        let outcome = site.run(&export, &[]).run().await.expect_success();
        assert!(
            outcome.stderr.contains("digests") && outcome.stderr.contains("`bundle import`"),
            "{outcome}"
        );
        let import = ["bundle", "import", "--to", &site.to(), "b.tar"];
        let outcome = site.run(&import, &[]).run().await.expect_code(code);
        assert!(outcome.stderr.contains("digests"), "{outcome}");
        assert_eq!(site.tags(), [""; 0]);
        std::fs::remove_file(site.folder.path().join("b.tar")).unwrap();
    }
}
