//! One image fails: no bundle unless `--keep-going` is passed, and no message is misleading.

use super::*;
use crate::support::{documents, registry::Registry};

async fn verify(path: &Path) -> Outcome {
    Mirror::new(["bundle", "verify"]).arg(path).run().await
}

/// A site whose image `web` cannot be resolved or cannot be transferred.
async fn site(in_transfer: bool) -> (Site, Vec<u8>) {
    let (app, web) = (SampleImage::multi_platform("app"), SampleImage::docker("web"));
    let site = Site::with(&[&app, &web]).await;
    let whole = site.undisturbed(&[]).await;
    if in_transfer {
        site.lose(&own_blob(&web, &[&app]));
    } else {
        site.source.on("", "/team/web/manifests/").answer(Answer::error(404, "MANIFEST_UNKNOWN"));
    }
    (site, whole)
}

#[tokio::test]
async fn a_failed_image_prevents_the_bundle_and_keeps_the_partial_file() {
    for in_transfer in [true, false] {
        let (site, whole) = site(in_transfer).await;
        let outcome = site.export("b.tar", &[]).run().await.expect_code(1);
        assert_eq!(site.files(), ["b.tar.partial"], "{outcome}");
        assert!(outcome.stderr.contains("team/web") || outcome.stderr.contains("web:web"), "{outcome}");
        assert!(outcome.stdout.contains("no bundle was written"), "{outcome}");
        site.source.clear();
        site.export("b.tar", &[]).run().await.expect_success();
        let app = SampleImage::multi_platform("app");
        assert!(!site.fetched().iter().any(|digest| app.blobs.contains_key(digest)));
        assert!(site.read("b.tar") == whole);
    }
}

