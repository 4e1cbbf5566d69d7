//! Locks and bundles written by the previous version (`testdata/lock-v1`), in the format `thoras-mirror/lock/v1`.
//!
//! It ran between registries at 127.0.0.1:5061 and 127.0.0.1:5062. `bundle.tar` holds two images and a chart, `import.lock`
//! is the record of its import below `127.0.0.1:5062/imported`, `delta.tar` adds an image to one of them, `sync.lock` is the
//! record of a sync in which an image failed.

use std::path::{Path, PathBuf};

use serde_json::Value;
use thoras_mirror::lock::Lock;

use crate::support::{
    built_bundle::path_of,
    documents,
    process::{Mirror, Outcome},
    registry::Registry,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/lock-v1").join(name)
}

/// A registry to which the bundle was imported.
struct Site {
    registry: Registry,
    imported: Outcome,
}

impl Site {
    async fn start() -> Self {
        let registry = Registry::start().await;
        let imported = import(&registry, "bundle.tar").await.expect_success();
        Self { registry, imported }
    }

    /// The lock that the import wrote.
    fn lock(&self) -> Vec<u8> {
        std::fs::read(self.imported.folder().join("thoras-mirror.lock")).unwrap()
    }

    /// The lock that the previous version wrote for the same import, adapted to this registry and to a source that is
    /// reachable.
    fn earlier_lock(&self) -> PathBuf {
        let text = std::fs::read_to_string(fixture("import.lock")).unwrap();
        let text = text.replace("127.0.0.1:5062", &self.registry.address().host_port);
        let path = self.imported.folder().join("earlier.lock");
        std::fs::write(&path, text.replace("127.0.0.1:5061/team", &to(&self.registry, "imported"))).unwrap();
        path
    }
}

fn to(registry: &Registry, path: &str) -> String {
    format!("{}/{path}", registry.address().host_port)
}

async fn import(registry: &Registry, name: &str) -> Outcome {
    Mirror::new(["bundle", "import", "--to", &to(registry, "imported")]).arg(fixture(name)).run().await
}

#[tokio::test]
async fn a_bundle_is_verified_imported_and_verified_again() {
    let outcome =
        Mirror::new(["bundle", "verify", "--output", "json"]).arg(fixture("bundle.tar")).run().await;
    let document = documents::parse(&outcome.expect_success().stdout, "run.v1.json");
    assert_eq!(document["totals"]["confirmed"], 3, "{document}");

    let site = Site::start().await;
    let lock: Value = serde_json::from_slice(&site.lock()).unwrap();
    assert_eq!(lock["schema"], "thoras-mirror/lock/v2");
    assert_eq!(lock["destinations"][0]["to"], to(&site.registry, "imported"));
    let verify = Mirror::new(["verify", "--level", "bytes"]).in_folder(&site.imported.folder());
    verify.run().await.expect_success();
    let tags = site.registry.storage().tags();
    let names: Vec<&str> = tags.keys().map(String::as_str).collect();
    assert_eq!(names, ["imported/app:1", "imported/charts/shop:1.2.3_build.5", "imported/tools/agent:2"]);
}

#[tokio::test]
async fn a_lock_is_verified_and_copied_again() {
    let site = Site::start().await;
    let path = site.earlier_lock();
    let before = std::fs::read(&path).unwrap();
    let verify = || Mirror::new(["verify", "--level", "bytes", "--lock"]).arg(&path).run();
    verify().await.expect_success();
    assert_eq!(std::fs::read(&path).unwrap(), before, "verify writes nothing");

    // The chart is in no registry: the new destination must have it already.
    let copied = to(&site.registry, "copied");
    let first = Mirror::new(["bundle", "import", "--to", &copied]).arg(fixture("bundle.tar"));
    first.run().await.expect_success();
    let locked = Mirror::new(["sync", "--locked", "--to", &copied, "--lock"]).arg(&path);
    let waiver = ["--allow-missing-platform", "**/agent=linux/arm64"];
    locked.arguments(waiver).run().await.expect_success();
    let both = Lock::read(&path).unwrap();
    let imported = Lock::parse(&before, &path).unwrap();
    assert_eq!(both.destinations.len(), 2);
    assert!(both.destinations.contains(&imported.destinations[0]));
    for (image, earlier) in both.images.iter().zip(&imported.images) {
        assert_eq!((image.destinations.len(), &image.digest), (2, &earlier.digest));
        assert!(image.destinations.contains(&earlier.destinations[0]));
        assert!(image.destinations.iter().all(|copy| copy.confirmed), "{image:?}");
    }
    verify().await.expect_success();

    let digest = site.registry.storage().tags()["imported/app:1"].clone();
    site.registry.storage().delete_manifest("imported/app", &digest);
    let outcome = verify().await.expect_code(5);
    assert!(outcome.stderr.contains("imported/app:1"), "{outcome}");
}

#[tokio::test]
async fn a_delta_finds_its_base() {
    let site = Site::start().await;
    let outcome = import(&site.registry, "delta.tar").await.expect_success();
    assert!(site.registry.storage().tags().contains_key("imported/web:3"), "{outcome}");
    assert!(site.registry.storage().incomplete_tags().is_empty());
    let registry = Registry::start().await;
    let outcome = import(&registry, "delta.tar").await.expect_code(1);
    assert!(outcome.stderr.contains("cannot be found at the destination"), "{outcome}");
}

#[tokio::test]
async fn a_damaged_bundle_is_found() {
    let mut bytes = std::fs::read(fixture("bundle.tar")).unwrap();
    let layer = thoras_mirror::oci::Digest::sha256(b"shared layer");
    let name = path_of(&layer);
    let header = bytes.windows(name.len()).rposition(|window| window == name.as_bytes()).unwrap();
    bytes[header + 512] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.tar");
    std::fs::write(&path, bytes).unwrap();
    let outcome = Mirror::new(["bundle", "verify"]).arg(&path).run().await.expect_code(6);
    assert!(outcome.stderr.contains(layer.as_str()), "{outcome}");
}
