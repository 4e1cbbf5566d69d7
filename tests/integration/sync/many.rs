//! The memory of runs with many images, between two `serve` processes.

use std::{fs, path::Path};

use serde_json::{Value, json};
use thoras_mirror::oci::Digest;

use crate::support::{
    process::{Mirror, Outcome},
    serving::Serving,
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Adds a blob to a layout.
fn add(layout: &Path, media_type: &str, content: &[u8]) -> Value {
    let digest = Digest::sha256(content);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), content).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": content.len() })
}

/// Adds an image for two platforms: each has a layer of its own, and one that all images share.
fn add_image(layout: &Path, number: usize) -> Value {
    let manifests: Vec<Value> = ["amd64", "arm64"]
        .map(|architecture| {
            let platform = json!({ "architecture": architecture, "os": "linux" });
            let base = add(layout, LAYER, format!("base {architecture}").repeat(200).as_bytes());
            let own = add(layout, LAYER, format!("image {number} {architecture}").repeat(50).as_bytes());
            let config = json!({
                "architecture": architecture, "os": "linux", "config": { "Env": [format!("NUMBER={number}")] },
                "rootfs": { "type": "layers", "diff_ids": [base["digest"], own["digest"]] },
            });
            let config = add(layout, CONFIG, config.to_string().as_bytes());
            let manifest =
                json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [base, own] });
            let mut manifest = add(layout, MANIFEST, manifest.to_string().as_bytes());
            manifest["platform"] = platform;
            manifest
        })
        .into();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let mut index = add(layout, INDEX, index.to_string().as_bytes());
    index["annotations"] =
        json!({ "org.opencontainers.image.ref.name": format!("example.com/vendor/app{number}:1") });
    index
}

/// A layout of this many images.
fn write_layout(layout: &Path, images: usize) {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let manifests: Vec<Value> = (0..images).map(|number| add_image(layout, number)).collect();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The peaks, in KiB, of a first and a second sync of this many images, of an import from their folder, and of an export to
/// a bundle, of the same once more, and of an import from it.
async fn peaks(images: usize) -> [u64; 6] {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    write_layout(&layout, images);
    let source = Serving::start(&layout, &["--quiet"]).await;
    let destination = Serving::start(&folder.path().join("mirror"), &["--quiet"]).await;
    let (from, to) = (&source.address.host_port, &destination.address.host_port);
    let list = folder.path().join("images");
    let names: Vec<String> = (0..images).map(|number| format!("{from}/app{number}:1")).collect();
    fs::write(&list, names.join("\n")).unwrap();
    let lock = folder.path().join("run.lock");
    let check = |(outcome, peak): (Outcome, u64), status: &str| {
        let outcome = outcome.expect_success();
        assert!(outcome.stdout.contains(&format!("{images} images")), "{outcome}");
        assert!(outcome.stdout.contains(status), "{outcome}");
        peak
    };
    let (list, lock) = (list.to_str().unwrap(), lock.to_str().unwrap());
    let place = format!("{to}/mirror");
    let sync = || Mirror::new(["sync", "--images", list, "--to", &place, "--lock", lock]).start();
    let cold = check(sync().outcome_and_peak().await, "copied");
    let idle = check(sync().outcome_and_peak().await, "up-to-date");
    let place = format!("{to}/imported");
    let layout = layout.to_str().unwrap();
    let import = Mirror::new(["bundle", "import", layout, "--to", &place, "--lock", lock]).start();
    let import = check(import.outcome_and_peak().await, "copied");
    let bundle = folder.path().join("bundle.tar");
    let bundle = bundle.to_str().unwrap();
    let export = || Mirror::new(["bundle", "export", "--images", list, "-o", bundle]).start();
    let first_export = check(export().outcome_and_peak().await, "copied");
    let second_export = check(export().outcome_and_peak().await, "up-to-date");
    let place = format!("{to}/from-bundle");
    let from_bundle = Mirror::new(["bundle", "import", bundle, "--to", &place, "--lock", lock]).start();
    let from_bundle = check(from_bundle.outcome_and_peak().await, "copied");
    [cold, idle, import, first_export, second_export, from_bundle]
}

/// A thousand images took 100 MiB more than ten, because every graph stayed in memory to the end. An export took 27 MiB
/// more than for a hundred, because it held the beginning of the bundle, which has a copy of every manifest.
#[tokio::test]
async fn a_thousand_images_take_little_more_memory_than_a_hundred() {
    let (few, many) = (peaks(100).await, peaks(1_000).await);
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < few + 24 * 1024 && many < 80 * 1024, "{few} KiB for 100, {many} KiB for 1,000");
    }
}
