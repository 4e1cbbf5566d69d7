use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::enumerate::{Confidence, Image, ImageUse, NoteKind};

fn scan_all(text: &str, given: &[&str]) -> Result<(Vec<Image>, Vec<Note>), EnumerateError> {
    let given: Vec<String> = given.iter().map(ToString::to_string).collect();
    let mut images = ImageSet::default();
    let options = ScanOptions { prefixes: &given, test_hooks: true };
    let notes = scan("file.yaml", text, options, &mut images)?;
    Ok((images.into_sorted(), notes))
}

/// `written | confidence | path` of every use, sorted by reference.
fn uses(text: &str) -> Vec<String> {
    let (images, _) = scan_all(text, &[]).unwrap();
    let describe = |image: &Image| {
        let line =
            |place: &ImageUse| format!("{} | {:?} | {}", image.reference, place.confidence, place.path);
        image.uses.iter().map(line).collect::<Vec<_>>()
    };
    images.iter().flat_map(describe).collect()
}

fn references(text: &str) -> Vec<String> {
    scan_all(text, &[]).unwrap().0.iter().map(|image| image.reference.to_string()).collect()
}

/// Real charts, cut down. Each `=== NAME` is followed by manifests, `--- want`, and what they must give.
const INPUTS: [&str; 8] = [
    include_str!("../../../testdata/manifests/charts.txt"),
    include_str!("../../../testdata/manifests/config_maps.txt"),
    include_str!("../../../testdata/manifests/custom_resources.txt"),
    include_str!("../../../testdata/manifests/environment_and_arguments.txt"),
    include_str!("../../../testdata/manifests/found_in_the_field.txt"),
    include_str!("../../../testdata/manifests/operators.txt"),
    include_str!("../../../testdata/manifests/public_charts.txt"),
    include_str!("../../../testdata/manifests/spellings.txt"),
];

#[test]
fn inputs_of_every_kind_give_exactly_their_images() {
    let inputs = INPUTS.iter().flat_map(|file| file.split("\n=== ").skip(1));
    let mut count = 0;
    for input in inputs {
        let (name, rest) = input.split_once('\n').unwrap();
        let (manifests, wanted) = rest.split_once("\n--- want").unwrap();
        let (images, notes) = scan_all(manifests, &[]).unwrap();
        let notes: Vec<String> = notes.iter().map(Note::message).collect();
        let mut expected = Vec::new();
        for line in wanted.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("note:") {
                Some(part) => {
                    assert!(notes.iter().any(|note| note.contains(part.trim())), "{name}: {notes:?}");
                }
                None if line == "nonotes" => assert_eq!(notes, Vec::<String>::new(), "{name}"),
                None => expected.push(line.to_owned()),
            }
        }
        expected.sort();
        let mut found: Vec<String> = images.iter().map(|image| image.reference.to_string()).collect();
        found.sort();
        assert_eq!(found, expected, "{name}: {notes:?}");
        count += 1;
    }
    assert_eq!(count, 228);
}

#[test]
fn only_a_field_is_certain_in_a_custom_resource_bug() {
    let thing = |spec: &str| format!("apiVersion: acme.io/v1\nkind: Thing\nspec: {spec}\n");
    for (spec, expected) in [
        ("{image: 'acme/web:1'}", "docker.io/acme/web:1 | CustomResource | spec.image"),
        ("{image: {name: traefik, tag: v2}}", "docker.io/library/traefik:v2 | CustomResource | spec.image"),
        // The operator may have a default registry.
        (
            "{image: {name: cluster-agent, tag: '1'}}",
            "docker.io/library/cluster-agent:1 | Named | spec.image",
        ),
        // A build pushes it before anything pulls it.
        ("{output: {image: 'acme/web:1'}}", "docker.io/acme/web:1 | Named | spec.output.image"),
        ("{exemptImages: ['acme/web:1']}", "docker.io/acme/web:1 | Named | spec.exemptImages[0]"),
        ("{expr: 'up{image=\"quay.io/acme/web:1\"}'}", "quay.io/acme/web:1 | Named | spec.expr"),
    ] {
        assert_eq!(uses(&thing(spec)), [expected], "{spec}");
    }
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec:\n";

#[test]
fn every_list_of_a_pod_spec_counts() {
    let text = format!(
        "# Source: c/templates/pod.yaml\n{POD}  containers: [{{name: a, image: q.io/a:1}}]\n  initContainers: [{{name: b, image: q.io/b:1}}]\n  \
         ephemeralContainers: [{{name: c, image: q.io/c:1}}]\n  volumes:\n  - name: v\n    image: {{reference: q.io/v:1}}\n  imagePullSecrets: [{{name: q.io/no:1}}]\n"
    );
    assert_eq!(
        uses(&text),
        [
            "q.io/a:1 | PodSpec | spec.containers[0].image",
            "q.io/b:1 | PodSpec | spec.initContainers[0].image",
            "q.io/c:1 | PodSpec | spec.ephemeralContainers[0].image",
            "q.io/v:1 | PodSpec | spec.volumes[0].image.reference",
        ]
    );
    let (images, _) = scan_all(&text, &[]).unwrap();
    assert_eq!(images[0].uses[0].location(), "Pod ns/p at spec.containers[0].image (c/templates/pod.yaml)");
}

#[test]
fn workloads_lists_and_pod_templates_in_custom_resources() {
    let text = "
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: nightly}
  spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: 'q.io/cron:1'}]}}}}}
