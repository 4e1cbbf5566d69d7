//! One digest with two sizes: one of them is wrong, so nothing about it can be trusted.

use serde_json::{Value, json};
use thoras_mirror::oci::Digest;

use super::{assert_says, run, vendor};
use crate::support::{
    built_bundle::BundleBuilder,
    documents,
    images::{SampleImage, SampleManifest},
    process::Mirror,
    scripted::Scripted,
    serving::Serving,
};

/// The image with a changed root.
fn with_root(image: &SampleImage, change: impl FnOnce(&mut Value)) -> SampleImage {
    let root = image.root();
    let mut document: Value = serde_json::from_slice(&root.bytes).unwrap();
    change(&mut document);
    let bytes: bytes::Bytes = document.to_string().into();
    let mut changed = image.clone();
    let root = SampleManifest { digest: Digest::sha256(&bytes), media_type: root.media_type.clone(), bytes };
    *changed.manifests.last_mut().unwrap() = root;
    changed
}

/// A manifest that lists its first layer a second time, one byte larger.
fn contradicting_itself() -> SampleImage {
    with_root(&SampleImage::single_platform("itself", "amd64"), |manifest| {
        let mut layer = manifest["layers"][0].clone();
        layer["size"] = json!(layer["size"].as_u64().unwrap() + 1);
        manifest["layers"].as_array_mut().unwrap().push(layer);
    })
}

/// An image that gives the base layer, which all images share, another size.
fn contradicting_others() -> SampleImage {
    with_root(&SampleImage::single_platform("other", "amd64"), |manifest| {
        manifest["layers"][0]["size"] = json!(manifest["layers"][0]["size"].as_u64().unwrap() + 1);
    })
}

#[tokio::test]
async fn an_image_that_gives_a_blob_two_sizes_is_refused_everywhere() {
    let image = contradicting_itself();
    let (source, references) = vendor(&[&image]).await;
    let destination = Scripted::start().await;
    let to = format!("{}/mirror", destination.address().host_port);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.tar").display().to_string();
    for command in [
        format!("sync --platform linux/amd64 --to {to}"),
        format!("sync --platform linux/amd64 --to {to} --dry-run"),
        format!("bundle export --platform linux/amd64 -o {file}"),
        "inspect".to_owned(),
    ] {
        let outcome = run(&command, &references).run().await;
        assert!(!outcome.status.success(), "{command}\n{outcome}");
        assert_says(&outcome, "is described with two sizes: 20000 and 20001 bytes");
    }
    assert_eq!(destination.count("PUT", "").max(destination.count("POST", "")), 0, "nothing was pushed");
    assert!(source.take_violations().is_empty());

    // A mirror that has it already, and a registry that is to take it.
    destination.with_store(|store| store.insert("mirror/itself", &image));
    let verify = run(&format!("verify --platform linux/amd64 --to {to} -o json"), &references).run().await;
    let problem = &documents::run(&verify.expect_code(5))["images"][0]["problems"];
    assert!(problem.to_string().contains("two sizes"), "{problem}");
    let served = Serving::start(&folder.path().join("registry"), &[]).await;
    let url = format!("{}/v2/app/manifests/1", served.address.url());
    let put = served.address.http_client().put(url).header("content-type", &image.root().media_type);
    let answer = put.body(image.root().bytes.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("two sizes"));
}

#[tokio::test]
async fn two_images_of_a_run_that_disagree_do_not_both_succeed() {
    let (good, bad) = (SampleImage::single_platform("good", "amd64"), contradicting_others());
    let (_source, references) = vendor(&[&good, &bad]).await;
    let destination = Scripted::start().await;
    // The first image has the blob before the second is planned.
    let first =
        format!("sync --platform linux/amd64 --jobs 1 --to {}/mirror", destination.address().host_port);
    let outcome = run(&first, &references).run().await.expect_code(6);
    assert_says(&outcome, "two sizes: 20");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.tar").display().to_string();
    let outcome = run(&format!("bundle export --platform linux/amd64 -o {file}"), &references).run().await;
    assert_says(&outcome.expect_code(6), "contradict those of another image of this run");
}

#[tokio::test]
async fn a_bundle_or_a_lock_with_two_sizes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.tar");
    let (good, bad) = (SampleImage::single_platform("good", "amd64"), contradicting_others());
    let bundles = [
        BundleBuilder::new(&[("reg.example/a:1", &contradicting_itself())]).build(),
        BundleBuilder::new(&[("reg.example/a:1", &good), ("reg.example/b:1", &bad)]).build(),
    ];
    for bundle in bundles {
        std::fs::write(&file, &bundle.bytes).unwrap();
        let path = file.display().to_string();
        for command in [
            "bundle verify --platform linux/amd64",
            "bundle import --to 127.0.0.1:1/a --platform linux/amd64",
            "serve --listen 127.0.0.1:0",
        ] {
            let outcome = run(command, std::slice::from_ref(&path)).run().await.expect_code(6);
            // The lock has the sizes, too.
            let says = |text: &str| outcome.stderr.contains(text);
            assert!(says("two sizes") || says("disagree about the size"), "{outcome}");
        }
    }
    // JSON permits a key twice.
    let digest = good.blobs.keys().next().unwrap();
    let text = format!(
        r#"{{"schema":"thoras-mirror/lock/v2","destinations":[{{"to":"127.0.0.1:1/a","naming":"relative"}}],
        "platforms":[],"images":[],"blobs":{{"{digest}":1,"{digest}":2}}}}"#
    );
    std::fs::write(folder.path().join("thoras-mirror.lock"), text).unwrap();
    let outcome = Mirror::new(["verify"]).in_folder(folder.path()).run().await.expect_code(3);
    assert_says(&outcome, "two sizes: 1 and 2 bytes");
}
