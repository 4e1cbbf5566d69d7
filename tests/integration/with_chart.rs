//! `--with-chart`: the chart is mirrored with its images, and the real Helm finds it at the destination.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use thoras_mirror::oci::Digest;

use crate::support::{
    client, documents, helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
    skopeo,
};

const VERSION: &str = "1.2.3+build.5";

/// A registry with the one image of a chart, the chart's folder, and a registry to mirror to.
struct Site {
    source: Registry,
    mirror: Registry,
    image: SampleImage,
    folder: TempDir,
}

impl Site {
    async fn start() -> Self {
        let (source, mirror) = tokio::join!(Registry::start(), Registry::start());
        let image = SampleImage::multi_platform("1");
        client::push(&image, source.address(), "team/app").await;
        let site = Self { source, mirror, image, folder: tempfile::tempdir().unwrap() };
        site.write_chart(VERSION);
        site
    }

    fn write_chart(&self, version: &str) {
        let templates = self.chart().join("templates");
        std::fs::create_dir_all(&templates).unwrap();
        let yaml = format!("apiVersion: v2\nname: shop\nversion: {version}\ndescription: Sells\n");
        std::fs::write(self.chart().join("Chart.yaml"), yaml).unwrap();
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: shop}}\nspec:\n  containers:\n  - name: app\n    image: {}\n",
            self.reference()
        );
        std::fs::write(templates.join("pod.yaml"), pod).unwrap();
    }

    fn chart(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    fn reference(&self) -> String {
        self.source.address().image("team/app", "1")
    }

    fn to(&self) -> String {
        format!("{}/mirror", self.mirror.address().host_port)
    }

    /// Where Helm finds the chart.
    fn oci(&self) -> String {
        format!("oci://{}/charts/shop", self.to())
    }

    fn sync(&self, chart: &Path) -> Mirror {
        let chart = chart.display().to_string();
        with_helm(["sync", "--to", &self.to(), "--with-chart", "--chart", &chart])
    }

    /// Packages the chart with Helm, as a publisher does.
    async fn package(&self) -> PathBuf {
        let output = self.folder.path().join("packages");
        let (chart, output_text) = (self.chart().display().to_string(), output.display().to_string());
        helm::run(&["package", &chart, "--destination", &output_text]).await;
        std::fs::read_dir(output).unwrap().next().unwrap().unwrap().path()
    }

    /// The digest of the chart in the mirror, if present.
    fn mirrored_chart(&self, tag: &str) -> Option<Digest> {
        self.mirror.storage().tags().remove(&format!("mirror/charts/shop:{tag}"))
    }
}

fn with_helm<const N: usize>(arguments: [&str; N]) -> Mirror {
    Mirror::new(arguments).env("THORAS_MIRROR_HELM", helm::program())
}

fn lock_of(outcome: &Outcome) -> Value {
    serde_json::from_slice(&std::fs::read(outcome.folder().join("thoras-mirror.lock")).unwrap()).unwrap()
}

/// The lock's entry for the chart.
fn chart_in(lock: &Value) -> &Value {
    lock["images"].as_array().unwrap().iter().find(|image| image.get("kind").is_some()).unwrap()
}

#[tokio::test]
async fn helm_finds_the_chart_beside_its_images() {
    let site = Site::start().await;
    let outcome = site.sync(&site.chart()).run().await.expect_success();
    let output = site.folder.path().display().to_string();
    for command in [&["pull", "--destination", &output][..], &["show", "chart"], &["template"]] {
        let oci = site.oci();
        let arguments: Vec<&str> = command.iter().copied().chain([&*oci, "--version", VERSION]).collect();
        let output = helm::run(&arguments).await;
        match command[0] {
            "show" => assert!(output.contains("name: shop\n") && output.contains(VERSION), "{output}"),
            "template" => assert!(output.contains(&site.reference()), "{output}"),
            _ => {}
        }
    }
    assert!(site.folder.path().join(format!("shop-{VERSION}.tgz")).is_file());
    assert!(outcome.stdout.contains("2 images confirmed"), "{outcome}");
    let row = outcome.stdout.lines().find(|line| line.contains("shop:1.2.3_build.5")).unwrap();
    assert!(row.contains(" chart "), "in the place of platforms: {outcome}");
}

