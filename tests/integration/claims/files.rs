//! Files that a command would replace.

use serde_json::Value;

use super::{assert_says, run, vendor};
use crate::support::{
    images::SampleImage,
    registry::Registry,
    scripted::{Action, Scripted},
};

#[tokio::test]
async fn an_export_replaces_another_file_only_with_force() {
    let [web, api] = ["web", "api"].map(SampleImage::multi_platform);
    let (source, references) = vendor(&[&web, &api]).await;
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    for (split, file) in [("", "b.tar"), ("--split 70000", "v.tar.001")] {
        let name = if split.is_empty() { "b.tar" } else { "v.tar" };
        let export = |image: usize, more: &str| {
            let command = format!("bundle export -o {name} {split} {more}");
            run(&command, &references[image..=image]).in_folder(folder.path()).run()
        };
        let _ = export(0, "").await.expect_success();
        let first = read(file);
        let _ = export(0, "").await.expect_success();
        source.clear();
        let outcome = export(1, "").await.expect_code(2);
        assert_says(&outcome, &format!("{file} exists and is another bundle"));
        assert_says(&outcome, "--force");
        assert_eq!(source.count("GET", "/blobs/"), 0, "refused before any download");
        assert!(read(file) == first);
        let _ = export(1, "--force").await.expect_success();
        assert!(read(file) != first);
    }
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let outcome = run("bundle export -o notes.txt", &references).in_folder(folder.path()).run().await;
    assert_says(&outcome.expect_code(2), "notes.txt exists and is not this bundle");
    assert_eq!(read("notes.txt"), b"mine");
}

#[tokio::test]
async fn an_export_does_not_replace_the_lock_of_a_mirror() {
    let web = SampleImage::multi_platform("web");
    let (_source, references) = vendor(&[&web]).await;
    let mirror = Scripted::start().await;
    let to = format!("{}/m", mirror.address().host_port);
    let synced = run(&format!("sync --to {to}"), &references).run().await.expect_success();
    let export = |more: &str| {
        let command = format!("bundle export -o b.tar --lock thoras-mirror.lock {more}");
        run(&command, &references).in_folder(&synced.folder()).run()
    };
    assert_says(&export("").await.expect_code(2), &format!("is the lock of the mirror {to}"));
    let _ = run("verify", &[]).in_folder(&synced.folder()).run().await.expect_success();
    let _ = export("--force").await.expect_success();
}

/// The destinations in a lock, and the number of copies of its images.
fn destinations(folder: &std::path::Path) -> (Vec<String>, usize) {
    let lock: Value =
        serde_json::from_slice(&std::fs::read(folder.join("thoras-mirror.lock")).unwrap()).unwrap();
    let to = |placement: &Value| placement["to"].as_str().unwrap().to_owned();
    let copies = lock["images"].as_array().unwrap().iter();
    let copies = copies.map(|image| image["destinations"].as_array().unwrap().len()).sum();
    (lock["destinations"].as_array().unwrap().iter().map(to).collect(), copies)
}

#[tokio::test]
async fn another_destination_never_replaces_the_first_in_the_lock() {
    let [web, api] = ["web", "api"].map(SampleImage::multi_platform);
    let (_source, references) = vendor(&[&web, &api]).await;
    let mirror = Registry::start().await;
    let [prod, stage, bundled] =
        ["prod", "stage", "bundled"].map(|path| format!("{}/{path}", mirror.address().host_port));
    let first = run(&format!("sync --to {prod}"), &references).run().await.expect_success();
    let folder = first.folder();
    let run = |command: &str, images: &[String]| run(command, images).in_folder(&folder).run();
    let _ = run(&format!("sync --to {stage}"), &references).await.expect_success();
    assert_eq!(destinations(&folder), (vec![prod.clone(), stage.clone()], 4));
    let _ = run("bundle export -o b.tar", &references).await.expect_success();
    let _ = run(&format!("bundle import b.tar --to {bundled}"), &[]).await.expect_success();
    assert_eq!(destinations(&folder), (vec![bundled, prod.clone(), stage], 6));
    let _ = run("verify", &[]).await.expect_success();
    // A run to the same destination replaces what the lock says about it.
    let _ = run(&format!("sync --to {prod}"), &references[..1]).await.expect_success();
    assert_eq!(destinations(&folder).1, 5);
    let _ = run(&format!("verify --to {prod}"), &[]).await.expect_success();
}

