//! What is mirrored besides pod specs, what is not, and how a person changes that.

use crate::support::{documents, fake_helm::chart, helm, process::Mirror};

const WEB: &str = "registry.example.com/annotated/web:0.2.0";
const CHECK: &str = "registry.example.com/annotated/check:0.2.0";
const CACHE: &str = "registry.example.com/annotated/cache:7";
const WORKER: &str = "docker.io/team/worker:0.2.0";
const BACKUP: &str = "registry.example.com/annotated/backup:0.2.0";
const RESTORE: &str = "elsewhere.example.com/annotated/restore:0.2.0";

/// `thoras-mirror images` on a chart with annotations, mentions and a test hook.
fn annotated(more: &[&str]) -> Mirror {
    let program = helm::program().display().to_string();
    Mirror::new(["images", "--chart", &chart("annotated"), "--helm", &program].iter().chain(more))
}

async fn images(more: &[&str]) -> Vec<String> {
    let outcome = annotated(more).run().await.expect_success();
    outcome.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn mentions_count_as_far_as_they_are_asked_for() {
    assert_eq!(images(&[]).await, [WORKER, CACHE, CHECK, WEB]);
    assert_eq!(images(&["--mentions", "all"]).await, [WORKER, CACHE, CHECK, WEB]);
    assert_eq!(images(&["--mentions", "named"]).await, [WORKER, CHECK, WEB]);
    assert_eq!(images(&["--mentions", "none"]).await, [CHECK, WEB]);
    assert_eq!(
        images(&["--mentions", "named", "--image-prefix", "docker.io/others"]).await,
        ["docker.io/others/peer:1.2.3", WORKER, CHECK, WEB]
    );
}

#[tokio::test]
async fn a_skipped_mention_is_noted_once_with_the_flag_that_adds_it() {
    let outcome = annotated(&["--output", "json"]).run().await.expect_success();
    let expected = "not mirrored: others/peer:1.2.3 (Deployment web at spec.template.spec.containers[0].args[2] \
                    (annotated/templates/all.yaml)), because neither its key nor a registry marks it as an image; add it with --add others/peer:1.2.3";
    assert_eq!(outcome.stderr.matches(expected).count(), 1, "{outcome}");
    let document = documents::parse(&outcome.stdout, "images.v1.json");
    let notes = document["notes"].as_array().unwrap();
    assert_eq!(notes[0]["kind"], "not-taken");
    assert_eq!(notes[0]["reference"], "others/peer:1.2.3");
    assert_eq!(notes[0]["remedy"], "add it with --add others/peer:1.2.3");
    let entry = |reference: &str| {
        document["images"]
            .as_array()
            .unwrap()
            .iter()
            .find(|image| image["reference"] == reference)
            .unwrap()
            .clone()
    };
    assert_eq!((&entry(CACHE)["optional"], &entry(WORKER)["optional"]), (&true.into(), &true.into()));
    assert_eq!(entry(WEB)["optional"], serde_json::Value::Null);
    assert_eq!(entry(CHECK)["testOnly"], true);

    let outcome = annotated(&["--add", "others/peer:1.2.3"]).run().await.expect_success();
    assert!(outcome.stdout.contains("docker.io/others/peer:1.2.3\n"), "{outcome}");
    assert!(!outcome.stderr.contains("not mirrored: others/peer"), "{outcome}");
    assert!(!outcome.stderr.contains("not listed: docker.io/others/peer"), "what was added was not found");
}

#[tokio::test]
async fn added_images_extend_a_chart_and_never_change_the_common_prefix() {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "# by hand\nquay.io/by/hand:1\n").unwrap();
    let added = ["--add", "nginx", "--add-images", list.path().to_str().unwrap()];
    let found = images(&added).await;
    assert!(found.contains(&"docker.io/library/nginx:latest".to_owned()), "{found:?}");
    assert!(found.contains(&"quay.io/by/hand:1".to_owned()), "{found:?}");
    let outcome =
        annotated(&[&added[..], &["--annotated", "--output", "json"]].concat()).run().await.expect_success();
    let document = documents::parse(&outcome.stdout, "images.v1.json");
    assert_eq!(document["sourcePrefix"], "registry.example.com/annotated");
    let outcome = annotated(&["--add", "Not_A/Reference:"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("Not_A/Reference"), "{outcome}");
}

#[tokio::test]
async fn annotations_are_a_cross_check() {
    let outcome = annotated(&[]).run().await.expect_success();
    for missing in [BACKUP, RESTORE] {
        assert!(outcome.stderr.contains(&format!("not mirrored: {missing} (Chart annotated")), "{outcome}");
    }
    assert!(outcome.stderr.contains("3 of the images found are not listed"), "{outcome}");
    let found = images(&["--annotated"]).await;
    assert_eq!(found, [WORKER, RESTORE, BACKUP, CACHE, CHECK, WEB]);
    let outcome = annotated(&["--annotated"]).run().await.expect_success();
    assert!(!outcome.stderr.contains("annotations["), "{outcome}");
}

#[tokio::test]
async fn images_of_test_hooks_are_marked_and_can_be_left_out() {
    assert_eq!(images(&["--no-test-hooks"]).await, [WORKER, CACHE, WEB]);
    let outcome = annotated(&["--output", "table"]).run().await.expect_success();
    let line = outcome.stdout.lines().find(|line| line.starts_with(CHECK)).unwrap();
    assert!(line.contains("test hook"), "{line}");
}

#[tokio::test]
async fn a_rendering_without_images_says_what_needs_one() {
    let manifest = "apiVersion: kibana.k8s.elastic.co/v1\nkind: Kibana\nmetadata: {name: logs}\nspec: {version: 8.15.0}\n";
    let outcome = Mirror::new(["images", "--rendered", "-"]).stdin(manifest).run().await.expect_code(3);
    assert!(outcome.stderr.contains("standard input names no image"), "{outcome}");
    assert!(outcome.stderr.contains("Kibana logs: it names version 8.15.0 but no image"), "{outcome}");
}

#[tokio::test]
async fn a_chart_that_another_program_installs_is_noted_with_the_command_that_lists_it() {
    let path = format!("{}/testdata/rendered/shapes/08-charts-in-resources.yaml", env!("CARGO_MANIFEST_DIR"));
    let outcome =
        Mirror::new(["images", "--rendered", &path, "--output", "json"]).run().await.expect_success();
    let document = documents::parse(&outcome.stdout, "images.v1.json");
    let charts =
        document["notes"].as_array().unwrap().iter().filter(|note| note["kind"] == "chart-not-rendered");
    assert_eq!(charts.count(), 6);
    let command =
        "run thoras-mirror images --chart edge --repo https://edge.example.com/charts --chart-version 9.1.0";
    assert!(outcome.stderr.contains(command), "{outcome}");
}
