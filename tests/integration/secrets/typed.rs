//! Refused arguments are repeated in the message; a password in them is not.

use futures::{StreamExt as _, stream};

use super::assert_hidden;
use crate::support::process::Mirror;

const SECRET: &str = "pa55word";
/// The number of concurrent runs.
const CONCURRENCY: usize = 16;

/// Registries with a password in them, as users type them by mistake.
const TYPED: [&str; 3] = [
    "user:pa55word@registry.invalid:5000/team",
    "https://user:pa55word@registry.invalid/team/app:1=linux",
    "https://user:a/b,pa55word@registry.invalid",
];

/// Every command, and every flag of it that takes a value.
fn flags() -> Vec<(Vec<String>, String)> {
    fn collect(command: &clap::Command, path: &[String], flags: &mut Vec<(Vec<String>, String)>) {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            // A positional argument is a word by itself.
            let flag = argument.get_long().map_or(String::new(), |name| format!("--{name}"));
            flags.push((path.to_vec(), flag));
        }
        for inner in command.get_subcommands() {
            let path: Vec<String> = path.iter().cloned().chain([inner.get_name().to_owned()]).collect();
            collect(inner, &path, flags);
        }
    }
    let mut flags = Vec::new();
    collect(&thoras_mirror::internals::command(), &[], &mut flags);
    flags
}

/// A command that lacks only the flag under test, and contacts nothing.
fn command(path: &[String], flag: &str, value: &str) -> Mirror {
    let mut run = Mirror::new(path.iter().cloned());
    let name = path.join(" ");
    if matches!(name.as_str(), "sync" | "doctor" | "bundle import") && flag != "--to" {
        run = run.arguments(["--to", "registry.invalid/team"]);
    }
    if name == "bundle export" && flag != "--output" {
        run = run.arguments(["--output", "x.tar"]);
    }
    if name == "serve" && flag != "--listen" {
        // Not an address of this machine (RFC 5737); otherwise `serve` would keep running.
        run = run.arguments(["--listen", "192.0.2.1:1"]);
    }
    if !flag.is_empty() {
        run = run.arguments([flag]);
    }
    run.arg(value).env("HELM", "/no/such/helm").env("THORAS_MIRROR_HELM", "/no/such/helm")
}

#[tokio::test]
async fn a_password_in_any_flag_of_any_command_is_not_repeated() {
    let flags = flags();
    assert!(flags.len() > 100, "{}", flags.len());
    let cases = flags.iter().flat_map(|flag| TYPED.iter().map(move |typed| (flag, *typed)));
    let runs = stream::iter(cases).map(|((path, flag), typed)| async move {
        let outcome = command(path, flag, typed).run().await;
        assert!(!outcome.status.success(), "{path:?} {flag} {typed}: {outcome}");
        assert_hidden(&outcome, &[SECRET], &format!("{path:?} {flag} {typed}"));
    });
    runs.buffer_unordered(CONCURRENCY).collect::<()>().await;
}

#[tokio::test]
async fn an_invalid_command_line_does_not_repeat_a_password() {
    let typed = "https://user:pa55word@registry.invalid";
    for words in [
        vec!["sync".to_owned(), format!("--{typed}")],
        vec![typed.to_owned()],
        vec!["sync".to_owned(), format!("--naming={typed}")],
        vec!["verify".to_owned(), "--level".to_owned(), typed.to_owned()],
        vec!["sync".to_owned(), "--to-password=pa55word".to_owned()],
    ] {
        let outcome = Mirror::new(&words).run().await.expect_code(2);
        assert!(outcome.stderr.starts_with("error: "), "{outcome}");
        assert_hidden(&outcome, &[SECRET], &format!("{words:?}"));
    }
}

#[tokio::test]
async fn the_error_still_says_what_is_wrong() {
    let cases = [
        (
            ["--plain-http", "https://u:pa55word@reg.example"],
            "--plain-http: expected HOST or HOST:PORT, without a user",
        ),
        (["--insecure", "reg.example/path"], "--insecure reg.example/path: expected HOST or HOST:PORT"),
        (
            ["--ca-cert", "https://u:pa55word@reg.example=ca.pem"],
            "cannot read https://***@reg.example=ca.pem",
        ),
    ];
    for (flags, message) in cases {
        let outcome =
            Mirror::new(["inspect", "quay.io/team/app:1"]).arguments(flags).run().await.expect_code(2);
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert_hidden(&outcome, &[SECRET], message);
    }
}

#[tokio::test]
async fn a_key_passed_instead_of_its_file_name_is_not_repeated_bug() {
    let key = format!("{{\"private_key\":\"{SECRET}\"}}");
    let encoded = "ZXlKaGJHY2lPaUpTVXpJ".repeat(20);
    for (flag, value) in [
        ("--license", key.as_str()),
        ("--license", encoded.as_str()),
        ("--authfile", key.as_str()),
        ("--client-cert", "-----BEGIN PRIVATE KEY-----\npa55word\n-----END PRIVATE KEY-----\n"),
    ] {
        let run = Mirror::new(["inspect", "quay.io/team/app:1"]).arg(format!("{flag}={value}"));
        let outcome = run.run().await.expect_code(2);
        assert!(outcome.stderr.contains("expected a file name"), "{outcome}");
        assert_hidden(&outcome, &[SECRET, &encoded], flag);
    }
}
