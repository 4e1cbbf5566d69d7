//! Memory that does not grow with blob size, many images, and no secrets in bundles.

use super::*;
use crate::support::{
    registry::{self, Registry},
    scripted::Gate,
};

const MIB: usize = 1 << 20;

/// The peak memory, in KiB, of an export of an image with one blob of this size.
async fn peak_memory(bytes: usize) -> u64 {
    let image = SampleImage::with_large_layer("big", bytes);
    let site = Site::with(&[&image, &SampleImage::single_platform("last", "amd64")]).await;
    // The last small blob is held back until the large one has arrived, so that the process is still running.
    let last = SampleImage::single_platform("last", "amd64");
    let held = last.blobs.keys().find(|digest| !image.blobs.contains_key(*digest)).unwrap();
    let gate = Gate::default();
    site.source.on("GET", held.as_str()).then(Action::Hold(gate.clone()));
    let running = site.export("b.tar", &["--platform", "linux/amd64", "-v"]).start();
    let large = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0;
    running.stderr_line(&format!("{} copied", large.short())).await;
    let peak = running.peak_memory();
    gate.open();
    running.outcome().await.expect_success();
    peak
}

#[tokio::test]
async fn memory_does_not_grow_with_the_blob() {
    let (small, large) = (peak_memory(8 * MIB).await, peak_memory(64 * MIB).await);
    assert!(large < small + 16 * 1024, "{small} KiB with 8 MiB, {large} KiB with 64 MiB");
}

#[tokio::test]
async fn two_hundred_images_take_one_request_per_manifest_and_blob() {
    let images: Vec<SampleImage> =
        (0..200).map(|number| SampleImage::multi_platform(&format!("app-{number}"))).collect();
    let site = Site::with(&images.iter().collect::<Vec<_>>()).await;
    let blobs: HashSet<&Digest> = images.iter().flat_map(|image| image.blobs.keys()).collect();
    let manifests: usize = images.iter().map(|image| image.manifests.len()).sum();
    site.export("b.tar", &[]).run().await.expect_success();
    let fetched = site.fetched();
    assert_eq!(fetched.len(), blobs.len());
    assert_eq!(fetched.iter().collect::<HashSet<_>>(), blobs);
    assert_eq!(site.source.count("GET", "/manifests/"), manifests);
    assert_eq!(site.source.count("HEAD", ""), 0);
    let path = site.path("b.tar");
    Mirror::new(["bundle", "verify"]).arg(&path).run().await.expect_success();
    let far = Scripted::start().await;
    let to = format!("{}/far", far.address().host_port);
    let import = || Mirror::new(["bundle", "import", "--to", &to, "-o", "json"]).arg(&path);
    import().run().await.expect_success();
    assert_eq!(far.count("PUT", "/manifests/"), manifests);
    far.clear();
    let again = document(&import().run().await.expect_success());
    let statuses: HashSet<&str> =
        again["images"].as_array().unwrap().iter().map(|image| image["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, HashSet::from(["up-to-date"]));
    assert_eq!((far.count("POST", ""), far.count("PUT", "")), (0, 0));
}

#[tokio::test]
async fn no_secret_is_written_to_a_bundle_or_its_folder() {
    const PASSWORD: &str = "hunter2-is-not-in-any-bundle";
    let registry = Registry::start_with(registry::Options::default().htpasswd("robot", PASSWORD)).await;
    let image = SampleImage::multi_platform("a");
    let client =
        crate::support::client::RepositoryClient::signed_in(registry.address(), "team/a", "robot", PASSWORD);
    client.await.push(&image).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let auth =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("robot:{PASSWORD}"));
    let config = serde_json::json!({ "auths": { &registry.address().host_port: { "auth": auth } } });
    std::fs::write(folder.path().join("auth.json"), config.to_string()).unwrap();
    let authfile = folder.path().join("auth.json");
    let (path, lock) = (folder.path().join("b.tar"), folder.path().join("b.lock"));
    let images = [registry.address().image("team/a", "a")];
    let license = "the-license-key-of-a-customer";
    let more = [
        "--authfile",
        authfile.to_str().unwrap(),
        "--lock",
        lock.to_str().unwrap(),
        "--split",
        "70000",
        "-v",
    ];
    let outcome = export(&images, &path, &more).env("THORAS_LICENSE", license).run().await.expect_success();
    let mut texts = vec![outcome.stdout.into_bytes(), outcome.stderr.into_bytes()];
    std::fs::remove_file(authfile).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        texts.push(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(texts.len() > 4);
    for secret in [PASSWORD, &auth, license] {
        for text in &texts {
            assert!(!text.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
    }
}
