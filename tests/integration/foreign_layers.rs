//! `--foreign-layers` on the command line: which runs copy such layers, what the lock records, and which hosts get no
//! credential. Faults of their URLs are in `faults::foreign`.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use thoras_mirror::oci::Digest;

use crate::support::{
    documents,
    images::SampleImage,
    process::{Mirror, Outcome},
    scripted::{Answer, Scripted},
};

/// The login for every registry here.
const PASSWORD: &str = "hunter2-hunter2";

fn basic() -> String {
    BASE64_STANDARD.encode(format!("user:{PASSWORD}"))
}

/// A registry with an image that has two layers elsewhere, and an empty registry.
struct Site {
    source: Scripted,
    elsewhere: Scripted,
    destination: Scripted,
    image: SampleImage,
    layers: BTreeMap<Digest, Bytes>,
}

impl Site {
    async fn start() -> Self {
        let (source, elsewhere, destination) =
            tokio::join!(Scripted::start(), Scripted::start(), Scripted::start());
        let url = format!("{}/v2/layers/blobs/{{}}", elsewhere.address().url());
        let (image, layers) = SampleImage::with_foreign_layers("1", &[&url]);
        source.with_store(|store| store.insert("team/app", &image));
        elsewhere.with_store(|store| store.repository("layers").blobs = layers.clone());
        Self { source, elsewhere, destination, image, layers }
    }

    fn reference(&self) -> String {
        self.source.address().image("team/app", &self.image.tag)
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.destination.address().host_port)
    }

    fn sync(&self, more: &[&str]) -> Mirror {
        Mirror::new(["sync", "--platform", "linux/amd64", "--to", &self.to()]).arguments(more.iter().copied())
    }

    /// The same in the folder of an earlier run, by its lock.
    fn sync_locked(&self, earlier: &Outcome) -> Mirror {
        self.sync(&["--locked"]).in_folder(&earlier.folder())
    }

    /// The number of the layers present at the destination with the right bytes.
    fn brought(&self) -> usize {
        self.destination.with_store(|store| {
            let blobs = &store.repository("mirror/app").blobs;
            self.layers.iter().filter(|(digest, bytes)| blobs.get(digest) == Some(bytes)).count()
        })
    }

    fn delete_layers(&self) {
        self.destination.with_store(|store| {
            store.repository("mirror/app").blobs.retain(|digest, _| !self.layers.contains_key(digest));
        });
    }
}

fn lock_text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("thoras-mirror.lock")).unwrap()
}

#[tokio::test]
async fn the_flag_and_the_variable_copy_them() {
    for (typed, variable, brought) in [
        (false, "", 0),
        (true, "", 2),
        (false, "true", 2),
        (false, "1", 2),
        (false, "false", 0),
        (true, "no", 2),
    ] {
        let site = Site::start().await;
        let mut run = site.sync(&[&site.reference()]);
        if typed {
            run = run.arg("--foreign-layers");
        }
        if !variable.is_empty() {
            run = run.env("THORAS_MIRROR_FOREIGN_LAYERS", variable);
        }
        let outcome = run.run().await.expect_success();
        assert_eq!(site.brought(), brought, "typed {typed}, variable {variable}");
        let is_said = outcome.stderr.contains("2 foreign layers skipped: ");
        assert_eq!(is_said, brought == 0, "{outcome}");
        assert_eq!(lock_text(&outcome.folder()).contains("\"foreignLayers\": true"), brought == 2);
    }
}

#[tokio::test]
async fn a_second_run_is_idle_and_leaves_the_lock_unchanged() {
    let site = Site::start().await;
    let first = site.sync(&["--foreign-layers", &site.reference()]).run().await.expect_success();
    let lock = lock_text(&first.folder());
    for digest in site.layers.keys() {
        assert_eq!(lock.matches(digest.as_str()).count(), 2, "as a blob of the image and with its size");
    }
    for requests in [&site.destination, &site.elsewhere] {
        requests.clear();
    }
    for check in ["manifests", "blobs"] {
        let again = site.sync(&["--foreign-layers", "--check", check, &site.reference()]);
        let outcome = again.in_folder(&first.folder()).run().await.expect_success();
        assert!(outcome.stdout.contains(" up-to-date "), "{outcome}");
    }
    assert_eq!(lock_text(&first.folder()), lock);
    assert_eq!(site.elsewhere.requests().len(), 0);
    for method in ["POST", "PATCH", "PUT", "DELETE"] {
        assert_eq!(site.destination.count(method, ""), 0);
    }
}

