//! `serve` over the output of `bundle export`: one file, unpacked, and in volumes. Other tools, a second mirror, Helm
//! and a simulated cluster node pull from it.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;
use thoras_mirror::oci::Digest;

use crate::support::{
    Address, client, helm,
    images::SampleImage,
    process::Mirror,
    registry::Registry,
    serving::Serving,
    skopeo,
    vendor::{CHART, Vendor},
};

/// The smallest volume size, so that the bundle has several volumes.
const SPLIT: &str = "64KiB";

async fn vendor() -> Vendor {
    let images = vec![
        ("services", SampleImage::with_layer_size("4.53.0", 70_000)),
        ("ui/dashboard", SampleImage::docker("4.53.0-ui")),
    ];
    Vendor::start(images).await
}

/// A bundle in volumes: the volumes, and their index.
async fn volumes(vendor: &Vendor) -> (Vec<PathBuf>, PathBuf) {
    let bundle = vendor.export("b.tar", &["--split", SPLIT]).await;
    let folder = bundle.parent().unwrap();
    let mut volumes: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    volumes.retain(|path| path.extension().is_some_and(|number| number.len() == 3 && number != "tar"));
    volumes.sort();
    assert!(volumes.len() > 3, "{volumes:?}");
    (volumes, vendor.path("b.tar.volumes.json"))
}

/// Reads back everything that the vendor published.
async fn assert_served(vendor: &Vendor, address: &Address) {
    for (repository, image) in &vendor.images {
        client::assert_present(image, address, repository).await;
    }
}

async fn refused(paths: &[&Path], code: i32) -> String {
    let run = Mirror::new(["serve", "--listen", "127.0.0.1:0"]).arguments(paths.iter().copied());
    let outcome = run.run().await.expect_code(code);
    assert_eq!(outcome.stdout, "");
    outcome.stderr
}

#[tokio::test]
async fn volumes_are_found_by_their_index_by_any_volume_and_under_other_names() {
    let vendor = vendor().await;
    let (volumes, index) = volumes(&vendor).await;
    for path in [&index, &volumes[0], &volumes[2]] {
        let serving = Serving::start(path, &[]).await;
        assert_served(&vendor, &serving.address).await;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let moved: Vec<PathBuf> =
        (0..volumes.len()).rev().map(|position| elsewhere.path().join(format!("disk {position}"))).collect();
    for (from, to) in volumes.iter().rev().zip(&moved) {
        std::fs::rename(from, to).unwrap();
    }
    let paths: Vec<&Path> = [&index].into_iter().chain(&moved).map(PathBuf::as_path).collect();
    let serving = Serving::over(&paths, &["--listen", "127.0.0.1:0"]).await;
    assert_served(&vendor, &serving.address).await;
}

#[tokio::test]
async fn skopeo_and_a_second_mirror_pull_from_volumes() {
    let vendor = vendor().await;
    let (volumes, _) = volumes(&vendor).await;
    let paths: Vec<&Path> = volumes.iter().rev().map(PathBuf::as_path).collect();
    let serving = Serving::over(&paths, &["--listen", "127.0.0.1:0"]).await;
    let host_port = &serving.address.host_port;
    let mirror = Registry::start().await;
    for (repository, image) in &vendor.images {
        let name = format!("{repository}:{}", image.tag);
        assert!(skopeo::manifest(&serving.address, &name).await == image.root().bytes);
        let (from, to) = (
            format!("docker://{host_port}/{name}"),
            format!("docker://{}", mirror.address().image("copied", &image.tag)),
        );
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        skopeo::run(&[&["copy", "--all", "--preserve-digests"], &tls[..], &[&from, &to]].concat()).await;
        client::assert_present(image, mirror.address(), "copied").await;
    }
    let to = format!("{}/far", mirror.address().host_port);
    let served =
        vendor.images.iter().map(|(repository, image)| serving.address.image(repository, &image.tag));
    let synced = Mirror::new(["sync", "--to", &to, "--naming", "last"]).arguments(served).run().await;
    let synced = synced.expect_success();
    let verify = Mirror::new(["verify", "--level", "bytes"]).in_folder(&synced.folder());
    verify.run().await.expect_success();
    let (code, log) = serving.end(Signal::TERM).await;
    assert_eq!(code, Some(0));
    assert!(!log.iter().any(|line| line.starts_with("push:")), "{log:#?}");
}

#[tokio::test]
async fn an_incomplete_or_mixed_bundle_is_refused_at_startup() {
    let vendor = vendor().await;
    let (volumes, index) = volumes(&vendor).await;
    let whole = vendor.export("whole.tar", &[]).await;
    let said = refused(&[&whole, &whole], 3).await;
    assert!(said.contains("there are 2 files, but no index"), "{said}");
    let said = refused(&[&index, &whole], 3).await;
    assert!(said.contains("whole.tar is not a volume of bundle sha256:"), "{said}");
    let folder = vendor.unpack(&whole, "unpacked");
    let message = refused(&[&volumes[0], &folder], 3).await;
    assert!(message.contains("cannot be combined with other files"), "{message}");

    std::fs::remove_file(&volumes[2]).unwrap();
    let message = refused(&[&volumes[0]], 3).await;
    assert!(message.contains("a volume of the bundle is missing: b.tar.003"), "{message}");
    assert!(message.contains("hint: name every volume"), "{message}");

    let length = whole.metadata().unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&whole).unwrap().set_len(length - 5000).unwrap();
    let said = refused(&[&whole], 6).await;
    assert!(said.contains("whole.tar") && said.contains("truncated"), "{said}");
}

