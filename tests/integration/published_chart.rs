//! Charts in a registry (`oci://…`): fetched with our own client and handed to Helm as a file.

use std::{collections::BTreeMap, io::Write as _};

use bytes::Bytes;
use serde_json::json;
use thoras_mirror::oci::{Digest, media_type::OCI_MANIFEST};

use crate::support::{
    helm,
    images::{SampleImage, SampleManifest},
    process::{Mirror, Outcome},
    scripted::{Action, Answer, Scripted},
    tls::Authority,
};

const USER: &str = "puller";
const PASSWORD: &str = "ch4rt-pa55word";
const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const HELM_CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// The package of a chart with one image, `quay.io/a/shop:VERSION`.
fn package(version: &str) -> Bytes {
    let image = version.replace('+', "_");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: shop}}\nspec:\n  containers:\n  - name: a\n    image: quay.io/a/shop:{image}\n"
    );
    let metadata = format!("apiVersion: v2\nname: shop\nversion: {version}\n");
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in [("shop/Chart.yaml", metadata), ("shop/templates/pod.yaml", pod)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    compressed.write_all(&archive.into_inner().unwrap()).unwrap();
    compressed.finish().unwrap().into()
}

/// A chart as `helm push` stores it, with a provenance before the package.
fn chart(version: &str) -> SampleImage {
    let config = Bytes::from(json!({ "name": "shop", "version": version, "apiVersion": "v2" }).to_string());
    let (provenance, package) = (Bytes::from_static(b"a signature"), package(version));
    let descriptor = |media_type: &str, bytes: &Bytes| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(HELM_CONFIG, &config),
        "layers": [descriptor(PROVENANCE, &provenance), descriptor(HELM_CONTENT, &package)],
    });
    let bytes = Bytes::from(manifest.to_string());
    let blobs = [config, provenance, package].map(|bytes| (Digest::sha256(&bytes), bytes));
    SampleImage {
        tag: version.replace('+', "_"),
        manifests: vec![SampleManifest {
            digest: Digest::sha256(&bytes),
            media_type: OCI_MANIFEST.to_owned(),
            bytes,
        }],
        blobs: BTreeMap::from(blobs),
    }
}

fn publish(registry: &Scripted, versions: &[&str]) {
    registry
        .with_store(|store| versions.iter().for_each(|version| store.insert("charts/shop", &chart(version))));
}

async fn registry_with(versions: &[&str]) -> Scripted {
    let registry = Scripted::start().await;
    publish(&registry, versions);
    registry
}

fn oci(registry: &Scripted) -> String {
    format!("oci://{}/charts/shop", registry.address().host_port)
}

fn images(chart: &str, more: &[&str]) -> Mirror {
    Mirror::new(["-v", "images", "--chart", chart].iter().chain(more))
        .env("THORAS_MIRROR_HELM", helm::program())
}

/// Only the password of the login, in a Docker configuration.
fn config(registry: &Scripted) -> tempfile::NamedTempFile {
    let auth = basic(USER, PASSWORD);
    let auth = auth.strip_prefix("Basic ").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let content = json!({ "auths": { &registry.address().host_port: { "auth": auth } } });
    std::fs::write(file.path(), content.to_string()).unwrap();
    file
}

fn assert_image(outcome: &Outcome, version: &str) {
    assert_eq!(outcome.stdout.trim(), format!("quay.io/a/shop:{version}"), "{outcome}");
}

