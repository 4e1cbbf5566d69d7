//! What a document is, and what of it may be looked into.

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
    /// How its images are written.
    pub(super) class: Class,
    /// All of it.
    pub(super) fields: &'v Map<String, Value>,
}

/// How a resource writes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A resource of Kubernetes itself: images stand in pod specs, and each must be one.
    BuiltIn,
    /// Settings of programs: an image is only what names one below a known prefix.
    ConfigMap,
    /// A custom resource: images stand in fields of many shapes, and may be placeholders.
    Custom,
}

/// Lists nest at most this deep; deeper ones are not unfolded.
const DEEPEST_LIST: usize = 8;

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
    let Value::Object(fields) = value else { return };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let kind = text("kind").unwrap_or(kind_of_items);
    // `kind: List` and typed lists such as `DeploymentList`, whose items may leave their kind out.
    if let (Some(kind_of_items), Some(Value::Array(items))) = (kind.strip_suffix("List"), fields.get("items"))
        && depth < DEEPEST_LIST
    {
        for item in items {
            unfold_into(item, template, kind_of_items, depth + 1, resources);
        }
        return;
    }
    let group = text("apiVersion").map(|version| version.rsplit_once('/').map_or("", |(group, _)| group));
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
        class: classify(kind, group),
        fields,
    });
}

/// Whether a resource is never looked into, whatever its group says: a missing or odd `apiVersion` must not
/// open a Secret.
fn is_closed(kind: &str, group: Option<&str>) -> bool {
    match kind {
        "Secret" | "SealedSecret" => true,
        "CustomResourceDefinition" => group.is_none_or(|group| group == "apiextensions.k8s.io"),
        _ => false,
    }
}

fn classify(kind: &str, group: Option<&str>) -> Class {
    match group {
        Some("") | None if kind == "ConfigMap" => Class::ConfigMap,
        Some("") => Class::BuiltIn,
        Some(group) if BUILT_IN_GROUPS.contains(&group) => Class::BuiltIn,
        _ => Class::Custom,
    }
}

/// Keys below which nothing names an image to pull: a pull secret's name, a schema's descriptions and
/// defaults, and labels, whose values cannot hold a reference.
pub(super) fn is_closed_key(key: &str) -> bool {
    matches!(key, "imagePullSecrets" | "openAPIV3Schema" | "labels" | "matchLabels" | "managedFields")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(value: &Value) -> Vec<(String, String, Class)> {
        unfold(value, None).iter().map(|r| (r.kind.to_owned(), r.name.to_owned(), r.class)).collect()
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
            seen(&list),
            [("Pod".into(), "p".into(), Class::Custom), ("Thing".into(), "t-".into(), Class::Custom)]
        );
    }

    #[test]
    fn classes_follow_the_group() {
        let class = |version: &str, kind: &str| {
            unfold(&json!({"apiVersion": version, "kind": kind}), None).first().map(|resource| resource.class)
        };
        assert_eq!(class("v1", "Pod"), Some(Class::BuiltIn));
        assert_eq!(class("apps/v1", "Deployment"), Some(Class::BuiltIn));
        assert_eq!(class("v1", "ConfigMap"), Some(Class::ConfigMap));
        assert_eq!(class("argoproj.io/v1alpha1", "Workflow"), Some(Class::Custom));
        assert_eq!(class("v1", "Secret"), None);
        assert_eq!(class("apiextensions.k8s.io/v1", "CustomResourceDefinition"), None);
    }
}