#[tokio::test]
async fn a_dry_run_plans_them_without_requests_to_their_urls() {
    let site = Site::start().await;
    let outcome = site.sync(&["--dry-run", "--foreign-layers", "-o", "json", &site.reference()]).run().await;
    let document = documents::run(&outcome.expect_success());
    let foreign: u64 = site.layers.values().map(|layer| layer.len() as u64).sum();
    assert_eq!(document["images"][0]["bytes"]["copied"], site.image.blob_bytes() + foreign);
    assert_eq!(site.elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn verify_and_sync_locked_follow_the_lock() {
    let site = Site::start().await;
    let without = site.sync(&[&site.reference()]).run().await.expect_success();
    let with = site.sync(&["--foreign-layers", &site.reference()]).run().await.expect_success();
    let verify = |outcome: &Outcome, level: &str| {
        Mirror::new(["verify", "--level", level]).in_folder(&outcome.folder()).run()
    };
    for level in ["blobs", "bytes"] {
        let _ = verify(&with, level).await.expect_success();
    }
    site.delete_layers();
    for level in ["blobs", "bytes"] {
        let _ = verify(&without, level).await.expect_success();
        let outcome = verify(&with, level).await.expect_code(5);
        for digest in site.layers.keys() {
            assert!(outcome.to_string().contains(digest.as_str()), "{outcome}");
        }
    }
    let _ = site.sync_locked(&without).run().await.expect_success();
    assert_eq!(site.brought(), 0);
    let _ = site.sync_locked(&with).run().await.expect_success();
    assert_eq!(site.brought(), 2);
    let _ = verify(&with, "bytes").await.expect_success();
    assert!(
        lock_text(&with.folder()).contains("\"foreignLayers\": true"),
        "the next run inherits it as well"
    );
}

#[tokio::test]
async fn verify_against_the_source_requires_them_only_on_request_bug() {
    let site = Site::start().await;
    let _ = site.sync(&["--foreign-layers", &site.reference()]).run().await.expect_success();
    let verify = |more: &'static [&'static str]| {
        let verify = Mirror::new(["verify", "--platform", "linux/amd64", "--to", &site.to()]);
        verify.arguments(more.iter().copied()).arg(site.reference()).run()
    };
    let _ = verify(&["--foreign-layers"]).await.expect_success();
    site.delete_layers();
    let _ = verify(&[]).await.expect_success();
    let outcome = verify(&["--foreign-layers"]).await.expect_code(5);
    for digest in site.layers.keys() {
        assert!(outcome.to_string().contains(digest.as_str()), "{outcome}");
    }
    assert!(outcome.stderr.contains("repair: thoras-mirror sync --to"), "{outcome}");
    assert!(outcome.stderr.contains(" --foreign-layers "), "{outcome}");
}

#[tokio::test]
async fn wrong_bytes_exit_with_6_and_are_never_tagged() {
    let site = Site::start().await;
    site.elsewhere.on("GET", "/v2/layers/").answer(Answer::status(200).body(vec![7; 20_000]));
    let outcome = site.sync(&["--foreign-layers", &site.reference()]).run().await.expect_code(6);
    assert!(outcome.stderr.contains("no wrong data was stored"), "{outcome}");
    site.destination.with_store(|store| assert!(store.repository("mirror/app").tags.is_empty()));
    assert_eq!(site.brought(), 0);
}

#[tokio::test]
async fn a_bundle_contains_them_with_the_flag() {
    let site = Site::start().await;
    for (flag, entries) in [(None, 0), (Some("--foreign-layers"), 2)] {
        let export = ["bundle", "export", "--output", "thoras.tar", "--platform", "linux/amd64"];
        let run = Mirror::new(export.iter().copied().chain(flag)).arg(site.reference());
        let outcome = run.run().await.expect_success();
        let bundle = outcome.folder().join("thoras.tar");
        let mut archive = tar::Archive::new(std::fs::File::open(&bundle).unwrap());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let holds = |digest: &&Digest| names.iter().any(|name| name.ends_with(digest.hex()));
        assert_eq!(site.layers.keys().filter(holds).count(), entries, "{names:?}");
        // A second export finds the bundle complete, and these layers are part of it.
        let requests = site.elsewhere.requests().len();
        let again = Mirror::new(export.iter().copied().chain(flag)).arg(site.reference());
        let again = again.in_folder(&outcome.folder()).run().await.expect_success();
        assert!(again.stdout.contains(" up-to-date "), "{again}");
        // Verify expects these layers, and import copies them.
        let command =
            |arguments: &[&str]| Mirror::new(["bundle"].iter().chain(arguments)).in_folder(&outcome.folder());
        let _ = command(&["verify", "thoras.tar"]).run().await.expect_success();
        let _ = command(&["import", "thoras.tar", "--to", &site.to()]).run().await.expect_success();
        assert_eq!(site.brought(), entries);
        let is_recorded = lock_text(&outcome.folder()).contains("\"foreignLayers\": true");
        assert_eq!(is_recorded, entries > 0);
        assert_eq!(site.elsewhere.requests().len(), requests);
    }
}

/// Credentials for these registries in a file.
fn authfile(folder: &Path, registries: &[&Scripted]) -> String {
    let of =
        |registry: &&Scripted| (registry.address().host_port.clone(), serde_json::json!({ "auth": basic() }));
    let auths: serde_json::Map<String, serde_json::Value> = registries.iter().map(of).collect();
    let path = folder.join("auth.json");
    std::fs::write(&path, serde_json::json!({ "auths": auths }).to_string()).unwrap();
    path.display().to_string()
}

fn authorizations(registry: &Scripted, path: &str) -> usize {
    let requests = registry.requests();
    requests.iter().filter(|one| one.is("", path) && one.header("authorization").is_some()).count()
}

#[tokio::test]
async fn no_credential_is_sent_to_a_url_even_if_one_matches_its_host() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authfile = authfile(folder.path(), &[&site.source, &site.elsewhere]);
    site.source.demand("Basic realm=\"source\"", &[&format!("Basic {}", basic())]);
    let more = ["-v", "--foreign-layers", "--authfile", &authfile, &site.reference()];
    let outcome = site.sync(&more).run().await.expect_success();
    assert_eq!(site.brought(), 2);
    assert!(authorizations(&site.source, "") > 0);
    assert_eq!((authorizations(&site.elsewhere, ""), site.elsewhere.requests().len()), (0, 2));
    assert!(!outcome.to_string().contains(PASSWORD) && !outcome.to_string().contains(&basic()));
}

