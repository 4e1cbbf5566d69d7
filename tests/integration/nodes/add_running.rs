//! `--add-running`: what a cluster runs is mirrored as well.

use super::*;
use crate::support::{client, documents, images::SampleImage, process::Mirror, registry::Registry};

#[tokio::test]
async fn images_lists_what_no_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    let pods = folder.path().join("pods.json");
    std::fs::write(
        &pods,
        list(&[pod("a", &[("quay.io/agent:1", String::new()), ("BAD image", String::new())])]),
    )
    .unwrap();
    let outcome = Mirror::new(["images", "--images", "-", "--add-running"])
        .arg(&pods)
        .stdin("vendor.io/p/web:1\n")
        .run()
        .await;
    let outcome = outcome.expect_success();
    assert_eq!(outcome.stdout, "quay.io/agent:1\nvendor.io/p/web:1\n");
    assert!(outcome.stderr.contains("BAD image") && outcome.stderr.contains("Pod shop/a"), "{outcome}");
}

#[tokio::test]
async fn sync_adds_what_runs_but_not_what_runs_from_the_mirror() {
    let (source, destination) = tokio::join!(Registry::start(), Registry::start());
    let image = SampleImage::multi_platform("1");
    for repository in ["team/app", "other/agent"] {
        client::push(&image, source.address(), repository).await;
    }
    let to = format!("{}/mirror", destination.address().host_port);
    let (app, agent) =
        (source.address().image("team/app", &image.tag), source.address().image("other/agent", &image.tag));
    let pods =
        list(&[pod("a", &[(&format!("{to}/app:{}", image.tag), String::new()), (&agent, String::new())])]);
    let sync = Mirror::new(["sync", &app, "--to", &to, "--add-running", "-", "--output", "json"]).stdin(pods);
    let outcome = sync.run().await.expect_success();
    let document = documents::run(&outcome);
    let sources: Vec<&str> = document["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["source"].as_str().unwrap())
        .collect();
    assert_eq!(sources, [agent.as_str(), app.as_str()]);
}
