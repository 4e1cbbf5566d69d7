//! Which images a chart, a rendering or a list names: the library, with the real Helm.

mod run_helm;

use std::path::Path;

use thoras_mirror::{
    error::{Failure, Kind},
    internals::enumerate::{
        ChartOptions, Confidence, EnumerateError, Enumeration, ErrorKind, Input, SelectedFrom, Selection,
        enumerate,
    },
    oci::{Namer, Naming},
};

use crate::support::{documents, helm};

const SAMPLE: &str = "./testdata/charts/sample";
const RENDERED: &str = "testdata/rendered/sample.yaml";
const ONES: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const TWOS: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

/// Options for a chart in `testdata`, with the Helm of the tests.
fn chart(chart: &str) -> ChartOptions {
    ChartOptions { chart: chart.to_owned(), helm: Some(helm::program()), ..ChartOptions::default() }
}

async fn images_of(options: ChartOptions) -> Result<Enumeration, EnumerateError> {
    enumerate(&Selection::all_of(SelectedFrom::Chart(Box::new(options)))).await
}

async fn rendered(text: &str) -> Result<Enumeration, EnumerateError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let input = Input::File(file.path().to_owned());
    enumerate(&Selection::all_of(SelectedFrom::Rendered(input))).await
}

fn references(found: &Enumeration) -> Vec<String> {
    found.images.iter().map(|image| image.reference.to_string()).collect()
}

/// `image, confidence, kind, path, template`: why each image of the sample is there.
fn uses(found: &Enumeration) -> Vec<String> {
    let lines = found.images.iter().flat_map(|image| {
        image.uses.iter().map(|place| {
            let short = image.reference.to_string().replace("registry.example.com/vendor/", "");
            let template = place.template.as_deref().unwrap_or("-").replace("sample/templates/", "");
            format!("{short} {:?} {} {} {template}", place.confidence, place.kind, place.path)
        })
    });
    lines.collect()
}

#[tokio::test]
async fn the_sample_chart_names_its_images_and_nothing_else() {
    let found = images_of(chart(SAMPLE)).await.unwrap();
    let blue = format!("engine@{ONES} PodSpec Deployment spec.template.spec.containers[1].image web.yaml");
    let green = format!("engine@{TWOS} PodSpec Deployment spec.template.spec.containers[2].image web.yaml");
    assert_eq!(
        uses(&found),
        [
            blue.as_str(),
            green.as_str(),
            "forecast:1.4.2 Named Deployment spec.template.spec.containers[0].env[0].value web.yaml",
            "migrate:1.4.2 PodSpec Job spec.template.spec.containers[0].image migrate.yaml",
            "proxy:1.4.2 CustomResource Gateway spec.proxy.image gateway.yaml",
            "report:1.4.2 PodSpec CronJob spec.jobTemplate.spec.template.spec.containers[0].image report.yaml",
            r#"runner:1.4.2 Named ConfigMap data["runner.yaml"].runner.image settings.yaml"#,
            "sidecar:1.4.2 Named Deployment spec.template.spec.containers[0].args[0] web.yaml",
            "web:1.4.2 PodSpec Deployment spec.template.spec.containers[0].image web.yaml",
            "worker:1.4.2 PodSpec Deployment spec.template.spec.initContainers[0].image web.yaml",
        ]
    );
    let identity = found.chart.unwrap();
    assert_eq!((identity.name.as_str(), identity.version.as_str()), ("sample", "1.4.2"));
    assert_eq!(identity.digest, None, "an unpacked folder has no digest");
    assert_eq!(found.source_prefix.as_deref(), Some("registry.example.com/vendor"));
    assert_eq!(found.notes, []);
}

#[tokio::test]
async fn custom_resource_definitions_never_name_images() {
    let plain = images_of(chart(SAMPLE)).await.unwrap();
    let with_crds = images_of(ChartOptions { include_crds: true, ..chart(SAMPLE) }).await.unwrap();
    assert_eq!(references(&with_crds), references(&plain));
}

#[tokio::test]
async fn the_committed_rendering_is_current() {
    let current = helm::run(&["template", SAMPLE]).await;
    let committed = std::fs::read_to_string(RENDERED).unwrap();
    assert!(current == committed, "regenerate it: helm template {SAMPLE} > {RENDERED}");

    let input = Input::File(RENDERED.into());
    let from_file = enumerate(&Selection::all_of(SelectedFrom::Rendered(input))).await.unwrap();
    let from_chart = images_of(chart(SAMPLE)).await.unwrap();
    assert_eq!(from_file.images, from_chart.images);
    assert_eq!(from_file.chart, None);
}

