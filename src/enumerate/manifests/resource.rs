//! Classifies a document, and says which parts of it may be examined.

use serde_json::{Map, Value};

/// One Kubernetes resource of a rendering.
pub(super) struct Resource<'v> {
    /// `kind`, or nothing.
    pub(super) kind: &'v str,
    /// `metadata.namespace`.
    pub(super) namespace: Option<&'v str>,
    /// `metadata.name`, else `metadata.generateName`, or nothing.
    pub(super) name: &'v str,
    /// Helm's `# Source:`.
    pub(super) template: Option<&'v str>,
    /// Whether only `helm test` creates it.
    pub(super) is_test_hook: bool,
    /// How its images are written.
    pub(super) category: Category,
    /// All of it.
    pub(super) fields: &'v Map<String, Value>,
}

/// How a resource writes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    /// A resource of Kubernetes itself: images are in pod specs, and each must be valid.
    BuiltIn,
    /// Settings of programs: an image has a key that says so, or is a complete reference.
    Settings,
    /// A custom resource: images are in fields of many shapes, and may be placeholders.
    Custom,
}

/// Lists nest at most this deep; deeper ones are not unfolded.
const MAX_LIST_DEPTH: usize = 8;

/// API groups of Kubernetes itself whose resources hold pod specs, or nothing of interest. Everything else
/// is treated as a custom resource, which looks for more.
const BUILT_IN_GROUPS: [&str; 13] = [
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "extensions",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// The kinds of the core group, except `ConfigMap`.
const CORE_KINDS: [&str; 16] = [
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
];

/// The resources in a document: itself, or the items of a list. Secrets and custom resource definitions
/// are left out: the first must not be read, and the schemas of the second describe images, not name them.
pub(super) fn unfold<'v>(document: &'v Value, template: Option<&'v str>) -> Vec<Resource<'v>> {
    let mut resources = Vec::new();
    unfold_into(document, template, "", 0, &mut resources);
    resources
}

fn unfold_into<'v>(
    value: &'v Value,
    template: Option<&'v str>,
    kind_of_items: &'v str,
    depth: usize,
    resources: &mut Vec<Resource<'v>>,
) {
    // An array of resources, as scripts make it.
    if let Value::Array(items) = value
        && depth < MAX_LIST_DEPTH
    {
        for item in items {
            unfold_into(item, template, kind_of_items, depth + 1, resources);
        }
    }
    let Value::Object(fields) = value else { return };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let kind = text("kind").unwrap_or(kind_of_items);
    // `kind: List` and typed lists such as `DeploymentList`, whose items may omit their kind.
    if let (Some(kind_of_items), Some(Value::Array(items))) = (kind.strip_suffix("List"), fields.get("items"))
        && depth < MAX_LIST_DEPTH
    {
        for item in items {
            unfold_into(item, template, kind_of_items, depth + 1, resources);
        }
        return;
    }
    let group = text("apiVersion").map(group);
    if is_closed(kind, group) {
        return;
    }
    let metadata = fields.get("metadata").and_then(Value::as_object);
    let meta = |key: &str| metadata.and_then(|fields| fields.get(key)).and_then(Value::as_str);
    resources.push(Resource {
        kind,
        namespace: meta("namespace"),
        name: meta("name").or_else(|| meta("generateName")).unwrap_or_default(),
        template,
        is_test_hook: is_test_hook(metadata),
        category: classify(kind, group),
        fields,
    });
}

/// Whether a resource is never examined, regardless of its group: a missing or odd `apiVersion` must not expose a Secret.
/// Schemas describe images; what a live cluster records about itself names images of the past.
pub(super) fn is_closed(kind: &str, group: Option<&str>) -> bool {
    match kind {
        "Secret" | "SealedSecret" => true,
        "CustomResourceDefinition" => group.is_none_or(|group| group == "apiextensions.k8s.io"),
        "Node" | "Event" => group.is_none_or(|group| group.is_empty() || group == "events.k8s.io"),
        "ControllerRevision" => group.is_none_or(|group| group == "apps"),
        _ => false,
    }
}

