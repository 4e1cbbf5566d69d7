//! `running`: what a cluster runs, against a lock.

use serde_json::json;

use super::*;
use crate::support::{client, documents, images::SampleImage, process::Outcome, registry::Registry};

const IMAGES: [Locked<'static>; 2] = [
    ("vendor.io/p/web:1", "web:1", ['1', '2', '3']),
    ("docker.io/library/nginx:1", "nginx:1", ['4', '5', '6']),
];

async fn run(pods: &str, more: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let lock = write_lock(folder.path(), &IMAGES);
    with_lock("running", &lock, &["-", "--output", "json"])
        .arguments(more.iter().copied())
        .stdin(pods)
        .run()
        .await
}

/// The image, its origin and how it compares with the lock, for every row.
fn rows(outcome: &Outcome) -> Vec<[String; 3]> {
    let document = documents::parse(&outcome.stdout, "running.v1.json");
    assert_eq!(document["exitCode"], outcome.status.code().unwrap(), "{outcome}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |image: &Value| [text(&image["image"]), text(&image["origin"]), text(&image["content"])];
    document["images"].as_array().unwrap().iter().map(row).collect()
}

fn row(image: &str, origin: &str, content: &str) -> [String; 3] {
    [image, origin, content].map(str::to_owned)
}

const WEB: &str = "reg.example.com/m/web:1";

#[tokio::test]
async fn digests_of_the_index_of_a_platform_and_of_a_config_are_the_image() {
    for id in [
        format!("reg.example.com/m/web@{}", digest('1')),
        format!("docker-pullable://reg.example.com/m/web@{}", digest('2')),
        format!("reg.example.com/m/web@{}", digest('3')),
        digest('f'),
    ] {
        let outcome = run(&list(&[pod("a", &[(WEB, id)])]), &[]).await.expect_success();
        assert_eq!(rows(&outcome), [row(WEB, "mirror", "same")]);
    }
}

#[tokio::test]
async fn differences_have_their_own_exit_code() {
    let other = || format!("x@{}", digest('9'));
    for (image, id, origin, content) in [
        (WEB, other(), "mirror", "different"),
        ("reg.example.com/m/web:2", other(), "mirror", "not-locked"),
        ("reg.example.com/m/tool:1", other(), "mirror", "not-locked"),
        ("quay.io/operator/agent:1", other(), "outside", "not-locked"),
        ("vendor.io/p/web:1", other(), "unknown", "different"),
        ("vendor.io/p/web:2", other(), "unknown", "not-locked"),
    ] {
        let outcome = run(&list(&[pod("a", &[(image, id)])]), &[]).await.expect_code(5);
        assert_eq!(rows(&outcome), [row(image, origin, content)]);
    }
}

/// A redirected node pulls from the mirror under the name of the source.
#[tokio::test]
async fn names_of_sources_are_unknown_unless_nodes_are_not_redirected() {
    let pods = list(&[pod("a", &[("nginx:1", format!("docker.io/library/nginx@{}", digest('5')))])]);
    let outcome = run(&pods, &[]).await.expect_success();
    assert_eq!(rows(&outcome), [row("nginx:1", "unknown", "same")]);
    let outcome = run(&pods, &["--no-redirect"]).await.expect_code(5);
    assert_eq!(rows(&outcome), [row("nginx:1", "outside", "same")]);
}

#[tokio::test]
async fn a_pinned_image_is_compared_before_a_node_has_pulled_it() {
    let right = format!("reg.example.com/m/web@{}", digest('2'));
    let wrong = format!("{WEB}@{}", digest('9'));
    let outcome = run(&list(&[pod("a", &[(&right, String::new())])]), &[]).await.expect_success();
    assert_eq!(rows(&outcome), [row(&right, "mirror", "same")]);
    let outcome = run(&list(&[pod("a", &[(&wrong, String::new())])]), &[]).await.expect_code(5);
    assert_eq!(rows(&outcome), [row(&wrong, "mirror", "different")]);
}

#[tokio::test]
async fn an_image_that_no_node_has_pulled_is_not_a_difference() {
    let outcome = run(&list(&[pod("a", &[(WEB, String::new())])]), &[]).await.expect_success();
    assert_eq!(rows(&outcome), [row(WEB, "mirror", "unknown")]);
}

#[tokio::test]
async fn namespaces_select_pods() {
    let mut other = pod("a", &[("quay.io/other:1", String::new())]);
    other["metadata"]["namespace"] = json!("kube-system");
    let pods = list(&[other, pod("b", &[(WEB, format!("x@{}", digest('1')))])]);
    run(&pods, &[]).await.expect_code(5);
    let outcome = run(&pods, &["-n", "shop"]).await.expect_success();
    assert_eq!(rows(&outcome), [row(WEB, "mirror", "same")]);
    let outcome = run(&pods, &["-n", "none"]).await.expect_code(3);
    assert!(outcome.stderr.contains("no pod in namespace none"), "{outcome}");
}

#[tokio::test]
async fn the_table_names_what_uses_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let lock = write_lock(folder.path(), &IMAGES);
    let pods = list(&[
        pod("a", &[("quay.io/agent:1", String::new())]),
        pod("b", &[("quay.io/agent:1", String::new())]),
    ]);
    let file = folder.path().join("pods.json");
    std::fs::write(&file, pods).unwrap();
    let outcome = with_lock("running", &lock, &[]).arg(file).run().await.expect_code(5);
    let line = outcome.stdout.lines().nth(1).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        ["quay.io/agent:1", "outside", "not-locked", "-", "-", "Pod", "shop/a", "and", "1", "more"]
    );
    assert!(outcome.stdout.contains("--add-running"), "{outcome}");
}

#[tokio::test]
async fn what_is_not_the_output_of_kubectl_is_refused() {
    for text in ["", "{\"password\": \"s3cret\"}", "{"] {
        let outcome = run(text, &[]).await.expect_code(3);
        assert!(outcome.stderr.contains("kubectl get pods -A -o json"), "{outcome}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome}");
    }
    let outcome = Mirror::new(["running", "-"]).stdin(list(&[])).run().await.expect_code(2);
    assert!(
        outcome.stderr.contains("thoras-mirror.lock") && outcome.stderr.contains("--lock FILE"),
        "{outcome}"
    );
}

/// The lock of an image whose platforms it does not know: the mirror does.
#[tokio::test]
async fn platforms_that_the_lock_lacks_are_read_from_the_mirror() {
    let registry = Registry::start().await;
    let image = SampleImage::multi_platform("1");
    client::push(&image, registry.address(), "m/app").await;
    let to = format!("{}/m", registry.address().host_port);
    let name = format!("{to}/app:{}", image.tag);
    let lock = json!({
        "schema": "thoras-mirror/lock/v2",
        "destinations": [{"to": to, "naming": "relative"}],
        "platforms": [], "blobs": {},
        "images": [{"source": "vendor.io/p/app:1", "digest": image.root().digest, "platforms": [], "blobs": [],
                    "destinations": [{"to": to, "reference": name, "confirmed": true}]}],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.lock");
    std::fs::write(&path, lock.to_string()).unwrap();
    let judged = async |digest: &str| {
        let pods = list(&[pod("a", &[(&name, format!("x@{digest}"))])]);
        let run = with_lock("running", &path, &["-", "--output", "json"]).stdin(pods).run();
        rows(&run.await).remove(0)[2].clone()
    };
    let child = image.manifests.first().unwrap().digest.to_string();
    assert_eq!(judged(&child).await, "same");
    assert_eq!(judged(&digest('9')).await, "different");
    drop(registry);
    assert_eq!(judged(&child).await, "unknown");
}
