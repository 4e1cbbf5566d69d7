//! Reads what a cluster runs from the output of `kubectl get pods -A -o json`.
//!
//! Pods name what operators and webhooks added, which no manifest names. Other objects with a pod template (a
//! `Deployment`, a `CronJob`) count as well, and lists of either. JSON or YAML, one document or several.

use serde_json::Value;

use super::{EnumerateError, ImageUse, Input, Note, ReadAs, image::ImageSet};
use crate::{
    enumerate::Confidence,
    oci::{Digest, Reference, mapping::Root},
};

/// How deep a pod template can be in an object.
const MAX_DEPTH: usize = 16;

/// The lists of containers in a pod's spec, and those of their states in its status.
const CONTAINERS: [(&str, &str); 3] = [
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
];

/// An image that a container of a pod uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunningContainer {
    /// The image as written in the spec.
    pub(crate) image: String,
    /// The digest that the node reports: of the index, of the platform's manifest, or of the config, depending on the
    /// runtime. `None` if the image was not pulled yet, or if the object is not a pod.
    pub(crate) digest: Option<Digest>,
    /// Where it is used. The path ends with the container's name instead of its index.
    pub(crate) used_at: ImageUse,
}

/// Reads what a cluster runs.
pub(crate) async fn read_running(input: &Input) -> Result<Vec<RunningContainer>, EnumerateError> {
    parse(&input.to_string(), &input.read(ReadAs::Pods).await?)
}

/// Adds the images that a cluster runs, except those below `mirrors`: they are copies already. Returns a note for each
/// image that is not a reference.
pub(super) fn add_extras(
    containers: Vec<RunningContainer>,
    mirrors: &[Root],
    images: &mut ImageSet,
) -> Vec<Note> {
    let roots: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
    let mut notes = Vec::new();
    for RunningContainer { image, used_at, .. } in containers {
        match image.parse::<Reference>() {
            Ok(reference) if roots.iter().any(|root| reference.repository().is_below(root)) => {}
            Ok(reference) => images.add_extra(reference, &image),
            Err(_) => notes.push(
                Note::not_taken(used_at, &image, "it is not an image reference").with_remedy(None::<String>),
            ),
        }
    }
    notes
}

fn parse(input: &str, text: &str) -> Result<Vec<RunningContainer>, EnumerateError> {
    let documents = documents(text).ok_or_else(|| EnumerateError::Pods {
        input: input.to_owned(),
        reason: "is neither JSON nor YAML",
    })?;
    let mut found = Vec::new();
    for document in &documents {
        object(document, "", &mut found);
    }
    if found.is_empty() {
        return Err(EnumerateError::Pods { input: input.to_owned(), reason: "names no container" });
    }
    Ok(found)
}

/// The documents of a text: JSON values one after the other, or YAML.
fn documents(text: &str) -> Option<Vec<Value>> {
    let text = text.trim_start_matches('\u{feff}');
    let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    match json {
        Ok(values) => Some(values),
        Err(_) if text.trim_start().starts_with('{') => None,
        Err(_) => serde_saphyr::from_multiple(text).ok(),
    }
}

/// Collects from an object, or from the objects of a list. An object of a list may leave out its kind.
fn object(value: &Value, kind_of_list: &str, found: &mut Vec<RunningContainer>) {
    if let Some(items) = value.get("items").and_then(Value::as_array) {
        // The API server leaves the kind out of the items of a typed list; `kubectl` writes it.
        let kind = text(value, "kind").strip_suffix("List").unwrap_or_default();
        for item in items {
            object(item, kind, found);
        }
        return;
    }
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or(kind_of_list);
    let mut owner = ImageUse::at(kind, text(metadata, "name"), "");
    owner.confidence = Confidence::PodSpec;
    owner.namespace = metadata.get("namespace").and_then(Value::as_str).map(str::to_owned);
    if let Some(spec) = value.get("spec").filter(|spec| is_pod_spec(spec)) {
        pod_spec(spec, value.get("status").unwrap_or(&Value::Null), "spec", &owner, found);
        return;
    }
    templates(value, "", MAX_DEPTH, &owner, found);
}

/// Finds pod templates below any field.
fn templates(value: &Value, path: &str, depth: usize, owner: &ImageUse, found: &mut Vec<RunningContainer>) {
    if is_pod_spec(value) {
        return pod_spec(value, &Value::Null, path, owner, found);
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => {
            // Annotations and `managedFields` repeat specs in other forms.
            let fields = fields.iter().filter(|(key, _)| *key != "metadata" && *key != "status");
            fields.for_each(|(key, field)| templates(field, &below(key), depth, owner, found));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                templates(item, &format!("{path}[{index}]"), depth, owner, found);
            }
        }
        _ => {}
    }
}

