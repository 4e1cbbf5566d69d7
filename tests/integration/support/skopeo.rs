//! Runs skopeo, an independent reader and writer of registries and bundles.

use super::{Address, programs};

/// What `skopeo ARGUMENTS…` prints. Signature policies are disabled: they are not tested here, and not every machine
/// has one.
pub async fn run(arguments: &[&str]) -> Vec<u8> {
    let program = programs::find("THORAS_MIRROR_TEST_SKOPEO", "skopeo");
    programs::run(program, ["--insecure-policy"].iter().chain(arguments).copied()).await
}

/// The manifest that a registry serves for a tag or digest (`REPOSITORY:TAG`, `REPOSITORY@DIGEST`), byte for byte.
pub async fn manifest(address: &Address, name: &str) -> Vec<u8> {
    let image = format!("docker://{}/{name}", address.host_port);
    run(&["inspect", "--raw", "--tls-verify=false", &image]).await
}

/// Its version: major, minor.
pub async fn version() -> (u32, u32) {
    let text = String::from_utf8(run(&["--version"]).await).unwrap();
    let mut numbers = text.rsplit(' ').next().unwrap().split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}
