//! Charts, rendered by the real Helm: the lock names them, and `verify --to --chart` compares with the source.

use serde_json::Value;

use super::{Site, redact};
use crate::support::{
    client,
    fake_helm::chart,
    helm,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// The images of `testdata/charts/sample`: name and tag.
const TAGGED: [&str; 8] = ["forecast", "migrate", "proxy", "report", "runner", "sidecar", "web", "worker"];

/// Pushes what the sample chart names to a registry of our own, and returns the flags that point the chart there.
async fn vendor_registry() -> (Registry, Vec<String>) {
    let registry = Registry::start().await;
    for name in TAGGED {
        let mut image = SampleImage::multi_platform(name);
        "1.4.2".clone_into(&mut image.tag);
        client::push(&image, registry.address(), &format!("vendor/{name}")).await;
    }
    let mut flags = vec!["--chart".to_owned(), chart("sample")];
    flags.extend(["--helm".to_owned(), helm::program().display().to_string()]);
    let registry_value = format!("image.registry={}/vendor", registry.address().host_port);
    flags.extend(["--set".to_owned(), registry_value]);
    for build in ["blue", "green"] {
        let image = SampleImage::multi_platform(build);
        client::push(&image, registry.address(), "vendor/engine").await;
        flags.extend(["--set".to_owned(), format!("engine.{build}={}", image.root().digest)]);
    }
    (registry, flags)
}

async fn run(command: &str, to: &str, flags: &[String]) -> Outcome {
    Mirror::new([command, "--to", to].into_iter().chain(flags.iter().map(String::as_str))).run().await
}

#[tokio::test]
async fn a_chart_is_mirrored_and_locked_and_verified_with_and_without_the_lock() {
    let (source, flags) = vendor_registry().await;
    let mirror = Registry::start().await;
    let to = format!("{}/mirror", mirror.address().host_port);
    let synced = run("sync", &to, &flags).await.expect_success();
    let site = Site { source, mirror, synced };

    let text = std::fs::read_to_string(site.folder().join("thoras-mirror.lock")).unwrap();
    let lock: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(lock["chart"]["name"], "sample");
    assert_eq!(lock["chart"]["version"], "1.4.2");
    assert_eq!(lock["images"].as_array().unwrap().len(), TAGGED.len() + 2);

    let outcome = site.run(["verify", "--level", "bytes"]).await.expect_success();
    redact(&site).bind(|| insta::assert_snapshot!("chart_verified", outcome.stdout));
    let _ = run("verify", &to, &flags).await.expect_success();

    site.mirror
        .storage()
        .delete_manifest("mirror/runner", &lock["images"][6]["digest"].as_str().unwrap().parse().unwrap());
    let outcome = run("verify", &to, &flags).await.expect_code(5);
    assert!(outcome.stderr.contains("runner:1.4.2: 1 problem"), "{outcome}");
    // The values are not repeated: they may be secret.
    assert!(outcome.stderr.contains("--set 'image.registry=***'"), "{outcome}");
}
