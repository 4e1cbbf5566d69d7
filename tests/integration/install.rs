//! From a mirrored chart to a running install: `sync`, `values`, `pull-secret`, then what Helm and the nodes do.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use thoras_mirror::oci::Digest;

use crate::support::{
    helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::{Options, Registry},
    skopeo,
    vendor::{CHART, Vendor},
};

const USER: &str = "robot";
const PASSWORD: &str = "inst4ll-s3cret";

fn signed_in(command: &str, to: &str) -> Mirror {
    Mirror::new([command, "--to", to, "--to-username", USER]).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD)
}

/// The Docker configuration in a printed Secret, as a node decodes it.
fn decoded(secret: &Outcome) -> Vec<u8> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&secret.stdout).unwrap();
    let encoded = documents[0]["data"][".dockerconfigjson"].as_str().unwrap();
    BASE64_STANDARD.decode(encoded).unwrap()
}

/// What Helm renders of the chart in the mirror, with the secret as its only login.
async fn rendered(to: &str, login: &Path, values: &Path) -> String {
    let (name, version) = CHART;
    let oci = format!("oci://{to}/charts/{name}");
    let (login, values) = (login.display().to_string(), values.display().to_string());
    let login = ["--registry-config", &login];
    let render = ["template", "x", &oci, "--version", version, "--values", &values];
    helm::run(&[&render[..], &login].concat()).await
}

#[tokio::test]
async fn the_printed_values_and_secret_are_all_that_an_install_needs() {
    let images =
        vec![("web", SampleImage::multi_platform("1")), ("jobs/worker", SampleImage::multi_platform("2"))];
    let vendor = Vendor::start(images).await;
    let mirror = Registry::start_with(Options::default().htpasswd(USER, PASSWORD)).await;
    let to = format!("{}/m", mirror.address().host_port);
    let chart = vendor.path(CHART.0).display().to_string();
    let run = signed_in("sync", &to).arguments(["--with-chart", "--chart", &chart]);
    let synced = run.env("THORAS_MIRROR_HELM", helm::program()).run().await.expect_success();
    let folder = synced.folder();

    let run = Mirror::new(["values", "--to", &to, "--chart", &chart, "--write", "mirror.yaml"]);
    let run = run.env("THORAS_MIRROR_HELM", helm::program()).in_folder(&folder);
    run.run().await.expect_success();
    let secret = signed_in("pull-secret", &to).run().await.expect_success();
    let login = folder.join("config.json");
    std::fs::write(&login, decoded(&secret)).unwrap();

    let text = rendered(&to, &login, &folder.join("mirror.yaml")).await;
    let list = Mirror::new(["images", "--mentions", "none", "--rendered", "-"]).stdin(text).run().await;
    let list = list.expect_success();
    let found: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(found.len(), 2, "{list}");
    for name in found {
        assert!(name.starts_with(&format!("{to}/")), "{name} is pulled from elsewhere");
        let copy = folder.join("copy");
        let (from, into) = (format!("docker://{name}"), format!("dir:{}", copy.display()));
        let login = login.display().to_string();
        let pull = ["copy", "--all", "--src-tls-verify=false", "--authfile", &login, &from, &into];
        skopeo::run(&pull).await;
        let pulled = Digest::sha256(&std::fs::read(copy.join("manifest.json")).unwrap());
        assert!(vendor.images.iter().any(|(_, image)| image.root().digest == pulled), "{name}: {pulled}");
        std::fs::remove_dir_all(copy).unwrap();
    }
}

/// `doctor` with this authfile; its lines of these checks.
async fn doctor(to: &str, images: &[String], authfile: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, authfile).unwrap();
    let run = signed_in("doctor", to).arguments(images.iter().map(String::as_str));
    run.arg("--authfile").arg(&file).run().await
}

#[tokio::test]
async fn doctor_checks_what_a_cluster_needs() {
    let vendor = Vendor::start(vec![
        ("web", SampleImage::multi_platform("1")),
        ("db", SampleImage::multi_platform("2")),
    ])
    .await;
    let mirror = Registry::start_with(Options::default().htpasswd(USER, PASSWORD)).await;
    let host = &mirror.address().host_port;
    let to = format!("{host}/m");
    let images = [vendor.reference(0), vendor.reference(1)];
    let auths = |password: &str| {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        serde_json::json!({"auths": {host: {"auth": auth}}}).to_string()
    };

    let before = doctor(&to, &images, &auths(PASSWORD)).await.expect_success();
    assert!(before.stdout.contains("mirrored     no image is in the mirror yet"), "{before}");
    assert!(before.stdout.contains("untested  anonymous "), "{before}");

    signed_in("sync", &to).arg(&images[0]).run().await.expect_success();
    let partly = doctor(&to, &images, &auths(PASSWORD)).await.expect_success();
    assert!(partly.stdout.contains("warning   mirrored     1 of 2 images"), "{partly}");
    assert!(partly.stdout.contains("missing: "), "{partly}");
    assert!(partly.stdout.contains("refuses anonymous pulls"), "{partly}");
    assert!(
        partly.stdout.contains("ok        pull-secret  the login of --authfile reads 2 of 2"),
        "{partly}"
    );

    let complete = doctor(&to, &images[..1], "{\"auths\": {}}").await.expect_success();
    assert!(complete.stdout.contains("ok        mirrored     1 of 1 images"), "{complete}");
    assert!(complete.stdout.contains("untested  pull-secret  --authfile has no login for"), "{complete}");

    let wrong = doctor(&to, &images, &auths("wr0ng-s3cret")).await.expect_code(4);
    assert!(wrong.stdout.contains("problem   pull-secret "), "{wrong}");
    assert!(wrong.stdout.contains("ok        push "), "the login of sync is another: {wrong}");
    assert!(!wrong.stdout.contains("wr0ng-s3cret") && !wrong.stdout.contains(PASSWORD), "{wrong}");
}

#[tokio::test]
async fn doctor_says_that_an_open_mirror_needs_no_pull_secret() {
    let vendor = Vendor::start(vec![("web", SampleImage::multi_platform("1"))]).await;
    let mirror = Registry::start().await;
    let to = format!("{}/m", mirror.address().host_port);
    let run = |command: &str| Mirror::new([command, &vendor.reference(0), "--to", &to]).run();
    run("sync").await.expect_success();
    let outcome = run("doctor").await.expect_success();
    assert!(outcome.stdout.contains("permits anonymous pulls"), "{outcome}");
    assert!(!outcome.stdout.contains("pull-secret "), "{outcome}");
}
