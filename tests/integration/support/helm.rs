//! Runs Helm, which renders charts.

use std::path::PathBuf;

use super::programs;

/// The path of Helm 3, for `THORAS_MIRROR_HELM`.
pub fn program() -> PathBuf {
    programs::find("THORAS_MIRROR_TEST_HELM", "helm")
}

/// What `helm ARGUMENTS…` prints.
pub async fn run(arguments: &[&str]) -> String {
    String::from_utf8(programs::run(program(), arguments.iter().copied()).await).unwrap()
}