#[tokio::test]
async fn a_delta_is_served_with_a_warning() {
    let vendor = vendor().await;
    let base = vendor.export("base.tar", &["--include", "*services*"]).await;
    let delta = vendor.export("delta.tar", &["--base", base.to_str().unwrap()]).await;
    let serving = Serving::start(&delta, &["--quiet"]).await;
    let (repository, image) = &vendor.images[0];
    let name = format!("{repository}:{}", image.tag);
    assert!(skopeo::manifest(&serving.address, &name).await == image.root().bytes);
    let (_, log) = serving.end(Signal::TERM).await;
    let expected_text =
        format!("leaves out {} blobs: images that need them cannot be pulled", image.blobs.len());
    assert!(log.len() == 1 && log[0].starts_with("warning: ") && log[0].contains(&expected_text), "{log:#?}");
}

/// It used to create an empty registry that accepted pushes.
#[tokio::test]
async fn a_mistyped_name_does_not_create_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.tra.tar", "b.tar.001", "b.tar.volumes.json"] {
        let path = folder.path().join(name);
        let message = refused(&[&path], 3).await;
        assert!(message.contains(name) && message.contains("No such file"), "{message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn helm_installs_from_a_served_bundle_and_its_images_can_be_pulled() {
    let vendor = vendor().await;
    let bundle = vendor.export("b.tar", &["--with-chart"]).await;
    let folder = vendor.unpack(&bundle, "unpacked");
    for path in [&bundle, &folder] {
        let serving = Serving::start(path, &[]).await;
        let (name, version) = CHART;
        let host_port = &serving.address.host_port;
        let chart = format!("oci://{host_port}/charts/{name}");
        let target = tempfile::tempdir().unwrap();
        let output = target.path().display().to_string();
        helm::run(&["pull", &chart, "--version", version, "--destination", &output]).await;
        assert!(target.path().join(format!("{name}-{version}.tgz")).is_file());
        let registry = format!("imageCredentials.registry={host_port}");
        let rendered = helm::run(&["template", &chart, "--version", version, "--set", &registry]).await;
        let named: Vec<&str> =
            rendered.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(named.len(), vendor.images.len(), "{rendered}");
        for ((_, image), name) in vendor.images.iter().zip(named) {
            for architecture in ["amd64", "arm64"] {
                assert!(Node { architecture }.pull(name, image).await > 1, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_bundle_is_served_under_its_exported_names_unless_flags_override_them() {
    let vendor = vendor().await;
    let name = |serving: &Serving, repository: &str, position: usize| {
        serving.address.image(repository, &vendor.images[position].1.tag)
    };
    let node = Node { architecture: "arm64" };
    let image = &vendor.images[1].1;
    let last = vendor.export("last.tar", &["--naming", "last"]).await;
    let serving = Serving::start(&last, &[]).await;
    node.pull(&name(&serving, "dashboard", 1), image).await;
    let serving = Serving::start(&last, &["--naming", "relative"]).await;
    node.pull(&name(&serving, "ui/dashboard", 1), image).await;
    let prefix = vendor.registry.address().host_port.clone();
    let cut = vendor.export("prefix.tar", &["--source-prefix", &prefix]).await;
    let serving = Serving::start(&cut, &[]).await;
    node.pull(&name(&serving, "platform/ui/dashboard", 1), image).await;
    let serving = Serving::start(&cut, &["--source-prefix", &vendor.prefix()]).await;
    node.pull(&name(&serving, "ui/dashboard", 1), image).await;
}

/// A cluster node that pulls like containerd: it resolves the tag with HEAD, reads everything else by digest for one
/// platform, and resumes interrupted downloads.
struct Node {
    architecture: &'static str,
}

const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, */*";

impl Node {
    /// Pulls `HOST:PORT/REPOSITORY:TAG` and compares it with the sample. Returns how many blobs there were.
    async fn pull(&self, name: &str, image: &SampleImage) -> usize {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (host, rest) = name.split_once('/').unwrap();
        let (repository, tag) = rest.rsplit_once(':').unwrap();
        let url = |kind: &str, what: &str| format!("http://{host}/v2/{repository}/{kind}/{what}");
        let resolved = client.head(url("manifests", tag)).header("accept", MANIFESTS).send().await.unwrap();
        assert_eq!(resolved.status(), 200, "{name}");
        assert_eq!(resolved.headers()["content-type"], image.root().media_type);
        assert_eq!(resolved.headers()["content-length"], image.root().bytes.len().to_string());
        let digest = resolved.headers()["docker-content-digest"].to_str().unwrap().to_owned();
        assert_eq!(digest, image.root().digest.as_str());
        let manifest = async |digest: &str| -> Value {
            // A client with a registry mirror names the original registry.
            let url = url("manifests", &format!("{digest}?ns=registry.example.com"));
            let answer = client.get(url).header("accept", MANIFESTS).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{digest}");
            let bytes = answer.bytes().await.unwrap();
            assert_eq!(Digest::sha256(&bytes).as_str(), digest);
            serde_json::from_slice(&bytes).unwrap()
        };
        let index = manifest(&digest).await;
        let platform = |child: &&Value| child["platform"]["architecture"] == self.architecture;
        let child = index["manifests"].as_array().unwrap().iter().find(platform).unwrap();
        let chosen = manifest(child["digest"].as_str().unwrap()).await;
        let layers = chosen["layers"].as_array().unwrap();
        for blob in [&chosen["config"]].into_iter().chain(layers) {
            let digest = blob["digest"].as_str().unwrap();
            let bytes = resume(&client, &url("blobs", digest), blob["size"].as_u64().unwrap()).await;
            assert_eq!(Digest::sha256(&bytes).as_str(), digest);
        }
        layers.len() + 1
    }
}

/// Reads a third, then resumes from there.
async fn resume(client: &reqwest::Client, url: &str, size: u64) -> Vec<u8> {
    let part = async |range: String, expected: String| {
        let answer = client.get(url).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), 206, "{url}");
        assert_eq!(answer.headers()["content-range"], expected);
        answer.bytes().await.unwrap()
    };
    let (third, last) = (size / 3, size - 1);
    let first = part(format!("bytes=0-{}", third - 1), format!("bytes 0-{}/{size}", third - 1)).await;
    let rest = part(format!("bytes={third}-"), format!("bytes {third}-{last}/{size}")).await;
    [first, rest].concat()
}

/// A bundle on every address was announced as "anyone can push and delete".
#[tokio::test]
async fn a_bundle_is_announced_as_what_it_is() {
    let vendor = vendor().await;
    for (naming, prefix) in [("relative", ""), ("last", ""), ("full", "/FULL")] {
        let bundle = vendor.export(&format!("{naming}.tar"), &["--naming", naming]).await;
        let serving = Serving::start_at(&bundle, &["--listen", ":0"]).await;
        let port = serving.address.host_port.rsplit_once(':').unwrap().1.to_owned();
        let (_, lines) = serving.end(Signal::TERM).await;
        let has = |expected: &str| lines.iter().any(|line| line == expected);
        assert!(!lines.iter().any(|line| line.contains("push")), "{lines:#?}");
        if naming == "relative" {
            assert!(has(&format!("serves: HOST:{port}/services:4.53.0")), "{lines:#?}");
            assert!(has(&format!("serves: HOST:{port}/ui/dashboard:4.53.0-ui")), "{lines:#?}");
        }
        let prefix = prefix.replace("FULL", &vendor.prefix().replace(':', "-"));
        let charts: Vec<&String> = lines.iter().filter(|line| line.starts_with("chart:")).collect();
        match naming {
            // No value finds both `services` and `dashboard`, which was `ui/dashboard`.
            "last" => assert!(charts.is_empty(), "{lines:#?}"),
            "relative" => assert_eq!(
                charts,
                [&format!("chart:  --set imageCredentials.registry=HOST:{port}{prefix}")],
                "{lines:#?}"
            ),
            _ => assert!(charts.len() == 1 && charts[0].ends_with("/platform"), "{lines:#?}"),
        }
    }
}