#[tokio::test]
async fn the_lock_names_the_chart_by_digest_and_verify_reads_it() {
    let site = Site::start().await;
    let run = site.sync(&site.chart()).arguments(["--naming", "full", "--platform", "linux/amd64"]);
    let outcome = run.run().await.expect_success();
    let lock = lock_of(&outcome);
    let chart = chart_in(&lock);
    assert_eq!(chart["kind"], "chart");
    assert_eq!(chart["source"], "localhost/charts/shop:1.2.3_build.5");
    let reference = format!("{}/charts/shop:1.2.3_build.5", site.to());
    let expected = json!([{ "to": site.to(), "reference": reference, "confirmed": true }]);
    assert_eq!(chart["destinations"], expected);
    assert_eq!(chart["digest"], site.mirrored_chart("1.2.3_build.5").unwrap().as_str());
    assert_eq!(chart["platforms"], json!([]));
    assert_eq!(lock["destinations"][0]["chart"], chart["source"]);
    let package = lock["chart"]["digest"].as_str().unwrap();
    assert!(chart["blobs"].as_array().unwrap().contains(&package.into()), "the package is a layer: {lock}");

    let verify = ["verify", "--level", "bytes", "--output", "json"];
    let verified = Mirror::new(verify).in_folder(&outcome.folder()).run().await.expect_success();
    let document = documents::run(&verified);
    assert_eq!(document["totals"]["confirmed"], 2);
    assert!(document["images"].as_array().unwrap().iter().any(|image| image["kind"] == "chart"));

    site.mirror.storage().delete_data(&package.parse().unwrap());
    let outcome = Mirror::new(verify).in_folder(&outcome.folder()).run().await.expect_code(5);
    assert!(outcome.stdout.contains("missing-blob"), "{outcome}");
}