#[tokio::test]
async fn keep_going_writes_the_bundle_without_the_image_and_reports_it() {
    for in_transfer in [true, false] {
        let (site, _) = site(in_transfer).await;
        let outcome = site.export("b.tar", &["--keep-going", "--format", "json"]).run().await.expect_code(1);
        assert_eq!(site.files(), ["b.tar"], "{outcome}");
        let document = document(&outcome);
        assert_eq!(document["images"][0]["status"], "copied", "{outcome}");
        assert_eq!(document["images"][1]["status"], "failed");
        assert_eq!(document["written"]["kept"], 0, "nothing is from an earlier run: {outcome}");
        let app = SampleImage::multi_platform("app");
        // The failed image may have fetched the shared layer.
        let bytes = &document["images"][0]["bytes"];
        let (copied, present) = (bytes["copied"].as_u64().unwrap(), bytes["present"].as_u64().unwrap());
        assert!(copied > 0 && copied + present == app.blob_bytes(), "{outcome}");
        let confirmed: Vec<_> = lock_of(&site.path("b.tar"))["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["destinations"][0]["confirmed"].clone())
            .collect();
        assert_eq!(confirmed, [true, false]);
        let found = verify(&site.path("b.tar")).await.expect_code(1);
        assert!(!found.stderr.contains("damage"), "{found}");
        assert!(found.stderr.contains("team/web"), "{found}");
        assert!(!found.stderr.contains("is wrong about"), "{found}");
        // The message is the same if the bundle already exists.
        let again = site.export("b.tar", &["--keep-going"]).run().await.expect_code(1);
        assert_eq!(site.files(), ["b.tar"], "{again}");
    }
}

#[tokio::test]
async fn keep_going_streams_a_complete_bundle_without_a_missing_image() {
    let (site, _) = site(false).await;
    let streamed = export(&site.images, Path::new("-"), &["--keep-going"]).run_captured().await;
    assert_eq!(streamed.status.code(), Some(1), "{}", streamed.stderr);
    assert!(streamed.stderr.contains("team/web"), "{}", streamed.stderr);
    site.export("b.tar", &["--keep-going"]).run().await.expect_code(1);
    assert!(streamed.stdout == site.read("b.tar"));
    let refused = export(&site.images, Path::new("-"), &[]).run_captured().await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert_eq!(refused.stdout.len(), 0, "not a byte when it is known beforehand");
}

#[tokio::test]
async fn when_every_image_fails_each_is_named() {
    let site = Site::with(&[&SampleImage::multi_platform("app"), &SampleImage::docker("web")]).await;
    site.source.on("", "/manifests/").answer(Answer::error(404, "MANIFEST_UNKNOWN"));
    for more in [&[][..], &["--keep-going"]] {
        for output in ["b.tar", "-"] {
            let output = if output == "-" { PathBuf::from("-") } else { site.path(output) };
            let outcome = export(&site.images, &output, more).run().await.expect_code(1);
            assert!(outcome.stderr.contains("team/app") && outcome.stderr.contains("team/web"), "{outcome}");
            assert_eq!(site.files(), Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_layer_larger_than_any_disk_is_refused_before_anything_is_written() {
    for (size, split) in
        [(1_u64 << 50, None), (u64::MAX / 2, None), (1 << 50, Some("65536")), (1 << 50, Some("1TiB"))]
    {
        let mut site = Site::with(&[&SampleImage::multi_platform("good")]).await;
        let mut huge = SampleImage::single_platform("huge", "amd64");
        let mut manifest: serde_json::Value = serde_json::from_slice(&huge.manifests[0].bytes).unwrap();
        // Its own layer: the other is shared, so it can have only one size.
        manifest["layers"][1]["size"] = size.into();
        let bytes = manifest.to_string();
        huge.manifests[0].digest = Digest::sha256(bytes.as_bytes());
        huge.manifests[0].bytes = bytes.into();
        site.add(&huge);
        let more: Vec<&str> = ["--platform", "linux/amd64"]
            .into_iter()
            .chain(split.iter().flat_map(|size| ["--split", size]))
            .collect();
        let outcome = site.export("b.tar", &more).run().await;
        let refused = outcome.stderr.contains("not enough space") || outcome.stderr.contains("--split");
        assert!(refused && matches!(outcome.status.code(), Some(1 | 2)), "{size} {split:?}: {outcome}");
        assert_eq!(site.files(), Vec::<String>::new());
        // Only its config names the platform.
        assert!(site.fetched().iter().all(|digest| *digest == config_of(&huge)), "{outcome}");
    }
}

#[tokio::test]
async fn every_reader_distinguishes_omitted_images_from_damage_and_names_them() {
    let (site, _) = site(true).await;
    let path = site.path("b.tar");
    site.export("b.tar", &["--keep-going"]).run().await.expect_code(1);
    let destination = Scripted::start().await;
    let to = format!("{}/mirror", destination.address().host_port);
    let import = Mirror::new(["bundle", "import", "--to", &to, "--lock"]).arg(site.path("i.lock")).arg(&path);
    let imported = import.run().await.expect_code(1);
    assert!(
        imported.stderr.contains("team/web") && imported.stderr.contains("is not in the bundle"),
        "{imported}"
    );
    assert!(!imported.stderr.contains("team/app"), "{imported}");
    assert!(destination.count("PUT", "/manifests/") > 0, "what is there is imported");
    let inspect = async |form: &str| {
        Mirror::new(["bundle", "inspect", "-o", form]).arg(&path).run().await.expect_success().stdout
    };
    let skipped =
        inspect("table").await.lines().find(|line| line.starts_with("skipped ")).unwrap().to_owned();
    assert!(skipped.contains("/team/web:web: its export failed"), "{skipped}");
    let document = documents::parse(&inspect("json").await, "bundle.v1.json");
    assert_eq!(document["leftOut"].as_array().unwrap().len(), 1, "{document}");
    // Damage takes precedence over an omitted image.
    let mut bytes = site.read("b.tar");
    let (_, extent) = extents(&bytes).remove(0);
    bytes[usize::try_from(extent.offset).unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = verify(&path).await.expect_code(6);
    assert!(damaged.stderr.contains("team/web"), "{damaged}");
}

/// `verify` on the far side passed although images were missing: the import's lock did not record the omitted images.
#[tokio::test]
async fn importing_a_bundle_with_an_omitted_image_reports_that_image_as_failed_bug() {
    let (site, _) = site(true).await;
    let path = site.path("b.tar");
    site.export("b.tar", &["--keep-going"]).run().await.expect_code(1);
    for from_stdin in [false, true] {
        let destination = Registry::start().await;
        let to = format!("{}/mirror", destination.address().host_port);
        let import = Mirror::new(["bundle", "import", "--to", &to, "--output", "json"]);
        let import = if from_stdin { import.arg("-").stdin(site.read("b.tar")) } else { import.arg(&path) };
        let imported = import.run().await.expect_code(1);
        let images = document(&imported)["images"].clone();
        assert_eq!((&images[0]["status"], &images[1]["status"]), (&"copied".into(), &"failed".into()));
        let lock: serde_json::Value =
            serde_json::from_slice(&std::fs::read(imported.folder().join("thoras-mirror.lock")).unwrap())
                .unwrap();
        assert_eq!(lock["images"][0]["destinations"][0]["confirmed"], true, "{lock}");
        assert_eq!(lock["images"][1]["destinations"][0]["confirmed"], false, "{lock}");
        let verified = Mirror::new(["verify"]).in_folder(&imported.folder()).run().await.expect_code(5);
        assert!(verified.stderr.contains("mirror/web:web"), "{verified}");
        assert!(!verified.stderr.contains("mirror/app:app"), "{verified}");
    }
}