/// Helm that records its arguments and environment and then runs.
fn recording_helm() -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("helm");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> '{0}/record'\nenv >> '{0}/record'\nexec '{1}' \"$@\"\n",
        folder.path().display(),
        helm::program().display()
    );
    let written = std::process::Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$2\"", "sh", &script])
        .arg(&path)
        .status()
        .unwrap();
    assert!(written.success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

#[tokio::test]
async fn authfile_and_license_apply_and_helm_sees_neither_bug() {
    const LICENSE: &str = "bGljZW5zZS1zM2NyZXQ=";
    let registry = registry_with(&["1.2.3"]).await;
    let (login, license) = (basic(USER, PASSWORD), basic("_json_key_base64", LICENSE));
    registry.demand("Basic realm=\"charts\"", &[&login, &license]);
    let file = config(&registry);
    let bound = format!("{}/charts", registry.address().host_port);
    let authfile = ["--authfile", file.path().to_str().unwrap()];
    let with_license = images(&oci(&registry), &["--license-for", &bound]).env("THORAS_LICENSE", LICENSE);
    for (command, header) in [(images(&oci(&registry), &authfile), &login), (with_license, &license)] {
        registry.clear();
        let (folder, program) = recording_helm();
        let outcome = command.env("THORAS_MIRROR_HELM", program).run().await.expect_success();
        assert_image(&outcome, "1.2.3");
        let sent: Vec<String> = registry
            .requests()
            .iter()
            .filter_map(|request| request.header("authorization").map(str::to_owned))
            .collect();
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent == header), "{sent:?}");
        let record = std::fs::read_to_string(folder.path().join("record")).unwrap();
        for secret in [PASSWORD, LICENSE, "oci://", "pull", &registry.address().host_port] {
            assert!(!record.contains(secret), "helm saw {secret}: {record}");
        }
    }
}

#[tokio::test]
async fn refused_credentials_are_an_authentication_failure_bug() {
    let registry = registry_with(&["1.2.3"]).await;
    registry.demand("Basic realm=\"charts\"", &[]);
    let host = &registry.address().host_port;
    let outcome = images(&oci(&registry), &[]).run().await.expect_code(4);
    assert!(outcome.stderr.contains(&format!("hint: run `docker login {host}`")), "{outcome}");
    let file = config(&registry);
    for more in [&["--chart-version", "1.2.3"][..], &[]] {
        let outcome = images(&oci(&registry), &["--authfile", file.path().to_str().unwrap()]).arguments(more);
        let outcome = outcome.run().await.expect_code(4);
        assert!(!outcome.stderr.contains(PASSWORD), "{outcome}");
    }
    // Every command that takes a chart.
    let to = "127.0.0.1:1/m";
    let chart = oci(&registry);
    for command in
        [vec!["sync", "--to", to], vec!["verify", "--to", to], vec!["bundle", "export", "-o", "b.tar"]]
    {
        let command = Mirror::new(command).arguments(["--chart", chart.as_str()]);
        let _ = command.env("THORAS_MIRROR_HELM", helm::program()).run().await.expect_code(4);
    }
}

#[tokio::test]
async fn versions_are_chosen_as_helm_chooses_them() {
    let versions = ["1.2.3", "1.2.9", "1.10.0", "2.0.0-rc.1", "1.4.0+build.5"];
    let registry = registry_with(&versions).await;
    let chart = oci(&registry);
    for (version, expected) in [
        (None, "1.10.0"),
        (Some("1.2.3"), "1.2.3"),
        (Some("~1.2"), "1.2.9"),
        (Some("^1"), "1.10.0"),
        (Some(">=1.3, <1.9"), "1.4.0_build.5"),
        (Some("1.4.0+build.5"), "1.4.0_build.5"),
        (Some("2.0.0-rc.1"), "2.0.0-rc.1"),
        (Some(">1.99-0"), "2.0.0-rc.1"),
    ] {
        let flags = version.map(|version| ["--chart-version", version]);
        let outcome = images(&chart, &[]).arguments(flags.into_iter().flatten()).run().await.expect_success();
        assert_image(&outcome, expected);
    }
    let outcome = images(&chart, &["--helm-arg=--devel"]).run().await.expect_success();
    assert_image(&outcome, "2.0.0-rc.1");
    let exact = registry.count("GET", "/tags/list");
    let _ = images(&chart, &["--chart-version", "1.2.3"]).run().await.expect_success();
    assert_eq!(registry.count("GET", "/tags/list"), exact, "an exact version needs no list");

    let outcome = images(&chart, &["--chart-version", "^7"]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("has no version that matches `^7`"), "{outcome}");
    assert!(outcome.stderr.contains("hint: it has, for example: "), "{outcome}");
    let _ = images(&chart, &["--chart-version", "7.0.0"]).run().await.expect_code(3);
    let _ = images(&chart, &["--chart-version", "latest"]).run().await.expect_code(2);
}