- apiVersion: keda.sh/v1alpha1
  kind: ScaledJob
  spec: {jobTargetRef: {template: {spec: {containers: [{name: a, image: 'q.io/keda:1'}]}}}}
- apiVersion: v1
  kind: Secret
  stringData: {image: 'q.io/secret:1'}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  templates:
  - container: {image: alpine, args: ['--next=q.io/arg:1']}
  - script: {image: 'python:3'}
  - container: {image: '{{inputs.parameters.image}}'}
---
apiVersion: tekton.dev/v1
kind: Task
spec: {steps: [{name: s, image: q.io/step:1}], sidecars: [{image: 'q.io/side:1'}]}
---
apiVersion: serving.knative.dev/v1
kind: Service
spec: {template: {spec: {containers: [{image: 'q.io/knative:1'}]}}}
";
    assert_eq!(
        references(text),
        [
            "docker.io/library/alpine:latest",
            "docker.io/library/python:3",
            "q.io/arg:1",
            "q.io/cron:1",
            "q.io/keda:1",
            "q.io/knative:1",
            "q.io/side:1",
            "q.io/step:1"
        ]
    );
    let (_, notes) = scan_all(text, &[]).unwrap();
    assert_eq!(notes.len(), 1, "the placeholder is passed over, but not silently");
    assert_eq!(notes[0].found_at.path, "spec.templates[2].container.image");
}

#[test]
fn custom_resources_write_images_in_many_shapes() {
    let text = "
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: p, labels: {app.kubernetes.io/image: 'q.io/label:1'}}
spec:
  image: q.io/prometheus:v2
  version: v2
  thanos: {baseImage: q.io/thanos, version: v0.3}
  sidecarImage: q.io/sidecar:1
  logo: {image: logo.png}
  icon: {image: 'https://q.io/icon:1'}
  driver: {repository: nvcr.io/nvidia, image: driver, version: '535.1'}
  proxy: {image: {registry: q.io, repository: team/proxy, tag: 3, digest: ''}}
  relatedImages: [{name: x, image: 'q.io/related:1'}]
  images: {one: 'q.io/one:1', note: none}
  kustomize: {images: ['old=q.io/new:2', {name: nginx, newTag: '1.2'}]}
  title: image of q.io
";
    assert_eq!(
        references(text),
        [
            "docker.io/library/nginx:1.2",
            "nvcr.io/nvidia/driver:535.1",
            "q.io/new:2",
            "q.io/one:1",
            "q.io/prometheus:v2",
            "q.io/related:1",
            "q.io/sidecar:1",
            "q.io/team/proxy:3",
            "q.io/thanos:v0.3"
        ]
    );
}

#[test]
fn schemas_describe_images_and_name_none() {
    let text = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions: [{schema: {openAPIV3Schema: {properties: {image: {default: 'q.io/default:1', type: string}, containers: {items: [{image: 'x y'}]}}}}}]
---
apiVersion: apiextensions.crossplane.io/v1
kind: CompositeResourceDefinition
spec: {versions: [{schema: {openAPIV3Schema: {properties: {image: 'q.io/default:1'}}}}]}
";
    assert_eq!(references(text), Vec::<String>::new());
}

