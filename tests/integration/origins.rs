//! Settings from environment variables: `-v`, `doctor` and errors name the variable, never the value.

use crate::support::{ClosedPort, process::Mirror};

#[tokio::test]
async fn a_verbose_run_names_the_variables_that_decide_settings() {
    // It refuses connections, so the run ends at once.
    let closed = ClosedPort::new();
    let run = Mirror::new(["sync", "-v", "--retries", "0", &format!("{}/team/app:1", closed.host_port)])
        .env("THORAS_MIRROR_TO", format!("{}/mirror", closed.host_port))
        .env("THORAS_MIRROR_JOBS", "3")
        .env("THORAS_MIRROR_RETRIES", "9")
        .env("THORAS_MIRROR_TO_USERNAME", "robot")
        .env("THORAS_MIRROR_TO_PASSWORD", "s3cret-pass")
        .env("THORAS_MIRROR_LEVEL", "bytes");
    let outcome = run.run().await.expect_code(1);
    let line = outcome.stderr.lines().find(|line| line.contains("settings from the environment")).unwrap();
    for named in [
        "--jobs (THORAS_MIRROR_JOBS)",
        "--to (THORAS_MIRROR_TO)",
        "--to-username (THORAS_MIRROR_TO_USERNAME)",
        "--to-password-stdin (THORAS_MIRROR_TO_PASSWORD)",
    ] {
        assert!(line.contains(named), "{named}: {line}");
    }
    for absent in ["RETRIES", "LEVEL", "robot", "s3cret-pass"] {
        assert!(!line.contains(absent), "a flag wins, sync has no --level, and values are not shown: {line}");
    }
}

#[tokio::test]
async fn doctor_names_the_variables_that_decide_settings() {
    let closed = ClosedPort::new();
    let image = format!("{}/team/app:1", closed.host_port);
    let run = Mirror::new(["doctor", "-o", "json", "--timeout", "5", &image])
        .env("THORAS_MIRROR_TO", format!("{}/mirror", closed.host_port));
    let outcome = run.run().await.expect_code(1);
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let settings = document["findings"].as_array().unwrap().iter().find(|found| found["check"] == "settings");
    assert_eq!(settings.unwrap()["message"], "from the environment: --to (THORAS_MIRROR_TO)");
}

#[tokio::test]
async fn an_invalid_value_from_the_environment_is_not_blamed_on_a_flag_alone() {
    let run = Mirror::new(["sync", "--to", "registry.example.com/mirror", "quay.io/team/app:1"])
        .env("THORAS_MIRROR_JOBS", "many");
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("comes from THORAS_MIRROR_JOBS"), "{outcome}");
    let typed = Mirror::new(["sync", "--jobs", "many", "--to", "registry.example.com/mirror"])
        .env("THORAS_MIRROR_JOBS", "3");
    let outcome = typed.run().await.expect_code(2);
    assert!(!outcome.stderr.contains("THORAS_MIRROR_JOBS:"), "{outcome}");
}

#[tokio::test]
async fn words_that_are_not_utf8_are_an_error_and_not_a_panic_bug() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

    let bytes = OsString::from_vec(b"quay.io/team/\xff".to_vec());
    let run = Mirror::new(["sync", "--to", "registry.example.com/mirror"]).arg(bytes.clone());
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("invalid UTF-8"), "{outcome}");
    let run = Mirror::new(["sync", "quay.io/team/app:1"]).env("THORAS_MIRROR_TO", bytes);
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("comes from THORAS_MIRROR_TO"), "{outcome}");
}
