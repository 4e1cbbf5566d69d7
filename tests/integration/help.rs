//! What a newcomer reads first.

use insta::assert_snapshot;

use crate::support::process::Mirror;

#[tokio::test]
async fn help() {
    for command in ["", "images", "sync", "verify", "inspect", "serve"] {
        let arguments = [command, "--help"].into_iter().filter(|word| !word.is_empty());
        let outcome = Mirror::new(arguments).env("COLUMNS", "100").run().await.expect_success();
        assert_eq!(outcome.stderr, "");
        let name = if command.is_empty() { "thoras-mirror" } else { command };
        assert_snapshot!(name, outcome.stdout);
    }
}

#[tokio::test]
async fn a_word_that_is_no_command_gets_a_usage_line() {
    let outcome = Mirror::new(["sink"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("'sink'") && outcome.stderr.contains("--help"), "{outcome}");
}
