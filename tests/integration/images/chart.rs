//! The sample chart names images in every supported way, and contains text that only looks like an image.

use insta::assert_snapshot;

use super::{images, rendered, sample};
use crate::support::{
    documents,
    fake_helm::{FakeHelm, chart},
    process::Mirror,
};

const EXPECTED: &str = "\
registry.example.com/vendor/engine@sha256:1111111111111111111111111111111111111111111111111111111111111111
registry.example.com/vendor/engine@sha256:2222222222222222222222222222222222222222222222222222222222222222
registry.example.com/vendor/forecast:1.4.2
registry.example.com/vendor/migrate:1.4.2
registry.example.com/vendor/proxy:1.4.2
registry.example.com/vendor/report:1.4.2
registry.example.com/vendor/runner:1.4.2
registry.example.com/vendor/sidecar:1.4.2
registry.example.com/vendor/web:1.4.2
registry.example.com/vendor/worker:1.4.2
";

#[tokio::test]
async fn the_list_is_sorted_and_nothing_else_is_on_stdout() {
    let outcome = sample(&[]).run().await.expect_success();
    assert_eq!(outcome.stdout, EXPECTED);
    assert_eq!(outcome.stderr, "");
    let outcome = images(&["--rendered", &rendered()]).await.expect_success();
    assert_eq!(outcome.stdout, EXPECTED, "as `helm template` renders it, so it is");
}

#[tokio::test]
async fn why_shows_where_each_image_was_found() {
    let outcome = sample(&["--output", "table", "--why"]).run().await.expect_success();
    assert_snapshot!("table", outcome.stdout);
    let outcome = sample(&["--why"]).run().await.expect_success();
    assert_snapshot!("list_with_reasons", outcome.stdout);
}

#[tokio::test]
async fn every_kind_of_image_field_is_reported_with_its_path() {
    let outcome = sample(&["--output", "json"]).run().await.expect_success();
    let document = documents::parse(&outcome.stdout, "images.v1.json");
    assert_eq!(document["chart"]["name"], "sample");
    assert_eq!(document["chart"]["version"], "1.4.2");
    assert_eq!(document["sourcePrefix"], "registry.example.com/vendor");
    let found = document["images"].as_array().unwrap();
    for (image, kind, confidence) in [
        ("report:1.4.2", "CronJob", "pod-spec"),
        ("migrate:1.4.2", "Job", "pod-spec"),
        ("worker:1.4.2", "Deployment", "pod-spec"),
        ("forecast:1.4.2", "Deployment", "named"),
        ("sidecar:1.4.2", "Deployment", "named"),
        ("proxy:1.4.2", "Gateway", "custom-resource"),
        ("runner:1.4.2", "ConfigMap", "named"),
    ] {
        let reference = format!("registry.example.com/vendor/{image}");
        let entry = found.iter().find(|entry| entry["reference"] == reference).unwrap();
        let uses = entry["uses"].as_array().unwrap();
        assert_eq!(uses.len(), 1, "{entry}");
        assert_eq!((&uses[0]["kind"], &uses[0]["confidence"]), (&kind.into(), &confidence.into()), "{image}");
    }
    for decoy in ["schema-", "not-an-image", "from-a-secret", "old-runner", "postgres", "logo.png", "docs."] {
        assert!(!outcome.stdout.contains(decoy), "{decoy} is no image");
    }
}

#[tokio::test]
async fn an_image_that_depends_on_a_value_is_found_only_with_it() {
    let outcome = sample(&["--set", "cache.enabled=true,cache.tag=8"]).run().await.expect_success();
    let cache = "registry.example.com/vendor/cache:8";
    assert_eq!(outcome.stdout.lines().filter(|line| *line == cache).count(), 1, "{outcome}");
    assert_eq!(outcome.stdout.lines().count(), EXPECTED.lines().count() + 1);

    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), "cache: {enabled: true, tag: '9'}").unwrap();
    let file = values.path().to_str().unwrap();
    let outcome = sample(&["-f", file]).run().await.expect_success();
    assert!(outcome.stdout.contains("vendor/cache:9\n"), "{outcome}");
    let outcome = sample(&["-f", file, "--set", "cache.enabled=false"]).run().await.expect_success();
    assert_eq!(outcome.stdout, EXPECTED, "--set wins over values");
}

#[tokio::test]
async fn filters_keep_and_drop() {
    let outcome = sample(&["--include", "*engine*", "--include", "*/web"]).run().await.expect_success();
    assert_eq!(outcome.stdout.lines().count(), 3, "{outcome}");
    let outcome = sample(&["--exclude", "*engine*"]).run().await.expect_success();
    assert_eq!(outcome.stdout.lines().count(), 8, "{outcome}");
    let outcome = sample(&["--include", "*nothing*"]).run().await.expect_code(2);
    assert!(outcome.stderr.contains("--include/--exclude leave out all 10 images"), "{outcome}");
}

#[tokio::test]
async fn rendered_crds_name_no_images() {
    let outcome = sample(&["--include-crds"]).run().await.expect_success();
    assert_eq!(outcome.stdout, EXPECTED);
}

#[tokio::test]
async fn the_environment_names_the_chart_unless_the_command_line_says_what_to_mirror_bug() {
    let helm =
        FakeHelm::rendering("kind: Pod\napiVersion: v1\nspec: {containers: [{image: 'quay.io/a/b:1'}]}\n");
    let images = |arguments: &[&str]| {
        Mirror::new(["images"].iter().chain(arguments))
            .env("THORAS_MIRROR_CHART", chart("sample"))
            .env("THORAS_MIRROR_HELM", helm.program())
    };
    assert_eq!(images(&[]).run().await.expect_success().stdout, "quay.io/a/b:1\n");
    assert!(helm.arguments().contains(&chart("sample")));
    assert_eq!(images(&["--rendered", &rendered()]).run().await.expect_success().stdout, EXPECTED);
    assert_eq!(images(&["quay.io/x/y:1"]).run().await.expect_success().stdout, "quay.io/x/y:1\n");
}

#[tokio::test]
async fn two_images_with_one_destination_fail_before_any_request() {
    let program = crate::support::helm::program().display().to_string();
    // Nothing listens there: it is never contacted.
    let sync = ["sync", "--to", "127.0.0.1:1/mirror", "--naming", "last", "--chart", &chart("collision")];
    let outcome = Mirror::new(sync.into_iter().chain(["--helm", &program])).run().await.expect_code(2);
    for text in
        ["registry.example.com/vendor/web:1.0", "registry.example.com/upstream/web:1.0", "--naming full"]
    {
        assert!(outcome.stderr.contains(text), "{outcome}");
    }
    assert!(!outcome.folder().join("thoras-mirror.lock").exists());
}