/// An import read the lock before it copied, and then wrote over what another run had added meanwhile.
#[tokio::test]
async fn an_import_keeps_the_destination_that_another_run_adds_meanwhile_bug() {
    let web = SampleImage::multi_platform("web");
    let (_source, references) = vendor(&[&web]).await;
    let (prod, stage) = (Scripted::start().await, Scripted::start().await);
    let [to_prod, to_stage] = [&prod, &stage].map(|mirror| format!("{}/m", mirror.address().host_port));
    let exported = run("bundle export -o b.tar", &references).run().await.expect_success();
    let other = exported.folder();
    let bundle = other.join("b.tar").display().to_string();
    let _ = run(&format!("bundle import b.tar --to {to_prod}"), &[])
        .in_folder(&other)
        .run()
        .await
        .expect_success();

    let folder = tempfile::tempdir().unwrap();
    let (lock, added) = (folder.path().join("thoras-mirror.lock"), other.join("thoras-mirror.lock"));
    stage.on("POST", "/blobs/uploads/").then(Action::decide(move |_| {
        std::fs::copy(&added, &lock).unwrap();
        None
    }));
    let import = run(&format!("bundle import {bundle} --to {to_stage}"), &[]).in_folder(folder.path());
    let _ = import.run().await.expect_success();
    let mut both = vec![to_prod, to_stage];
    both.sort();
    assert_eq!(destinations(folder.path()), (both, 2));
}

/// It failed when the lock was written, after everything had been copied.
#[tokio::test]
async fn digests_that_the_lock_cannot_record_fail_before_any_transfer_bug() {
    let [web, api] = ["web", "api"].map(SampleImage::multi_platform);
    let (source, references) = vendor(&[&web, &api]).await;
    let (prod, stage) = (Scripted::start().await, Scripted::start().await);
    let [to_prod, to_stage] = [&prod, &stage].map(|mirror| format!("{}/m", mirror.address().host_port));
    let first = run(&format!("sync --to {to_prod}"), &references).run().await.expect_success();
    let folder = first.folder();
    let run = |command: &str, images: &[String]| run(command, images).in_folder(&folder).run();
    let lock = || std::fs::read(folder.join("thoras-mirror.lock")).unwrap();
    let before = lock();
    // The vendor moves a tag.
    let other = SampleImage::multi_platform("other");
    source.with_store(|store| {
        store.insert("vendor/web", &SampleImage { tag: "web".to_owned(), ..other.clone() });
    });
    let _ = run("bundle export -o b.tar", &references).await.expect_success();
    for command in [
        format!("sync --to {to_stage}"),
        format!("sync --to {to_stage} --dry-run"),
        format!("bundle import b.tar --to {to_stage}"),
    ] {
        let images = if command.starts_with("sync") { references.as_slice() } else { &[] };
        let outcome = run(&command, images).await.expect_code(2);
        assert_says(&outcome, "an image has a different digest at the other destinations in the lock");
        assert_says(&outcome, "nothing was copied");
        assert_says(&outcome, "--lock FILE");
        assert_eq!(stage.count("PUT", "") + stage.count("POST", ""), 0, "{command}");
        assert!(lock() == before);
    }
    // The digests of the lock, or another file.
    let _ = run(&format!("sync --to {to_stage} --lock stage.lock"), &references).await.expect_success();
    // A lock with this destination alone takes the new digest.
    let _ = run(&format!("sync --to {to_prod}"), &references).await.expect_success();
    assert!(lock() != before);
}
