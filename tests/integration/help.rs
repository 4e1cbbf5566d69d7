//! The help texts, as snapshots.

use insta::assert_snapshot;

use crate::support::process::Mirror;

const COMMANDS: [&str; 22] = [
    "",
    "images",
    "sync",
    "verify",
    "values",
    "inspect",
    "doctor",
    "pull-secret",
    "redirect",
    "running",
    "serve",
    "lock",
    "lock merge",
    "bundle",
    "bundle export",
    "bundle import",
    "bundle verify",
    "bundle inspect",
    "export",
    "import",
    "login",
    "logout",
];

#[tokio::test]
async fn help() {
    for command in COMMANDS {
        let arguments = command.split(' ').chain(["--help"]).filter(|word| !word.is_empty());
        let outcome = Mirror::new(arguments)
            .env("THORAS_MIRROR_REPO", "https://user:s3cret@charts.example.com")
            .run()
            .await;
        let outcome = outcome.expect_success();
        assert_eq!(outcome.stderr, "");
        assert!(!outcome.stdout.contains("s3cret"), "the environment is not part of the help");
        let name = if command.is_empty() { "thoras-mirror".to_owned() } else { command.replace(' ', "-") };
        assert_snapshot!(name, outcome.stdout);
    }
}

#[tokio::test]
async fn an_unknown_command_gets_a_usage_line() {
    let outcome = Mirror::new(["sink"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("'sink'") && outcome.stderr.contains("--help"), "{outcome}");
}

#[tokio::test]
async fn the_summary_is_short_and_the_selection_comes_first() {
    for command in COMMANDS.into_iter().chain(["copy"]) {
        let arguments = command.split(' ').chain(["-h"]).filter(|word| !word.is_empty());
        // A terminal of the usual width wraps more lines than a wide one.
        let narrow = Mirror::new(arguments).env("COLUMNS", "80").run().await.expect_success();
        assert!(narrow.stdout.lines().all(|line| line.len() <= 80), "{narrow}");
        assert!(narrow.stdout.lines().count() <= 50, "{narrow}");
    }
    for command in ["images", "sync", "verify", "doctor", "bundle export", "bundle import", "copy", "export"]
    {
        let arguments = command.split(' ').chain(["-h"]);
        let outcome = Mirror::new(arguments).run().await.expect_success();
        let heading = outcome.stdout.lines().find(|line| line.ends_with(':') && !line.starts_with(' '));
        let expected = if command.ends_with("import") { "How to import:" } else { "Image selection:" };
        assert_eq!(heading, Some(expected), "{outcome}");
    }
}

#[tokio::test]
async fn the_version_names_the_commit() {
    let outcome = Mirror::new(["--version"]).run().await.expect_success();
    let line = outcome.stdout.trim();
    assert!(line.starts_with(concat!("thoras-mirror ", env!("CARGO_PKG_VERSION"))), "{line}");
    let is_hexadecimal = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = line.split(|character: char| !character.is_ascii_alphanumeric());
    let is_repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    assert!(!is_repository || words.into_iter().any(is_hexadecimal), "{line}");
}