#[test]
fn environment_arguments_and_config_maps_name_images_by_key_and_by_shape() {
    let text = format!(
        "{POD}  containers:
  - name: a
    image: q.io/team/a:1
    env:
    - {{name: FORECAST_IMAGE, value: 'q.io/team/forecast:1'}}
    - {{name: REGISTRY, value: q.io/team}}
    - {{name: WORKER, value: '$(REGISTRY)/worker:1'}}
    - {{name: ELSEWHERE, value: 'other.io/team/x:1'}}
    - {{name: NEIGHBOR, value: 'q.io/others/x:1'}}
    - {{name: MODULE, value: 'github.com/team/x'}}
    - {{name: URL, value: 'https://q.io/team/url:1'}}
    args: ['--image=q.io/team/flag:1', '--registry', q.io/team, 'run q.io/team/shell:1 && true', '--x=postgres:5432']
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: c}}
data:
  image: q.io/team/data:1
  app.yaml: |
    # q.io/team/comment:1
    worker:
      image: {{registry: q.io, repository: team/split, tag: v1}}
      helper: q.io/team/yaml:1
    nested: |
      deep: {{image: 'q.io/team/deep:1'}}
  run.sh: |
    #!/bin/sh
    # q.io/team/comment:2
    docker run q.io/team/script:1 'unclosed
  app.json: '{{\"image\": \"q.io/team/json:1\", \"url\": \"https://q.io/team/url:2\"}}'
"
    );
    assert_eq!(
        uses(&text),
        [
            "other.io/team/x:1 | Mentioned | spec.containers[0].env[3].value",
            "q.io/others/x:1 | Mentioned | spec.containers[0].env[4].value",
            "q.io/team/a:1 | PodSpec | spec.containers[0].image",
            "q.io/team/data:1 | Named | data.image",
            r#"q.io/team/deep:1 | Named | data["app.yaml"].nested.deep.image"#,
            "q.io/team/flag:1 | Named | spec.containers[0].args[0]",
            "q.io/team/forecast:1 | Named | spec.containers[0].env[0].value",
            r#"q.io/team/json:1 | Named | data["app.json"].image"#,
            r#"q.io/team/script:1 | Mentioned | data["run.sh"]"#,
            "q.io/team/shell:1 | Mentioned | spec.containers[0].args[3]",
            r#"q.io/team/split:v1 | Named | data["app.yaml"].worker.image"#,
            "q.io/team/worker:1 | Mentioned | spec.containers[0].env[2].value",
            r#"q.io/team/yaml:1 | Mentioned | data["app.yaml"].worker.helper"#,
        ]
    );
    let (images, _) = scan_all(&text, &["other.io/team"]).unwrap();
    assert!(images.iter().any(|image| image.written == "other.io/team/x:1"));
}

#[test]
fn a_pod_spec_whose_image_is_unusable_is_an_error_with_its_place() {
    for (image, expected) in [
        ("7", "Pod ns/p at spec.containers[0].image: the image is not text"),
        (
            "'q.io/a:'",
            "Pod ns/p at spec.containers[0].image: `` is not a tag: letters, digits, _ . and -, not starting with . or -, 128 characters at most",
        ),
    ] {
        let text = format!("{POD}  containers:\n  - name: a\n    image: {image}\n");
        assert_eq!(scan_all(&text, &[]).unwrap_err().to_string(), expected);
    }
    // Kubernetes permits a template without an image, and a component that is switched off may leave it empty.
    let widget = "apiVersion: acme.io/v1\nkind: Widget\nmetadata: {name: p}\nspec:\n";
    for (resource, image) in [(POD, "''"), (POD, "' '"), (POD, ""), (widget, "''")] {
        let text = format!(
            "{resource}  containers: [{{name: a, image: {image}}}, {{name: b, image: q.io/a/b:1}}]\n"
        );
        let (images, notes) = scan_all(&text, &[]).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(notes[0].kind, NoteKind::NoImage);
        let message = notes[0].message();
        assert!(
            message.contains("p at spec.containers[0].image: the container's image is empty; set"),
            "{message}"
        );
    }
    let (_, notes) = scan_all(&format!("{POD}  containers: [{{name: a}}]\n"), &[]).unwrap();
    assert_eq!(notes[0].reason, "the container names no image; an operator or a webhook sets it");
}

#[test]
fn broken_yaml_names_the_line_of_the_file_and_no_content() {
    let text = format!("---\n{POD}  containers: []\n---\nkind: Secret\nstringData:\n  token: hunter2: x\n");
    let error = scan_all(&text, &[]).unwrap_err();
    assert_eq!(error.to_string(), "file.yaml, line 10: this is not valid YAML");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn one_image_written_twice_is_one_image() {
    let text = format!(
        "{POD}  containers: [{{name: a, image: nginx}}, {{name: b, image: 'docker.io/library/nginx:latest'}}]\n"
    );
    let (images, _) = scan_all(&text, &[]).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].uses.len(), 2);
    assert_eq!(images[0].written, "nginx");
}

