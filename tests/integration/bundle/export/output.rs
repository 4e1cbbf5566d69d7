//! Output paths, and files that already exist there.

use std::{fs, os::unix::fs::MetadataExt};

use super::*;
use crate::support::scripted::Gate;

#[tokio::test]
async fn two_exports_never_write_the_same_file() {
    for (first, second) in [(&[][..], &[][..]), (&["--split", "70000"], &["--split", "100000"])] {
        let image = SampleImage::multi_platform("a");
        let site = Site::with(&[&image]).await;
        let expected = site.undisturbed(&[]).await;
        let gate = Gate::default();
        site.source
            .on("GET", extents(&expected).last().unwrap().0.as_str())
            .first(1)
            .then(Action::Hold(gate.clone()));
        let running = site.export("b.tar", first).start();
        gate.reached_by(1).await;
        let refused = site.export("b.tar", second).run().await.expect_code(2);
        assert!(refused.stderr.contains("another run is writing"), "{refused}");
        gate.open();
        running.outcome().await.expect_success();
        let volumes: Vec<String> = site.files().into_iter().filter(|name| !name.ends_with("json")).collect();
        assert!(volumes.iter().flat_map(|name| site.read(name)).eq(expected), "{volumes:?}");
    }
}

#[tokio::test]
async fn unusable_output_paths_are_refused_before_any_request() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    fs::create_dir(site.path("folder")).unwrap();
    fs::write(site.path("file"), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let before = site.files();
    for (name, reason) in [
        ("folder", "folder: it is a folder"),
        ("folder/", "folder/: it is a folder"),
        ("new/", "new/: it is a folder"),
        ("missing/b.tar", "No such file or directory"),
        ("file/b.tar", "is not a folder"),
        ("pipe", "pipe: it is not a regular file"),
    ] {
        let outcome = site.export(name, &[]).run().await.expect_code(2);
        assert!(outcome.stderr.contains(reason), "{name}: {outcome}");
        assert_eq!(site.source.requests().len(), 0, "{name}");
        assert_eq!(site.files(), before);
    }
}

#[tokio::test]
async fn an_existing_identical_bundle_is_left_alone() {
    for split in [&[][..], &["--split", "70000"]] {
        let image = SampleImage::multi_platform("a");
        let site = Site::with(&[&image]).await;
        site.export("b.tar", split).run().await.expect_success();
        let state = || {
            let files = site.files().into_iter();
            files
                .map(|name| {
                    let found = fs::metadata(site.path(&name)).unwrap();
                    (name, found.ino(), found.mtime(), found.mtime_nsec())
                })
                .collect::<Vec<_>>()
        };
        let before = state();
        site.source.clear();
        let outcome =
            site.export("b.tar", &[split, &["--format", "json"]].concat()).run().await.expect_success();
        assert_eq!(site.fetched(), []);
        assert_eq!(site.source.count("GET", "/manifests/"), image.manifests.len());
        assert_eq!(state(), before);
        assert_eq!(document(&outcome)["images"][0]["status"], "up-to-date", "{outcome}");
    }
}

#[tokio::test]
async fn a_bundle_with_one_wrong_byte_is_not_considered_identical() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let expected = site.undisturbed(&[]).await;
    let blobs = extents(&expected);
    let padding = usize::try_from(blobs[2].1.end()).unwrap();
    for at in [100, padding, usize::try_from(blobs[3].1.offset).unwrap() + 7, expected.len() - 1] {
        let mut damaged = expected.clone();
        damaged[at] ^= 1;
        fs::write(site.path("b.tar"), damaged).unwrap();
        site.export("b.tar", &[]).run().await.expect_success();
        assert!(site.read("b.tar") == expected, "{at}");
    }
}

#[tokio::test]
async fn an_existing_file_is_replaced_only_once_the_bundle_is_complete() {
    let image = SampleImage::multi_platform("a");
    let site = Site::with(&[&image]).await;
    let expected = site.undisturbed(&[]).await;
    fs::write(site.path("b.tar"), "something else").unwrap();
    site.lose(&extents(&expected).last().unwrap().0);
    site.export("b.tar", &["--force"]).run().await.expect_code(1);
    assert_eq!(site.read("b.tar"), b"something else");
    site.source.clear();
    site.export("b.tar", &["--force"]).run().await.expect_success();
    assert!(site.read("b.tar") == expected);
    assert_eq!(site.files(), ["b.tar"]);
}

/// It may be what another program has downloaded so far.
#[tokio::test]
async fn somebodys_file_under_the_temporary_name_is_kept_bug() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    fs::write(site.path("b.tar.partial"), "something else").unwrap();
    let outcome = site.export("b.tar", &[]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("b.tar.partial: it is not an unfinished bundle"), "{outcome}");
    assert!(
        outcome.stderr.contains("hint: remove it if it is not needed, or pass another --output"),
        "{outcome}"
    );
    assert_eq!(site.fetched(), []);
    assert_eq!(site.read("b.tar.partial"), b"something else");
    assert_eq!(site.files(), ["b.tar.partial"]);
}

#[tokio::test]
async fn an_interrupted_export_stops_immediately_and_keeps_its_partial_file() {
    let site = Site::with(&[&SampleImage::multi_platform("a")]).await;
    let expected = site.undisturbed(&[]).await;
    let gate = Gate::default();
    site.source.on("GET", extents(&expected).last().unwrap().0.as_str()).then(Action::Hold(gate.clone()));
    let running = site.export("b.tar", &[]).start();
    gate.reached_by(1).await;
    running.interrupt();
    running.outcome().await.expect_code(130);
    assert_eq!(site.files(), ["b.tar.partial"]);
}