#[tokio::test]
async fn a_second_run_packages_the_same_bytes_and_writes_nothing() {
    let site = Site::start().await;
    let first = site.sync(&site.chart()).run().await.expect_success();
    let lock = std::fs::read(first.folder().join("thoras-mirror.lock")).unwrap();
    site.mirror.clear_requests().await;
    let second = site.sync(&site.chart()).in_folder(&first.folder()).arguments(["--output", "json"]);
    let second = second.run().await.expect_success();
    let document = documents::run(&second);
    for image in document["images"].as_array().unwrap() {
        assert_eq!(image["status"], "up-to-date", "{image}");
    }
    let requests = site.mirror.requests().await;
    assert!(requests.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{requests:?}");
    assert!(std::fs::read(first.folder().join("thoras-mirror.lock")).unwrap() == lock, "the lock changed");
}

#[tokio::test]
async fn a_packaged_chart_is_copied_unchanged() {
    let site = Site::start().await;
    let package = site.package().await;
    let outcome = site.sync(&package).run().await.expect_success();
    let digest = Digest::sha256(&std::fs::read(package).unwrap());
    assert!(site.mirror.storage().has_blob("mirror/charts/shop", &digest));
    assert_eq!(lock_of(&outcome)["chart"]["digest"], digest.as_str());
}

#[tokio::test]
async fn a_chart_from_a_registry_keeps_its_digest() {
    let site = Site::start().await;
    site.write_chart("1.2.3");
    let package = site.package().await.display().to_string();
    let published = format!("oci://{}/published", site.source.address().host_port);
    helm::run(&["push", &package, &published]).await;
    let digest = site.source.storage().tags()["published/shop:1.2.3"].clone();
    let outcome = site.sync(Path::new(&format!("{published}/shop"))).run().await.expect_success();
    assert_eq!(site.mirrored_chart("1.2.3"), Some(digest.clone()));
    let lock = lock_of(&outcome);
    assert_eq!(chart_in(&lock)["source"], site.source.address().image("published/shop", "1.2.3"));
    let again = Mirror::new(["sync", "--locked", "--to", &site.to()]).in_folder(&outcome.folder());
    site.mirror.storage().delete_manifest("mirror/charts/shop", &digest);
    again.run().await.expect_success();
    assert_eq!(site.mirrored_chart("1.2.3"), Some(digest), "a registry can be asked for it again");
}

#[tokio::test]
async fn a_locked_run_needs_the_package_only_if_the_mirror_lost_it() {
    let site = Site::start().await;
    let first = site.sync(&site.chart()).run().await.expect_success();
    let locked = |more: &[&str]| {
        let run = with_helm(["sync", "--locked", "--to", &site.to()]).arguments(more.iter().copied());
        run.in_folder(&first.folder()).run()
    };
    let chart = site.chart().display().to_string();
    let (digest, lock) = (site.mirrored_chart("1.2.3_build.5").unwrap(), lock_of(&first));
    locked(&[]).await.expect_success();

    site.mirror.storage().delete_manifest("mirror/charts/shop", &digest);
    let outcome = locked(&[]).await.expect_code(1);
    assert!(outcome.stderr.contains("hint: package it again: pass --with-chart"), "{outcome}");
    locked(&["--chart", &chart]).await.expect_code(2);
    locked(&["--with-chart", "--chart", &chart]).await.expect_success();
    assert_eq!(site.mirrored_chart("1.2.3_build.5"), Some(digest));
    assert_eq!(lock_of(&first), lock);

    std::fs::write(site.chart().join("values.yaml"), "changed: true\n").unwrap();
    let outcome = locked(&["--with-chart", "--chart", &chart]).await.expect_code(3);
    assert!(outcome.stderr.contains("differs from the chart in the lock"), "{outcome}");
}

#[tokio::test]
async fn other_tools_read_a_bundle_with_a_chart() {
    let site = Site::start().await;
    let (chart, file) = (site.chart().display().to_string(), site.folder.path().join("a.tar"));
    let file = file.display().to_string();
    let export =
        || with_helm(["bundle", "export", "--with-chart", "--chart", &chart, "--output", &file]).run();
    export().await.expect_success();
    let bytes = std::fs::read(&file).unwrap();
    let reference = site.reference();
    let named = format!("oci-archive:{file}:{reference}");
    let raw = skopeo::run(&["inspect", "--raw", &named]).await;
    assert!(raw == site.image.root().bytes, "the image is what it was");
    let named = format!("oci-archive:{file}:localhost/charts/shop:1.2.3_build.5");
    let raw: Value = serde_json::from_slice(&skopeo::run(&["inspect", "--raw", &named]).await).unwrap();
    assert_eq!(raw["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    assert_eq!(raw["annotations"]["org.opencontainers.image.version"], VERSION);
    let copied = site.mirror.address().image("copied/shop", "1.2.3_build.5");
    let arguments = ["copy", "--dest-tls-verify=false", &named, &format!("docker://{copied}")];
    skopeo::run(&arguments).await;
    let oci = format!("oci://{}/copied/shop", site.mirror.address().host_port);
    let output = helm::run(&["template", &oci, "--version", VERSION]).await;
    assert!(output.contains(&reference), "{output}");
    export().await.expect_success();
    assert!(std::fs::read(&file).unwrap() == bytes, "a second export writes the same bytes");
}

#[tokio::test]
async fn with_chart_without_a_chart_is_refused() {
    let outcome = Mirror::new(["sync", "--to", "127.0.0.1:1/a", "--with-chart", "quay.io/team/app:1"]);
    let outcome = outcome.run().await.expect_code(2);
    assert!(outcome.stderr.contains("error: --with-chart needs a chart"), "{outcome}");
    assert!(outcome.stderr.contains("hint: omit --with-chart"), "{outcome}");
}
