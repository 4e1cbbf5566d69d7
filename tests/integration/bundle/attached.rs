//! Attachments travel in the bundle of their images: referrers, referrers of referrers, and cosign's tags.

use std::{fs, path::PathBuf, process::Command};

use bytes::Bytes;
use serde_json::json;
use thoras_mirror::oci::{Digest, media_type::OCI_MANIFEST};

use super::importing::*;
use crate::support::{Address, client, containerd::Containerd, programs, serving::Serving};

const EMPTY: &str = "{}";
/// Many requests: a server whose log is not read stops when the pipe is full.
const QUIET: [&str; 2] = ["--access-log", "/dev/null"];
const SBOM: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A registry with an image, its signatures and its SBOM.
struct Site {
    registry: Serving,
    image: SampleImage,
    folder: tempfile::TempDir,
}

/// The digests of a site's attached manifests.
struct Attached {
    sbom: Digest,
    of_sbom: Digest,
    of_child: Digest,
    tag: String,
    tagged: Digest,
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() })
}

/// PUTs a manifest, by its digest or under a tag, after its only layer.
async fn put(at: &Address, repository: &str, tag: Option<&str>, mut manifest: Value, layer: &str) -> Value {
    let http = reqwest::Client::new();
    let base = format!("http://{}/v2/{repository}", at.host_port);
    let layer_digest = Digest::sha256(layer.as_bytes());
    let upload = format!("{base}/blobs/uploads/?digest={layer_digest}");
    assert!(http.post(upload).body(layer.to_owned()).send().await.unwrap().status().is_success());
    manifest["layers"] = json!([descriptor("text/plain", layer.as_bytes())]);
    let bytes = manifest.to_string();
    let digest = Digest::sha256(bytes.as_bytes());
    let url = format!("{base}/manifests/{}", tag.unwrap_or(digest.as_str()));
    let sent = http.put(url).header("content-type", OCI_MANIFEST).body(bytes.clone()).send().await.unwrap();
    assert!(sent.status().is_success(), "{}", sent.status());
    descriptor(OCI_MANIFEST, bytes.as_bytes())
}

fn manifest(artifact_type: Option<&str>, subject: Option<&Value>, name: &str) -> Value {
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": { "name": name,
            // An annotation of a manifest must not name its entry in the index.
            "org.opencontainers.image.ref.name": "registry.example.com/other:1" },
        "config": descriptor("application/vnd.oci.empty.v1+json", EMPTY.as_bytes()),
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    if let Some(subject) = subject {
        manifest["subject"] = subject.clone();
    }
    manifest
}