#[tokio::test]
async fn values_decide_which_images_are_found() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(folder.path().file_name().unwrap()).join("values, too.yaml");
    std::fs::write(&relative, "image: {registry: '127.0.0.1:5000/a'}\ncache: {enabled: true}\n").unwrap();
    let options = ChartOptions {
        values: vec![relative.display().to_string()],
        set: vec!["image.registry=127.0.0.1:5000/b".into()],
        set_string: vec!["cache.tag=20240101".into()],
        ..chart(SAMPLE)
    };
    let found = images_of(options).await.unwrap();
    assert_eq!(found.images.len(), 11);
    assert!(references(&found).contains(&"127.0.0.1:5000/b/cache:20240101".to_owned()));
    assert!(references(&found).iter().all(|reference| reference.starts_with("127.0.0.1:5000/b/")));
}

#[tokio::test]
async fn two_repositories_with_the_same_last_component_collide() {
    let found = images_of(chart("testdata/charts/collision")).await.unwrap();
    let sources: Vec<_> = found.images.iter().map(|image| image.reference.clone()).collect();
    let namer =
        |naming| Namer::new("mirror.example.com".parse().unwrap(), naming, found.source_prefix.clone());
    assert!(namer(Naming::Last).map_all(&sources).is_err());
    assert!(namer(Naming::Relative).map_all(&sources).is_ok());
}

#[tokio::test]
async fn filters_keep_and_drop_but_names_do_not_depend_on_them() {
    let mut selection = Selection::all_of(SelectedFrom::Rendered(Input::File(RENDERED.into())));
    selection.include = vec!["*/w*".to_owned()];
    selection.exclude = vec!["*:1.4.2".to_owned()];
    let error = enumerate(&selection).await.unwrap_err();
    assert_eq!(error.to_string(), "--include/--exclude leave out all 10 images");
    assert_eq!(error.kind(), ErrorKind::Usage);

    selection.exclude = vec!["**/worker".to_owned()];
    let found = enumerate(&selection).await.unwrap();
    assert_eq!(references(&found), ["registry.example.com/vendor/web:1.4.2"]);
    assert_eq!(found.source_prefix.as_deref(), Some("registry.example.com/vendor"));
}

#[tokio::test]
async fn image_prefix_finds_images_outside_pod_specs() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {worker: 'team/worker:1'}\n";
    assert!(matches!(rendered(text).await, Err(EnumerateError::NoImages { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut selection = Selection::all_of(SelectedFrom::Rendered(Input::File(file.path().to_owned())));
    selection.image_prefixes = vec!["docker.io/team".to_owned()];
    let found = enumerate(&selection).await.unwrap();
    assert_eq!(found.images[0].uses[0].confidence, Confidence::Named);
    assert_eq!(found.images[0].uses[0].path, "data.worker");
}

#[tokio::test]
async fn lists_and_arguments_are_normalized_and_unique() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# ours\nquay.io/a/b:1\n\nnginx # short\ndocker.io/library/nginx:latest\n")
        .unwrap();
    let listed = SelectedFrom::List(Input::File(file.path().to_owned()));
    let found = enumerate(&Selection::all_of(listed)).await.unwrap();
    assert_eq!(references(&found), ["docker.io/library/nginx:latest", "quay.io/a/b:1"]);
    assert_eq!(found.images[0].written, "nginx");

    let typed = SelectedFrom::References(vec!["quay.io/a/b:1".to_owned(), "UPPER/case".to_owned()]);
    let error = enumerate(&Selection::all_of(typed)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("UPPER/case"));
}

#[tokio::test]
async fn unreadable_input_is_reported_by_line_without_its_content() {
    let missing = SelectedFrom::Rendered(Input::File("no/such/file.yaml".into()));
    let failure = Failure::from(enumerate(&Selection::all_of(missing)).await.unwrap_err());
    assert_eq!(failure.kind, Kind::Input);
    assert_eq!(failure.message, "cannot read no/such/file.yaml");
    assert_eq!(failure.causes, ["No such file or directory (os error 2)"]);

    let broken = "kind: A\n---\nkind: Secret\nstringData:\n  password: hunter2: hunter2\n";
    let error = rendered(broken).await.unwrap_err();
    assert!(error.to_string().ends_with(", line 5: this is not valid YAML"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));

    let error = rendered("kind: Service\n").await.unwrap_err();
    assert!(matches!(error, EnumerateError::NoImages { .. }) && error.kind() == ErrorKind::Input);
}

#[tokio::test]
async fn an_enumeration_is_a_document_in_camel_case() {
    let found = images_of(chart(SAMPLE)).await.unwrap();
    let document = serde_json::to_value(&found).unwrap();
    assert_eq!(document["chart"], serde_json::json!({"name": "sample", "version": "1.4.2"}));
    assert_eq!(document["sourcePrefix"], "registry.example.com/vendor");
    assert_eq!(document["images"][2]["uses"][0]["confidence"], "named");
    let schema = schemars::schema_for!(Enumeration);
    documents::assert_follows(&document, schema.as_value());
}
