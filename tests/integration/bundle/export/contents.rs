//! The bytes that are written: always the same, each fetched once, to one file, to volumes or to a stream.

use std::{collections::BTreeSet, path::Path};

use super::*;
use crate::support::{client, process::Captured, registry::Registry};

/// Two images that share their base layers, in a real registry.
async fn registry() -> (Registry, Vec<String>, BTreeSet<Digest>, usize) {
    let registry = Registry::start().await;
    let (app, web) = (SampleImage::multi_platform("1"), SampleImage::nested("2"));
    let mut images = Vec::new();
    for (repository, image) in [("team/app", &app), ("team/web", &web)] {
        client::push(image, registry.address(), repository).await;
        images.push(registry.address().image(repository, &image.tag));
    }
    registry.clear_requests().await;
    let blobs = app.blobs.keys().chain(web.blobs.keys()).cloned().collect();
    (registry, images, blobs, app.manifests.len() + web.manifests.len())
}

#[tokio::test]
async fn each_blob_and_each_manifest_is_fetched_once() {
    let (registry, images, blobs, manifests) = registry().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    let outcome = export(&images, &path, &["--format", "json"]).run().await.expect_success();
    for blob in &blobs {
        assert_eq!(registry.count("GET", &format!("/blobs/{blob}")).await, 1, "{blob}");
    }
    assert_eq!(registry.count("GET", "/blobs/").await, blobs.len());
    assert_eq!(registry.count("GET", "/manifests/").await, manifests, "{:#?}", registry.requests().await);
    assert_eq!(registry.count("HEAD", "").await, 0);
    let written = document(&outcome);
    let length = std::fs::metadata(&path).unwrap().len();
    assert_eq!(written["written"]["length"], length);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    Mirror::new(["bundle", "verify"]).arg(path).run().await.expect_success();
}

#[tokio::test]
async fn a_config_that_was_read_for_its_platform_is_not_fetched_again() {
    let image = SampleImage::single_platform("one", "amd64");
    let site = Site::with(&[&image]).await;
    for output in [site.path("b.tar"), "-".into()] {
        site.source.clear();
        let run = export(&site.images, &output, &["--platform", "linux/amd64"]).run_captured().await;
        assert!(run.status.success(), "{}", run.stderr);
        let mut fetched = site.fetched();
        fetched.sort();
        assert!(fetched.iter().eq(image.blobs.keys()), "{fetched:?}");
        assert_eq!(site.source.count("GET", "/manifests/"), 1);
    }
}

#[tokio::test]
async fn the_bytes_depend_only_on_the_images() {
    let (_registry, mut images, ..) = registry().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    export(&images, &file("one.tar"), &[]).run().await.expect_success();
    let bytes = std::fs::read(file("one.tar")).unwrap();
    images.reverse();
    images.push(images[0].clone());
    export(&images, &file("other.tar"), &["--jobs", "1"]).run().await.expect_success();
    assert!(std::fs::read(file("other.tar")).unwrap() == bytes, "another order");
    let streamed = export(&images, Path::new("-"), &[]).run_captured().await;
    assert!(streamed.status.success() && streamed.stdout == bytes, "{}", streamed.stderr);
    export(&images, &file("v.tar"), &["--split", "70000"]).run().await.expect_success();
    let volumes = (1..).map(|number| file(&format!("v.tar.{number:03}"))).take_while(|path| path.exists());
    let joined: Vec<u8> = volumes.flat_map(|path| std::fs::read(path).unwrap()).collect();
    assert!(joined == bytes, "the volumes, joined");
}

#[tokio::test]
async fn a_stream_reports_progress_and_its_result() {
    let (_registry, images, ..) = registry().await;
    let Captured { stderr, status, .. } = export(&images, Path::new("-"), &[]).run_captured().await;
    assert!(status.success(), "{stderr}");
    assert!(
        stderr.contains(": started, ") && stderr.contains("2 images exported to standard output"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_stream_resumes_after_a_broken_connection() {
    let image = SampleImage::with_large_layer("big", 300_000);
    let site = Site::with(&[&image]).await;
    let platform = ["--platform", "linux/amd64"];
    let expected = site.undisturbed(&platform).await;
    let large = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    let cut = Action::end(crate::support::scripted::End::CutAfter(50_000));
    site.source.on("GET", large.as_str()).first(1).then(cut);
    let streamed = export(&site.images, Path::new("-"), &platform).run_captured().await;
    assert!(streamed.status.success() && streamed.stdout == expected, "{}", streamed.stderr);
}

#[tokio::test]
async fn a_failed_stream_has_no_end_marker() {
    let site = Site::with(&[&SampleImage::multi_platform("a"), &SampleImage::docker("b")]).await;
    let expected = site.undisturbed(&[]).await;
    site.lose(&extents(&expected).last().unwrap().0);
    let streamed = export(&site.images, Path::new("-"), &[]).run_captured().await;
    assert_eq!(streamed.status.code(), Some(1), "{}", streamed.stderr);
    assert!(expected.starts_with(&streamed.stdout) && streamed.stdout.len() < expected.len() - 1024);
    assert!(streamed.stderr.contains("discard the incomplete output"), "{}", streamed.stderr);
}

#[tokio::test]
async fn the_volume_index_describes_every_volume() {
    const SIZE: u64 = 100_000;
    let site = Site::with(&[&SampleImage::multi_platform("a"), &SampleImage::docker("b")]).await;
    let bytes = site.undisturbed(&[]).await;
    site.export("v.tar", &["--split", "100000"]).run().await.expect_success();
    let index: Value = serde_json::from_slice(&site.read("v.tar.volumes.json")).unwrap();
    assert_eq!(index["length"], bytes.len());
    let mut end = 0;
    for volume in index["volumes"].as_array().unwrap() {
        let content = site.read(volume["name"].as_str().unwrap());
        assert_eq!(
            (volume["offset"].as_u64(), volume["size"].as_u64()),
            (Some(end), Some(content.len() as u64))
        );
        assert_eq!(volume["sha256"], Digest::sha256(&content).as_str());
        assert_eq!(volume["beginning"], Digest::sha256(&content[..content.len().min(64 * 1024)]).as_str());
        end += content.len() as u64;
    }
    assert_eq!(end, bytes.len() as u64);
    assert_eq!(index["volumes"].as_array().unwrap().len() as u64, end.div_ceil(SIZE));
    let bundle = Bundle::open_all(&[site.path("v.tar.volumes.json")]).unwrap();
    assert_eq!(index["bundle"], bundle.head().id().as_str());
    assert_eq!(
        index["head"],
        base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            layout(&bundle).unwrap().head().unwrap()
        )
    );
    Mirror::new(["bundle", "verify"]).arg(site.path("v.tar.001")).run().await.expect_success();
}

#[tokio::test]
async fn skipped_foreign_layers_are_reported_once_in_a_stream_and_in_a_file() {
    let (image, _) = SampleImage::with_foreign_layers("1", &["http://127.0.0.1:1/{}"]);
    let platform = ["--platform", "linux/amd64"];
    let site = Site::with(&[&image]).await;
    let streamed = export(&site.images, Path::new("-"), &platform).run_captured().await;
    let written = site.export("b.tar", &platform).run().await.expect_success();
    for stderr in [&streamed.stderr, &written.stderr] {
        assert_eq!(stderr.matches("foreign layers from the URLs").count(), 1, "{stderr}");
    }
    assert!(streamed.stdout == site.read("b.tar"));
}
