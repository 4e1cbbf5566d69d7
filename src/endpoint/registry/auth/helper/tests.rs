use std::process::Command as BlockingCommand;

use secrecy::ExposeSecret;

use super::*;

/// A folder with `docker-credential-NAME`, which runs `body` in a shell with the question in `$server`.
pub(in crate::endpoint::registry::auth) fn helper(name: &str, body: &str) -> (tempfile::TempDir, Helpers) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(Helpers::program(name));
    // Another process writes the file. Otherwise, a fork by another test could still hold it open for writing when
    // it is started (ETXTBSY).
    let script = format!("#!/bin/sh\nread -r server\ncd '{}'\n{body}\n", folder.path().display());
    let written = BlockingCommand::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &script])
        .arg(&file)
        .status()
        .unwrap();
    assert!(written.success());
    let mut search_path = folder.path().as_os_str().to_owned();
    search_path.push(":/usr/bin:/bin");
    let helpers = Helpers { search_path: Some(search_path), ..Helpers::default() };
    (folder, helpers)
}

fn failure(answer: HelperAnswer) -> String {
    answer.unwrap_err().to_string()
}

#[tokio::test]
async fn a_password_is_returned() {
    let (_folder, helpers) =
        helper("good", r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"u $server\",\"Secret\":\"p\"}""#);
    let Some(Credential::Basic { username, password }) = helpers.ask("good", "quay.io", "f").await.unwrap()
    else {
        panic!("expected a password");
    };
    assert_eq!((username.as_str(), password.expose_secret()), ("u quay.io", "p"));
}

#[tokio::test]
async fn the_user_token_marks_an_identity_token() {
    let (_folder, helpers) = helper("acr", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    let answer = helpers.ask("acr", "x.azurecr.io", "f").await.unwrap();
    assert!(matches!(answer, Some(Credential::IdentityToken(token)) if token.expose_secret() == "t"));
}

#[tokio::test]
async fn no_credential_is_not_an_error_but_a_missing_helper_is() {
    let (_folder, helpers) = helper("none", "echo 'credentials not found in native keychain'; exit 1");
    assert!(helpers.ask("none", "quay.io", "f").await.unwrap().is_none());
    let error = helpers.ask("gone", "quay.io", "/h/config.json").await.unwrap_err();
    assert!(matches!(error, CredentialError::HelperMissing { .. }));
    assert_eq!(
        error.to_string(),
        "/h/config.json names the credential helper `docker-credential-gone`, which is not in PATH"
    );
}

#[tokio::test]
async fn a_failing_helpers_own_message_is_shown_and_escaped() {
    let (_folder, helpers) = helper("bad", r"printf 'token expired\033[2J: log in again\n'; exit 1");
    assert_eq!(
        failure(helpers.ask("bad", "quay.io", "f").await),
        "the credential helper `docker-credential-bad` failed for `quay.io`: \
         token expired\\u{1b}[2J: log in again"
    );
    let (_folder, helpers) = helper("worse", "echo 'no such module' >&2; exit 1");
    assert!(failure(helpers.ask("worse", "quay.io", "f").await).ends_with(": no such module"));
    let (_folder, helpers) = helper("silent", "exit 3");
    assert!(failure(helpers.ask("silent", "quay.io", "f").await).ends_with("without a message"));
}

#[tokio::test]
async fn a_malformed_answer_is_never_repeated() {
    for body in
        ["echo s3cret", r#"echo '{"Username":"u","Secret":"s3cret"'"#, r#"echo '{"Username":"s3cret"}'"#]
    {
        let (_folder, helpers) = helper("odd", body);
        let error = helpers.ask("odd", "quay.io", "f").await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_hanging_helper_is_killed() {
    let (_folder, mut helpers) = helper("slow", "exec sleep 600");
    helpers.time_limit = Duration::from_millis(200);
    let error = failure(helpers.ask("slow", "quay.io", "f").await);
    assert!(error.contains("no answer within"), "{error}");
}

#[tokio::test]
async fn a_helper_runs_once_for_each_server_even_when_it_fails() {
    for end in [r#"echo '{"Username":"u","Secret":"p"}'"#, "exit 1"] {
        let (folder, helpers) = helper("count", &format!("echo \"$server\" >> asked\n{end}"));
        let questions = (0..20).map(|_| helpers.ask("count", "quay.io", "f"));
        futures::future::join_all(questions).await;
        let _ = helpers.ask("count", "ghcr.io", "f").await;
        let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
        assert_eq!(asked, "quay.io\nghcr.io\n");
    }
}

#[tokio::test]
async fn a_configuration_cannot_name_a_path() {
    let helpers = Helpers::default();
    for name in ["../../bin/sh", "a/b", "", "a b"] {
        let error = failure(helpers.ask(name, "quay.io", "f").await);
        assert!(error.contains("not a valid program name"), "{error}");
    }
}

#[test]
fn long_messages_are_cut() {
    assert!(shown(&"x".repeat(5000)).len() < 400);
}
