//! The help texts, as snapshots.

use insta::assert_snapshot;

use crate::support::process::Mirror;

#[tokio::test]
async fn help() {
    const COMMANDS: [&str; 16] = [
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
        "bundle",
        "bundle export",
        "bundle import",
        "bundle verify",
        "bundle inspect",
    ];
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