/// Whether it has a list of containers with images.
fn is_pod_spec(value: &Value) -> bool {
    let containers = value.get("containers").and_then(Value::as_array);
    containers.is_some_and(|list| {
        !list.is_empty() && list.iter().any(|container| container.get("image").is_some_and(Value::is_string))
    })
}

fn pod_spec(spec: &Value, observed: &Value, path: &str, owner: &ImageUse, found: &mut Vec<RunningContainer>) {
    for (containers, statuses) in CONTAINERS {
        let states = list(observed, statuses);
        for container in list(spec, containers) {
            let name = text(container, "name");
            let state = states.iter().find(|state| text(state, "name") == name);
            let image = text(container, "image");
            if !image.is_empty() {
                let digest = state.and_then(|state| digest(text(state, "imageID")));
                let used_at = ImageUse { path: format!("{path}.{containers}[{name}]"), ..owner.clone() };
                found.push(RunningContainer { image: image.to_owned(), digest, used_at });
            }
        }
    }
    for volume in list(spec, "volumes") {
        let image = volume.get("image").map(|source| text(source, "reference")).unwrap_or_default();
        if !image.is_empty() {
            let path = format!("{path}.volumes[{}]", text(volume, "name"));
            let used_at = ImageUse { path, ..owner.clone() };
            found.push(RunningContainer { image: image.to_owned(), digest: None, used_at });
        }
    }
}

/// `docker-pullable://NAME@DIGEST`, `NAME@DIGEST`, `docker://DIGEST` or `DIGEST`, depending on the runtime.
fn digest(image_id: &str) -> Option<Digest> {
    let without_scheme = image_id.split_once("://").map_or(image_id, |(_, rest)| rest);
    without_scheme.rsplit_once('@').map_or(without_scheme, |(_, digest)| digest).parse().ok()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn found(value: &Value) -> Vec<(String, bool, String)> {
        let containers = parse("pods.json", &value.to_string()).unwrap();
        let shown = |container: RunningContainer| {
            (container.image, container.digest.is_some(), container.used_at.location())
        };
        containers.into_iter().map(shown).collect()
    }

    #[test]
    fn every_kind_of_container_is_found_with_its_digest() {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
            "spec": {
                "containers": [{"name": "web", "image": "quay.io/a/web:1"}, {"name": "new", "image": "quay.io/a/new:1"}],
                "initContainers": [{"name": "init", "image": "quay.io/a/init:1"}],
                "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
                "volumes": [{"name": "model", "image": {"reference": "quay.io/a/model:1"}}, {"name": "x", "emptyDir": {}}]
            },
            "status": {
                "containerStatuses": [{"name": "web", "imageID": format!("docker-pullable://quay.io/a/web@{DIGEST}")},
                                      {"name": "new", "imageID": ""}],
                "initContainerStatuses": [{"name": "init", "imageID": DIGEST}],
                "ephemeralContainerStatuses": [{"name": "debug", "imageID": format!("docker.io/library/busybox@{DIGEST}")}]
            }
        });
        let line = |image: &str, known, path: &str| {
            (image.to_owned(), known, format!("Pod shop/web-1 at spec.{path}"))
        };
        assert_eq!(
            found(&pod),
            [
                line("quay.io/a/web:1", true, "containers[web]"),
                line("quay.io/a/new:1", false, "containers[new]"),
                line("quay.io/a/init:1", true, "initContainers[init]"),
                line("busybox", true, "ephemeralContainers[debug]"),
                line("quay.io/a/model:1", false, "volumes[model]"),
            ]
        );
    }

    #[test]
    fn lists_and_pod_templates_are_read() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "quay.io/a/b:1"}]}});
        let list = json!({"kind": "List", "items": [
            {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template}},
            {"kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": {"template": template}}}},
            {"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": []}},
        ]});
        assert_eq!(found(&list).len(), 2);
        let typed = json!({"kind": "PodList", "items": [
            {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "quay.io/a/b:1"}]}}]});
        assert_eq!(found(&typed)[0].2, "Pod p at spec.containers[a]");
        let lines = format!("{typed}\n{typed}\n");
        assert_eq!(parse("x", &lines).unwrap().len(), 2, "one document a line");
    }

    #[test]
    fn yaml_is_read_too() {
        let text =
            "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: a, image: 'quay.io/a/b:1'}\n";
        assert_eq!(parse("x", text).unwrap()[0].image, "quay.io/a/b:1");
    }

    #[test]
    fn an_input_without_containers_is_refused_without_repeating_it() {
        for text in ["", "{}", "{\"kind\": \"s3cret\"", "s3cret", "[1]", "{\"items\": []}"] {
            let error = parse("pods.json", text).unwrap_err();
            assert!(
                error.to_string().starts_with("pods.json ") && !error.to_string().contains("s3cret"),
                "{error}"
            );
        }
    }
}