/// The same choices by the real Helm, which reads the same registry.
#[tokio::test]
async fn helm_itself_chooses_the_same_versions() {
    let registry = registry_with(&["1.2.3", "1.2.9", "1.10.0", "2.0.0-rc.1", "0.3.1"]).await;
    let (chart, plain_http) = (oci(&registry), helm::plain_http().await);
    for range in
        ["*", "~1.2", "^1.2.3", "1.x", ">1.2", "<=1.2", "!=1.10.0", "1.2 - 1.9", "<1 || >1.9", ">1-0", "^0.3"]
    {
        let template = ["template", &chart, "--version", range];
        let expected = helm::run(&template.into_iter().chain(plain_http).collect::<Vec<_>>()).await;
        let outcome = images(&chart, &["--chart-version", range]).run().await.expect_success();
        assert!(expected.contains(outcome.stdout.trim()), "{range}: {outcome}\n{expected}");
    }
}

#[tokio::test]
async fn a_tag_or_a_digest_in_the_reference_decides() {
    let registry = registry_with(&["1.2.3", "1.3.0"]).await;
    let (chart, digest) = (oci(&registry), self::chart("1.2.3").manifests[0].digest.clone());
    for reference in
        [format!("{chart}:1.2.3"), format!("{chart}@{digest}"), format!("{chart}:1.3.0@{digest}")]
    {
        assert_image(&images(&reference, &[]).run().await.expect_success(), "1.2.3");
        let outcome = images(&reference, &["--chart-version", "1.4.0"]).run().await.expect_code(2);
        assert!(outcome.stderr.contains("hint: omit one of them"), "{outcome}");
    }
    let same = images(&format!("{chart}:1.2.3"), &["--chart-version", "1.2.3"]);
    let outcome = same.arguments(["--output", "json"]).run().await.expect_success();
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let digest = Digest::sha256(&package("1.2.3"));
    assert_eq!(
        document["chart"],
        json!({ "name": "shop", "version": "1.2.3", "digest": digest }),
        "{outcome}"
    );
}

#[tokio::test]
async fn what_is_not_a_chart_is_unreadable_input() {
    let registry = registry_with(&[]).await;
    registry.with_store(|store| {
        store.insert("charts/shop", &SampleImage::multi_platform("1.0.0"));
        store.insert("charts/shop", &SampleImage::single_platform("2.0.0", "amd64"));
    });
    for version in ["1.0.0", "2.0.0"] {
        let outcome = images(&oci(&registry), &["--chart-version", version]).run().await.expect_code(3);
        assert!(outcome.stderr.contains("is not a Helm chart"), "{outcome}");
    }
    let outcome = images("oci://", &[]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("write oci://REGISTRY/PATH/CHART"), "{outcome}");
}

#[tokio::test]
async fn a_damaged_package_never_reaches_helm() {
    let registry = registry_with(&["1.2.3"]).await;
    let digest = Digest::sha256(&package("1.2.3"));
    registry.on("GET", &format!("/blobs/{digest}")).then(Action::flip_bit(20));
    let outcome = images(&oci(&registry), &[]).run().await.expect_code(6);
    assert_eq!(
        registry.count("GET", &format!("/blobs/{digest}")),
        2,
        "once more, then it is final: {outcome}"
    );
}

#[tokio::test]
async fn a_failing_registry_is_asked_again_and_pages_are_followed() {
    let registry = registry_with(&["1.2.3", "1.3.0"]).await;
    registry.on("GET", "/tags/list").first(1).then(Action::error(503, "UNAVAILABLE"));
    let first = Answer::json(200, &json!({ "name": "charts/shop", "tags": ["1.2.3"] }));
    let first = first.header("link", "</v2/charts/shop/tags/list?n=1&last=1.2.3>; rel=\"next\"");
    registry.on("GET", "/tags/list?n=1000").nth(2).answer(first);
    assert_image(&images(&oci(&registry), &[]).run().await.expect_success(), "1.3.0");
    assert_eq!(registry.count("GET", "/tags/list"), 3);
}

