//! Settings from environment variables: `-v`, `doctor` and errors name the variable, never the value.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use crate::support::{ClosedPort, process::Mirror};

/// An image that is never requested.
const IMAGE: &str = "quay.io/team/app:1";

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
    let bytes = OsString::from_vec(b"quay.io/team/\xff".to_vec());
    let run = Mirror::new(["sync", "--to", "registry.example.com/mirror"]).arg(bytes.clone());
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("invalid UTF-8"), "{outcome}");
    let run = Mirror::new(["sync", "quay.io/team/app:1"]).env("THORAS_MIRROR_TO", bytes);
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("comes from THORAS_MIRROR_TO"), "{outcome}");
}

#[tokio::test]
async fn a_variable_that_is_not_utf8_is_an_error_and_not_ignored_bug() {
    let secret = OsString::from_vec(b"s3cret\xff".to_vec());
    for (name, arguments) in [
        ("THORAS_LICENSE", &["inspect", IMAGE][..]),
        ("THORAS_LICENSE_FILE", &["images", IMAGE]),
        ("DOCKER_AUTH_CONFIG", &["inspect", IMAGE]),
        ("THORAS_MIRROR_CHART", &["images"]),
        ("THORAS_MIRROR_EXCLUDE", &["images", IMAGE]),
        ("THORAS_MIRROR_INCLUDE", &["bundle", "import", "x.tar", "--to", "127.0.0.1:1/m"]),
        ("THORAS_MIRROR_LOCK", &["verify"]),
        ("THORAS_MIRROR_OUTPUT", &["values", "--to", "127.0.0.1:1/m"]),
        ("THORAS_MIRROR_TO", &["verify", IMAGE]),
        ("THORAS_MIRROR_TO_PASSWORD", &["sync", IMAGE, "--to", "127.0.0.1:1/m", "--to-username", "me"]),
        ("THORAS_MIRROR_TRUSTED_ROOT", &["sync", IMAGE, "--to", "127.0.0.1:1/m", "--verify-key", "x.pub"]),
        ("THORAS_MIRROR_SIGN_PASSWORD", &["bundle", "export", IMAGE, "-o", "x.tar", "--sign-key", "x.key"]),
        ("COSIGN_PASSWORD", &["bundle", "export", IMAGE, "-o", "x.tar", "--sign-key", "x.key"]),
    ] {
        let run = Mirror::new(arguments.iter().copied()).env(name, secret.clone()).run();
        let outcome = run.await.expect_code(2);
        assert!(outcome.stderr.contains(&format!("the value of {name} is not UTF-8 text")), "{outcome}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome}");
    }
    // It decides nothing: a flag wins, and without a key there is nothing to decrypt.
    let run = Mirror::new(["images", IMAGE, "--include", "*"])
        .env("THORAS_MIRROR_INCLUDE", secret.clone())
        .env("COSIGN_PASSWORD", secret);
    run.run().await.expect_code(0);
}

/// `bundle export --lock` and `lock merge --output` are files that have nothing to do with the variables of these names.
#[tokio::test]
async fn a_command_is_not_blamed_for_a_variable_that_it_does_not_read_bug() {
    let bytes = OsString::from_vec(b"s3cret\xff".to_vec());
    for (name, arguments) in [
        ("THORAS_MIRROR_LOCK", &["bundle", "export", "127.0.0.1:1/a:1", "-o", "x.tar", "--retries", "0"][..]),
        ("THORAS_MIRROR_TO_PASSWORD", &["sync", "--to", "127.0.0.1:1/m"]),
        ("THORAS_LICENSE", &["values", "--chart", "./none", "--to", "127.0.0.1:1/m"]),
        ("DOCKER_AUTH_CONFIG", &["logout", "registry.example.com"]),
    ] {
        let outcome = Mirror::new(arguments.iter().copied()).env(name, bytes.clone()).run().await;
        assert!(!outcome.stderr.contains(name), "{outcome}");
    }
    let closed = ClosedPort::new();
    let merge = ["lock", "merge", "-v", "--retries", "0", "--from", &format!("{}/m", closed.host_port)];
    let outcome = Mirror::new(merge).env("THORAS_MIRROR_OUTPUT", "json").run().await;
    assert!(outcome.stderr.contains("--format (THORAS_MIRROR_OUTPUT)"), "{outcome}");
    assert!(!outcome.stderr.contains("--output ("), "{outcome}");
    let sync = Mirror::new(["sync", IMAGE, "--to", "127.0.0.1:1/m"]);
    let sync = sync.env("THORAS_MIRROR_OUTPUT", "many").env("THORAS_MIRROR_LOCK", "x.lock");
    let outcome = sync.run().await.expect_code(2);
    assert!(outcome.stderr.contains("comes from THORAS_MIRROR_OUTPUT"), "{outcome}");
}

