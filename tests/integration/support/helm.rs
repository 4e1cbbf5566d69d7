//! Runs Helm, which renders charts.

use std::path::PathBuf;

use super::programs;

/// The path of Helm, for `THORAS_MIRROR_HELM`.
pub fn program() -> PathBuf {
    programs::find("THORAS_MIRROR_TEST_HELM", "helm")
}

/// The flag with which `helm template` reads a registry without TLS. Versions that lack it try both.
pub async fn plain_http() -> Option<&'static str> {
    run(&["template", "--help"]).await.contains("--plain-http").then_some("--plain-http")
}

/// What `helm ARGUMENTS…` prints.
pub async fn run(arguments: &[&str]) -> String {
    String::from_utf8(programs::run(program(), arguments.iter().copied()).await).unwrap()
}