/// Whether an object is a Secret, a schema or a record, wherever it is.
pub(super) fn is_closed_object(object: &Map<String, Value>) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let holds_data = object.contains_key("data") || object.contains_key("stringData");
    text("kind").is_some_and(|kind| match text("apiVersion") {
        Some(version) => is_closed(kind, Some(group(version))),
        None => holds_data && is_closed(kind, None),
    })
}

/// The group of an `apiVersion`; empty for the core group. Some resources name a group and no version.
pub(super) fn group(api_version: &str) -> &str {
    let is_version = !api_version.contains('.');
    api_version.rsplit_once('/').map_or(if is_version { "" } else { api_version }, |(group, _)| group)
}

/// Whether all of a resource's hooks are tests.
fn is_test_hook(metadata: Option<&Map<String, Value>>) -> bool {
    let hooks = metadata
        .and_then(|fields| fields.get("annotations"))
        .and_then(|annotations| annotations.get("helm.sh/hook"))
        .and_then(Value::as_str);
    hooks.is_some_and(|hooks| hooks.split(',').all(|hook| hook.trim().starts_with("test")))
}

fn classify(kind: &str, group: Option<&str>) -> Category {
    match group {
        Some("") | None if kind == "ConfigMap" => Category::Settings,
        // `v1` is also what OpenShift used for its own kinds, and what the settings of some programs say.
        Some("") if CORE_KINDS.contains(&kind) => Category::BuiltIn,
        Some(group) if BUILT_IN_GROUPS.contains(&group) => Category::BuiltIn,
        _ => Category::Custom,
    }
}

/// Keys below which nothing names an image to pull: a pull secret's name, a schema's descriptions and
/// defaults, labels, whose values cannot hold a reference, the content of a Secret, and Knative's examples.
pub(super) fn is_closed_key(key: &str) -> bool {
    matches!(
        key,
        "imagePullSecrets"
            | "openAPIV3Schema"
            | "labels"
            | "matchLabels"
            | "nodeSelector"
            | "managedFields"
            | "stringData"
            | "encryptedData"
            | "_example"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(value: &Value) -> Vec<(String, String, Category)> {
        unfold(value, None).iter().map(|r| (r.kind.to_owned(), r.name.to_owned(), r.category)).collect()
    }

    #[test]
    fn lists_unfold_and_lend_their_kind() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PodList", "items": [pod]},
            {"apiVersion": "v1", "kind": "SecretList", "items": [{"metadata": {"name": "s"}}]},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
            {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"generateName": "t-"}},
            "text", null,
        ]});
        assert_eq!(
            seen(&json!([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}, [], "text"])).len(),
            1
        );
        assert_eq!(
            seen(&list),
            [("Pod".into(), "p".into(), Category::Custom), ("Thing".into(), "t-".into(), Category::Custom)]
        );
    }

    #[test]
    fn only_hooks_that_are_all_tests_are_test_hooks() {
        let is_test = |hook: &str| {
            let pod = json!({"kind": "Pod", "metadata": {"annotations": {"helm.sh/hook": hook}}});
            unfold(&pod, None)[0].is_test_hook
        };
        assert!(is_test("test") && is_test("test-success, test-failure"));
        assert!(!is_test("pre-install") && !is_test("post-install,test") && !is_test(""));
    }

    #[test]
    fn categories_follow_the_group() {
        let category = |version: &str, kind: &str| {
            unfold(&json!({"apiVersion": version, "kind": kind}), None)
                .first()
                .map(|resource| resource.category)
        };
        assert_eq!(category("v1", "Pod"), Some(Category::BuiltIn));
        assert_eq!(category("apps/v1", "Deployment"), Some(Category::BuiltIn));
        assert_eq!(category("v1", "ConfigMap"), Some(Category::Settings));
        assert_eq!(category("v1", "DeploymentConfig"), Some(Category::Custom));
        assert_eq!(category("testmachinery.example.com", "TestDefinition"), Some(Category::Custom));
        assert_eq!(category("argoproj.io/v1alpha1", "Workflow"), Some(Category::Custom));
        assert_eq!(category("v1", "Secret"), None);
        assert_eq!(category("v1", "Node"), None);
        assert_eq!(category("example.com/v1", "Node"), Some(Category::Custom));
        assert_eq!(category("apiextensions.k8s.io/v1", "CustomResourceDefinition"), None);
    }
}