#[tokio::test]
async fn a_proxy_that_is_not_utf8_is_refused_and_not_bypassed_bug() {
    let proxy = OsString::from_vec(b"http://me:s3cret\xff@127.0.0.1:1".to_vec());
    let run = Mirror::new(["inspect", "registry.invalid/app:1", "--retries", "0"]).env("HTTPS_PROXY", proxy);
    let outcome = run.run().await;
    assert!(outcome.stderr.contains("HTTPS_PROXY is not the URL of an http or https proxy"), "{outcome}");
    assert!(!outcome.stderr.contains("s3cret"), "{outcome}");
}

#[tokio::test]
async fn an_empty_variable_is_named_bug() {
    for (name, command) in [
        ("THORAS_MIRROR_TO", "sync"),
        ("THORAS_MIRROR_TO", "doctor"),
        ("THORAS_MIRROR_ADD_IMAGES", "images"),
        ("THORAS_MIRROR_IMAGE_PREFIX", "images"),
        ("THORAS_MIRROR_CA_CERT", "inspect"),
        ("THORAS_MIRROR_LICENSE_FOR", "inspect"),
        ("THORAS_MIRROR_REFERRER_TYPE", "inspect"),
        ("THORAS_MIRROR_BUNDLE_KEY", "bundle verify"),
    ] {
        let outcome = Mirror::new(command.split(' ').chain([IMAGE])).env(name, "").run().await.expect_code(2);
        assert!(outcome.stderr.contains(name), "{name}: {outcome}");
    }
}

#[tokio::test]
async fn an_error_about_a_setting_names_its_variable_bug() {
    for (name, value, command) in [
        ("THORAS_MIRROR_TO", "https://registry.example.com/mirror", "sync"),
        ("THORAS_MIRROR_TO", "https://registry.example.com/mirror", "verify"),
        ("THORAS_MIRROR_ADD", "UPPER", "images"),
        ("THORAS_MIRROR_IMAGE_PREFIX", "a b", "images"),
        ("THORAS_MIRROR_AUTHFILE", "/none/such.json", "inspect"),
        ("THORAS_MIRROR_INSECURE", "a/b", "inspect"),
        ("THORAS_MIRROR_INCLUDE", "[", "images"),
        ("THORAS_MIRROR_LOCK", "/none/such/x.lock", "sync --to 127.0.0.1:1/m"),
        ("THORAS_MIRROR_VERIFY_KEY", "/none/such.pub", "sync --to 127.0.0.1:1/m"),
        ("THORAS_MIRROR_VERIFY_POLICY", "/none/such.yaml", "sync --to 127.0.0.1:1/m"),
        ("THORAS_MIRROR_VERIFY_IDENTITY", "me@example.com", "sync --to 127.0.0.1:1/m"),
    ] {
        let command = command.split(' ').chain([IMAGE]);
        let outcome = Mirror::new(command).env(name, value).run().await;
        assert!(matches!(outcome.status.code(), Some(2 | 3)), "{outcome}");
        assert!(outcome.stderr.contains(&format!("comes from {name}")), "{name}: {outcome}");
    }
    let license = Mirror::new(["inspect", IMAGE]).env("THORAS_LICENSE_FILE", "/none/such").run().await;
    assert!(license.stderr.contains("error: THORAS_LICENSE_FILE: cannot read /none/such"), "{license}");
    let typed = Mirror::new(["sync", IMAGE, "--to", "https://a.io/b"]).env("THORAS_MIRROR_TO", "x.io/y");
    let outcome = typed.run().await.expect_code(2);
    assert!(!outcome.stderr.contains("THORAS_MIRROR_TO"), "{outcome}");
}