/// The link to the next page comes from the registry: another host gets no credential.
#[tokio::test]
async fn a_page_on_another_host_gets_no_credential() {
    let (registry, foreign) = (registry_with(&["1.2.3"]).await, registry_with(&["1.3.0"]).await);
    registry.demand("Basic realm=\"charts\"", &[&basic(USER, PASSWORD)]);
    let link = format!("<{}/v2/charts/shop/tags/list>; rel=\"next\"", foreign.address().as_localhost().url());
    let first = Answer::json(200, &json!({ "tags": ["1.2.3"] })).header("link", &link);
    registry.on("GET", "/tags/list").nth(2).answer(first);
    let file = config(&registry);
    let _ = images(&oci(&registry), &["--authfile", file.path().to_str().unwrap()]).run().await;
    assert!(foreign.count("GET", "/tags/list") > 0);
    assert!(foreign.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn certificates_apply_and_flags_for_helms_download_are_refused() {
    let authority = Authority::new();
    let registry = Scripted::start_tls(&authority).await;
    publish(&registry, &["1.2.3"]);
    let file = authority.certificate_file();
    let outcome = images(&oci(&registry), &[]).run().await.expect_code(3);
    assert!(outcome.stderr.contains("--ca-cert FILE"), "{outcome}");
    let outcome =
        images(&oci(&registry), &["--ca-cert", file.to_str().unwrap()]).run().await.expect_success();
    assert_image(&outcome, "1.2.3");
    for flag in ["--password=hunter2", "--ca-file=x", "--plain-http", "--registry-config=x"] {
        let outcome = images(&oci(&registry), &[&format!("--helm-arg={flag}")]).run().await.expect_code(2);
        assert!(outcome.stderr.contains("Helm does not download this chart: use "), "{outcome}");
        assert!(!outcome.stderr.contains("hunter2"), "{outcome}");
    }
}

#[tokio::test]
async fn logins_of_helm_and_skopeo_are_found() {
    let registry = registry_with(&["1.2.3"]).await;
    registry.demand("Basic realm=\"charts\"", &[&basic(USER, PASSWORD)]);
    let file = config(&registry);
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(file.path(), &path).unwrap();
        path
    };
    let below = |path: &str| folder.path().join(path);
    place("runtime/containers/auth.json");
    place("helm/registry/config.json");
    place("config/helm/registry/config.json");
    for (variable, value) in [
        ("XDG_RUNTIME_DIR", below("runtime")),
        ("REGISTRY_AUTH_FILE", below("runtime/containers/auth.json")),
        ("HELM_REGISTRY_CONFIG", place("elsewhere.json")),
        ("HELM_CONFIG_HOME", below("helm")),
        ("XDG_CONFIG_HOME", below("config")),
    ] {
        let outcome = images(&oci(&registry), &[]).env(variable, value).run().await;
        assert_image(&outcome.expect_success(), "1.2.3");
    }
}

#[tokio::test]
async fn helms_own_login_is_read() {
    let registry = crate::support::registry::Registry::start_with(
        crate::support::registry::Options::default().htpasswd(USER, PASSWORD),
    )
    .await;
    let host = registry.address().host_port.clone();
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("registry.json").display().to_string();
    let arguments =
        ["registry", "login", &host, "--username", USER, "--password", PASSWORD, "--registry-config", &file];
    helm::run(&arguments).await;
    let chart = format!("oci://{host}/charts/absent");
    let outcome =
        images(&chart, &["--chart-version", "1.0.0"]).env("HELM_REGISTRY_CONFIG", &file).run().await;
    // The login is accepted, and there is no such chart.
    assert!(outcome.expect_code(3).stderr.contains("it does not exist"));
    let _ = images(&chart, &["--chart-version", "1.0.0"]).run().await.expect_code(4);
}
