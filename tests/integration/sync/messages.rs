//! Output on a terminal. Ports, times and speeds differ from run to run and are replaced.

use insta::assert_snapshot;

use super::*;
use crate::support::{ClosedPort, registry::Options};

/// Runs, expects this exit code, and compares what was printed.
macro_rules! assert_reads {
    ($name:literal, $run:expr, $code:literal) => {
        let outcome = $run.run().await.expect_code($code);
        let printed = format!("{}--- stderr\n{}", outcome.stdout, outcome.stderr);
        insta::with_settings!({ filters => redactions(), omit_expression => true }, {
            assert_snapshot!($name, printed);
        });
    };
}

/// Columns of times are reduced to one space, because their width follows their content.
fn redactions() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "YYYY-MM-DDThh:mm:ssZ "),
        (r"127\.0\.0\.1:\d+", "HOST:PORT"),
        (r" +TIME\n", " TIME\n"),
        (r" +\d+\.\d s\b", " N.N s"),
        (r" \(\d+\.\d [KM]iB/s\)", " (N.N MiB/s)"),
    ]
}

#[tokio::test]
async fn the_closing_table() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    assert_reads!("closing_table", pair.sync(&[]), 0);
}

#[tokio::test]
async fn the_closing_table_of_an_idle_run() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    pair.sync(&[]).run().await.expect_success();
    assert_reads!("idle_table", pair.sync(&[]), 0);
}

#[tokio::test]
async fn the_table_of_a_dry_run() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    assert_reads!("dry_run_table", pair.sync(&["--dry-run"]), 0);
}

#[tokio::test]
async fn a_missing_platform() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::single_platform("1", "amd64"))]).await;
    assert_reads!("missing_platform", pair.sync(&[]), 1);
}

#[tokio::test]
async fn an_image_that_does_not_exist() {
    let mut pair = ScriptedPair::with(&[]).await;
    pair.images = vec![pair.source.address().image("team/app", "1")];
    assert_reads!("no_such_image", pair.sync(&[]), 1);
}

#[tokio::test]
async fn a_refused_password() {
    let mut pair = RealPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    pair.destination = Registry::start_with(Options::default().htpasswd("pusher", "right")).await;
    let run = pair.sync(&["--to-username", "pusher"]).env("THORAS_MIRROR_TO_PASSWORD", "wrong");
    assert_reads!("refused_password", run, 4);
}

#[tokio::test]
async fn a_missing_password() {
    let mut pair = RealPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    pair.destination = Registry::start_with(Options::default().htpasswd("pusher", "right")).await;
    assert_reads!("no_password", pair.sync(&[]), 4);
}

#[tokio::test]
async fn an_unreachable_registry() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    let closed = ClosedPort::new();
    assert_reads!("unreachable", sync(&pair.images, &format!("{}/mirror", closed.host_port), &[]), 1);
}

#[tokio::test]
async fn a_collision() {
    let image = SampleImage::multi_platform("1");
    let pair = ScriptedPair::with(&[("one/app", &image), ("two/app", &image)]).await;
    assert_reads!("collision", pair.sync(&["--naming", "last"]), 2);
}

#[tokio::test]
async fn a_wrong_destination() {
    let image = ["quay.io/a/b:1".to_owned()];
    assert_reads!("url_as_destination", sync(&image, "https://registry.example.com/x", &[]), 2);
    assert_reads!("empty_destination", sync(&image, "", &[]), 2);
}

#[tokio::test]
async fn a_password_in_the_destination_is_not_repeated() {
    let image = ["quay.io/a/b:1".to_owned()];
    for to in ["user:very-secret@registry.example.com/x", "https://user:very-secret@registry.example.com"] {
        let outcome = sync(&image, to, &["--output", "json"]).run().await.expect_code(2);
        assert!(outcome.stderr.contains("--to-username"), "{outcome}");
        assert!(!outcome.to_string().contains("very-secret"), "{outcome}");
    }
}

#[tokio::test]
async fn a_forbidden_overwrite() {
    let pair = ScriptedPair::with(&[("team/app", &SampleImage::multi_platform("1"))]).await;
    pair.sync(&[]).run().await.expect_success();
    let new = SampleImage { tag: "1".to_owned(), ..SampleImage::multi_platform("next") };
    pair.source.with_store(|store| store.insert("team/app", &new));
    assert_reads!("no_overwrite", pair.sync(&["--no-overwrite"]), 1);
    assert_reads!("moved", pair.sync(&[]), 0);
}