#[tokio::test]
async fn no_credential_is_sent_to_a_url_that_asks_for_one() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authfile = authfile(folder.path(), &[&site.source, &site.elsewhere]);
    for challenge in [
        "Basic realm=\"elsewhere\"".to_owned(),
        format!("Bearer realm=\"{}/token\",service=\"elsewhere\"", site.elsewhere.address().url()),
    ] {
        site.elsewhere.clear();
        site.elsewhere.demand(&challenge, &[&format!("Basic {}", basic())]);
        let run = site.sync(&["-v", "--foreign-layers", "--authfile", &authfile, &site.reference()]);
        let outcome = run.run().await.expect_code(4);
        assert!(outcome.stderr.contains("its URL is requested without credentials"), "{outcome}");
        assert_eq!(authorizations(&site.elsewhere, ""), 0);
        assert_eq!(site.elsewhere.count("", "/token"), 0, "nor is a token fetched");
    }
}

#[tokio::test]
async fn no_credential_is_sent_to_a_url_that_redirects_to_the_registry() {
    let source = Scripted::start().await;
    let url = format!("{}/v2/layers/blobs/{{}}", source.address().url());
    let (image, layers) = SampleImage::with_foreign_layers("1", &[&url]);
    let site = Site { source, image, layers, ..Site::start().await };
    site.source.with_store(|store| store.insert("team/app", &site.image));
    site.source.demand("Basic realm=\"source\"", &[&format!("Basic {}", basic())]);
    for (digest, bytes) in &site.layers {
        let open = format!("/v2/layers/blobs/{digest}");
        site.source.on("GET", &open).answer(Answer::status(200).body(bytes.clone()));
    }
    let folder = tempfile::tempdir().unwrap();
    let authfile = authfile(folder.path(), &[&site.source]);
    let run = site.sync(&["-v", "--foreign-layers", "--authfile", &authfile, &site.reference()]);
    let _ = run.run().await.expect_success();
    assert_eq!(site.brought(), 2);
    assert!(authorizations(&site.source, "/v2/team/app/") > 0);
    assert_eq!(authorizations(&site.source, "/v2/layers/"), 0);
    assert_eq!(site.source.count("GET", "/v2/layers/"), 2);
}