impl Site {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Serving::start(&folder.path().join("registry"), &QUIET).await;
        let mut image = SampleImage::multi_platform("1");
        image.blobs.insert(Digest::sha256(EMPTY.as_bytes()), Bytes::from_static(EMPTY.as_bytes()));
        client::push(&image, &registry.address, "team/app").await;
        Self { registry, image, folder }
    }

    async fn attach(&self) -> Attached {
        let at = &self.registry.address;
        let referrer = async |artifact_type: &str, subject: &Value, name: &str| {
            put(at, "team/app", None, manifest(Some(artifact_type), Some(subject), name), name).await
        };
        let root = self.image.root();
        let sbom = referrer(SBOM, &descriptor(&root.media_type, &root.bytes), "sbom").await;
        let of_sbom = referrer(SIGNATURE, &sbom, "signature of the SBOM").await;
        let child = self.image.manifests.iter().find(|manifest| manifest.digest != root.digest).unwrap();
        let child = descriptor(&child.media_type, &child.bytes);
        let of_child = referrer(SIGNATURE, &child, "signature of a platform").await;
        let tag = format!("{}.sig", root.digest.as_str().replace(':', "-"));
        let tagged = put(at, "team/app", Some(&tag), manifest(None, None, "older"), "older").await;
        let digest = |descriptor: Value| descriptor["digest"].as_str().unwrap().parse().unwrap();
        let (sbom, of_sbom, of_child) = (digest(sbom), digest(of_sbom), digest(of_child));
        Attached { sbom, of_sbom, of_child, tag, tagged: digest(tagged) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn export(&self, name: &str, more: &[&str]) -> Mirror {
        let image = self.registry.address.image("team/app", "1");
        let mirror = Mirror::new(["bundle", "export", &*image, "-o"]).arg(self.path(name));
        mirror.arguments(more.iter().copied()).in_folder(self.folder.path())
    }
}

async fn get(at: &Address, path: &str) -> Option<Bytes> {
    let url = format!("http://{}/v2/{path}", at.host_port);
    let answer = reqwest::Client::new().get(url).header("accept", "*/*").send().await.unwrap();
    let is_there = answer.status().is_success();
    let bytes = answer.bytes().await.unwrap();
    is_there.then_some(bytes)
}

async fn referrers(at: &Address, repository: &str, subject: &Digest) -> Vec<String> {
    let index = get(at, &format!("{repository}/referrers/{subject}")).await.unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    entries.map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that everything can be found from the image, with all its bytes.
async fn assert_attached(at: &Address, repository: &str, image: &SampleImage, attached: &Attached) {
    let root = &image.root().digest;
    assert_eq!(referrers(at, repository, root).await, [attached.sbom.as_str()]);
    assert_eq!(referrers(at, repository, &attached.sbom).await, [attached.of_sbom.as_str()]);
    let children = image.manifests.iter().filter(|manifest| manifest.digest != *root);
    let mut of_children = Vec::new();
    for child in children {
        of_children.extend(referrers(at, repository, &child.digest).await);
    }
    assert_eq!(of_children, [attached.of_child.as_str()]);
    let tagged = get(at, &format!("{repository}/manifests/{}", attached.tag)).await.unwrap();
    assert_eq!(Digest::sha256(&tagged), attached.tagged);
    for layer in ["sbom", "signature of the SBOM", "signature of a platform", "older"] {
        let digest = Digest::sha256(layer.as_bytes());
        let blob = get(at, &format!("{repository}/blobs/{digest}")).await;
        assert_eq!(blob.as_deref(), Some(layer.as_bytes()), "{layer}");
    }
}

async fn oras(arguments: &[&str]) -> String {
    let program = programs::find("THORAS_MIRROR_TEST_ORAS", "oras");
    String::from_utf8(programs::run(program, arguments.iter().copied()).await).unwrap()
}

fn unpack(tar: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    assert!(Command::new("tar").arg("-C").arg(folder).arg("-xf").arg(tar).status().unwrap().success());
}

#[tokio::test]
async fn everything_that_is_attached_travels_in_every_form_of_a_bundle() {
    let site = Site::start().await;
    let attached = site.attach().await;
    site.export("b.tar", &[]).run().await.expect_success();
    let tar = fs::read(site.path("b.tar")).unwrap();
    site.export("again.tar", &[]).run().await.expect_success();
    assert!(fs::read(site.path("again.tar")).unwrap() == tar, "the same content, the same bytes");
    unpack(&site.path("b.tar"), &site.path("layout"));
    site.export("v.tar", &["--split", "64KiB"]).run().await.expect_success();
    let verified = Mirror::new(["bundle", "verify", "-o", "json"]).arg(site.path("b.tar")).run().await;
    let verified = document(&verified.expect_success());
    assert_eq!(verified["images"].as_array().unwrap().len(), 1, "{verified}");
    assert_eq!(verified["images"][0]["attached"]["sboms"], 1, "{verified}");

    let far = tempfile::tempdir().unwrap();
    let far = Serving::start(far.path(), &QUIET).await;
    for (repository, file, stdin) in [
        ("tar", "b.tar", None),
        ("folder", "layout", None),
        ("volumes", "v.tar.volumes.json", None),
        ("stdin", "-", Some(tar.clone())),
    ] {
        let to = format!("{}/{repository}", far.address.host_port);
        let path = if file == "-" { PathBuf::from(file) } else { site.path(file) };
        let lock = site.path(&format!("{repository}.lock"));
        let mut command = import(&path, &to, &["--lock", lock.to_str().unwrap()]);
        if let Some(bytes) = stdin {
            command = command.stdin(bytes);
        }
        command.run().await.expect_success();
        assert_attached(&far.address, &format!("{repository}/app"), &site.image, &attached).await;
        Mirror::new(["verify", "--lock"]).arg(&lock).run().await.expect_success();
        // A second import finds everything.
        if file != "-" {
            let again = import(&path, &to, &["--lock", lock.to_str().unwrap(), "-o", "json"]).run().await;
            assert_eq!(document(&again.expect_success())["images"][0]["status"], "up-to-date");
        }
    }
    let served = Serving::start(&site.path("b.tar"), &[]).await;
    assert_attached(&served.address, "app", &site.image, &attached).await;
    let served = Serving::start(&site.path("layout"), &[]).await;
    assert_attached(&served.address, "app", &site.image, &attached).await;
}

#[tokio::test]
async fn oras_and_containerd_read_a_bundle_with_attachments() {
    let site = Site::start().await;
    let attached = site.attach().await;
    site.export("b.tar", &[]).run().await.expect_success();
    unpack(&site.path("b.tar"), &site.path("layout"));
    let layout = format!("{}@{}", site.path("layout").display(), site.image.root().digest);
    let tree = oras(&["discover", "--oci-layout", &layout, "--format", "json"]).await;
    assert!(tree.contains(attached.sbom.as_str()) && tree.contains(attached.of_sbom.as_str()), "{tree}");
    let index: Value = serde_json::from_slice(&fs::read(site.path("layout/index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let sbom = entries.iter().find(|entry| entry["digest"] == attached.sbom.as_str()).unwrap();
    assert_eq!(sbom["artifactType"], SBOM);
    assert_eq!(sbom["annotations"], json!({ "name": "sbom" }), "its annotations, but not its names");
    let containerd = Containerd::start().await;
    let tar = site.path("b.tar");
    containerd.ctr(&["images", "import", "--all-platforms", "--no-unpack", tar.to_str().unwrap()]).await;
    let name = site.registry.address.image("team/app", "1");
    assert_eq!(containerd.digest(&name).await.as_deref(), Some(site.image.root().digest.as_str()));
}

#[tokio::test]
async fn layouts_of_oras_keep_what_is_attached() {
    let site = Site::start().await;
    let attached = site.attach().await;
    let from = site.registry.address.image("team/app", "1");
    let layout = site.path("oras");
    let to = format!("{}:1", layout.display());
    oras(&["cp", "-r", "--from-plain-http", &from, "--to-oci-layout", &to]).await;
    // oras does not copy cosign's tags by itself.
    let tag = site.registry.address.image("team/app", &attached.tag);
    let to = format!("{}:{}", layout.display(), attached.tag);
    oras(&["cp", "--from-plain-http", &tag, "--to-oci-layout", &to]).await;
    let far = tempfile::tempdir().unwrap();
    let far = Serving::start(far.path(), &QUIET).await;
    let to = format!("{}/far", far.address.host_port);
    let more = ["--as", "registry.example.com/team/app:1"];
    import(&layout, &to, &more).in_folder(site.folder.path()).run().await.expect_success();
    assert_attached(&far.address, "far/app", &site.image, &attached).await;
    let served = Serving::start(&layout, &[]).await;
    assert_attached(&served.address, "oras", &site.image, &attached).await;
    // Without its subject, a tag of that form is an image like any other.
    let alone = site.path("alone");
    let to = format!("{}:{}", alone.display(), attached.tag);
    oras(&["cp", "--from-plain-http", &tag, "--to-oci-layout", &to]).await;
    let inspected = Mirror::new(["bundle", "inspect", "-o", "json"]).arg(&alone).run().await.expect_success();
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(inspected["images"][0]["label"], attached.tag, "{inspected}");
}

#[tokio::test]
async fn a_delta_carries_a_new_signature_and_no_old_blob() {
    let site = Site::start().await;
    site.export("first.tar", &[]).run().await.expect_success();
    let far_folder = tempfile::tempdir().unwrap();
    let far = Serving::start(far_folder.path(), &QUIET).await;
    let to = format!("{}/far", far.address.host_port);
    let receipt = site.path("receipt.json");
    let lock = site.path("far.lock");
    let more = ["--receipt", receipt.to_str().unwrap(), "--lock", lock.to_str().unwrap()];
    import(&site.path("first.tar"), &to, &more).run().await.expect_success();
    let attached = site.attach().await;
    site.export("second.tar", &["--base", receipt.to_str().unwrap()]).run().await.expect_success();
    let second = fs::read(site.path("second.tar")).unwrap();
    for (digest, bytes) in &site.image.blobs {
        let name = format!("blobs/sha256/{}", digest.hex());
        let is_there = second.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(!is_there || bytes.len() < 3, "{name}");
    }
    Mirror::new(["bundle", "verify"]).arg(site.path("second.tar")).run().await.expect_success();
    import(&site.path("second.tar"), &to, &["--lock", lock.to_str().unwrap()]).run().await.expect_success();
    assert_attached(&far.address, "far/app", &site.image, &attached).await;
}

#[tokio::test]
async fn a_damaged_or_missing_attachment_is_found() {
    let site = Site::start().await;
    let attached = site.attach().await;
    site.export("b.tar", &[]).run().await.expect_success();
    for (name, digest) in [
        ("layer", Digest::sha256(b"signature of the SBOM")),
        ("manifest", attached.of_sbom.clone()),
        ("tagged", attached.tagged.clone()),
    ] {
        for damage in [true, false] {
            let layout = site.path(&format!("{name}-{damage}"));
            unpack(&site.path("b.tar"), &layout);
            let blob = layout.join("blobs/sha256").join(digest.hex());
            if damage {
                let mut bytes = fs::read(&blob).unwrap();
                bytes[0] ^= 1;
                fs::write(&blob, bytes).unwrap();
            } else {
                fs::remove_file(&blob).unwrap();
            }
            let verified = Mirror::new(["bundle", "verify"]).arg(&layout).run().await.expect_code(6);
            assert!(verified.to_string().contains(digest.hex()), "{name} {damage}: {verified}");
        }
    }
}
