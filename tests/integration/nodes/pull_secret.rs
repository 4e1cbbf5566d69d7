//! `pull-secret`: the secret is valid, and pulls the mirror by itself.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::*;
use crate::support::{
    client::RepositoryClient,
    images::SampleImage,
    process::Outcome,
    programs,
    registry::{Options, Registry},
    skopeo,
};

const USER: &str = "puller";
const PASSWORD: &str = "correct: horse \"battery\" ü";

/// The Secret as a Kubernetes API server reads it: no field but those of a Secret, and the content of its type.
fn secret(yaml: &str) -> (Value, Value) {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let [secret] = documents.as_slice() else { panic!("one document: {yaml}") };
    let fields: Vec<&str> = secret.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["apiVersion", "kind", "metadata", "type", "data"]);
    assert_eq!((&secret["apiVersion"], &secret["kind"]), (&json!("v1"), &json!("Secret")));
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(secret["data"].as_object().unwrap().len(), 1);
    let encoded = secret["data"][".dockerconfigjson"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
    for entry in config["auths"].as_object().unwrap().values() {
        let auth =
            String::from_utf8(BASE64_STANDARD.decode(entry["auth"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(
            auth,
            format!("{}:{}", entry["username"].as_str().unwrap(), entry["password"].as_str().unwrap())
        );
    }
    (secret["metadata"].clone(), config)
}

fn auths(outcome: &Outcome) -> Value {
    secret(&outcome.stdout).1["auths"].clone()
}

fn login(key: &str) -> Value {
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    json!({ key: { "username": USER, "password": PASSWORD, "auth": auth } })
}

fn pull_secret(more: &[&str]) -> Mirror {
    Mirror::new(["pull-secret"]).arguments(more.iter().copied())
}

#[tokio::test]
async fn skopeo_and_crane_pull_with_nothing_but_the_secret() {
    let registry = Registry::start_with(Options::default().htpasswd(USER, PASSWORD)).await;
    let image = SampleImage::multi_platform("1");
    let address = registry.address();
    RepositoryClient::signed_in(address, "mirror/app", USER, PASSWORD).await.push(&image).await.unwrap();
    let to = format!("{}/mirror", address.host_port);
    let run = pull_secret(&["--to", &to, "--to-username", USER, "--to-password-stdin"])
        .stdin(format!("{PASSWORD}\n"));
    let outcome = run.run().await.expect_success();
    let (metadata, config) = secret(&outcome.stdout);
    assert_eq!(metadata, json!({"name": "thoras-mirror-pull", "namespace": "thoras"}));
    assert!(!outcome.stdout.contains(PASSWORD) && outcome.stderr.is_empty(), "{outcome}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let name = address.image("mirror/app", &image.tag);
    let copy = folder.path().join("copy");
    let (authfile, from) = (file.to_str().unwrap(), format!("docker://{name}"));
    let to = format!("dir:{}", copy.display());
    skopeo::run(&["copy", "--all", "--src-tls-verify=false", "--authfile", authfile, &from, &to]).await;

    let crane = programs::find("THORAS_MIRROR_TEST_CRANE", "crane");
    let manifest = |config: &Path| {
        let mut command = Command::new(&crane);
        command.args(["manifest", "--insecure", &name]).env("DOCKER_CONFIG", config).env("HOME", config);
        command.output().unwrap()
    };
    assert_eq!(manifest(folder.path()).stdout, image.root().bytes);
    assert!(!manifest(&copy).status.success(), "the registry asks for a login");
}

#[tokio::test]
async fn the_password_comes_from_where_the_user_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let named = ["--to", "reg.example.com/m", "--to-username", USER];
    let config = json!({"auths": login("https://reg.example.com/v2/")}).to_string();
    let authfile = folder.path().join("auth.json");
    std::fs::write(&authfile, &config).unwrap();
    for run in [
        pull_secret(&named).arg("--to-password-stdin").stdin(PASSWORD),
        pull_secret(&named).arg("--to-password-file").arg(&file),
        pull_secret(&named).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD),
        pull_secret(&["--to", "reg.example.com/m"]).arg("--authfile").arg(&authfile),
        pull_secret(&[]).env("THORAS_MIRROR_TO", "reg.example.com").env("DOCKER_AUTH_CONFIG", &config),
    ] {
        assert_eq!(auths(&run.run().await.expect_success()), login("reg.example.com"));
    }
}

#[tokio::test]
async fn a_secret_from_standard_input_is_never_cut_bug() {
    let run = |password: String| {
        let to = ["--to", "reg.example.com/m", "--to-username", USER, "--to-password-stdin"];
        pull_secret(&to).stdin(password).run()
    };
    run("x".repeat(64 * 1024)).await.expect_success();
    let outcome = run("x".repeat(64 * 1024 + 1)).await.expect_code(2);
    assert!(outcome.stderr.contains("cannot read standard input: it is larger than 64 KiB"), "{outcome}");
}

/// A login for a part of the registry.
#[tokio::test]
async fn a_key_with_a_path_applies_to_the_mirror_below_it() {
    let config = json!({"auths": login("reg.example.com/team")}).to_string();
    let run = |to: &str| pull_secret(&["--to", to]).env("DOCKER_AUTH_CONFIG", &config).run();
    assert_eq!(auths(&run("reg.example.com/team/thoras").await.expect_success()), login("reg.example.com"));
    assert_eq!(auths(&run("reg.example.com/team").await.expect_success()), login("reg.example.com"));
    run("reg.example.com/other").await.expect_code(4);
}

#[tokio::test]
async fn docker_hub_has_the_key_that_nodes_look_for() {
    let config = json!({"auths": login("docker.io")}).to_string();
    let outcome = pull_secret(&["--to", "docker.io/acme"]).env("DOCKER_AUTH_CONFIG", &config).run().await;
    assert_eq!(auths(&outcome.expect_success()), login("https://index.docker.io/v1/"));
}

#[tokio::test]
async fn without_a_credential_it_says_where_it_would_look() {
    let outcome = pull_secret(&["--to", "reg.example.com/m"]).run().await.expect_code(4);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("no credential for reg.example.com is configured"), "{outcome}");
    assert!(outcome.stderr.contains("--to-password-stdin"), "{outcome}");
    let outcome = pull_secret(&[]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--vendor"), "{outcome}");
}

#[tokio::test]
async fn an_identity_token_is_refused_because_nodes_cannot_use_it() {
    let config = json!({"auths": {"reg.azurecr.io": {"identitytoken": "s3cret"}}}).to_string();
    let outcome = pull_secret(&["--to", "reg.azurecr.io/m"]).env("DOCKER_AUTH_CONFIG", config).run().await;
    let outcome = outcome.expect_code(4);
    assert!(outcome.stderr.contains("identity token") && !outcome.stderr.contains("s3cret"), "{outcome}");
}

#[tokio::test]
async fn a_password_that_expires_is_named() {
    let registry = "123.dkr.ecr.eu-west-1.amazonaws.com";
    let auth = BASE64_STANDARD.encode("AWS:s3cret");
    let config = json!({"auths": {registry: {"auth": auth}}}).to_string();
    let run = pull_secret(&["--to", &format!("{registry}/m")]).env("DOCKER_AUTH_CONFIG", config);
    let outcome = run.run().await.expect_success();
    assert!(
        outcome.stderr.contains("expires after 12 hours") && !outcome.stderr.contains("s3cret"),
        "{outcome}"
    );
}

#[tokio::test]
async fn the_vendors_secret_holds_the_license() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("license.key");
    let raw = json!({"type": "service_account"}).to_string();
    let encoded = BASE64_STANDARD.encode(&raw);
    for content in [raw, format!("{encoded}\n")] {
        std::fs::write(&file, content).unwrap();
        let run = pull_secret(&["--vendor", "-n", "ai", "--license"]).arg(&file);
        // What is set for the mirror does not matter.
        let run = run.env("THORAS_MIRROR_TO", "reg.example.com/m").env("THORAS_MIRROR_TO_USERNAME", "u");
        let (metadata, config) = secret(&run.run().await.expect_success().stdout);
        assert_eq!(metadata, json!({"name": "thoras-license", "namespace": "ai"}));
        let entry = &config["auths"]["us-east4-docker.pkg.dev/thoras-registry/platform"];
        assert_eq!((&entry["username"], &entry["password"]), (&json!("_json_key_base64"), &json!(encoded)));
        assert_eq!(config["auths"].as_object().unwrap().len(), 1);
    }
    let run = pull_secret(&["--vendor", "--license-for", "proxy.example.com/thoras"])
        .env("THORAS_LICENSE", &encoded);
    let moved = auths(&run.run().await.expect_success());
    assert_eq!(moved["proxy.example.com/thoras"]["password"], json!(encoded));
    let outcome = pull_secret(&["--vendor"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--license FILE"), "{outcome}");
}

#[tokio::test]
async fn the_license_never_becomes_the_secret_of_a_mirror() {
    let run = pull_secret(&["--to", "reg.example.com/m"]).env("THORAS_LICENSE", "a2V5");
    run.run().await.expect_code(4);
}

#[tokio::test]
async fn a_file_is_readable_only_by_its_owner_and_never_replaced_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret.yaml");
    let write = |more: &[&str]| {
        let run = pull_secret(&["--to", "reg.example.com/m", "--to-username", USER, "--write"]).arg(&file);
        run.arguments(more.iter().copied()).env("THORAS_MIRROR_TO_PASSWORD", PASSWORD).run()
    };
    let outcome = write(&[]).await.expect_success();
    assert_eq!(outcome.stdout.trim_end(), file.to_str().unwrap());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (_, config) = secret(&std::fs::read_to_string(&file).unwrap());
    assert_eq!(config["auths"], login("reg.example.com"));
    std::fs::write(&file, "mine").unwrap();
    let outcome = write(&[]).await.expect_code(2);
    assert!(outcome.stderr.contains("--force"), "{outcome}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    write(&["--force"]).await.expect_success();
    secret(&std::fs::read_to_string(&file).unwrap());
}

/// `script` runs a program on a terminal of its own.
#[tokio::test]
async fn a_terminal_shows_no_secret_unless_it_is_asked_to() {
    let shown = |more: &str| {
        let program = env!("CARGO_BIN_EXE_thoras-mirror");
        let line = format!("{program} pull-secret --to reg.example.com/m --to-username u{more}");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("THORAS_MIRROR_TO_PASSWORD", "s3cret").output().unwrap()
    };
    let encoded = &BASE64_STANDARD.encode("{\"auths\":")[..12];
    let refused = shown("");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("--show") && !text.contains(encoded), "{text}");
    let printed = shown(" --show");
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.status.success() && text.contains(encoded), "{text}");
}

#[tokio::test]
async fn names_that_kubernetes_would_refuse_are_refused() {
    for wrong in
        [&["--name", "My_Secret"] as &[&str], &["--namespace", "a.b"], &["--name", "x\ny"], &["--name", ""]]
    {
        pull_secret(&["--to", "reg.example.com/m"])
            .arguments(wrong.iter().copied())
            .run()
            .await
            .expect_code(2);
    }
}
