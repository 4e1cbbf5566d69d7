//! The most common mistakes of new users, and the resulting messages. Ports and paths differ from run to run.

mod registries;

use std::fs;

use insta::assert_snapshot;

use crate::support::{
    ClosedPort,
    fake_helm::{FakeHelm, chart},
    helm,
    process::{Mirror, Outcome},
    scripted::Scripted,
};

/// A destination that is never used.
const TO: &str = "registry.example.com/thoras";

/// An image that is never requested.
const IMAGE: &str = "quay.io/team/app:1";

/// Compares standard error with the snapshot `name`.
fn assert_said(name: &str, outcome: &Outcome) {
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert_read(name, &outcome.stderr);
}

fn assert_read(name: &str, text: &str) {
    insta::with_settings!({ filters => [
        (r"127\.0\.0\.1:\d+", "HOST:PORT"),
        (r"/[^ \n`]*/testdata/", "…/testdata/"),
        (r"/tmp/[^ \n`:]*", "FOLDER"),
        (r"in \d+\.\d s", "in N.N s"),
        (r"sha256:([0-9a-f]{4})[0-9a-f]{60}", "sha256:$1…"),
        (r"verification time \d+", "verification time NOW"),
        (r"\(\d+ seconds ago\)", "(LONG ago)"),
    ], omit_expression => true }, { assert_snapshot!(name, text) });
}

fn with_helm(arguments: &[&str]) -> Mirror {
    Mirror::new(arguments.iter().copied()).arg("--helm").arg(helm::program())
}

#[tokio::test]
async fn helm_is_not_installed() {
    let empty = tempfile::tempdir().unwrap();
    let run = Mirror::new(["sync", "--to", TO]).env("PATH", empty.path());
    assert_said("no_helm", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn no_network() {
    let closed = ClosedPort::new();
    let repository = format!("http://{}", closed.host_port);
    let run = with_helm(&["images", "--repo", &repository]);
    assert_said("no_network", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn a_wrong_license() {
    let vendor = Scripted::start().await;
    vendor.demand("Basic realm=\"vendor\"", &["Basic right"]);
    let host = &vendor.address().host_port;
    let image = vendor.address().image("platform/services", "1");
    let run = Mirror::new(["inspect", &image, "--license-for", host]).env("THORAS_LICENSE", "d3Jvbmc=");
    assert_said("wrong_license", &run.run().await.expect_code(4));
}

#[tokio::test]
async fn a_url_in_place_of_the_destination() {
    let run = Mirror::new(["sync", IMAGE, "--to", "https://registry.example.com/thoras"]);
    assert_said("url_as_destination", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn a_tag_in_the_destination() {
    let run = Mirror::new(["sync", IMAGE, "--to", "registry.example.com/thoras:1.0"]);
    assert_said("tag_in_destination", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn a_missing_values_file() {
    let run = with_helm(&["images", "--chart", &chart("sample"), "--values", "absent.yaml"]);
    assert_said("missing_values", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn a_missing_chart() {
    let run = with_helm(&["images", "--chart", "./absent-chart"]);
    assert_said("missing_chart", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn an_empty_list() {
    let run = Mirror::new(["images", "--images", "-"]).stdin("# nothing yet\n");
    assert_said("empty_list", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn an_authfile_that_cannot_be_read() {
    let run = Mirror::new(["sync", IMAGE, "--to", TO, "--authfile", "absent.json"]);
    assert_said("unreadable_authfile", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn a_closed_port() {
    let closed = ClosedPort::new();
    let image = format!("{}/team/app:1", closed.host_port);
    assert_said("closed_port", &Mirror::new(["inspect", &image]).run().await.expect_code(1));
}

#[tokio::test]
async fn an_unknown_platform() {
    let run = Mirror::new(["sync", IMAGE, "--to", TO, "--platform", "arm64"]);
    assert_said("unknown_platform", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn a_lock_of_a_newer_version() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thoras-mirror.lock"), r#"{"schema":"thoras-mirror/lock/v9"}"#).unwrap();
    let run = Mirror::new(["verify"]).in_folder(folder.path());
    assert_said("newer_lock", &run.run().await.expect_code(3));
}

#[tokio::test]
async fn locked_without_a_lock() {
    let run = Mirror::new(["sync", "--locked", "--to", TO]);
    assert_said("locked_without_a_lock", &run.run().await.expect_code(2));
}

#[tokio::test]
async fn a_filter_that_matches_nothing_is_named() {
    let arguments =
        ["images", IMAGE, "docker.io/library/nginx:1", "--exclude", "*ngnix*", "--include", "*a*"];
    let outcome = Mirror::new(arguments).env("THORAS_MIRROR_EXCLUDE", "*").run().await.expect_success();
    assert_eq!(outcome.stdout, "docker.io/library/nginx:1\nquay.io/team/app:1\n");
    assert_eq!(
        outcome.stderr,
        "warning: `--exclude *ngnix*` matches no image: it must match the whole name, for example docker.io/library/nginx:1\n"
    );
}

#[tokio::test]
async fn filters_from_the_environment_apply() {
    let run = Mirror::new(["images", IMAGE, "docker.io/library/nginx:1", "quay.io/other/db:1"])
        .env("THORAS_MIRROR_INCLUDE", "quay.io/**,*none*")
        .env("THORAS_MIRROR_EXCLUDE", "*/db");
    let outcome = run.run().await.expect_success();
    assert_eq!(outcome.stdout, "quay.io/team/app:1\n");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(outcome.stderr.contains("`--include *none*` matches no image"), "{outcome}");
}

#[tokio::test]
async fn a_helm_that_is_not_a_program() {
    let helm = FakeHelm::failing("");
    let folder = helm.program().parent().unwrap().to_owned();
    let run = Mirror::new(["images", "--chart", &chart("sample"), "--helm"]).arg(folder);
    let outcome = run.run().await.expect_code(3);
    assert!(outcome.stderr.contains("hint: check that it is a program"), "{outcome}");
}

#[tokio::test]
async fn a_file_instead_of_an_image_is_refused_without_a_request_bug() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b.tar"), "").unwrap();
    for (command, file, hint) in [
        ("inspect", "b.tar", "`thoras-mirror bundle inspect FILE`"),
        ("inspect", "./b.tar", "`thoras-mirror bundle inspect FILE`"),
        ("sync --to 127.0.0.1:1/m", "./b.tar", "`thoras-mirror bundle import`"),
        ("images", ".", "pass --images FILE"),
        ("bundle export -o x.tar", "b.tar", "`thoras-mirror bundle import`"),
    ] {
        let run = Mirror::new(command.split(' ').chain([file])).in_folder(folder.path());
        let outcome = run.run().await.expect_code(2);
        let error = format!("error: `{file}` is a file or folder here, not an image\nhint: ");
        assert!(outcome.stderr.starts_with(&error) && outcome.stderr.contains(hint), "{outcome}");
    }
    let absent = Mirror::new(["images", "none.tar"]).in_folder(folder.path()).run().await.expect_success();
    assert_eq!(absent.stdout, "docker.io/library/none.tar:latest\n");
}

#[tokio::test]
async fn manifests_without_an_image_are_not_blamed_on_a_chart_bug() {
    let run = Mirror::new(["images", "--rendered", "-"]).stdin(*b"kind: ConfigMap\n");
    let outcome = run.run().await.expect_code(3);
    assert!(outcome.stderr.contains("hint: pass the output of `helm template`"), "{outcome}");
    assert!(!outcome.stderr.contains("chart's values"), "{outcome}");
}