/// The deepest YAML that is read, in the deepest place where it can be embedded, on a test thread's stack.
#[test]
fn depth_stays_within_the_stack() {
    let deep = |inside: &str, levels: usize| format!("{}{inside}{}", "[".repeat(levels), "]".repeat(levels));
    let mut text = "q.io/a/deep:1".to_owned();
    for _ in 0..4 {
        text = deep(&serde_json::to_string(&text).unwrap(), 60);
    }
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": text}});
    let pod = format!("{POD}  containers: [{{name: a, image: q.io/a/b:1}}]\n---\n{config}");
    let found = references(&pod);
    assert!(found.contains(&"q.io/a/b:1".to_owned()), "{found:?}");
}

proptest! {
    #[test]
    fn scanning_never_panics(text in "(?s)(kind: |apiVersion: v1\n|image: |containers:\n|- |  |\\{|\\}|&a |\\*a|[a-z/:.@]|.){0,60}") {
        let _ = scan_all(&text, &["q.io/a"]);
    }

    /// A container list is found below any chain of keys and list items, in any kind but the closed ones.
    #[test]
    fn a_pod_spec_anywhere_is_found(
        // A few keys, such as `env` and `args`, say that what is below them are settings; none begins with x.
        chain in prop::collection::vec(
            prop_oneof!["x[a-z]{0,5}|spec|template|jobs".prop_map(Some), Just(None)], 0..8),
        list in prop_oneof![Just("containers"), Just("initContainers"), Just("ephemeralContainers")],
        kind in prop_oneof![Just(("apps/v1", "Deployment")), Just(("x.io/v1", "Anything")), Just(("batch/v1", "CronJob"))],
        position in 0..4_usize,
    ) {
        let mut containers = vec![json!({"name": "other", "image": "other.io/x:1"}); position];
        containers.push(json!({"name": "this", "image": "q.io/team/this:1"}));
        let mut value = json!({ list: containers });
        for link in chain {
            value = link.map_or_else(|| json!({"list": [value]}), |key| json!({ key: value }));
        }
        let document = json!({"apiVersion": kind.0, "kind": kind.1, "spec": value});
        let (images, _) = scan_all(&document.to_string(), &[]).unwrap();
        let found = images.iter().find(|image| image.written == "q.io/team/this:1").unwrap();
        prop_assert_eq!(found.uses[0].confidence, Confidence::PodSpec);
    }

    /// Nothing of a Secret appears in the output, wherever it is: alone, in a list, in a custom resource, or in text that
    /// may not even be YAML.
    #[test]
    fn the_content_of_a_secret_never_leaks(
        key in prop_oneof![Just("image"), Just("password"), Just("SIDECAR_IMAGE"), Just("config.yaml")],
        value in prop_oneof![Just("reg.io/hunter2/a:1"), Just("image: hunter2/a:1"), Just("hunter2"), Just("${x}reg.io/hunter2:1"), Just("{image: 'a/hunter2:'}")],
        field in prop_oneof![Just("stringData"), Just("data")],
        place in 0..6_usize,
        broken in any::<bool>(),
    ) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, field: {key: value}});
        let pretty = format!("kind: Secret\napiVersion: v1\n{field}:\n  {key}: {}\n", json!(value));
        let text = if broken { format!("x: {{{{ .y }}}}: z\n{pretty}") } else { pretty };
        let config = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data});
        let document = match place {
            0 => secret,
            1 => json!({"apiVersion": "v1", "kind": "List", "items": [secret]}),
            2 => json!({"apiVersion": "x.io/v1", "kind": "Work", "spec": {"manifests": [secret]}}),
            3 => config(json!({"a.yaml": text})),
            4 => config(json!({"a.yaml": format!("kind: Pod\n---\n{text}")})),
            _ => json!({"apiVersion": "x.io/v1", "kind": "Work", "spec": {"values": text}}),
        };
        let shown = format!("{:?}", scan_all(&document.to_string(), &["reg.io", "docker.io/hunter2"]));
        prop_assert!(!shown.contains("hunter2"), "{} of {}", shown, document);
    }
}

/// Otherwise Ctrl-C waits for the end of the scan.
#[tokio::test]
async fn the_runtime_is_free_during_a_scan_bug() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: quay.io/a/b:1}]}\n---\n";
    let options = ScanOptions { prefixes: &[], test_hooks: false };
    let mut scanning = std::pin::pin!(scan_on_thread("file.yaml", pod.repeat(10_000), options));
    assert!(futures::poll!(&mut scanning).is_pending());
    let (images, notes) = scanning.await.unwrap();
    let images: Vec<_> = images.into_sorted().iter().map(|image| image.reference.to_string()).collect();
    assert_eq!((images, notes.len()), (vec!["quay.io/a/b:1".to_owned()], 0));
}
