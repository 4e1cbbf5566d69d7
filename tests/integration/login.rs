//! `login` and `logout`: what they store, other programs can use.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::support::{
    client,
    images::SampleImage,
    process::{Mirror, Outcome},
    programs,
    registry::{Options, Registry},
    secrets::assert_hidden,
    serving::Serving,
    terminal::OnTerminal,
};

const LOGIN: (&str, &str) = ("puller", "s3cret-of-login");

async fn registry() -> Registry {
    Registry::start_with(Options::default().htpasswd(LOGIN.0, LOGIN.1)).await
}

/// `login` with this password on standard input.
fn login(registry: &str, password: &str) -> Mirror {
    let arguments = ["login", registry, "--username", LOGIN.0, "--password-stdin"];
    Mirror::new(arguments).stdin(format!("{password}\n"))
}

fn configuration(outcome: &Outcome) -> std::path::PathBuf {
    outcome.folder().parent().unwrap().join("docker/config.json")
}

async fn inspect(image: &str, folder: &Path, code: i32) -> Outcome {
    let run = Mirror::new(["inspect", image]).env("DOCKER_CONFIG", folder).run().await;
    run.expect_code(code)
}

#[tokio::test]
async fn a_stored_login_works_for_this_program_skopeo_and_crane() {
    let registry = registry().await;
    let host = &registry.address().host_port;
    let open = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    client::push(&image, open.address(), "team/app").await;
    let stored = login(host, LOGIN.1).run().await.expect_success();
    assert_hidden(&stored, &[LOGIN]);
    let file = configuration(&stored);
    let folder = file.parent().unwrap();
    assert!(
        stored.stdout.contains("after the registry accepted it") && stored.stdout.contains("config.json"),
        "{stored}"
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let to = format!("{host}/mirror");
    let source = open.address().image("team/app", "1");
    let sync = Mirror::new(["sync", "--to", &to, &source]).env("DOCKER_CONFIG", folder).run().await;
    sync.expect_success();
    let copy = format!("{host}/mirror/app:1");
    let _ = inspect(&copy, folder, 0).await;

    let skopeo = programs::find("THORAS_MIRROR_TEST_SKOPEO", "skopeo");
    let authfile = file.to_str().unwrap();
    let name = format!("docker://{copy}");
    programs::run(skopeo, ["inspect", "--raw", "--tls-verify=false", "--authfile", authfile, &name]).await;
    let crane = programs::find("THORAS_MIRROR_TEST_CRANE", "crane");
    let digest = Command::new(crane)
        .args(["digest", "--insecure", &copy])
        .env("DOCKER_CONFIG", folder)
        .output()
        .unwrap();
    assert!(digest.status.success(), "{digest:?}");

    let logout = Mirror::new(["logout", host]).env("DOCKER_CONFIG", folder).run().await.expect_success();
    assert!(logout.stdout.contains(&format!("removed the login for {host}")), "{logout}");
    let refused = inspect(&copy, folder, 4).await;
    assert!(refused.stderr.contains("none is configured"), "{refused}");
    assert!(refused.stderr.contains(&format!("`thoras-mirror login {host}`")), "{refused}");
    let again = Mirror::new(["logout", host]).env("DOCKER_CONFIG", folder).run().await.expect_success();
    assert!(again.stdout.contains("there was no login"), "{again}");
}

#[tokio::test]
async fn a_login_that_the_registry_refuses_is_not_stored() {
    let registry = registry().await;
    let wrong = (LOGIN.0, "wr0ng-s3cret");
    let outcome = login(&registry.address().host_port, wrong.1).run().await.expect_code(4);
    assert!(outcome.stderr.contains("refused this user name and password"), "{outcome}");
    assert_hidden(&outcome, &[wrong]);
    assert!(!configuration(&outcome).exists());
}

#[tokio::test]
async fn a_login_works_for_our_own_registry() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, format!("{}:{}\n", LOGIN.0, bcrypt::hash(LOGIN.1, 4).unwrap())).unwrap();
    let path = folder.path().join("registry");
    let serving = Serving::start(&path, &["--htpasswd", users.to_str().unwrap()]).await;
    let host = &serving.address.host_port;
    login(host, "wrong-password").run().await.expect_code(4);
    login(host, LOGIN.1).run().await.expect_success();
}

#[tokio::test]
async fn a_registry_that_cannot_be_reached_stores_nothing() {
    let closed = crate::support::ClosedPort::new();
    let outcome = login(&closed.host_port, LOGIN.1).arguments(["--retries", "0"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("cannot reach registry"), "{outcome}");
    assert!(!outcome.stderr.contains("(destination)") && !outcome.stderr.contains("tried"), "{outcome}");
    assert!(!configuration(&outcome).exists());
}

#[tokio::test]
async fn an_unwritable_folder_is_named() {
    let registry = registry().await;
    let run = login(&registry.address().host_port, LOGIN.1).env("DOCKER_CONFIG", "/proc/none");
    let outcome = run.run().await.expect_code(2);
    assert!(outcome.stderr.contains("in the folder /proc/none"), "{outcome}");
    assert!(!outcome.stderr.contains(".thoras-mirror-login"), "{outcome}");
}

#[tokio::test]
async fn a_terminal_asks_for_the_password_without_showing_it() {
    let registry = registry().await;
    let host = registry.address().host_port.clone();
    let shown = tokio::task::spawn_blocking(move || {
        let mut run = OnTerminal::start(80, &["login", &host], &[]);
        run.wait_for("User name for ");
        assert!(run.echoes());
        run.type_in(&format!("{}\n", LOGIN.0));
        run.wait_for("Password of puller");
        assert!(!run.echoes());
        run.type_in(&format!("{}\n", LOGIN.1));
        let (status, shown) = run.end();
        assert!(status.success(), "{shown}");
        assert!(run.echoes() && run.folder().join(".docker/config.json").exists());
        shown
    });
    let shown = shown.await.unwrap();
    assert!(!shown.contains(LOGIN.1), "{shown}");
}

#[tokio::test]
async fn an_interrupted_question_leaves_a_terminal_that_shows_what_is_typed() {
    let ended = tokio::task::spawn_blocking(|| {
        let mut run = OnTerminal::start(80, &["login", "registry.invalid", "--username", "me"], &[]);
        run.wait_for("Password of me");
        assert!(!run.echoes());
        run.type_in("\u{3}");
        let (status, shown) = run.end();
        assert_eq!(status.code(), Some(130), "{shown}");
        assert!(run.echoes());
    });
    ended.await.unwrap();
}
