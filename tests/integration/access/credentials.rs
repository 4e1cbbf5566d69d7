//! Credentials in the forms that users have on disk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    LOGIN, authorizations, basic, basic_of, config, config_of, inspect, inspect_with, registry, run,
};
use crate::support::{process::Mirror, scripted::Scripted};

async fn basic_registry() -> Scripted {
    let registry = registry().await;
    registry.demand("Basic realm=\"scripted\"", &[&basic()]);
    registry
}

#[tokio::test]
async fn the_closest_key_with_a_path_wins() {
    let registry = basic_registry().await;
    let host = &registry.address().host_port;
    let mut all = config(&format!("{host}/team"));
    let other = ("other", "0ther-s3cret");
    for key in [host.clone(), format!("{host}/team/application"), format!("https://{host}/te")] {
        all["auths"][&key] = config_of(&key, other)["auths"][&key].clone();
    }
    let outcome = run(inspect_with(&registry, &all), 0).await;
    crate::support::secrets::assert_hidden(&outcome, &[other]);
    let sent = authorizations(&registry, "/manifests/");
    assert!(sent.iter().flatten().all(|header| *header == basic()), "{sent:?}");
}

/// What `kubectl create secret docker-registry --docker-server=HOST/PATH --dry-run=client -o yaml` prints.
#[tokio::test]
async fn kubernetes_secrets_are_accepted_as_authfiles() {
    let registry = basic_registry().await;
    let key = format!("{}/team", registry.address().host_port);
    let config = config(&key);
    let secrets: [(&str, &str, &Value); 2] = [
        (".dockerconfigjson", "kubernetes.io/dockerconfigjson", &config),
        (".dockercfg", "kubernetes.io/dockercfg", &config["auths"]),
    ];
    for (field, kind, content) in secrets {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\ntype: {kind}\nmetadata:\n  name: pull\ndata:\n  {field}: {}\n",
            BASE64_STANDARD.encode(content.to_string())
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), secret).unwrap();
        let image = registry.address().image("team/app", "1");
        let inspect = Mirror::new(["inspect", &image, "--authfile"]).arg(file.path());
        let _ = run(inspect, 0).await;
    }
}

#[tokio::test]
async fn an_empty_entry_is_ignored() {
    let registry = basic_registry().await;
    let host = &registry.address().host_port;
    let outcome = run(inspect_with(&registry, &json!({ "auths": { host: { "auth": "" } } })), 4).await;
    assert!(outcome.stderr.contains("none is configured"), "{outcome}");
    let hint = format!("hint: run `docker login {host}`");
    assert!(outcome.stderr.contains(&hint), "{outcome}");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_its_origin_named() {
    let registry = basic_registry().await;
    let host = &registry.address().host_port;
    let wrong = ("puller", "wr0ng-s3cret");
    let outcome = run(inspect_with(&registry, &config_of(host, wrong)), 4).await;
    crate::support::secrets::assert_hidden(&outcome, &[wrong]);
    assert!(outcome.stderr.contains(&format!("with DOCKER_AUTH_CONFIG, key `{host}`")), "{outcome}");
    let sent = authorizations(&registry, "/manifests/");
    assert_eq!(sent, [None, Some(basic_of(wrong))], "and no anonymous attempt follows");
}

/// A folder with a credential helper, for the front of `PATH`.
fn helper(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("docker-credential-scripted");
    // Written by another process: a fork of this one could still have it open for writing when it is started.
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "printf '#!/bin/sh\\nread -r server\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
            "sh",
            script,
        ])
        .arg(&file)
        .status();
    assert!(status.unwrap().success());
    folder
}

fn with_helper(registry: &Scripted, folder: &Path) -> Mirror {
    let config = json!({ "credHelpers": { &registry.address().host_port: "scripted" } });
    let path = format!("{}:/usr/bin:/bin", folder.display());
    inspect_with(registry, &config).env("PATH", path).env("THORAS_LICENSE", "bGljZW5jZS1zM2NyZXQ=")
}

#[tokio::test]
async fn a_credential_helper_does_not_see_our_secrets() {
    let registry = basic_registry().await;
    let folder = helper(&format!(
        r#"[ -z "$THORAS_LICENSE" ] || exit 1; echo '{{"Username":"{}","Secret":"{}"}}'"#,
        LOGIN.0, LOGIN.1
    ));
    let _ = run(with_helper(&registry, folder.path()), 0).await;
}

#[tokio::test]
async fn a_missing_helper_and_a_failing_helper_give_different_errors() {
    let registry = basic_registry().await;
    let nothing = tempfile::tempdir().unwrap();
    let missing = run(with_helper(&registry, nothing.path()), 2).await;
    let line =
        "DOCKER_AUTH_CONFIG names the credential helper `docker-credential-scripted`, which is not in PATH";
    assert!(missing.stderr.contains(line), "{missing}");

    let folder = helper("echo 'session expired: run cloud login'; exit 1");
    let failed = run(with_helper(&registry, folder.path()), 4).await;
    assert!(failed.stderr.contains(": session expired: run cloud login"), "the helper's own words: {failed}");
    let sent = authorizations(&registry, "/manifests/");
    assert!(sent.iter().all(Option::is_none), "and no other credential is tried: {sent:?}");
}

/// A helper is often a script that waits for another program.
#[tokio::test]
async fn a_hanging_helper_is_killed_with_its_children() {
    let registry = basic_registry().await;
    let folder = helper("sleep 600 & echo $! > \"${0%/*}/child\"; wait");
    let hanging = with_helper(&registry, folder.path()).env("THORAS_MIRROR_HELPER_TIMEOUT", "1");
    let outcome = run(hanging, 4).await;
    assert!(
        outcome.stderr.contains("`docker-credential-scripted` failed for")
            && outcome.stderr.contains("no answer within 1 seconds"),
        "{outcome}"
    );
    assert!(outcome.stderr.contains("--helper-timeout SECONDS"), "{outcome}");
    let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_alive(child.trim()) {
        assert!(Instant::now() < deadline, "process {child} is still running");
        tokio::task::yield_now().await;
    }
}

/// Whether a process is running; a zombie is not.
fn is_alive(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[tokio::test]
async fn a_broken_configuration_is_named_without_its_content() {
    let registry = basic_registry().await;
    let text = format!("{{\"auths\": {}", LOGIN.1);
    let outcome = run(inspect(&registry).env("DOCKER_AUTH_CONFIG", text), 2).await;
    assert!(outcome.stderr.contains("DOCKER_AUTH_CONFIG is not a usable Docker configuration"), "{outcome}");
}
