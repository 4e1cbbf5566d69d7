//! Custom resources whose images only their operator's rules complete: the clusters of `TiDB` and the plugins of Istio.

use serde_json::{Map, Value};

use super::{
    charts::{self, group},
    resource::Resource,
};

/// The fields of a resource of the `TiDB` operator, with the version of the cluster added to each component that has a
/// `baseImage` but no version of its own: `spec: {version: v8, pd: {baseImage: pingcap/pd}}`.
pub(super) fn with_cluster_version(resource: &Resource<'_>) -> Option<Map<String, Value>> {
    if group(resource) != "pingcap.com" {
        return None;
    }
    let version = charts::text(resource.fields.get("spec")?, "version")?.to_owned();
    let mut fields = resource.fields.clone();
    for component in fields.get_mut("spec")?.as_object_mut()?.values_mut().filter_map(Value::as_object_mut) {
        let is_own =
            ["version", "tag"].iter().any(|key| component.get(*key).is_some_and(|own| !is_blank(own)));
        if component.contains_key("baseImage") && !is_own {
            component.insert("version".to_owned(), Value::String(version.clone()));
        }
    }
    Some(fields)
}

/// Whether a field has no value. A template renders an empty Helm value as nothing, which YAML reads as null.
fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The image in the URL of an Istio `WasmPlugin`. A URL without a scheme is one of an image; others are those of files.
pub(super) fn wasm_image<'u>(resource: &Resource<'_>, url: &'u str) -> Option<&'u str> {
    let is_plugin = group(resource) == "extensions.istio.io" && resource.kind == "WasmPlugin";
    match url.split_once("://") {
        _ if !is_plugin => None,
        Some((scheme, image)) => (scheme == "oci").then_some(image),
        None => Some(url),
    }
}

#[cfg(test)]
mod tests {
    use crate::enumerate::{
        image::ImageSet,
        manifests::{ScanOptions, scan},
    };

    fn references(text: &str) -> Vec<String> {
        let mut images = ImageSet::default();
        scan("test", text, ScanOptions { prefixes: &[], test_hooks: true }, &mut images).unwrap();
        images.references().map(ToString::to_string).collect()
    }

    #[test]
    fn the_components_of_tidb_have_the_version_of_the_cluster() {
        let text = "
apiVersion: pingcap.com/v1alpha1
kind: TidbCluster
metadata: {name: basic}
spec:
  version: v8.5.2
  helper: {image: alpine}
  pd: {baseImage: pingcap/pd, replicas: 1}
  tikv: {baseImage: pingcap/tikv, version: v8.5.1}
  tidb: {baseImage: q.io:5000/pingcap/tidb, version: ''}
";
        assert_eq!(
            references(text),
            [
                "docker.io/library/alpine:latest",
                "docker.io/pingcap/pd:v8.5.2",
                "docker.io/pingcap/tikv:v8.5.1",
                "q.io:5000/pingcap/tidb:v8.5.2"
            ]
        );
        assert!(
            references(&text.replace("pingcap.com", "example.com")).len() < 4,
            "only this operator does it"
        );
    }

    #[test]
    fn an_empty_version_of_a_tidb_component_counts_as_absent() {
        let versions = |field: &str| {
            let text = format!(
                "
apiVersion: pingcap.com/v1alpha1
kind: TidbCluster
metadata: {{name: basic}}
spec:
  version: v8.5.2
  pd:
    baseImage: pingcap/pd
    {field}
"
            );
            references(&text)
        };
        for field in ["version:", "version: ~", "version: ' '", "tag:"] {
            assert_eq!(versions(field), ["docker.io/pingcap/pd:v8.5.2"], "{field}");
        }
        assert_eq!(versions("version: 9"), ["docker.io/pingcap/pd:9"]);
        assert_eq!(versions("version: 9.1"), [""; 0], "a fraction is a version that has lost its spelling");
    }

    #[test]
    fn a_plugin_of_istio_is_an_image() {
        let plugin = |url: &str| {
            references(&format!(
                "{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {{name: w}}, spec: {{url: '{url}'}}}}"
            ))
        };
        assert_eq!(plugin("oci://q.io/acme/auth:1.12.0"), ["q.io/acme/auth:1.12.0"]);
        assert_eq!(plugin("oci://q.io/acme/auth"), ["q.io/acme/auth:latest"]);
        assert_eq!(plugin("registry:5000/acme/auth:1"), ["registry:5000/acme/auth:1"]);
        assert_eq!(plugin("https://q.io/auth.wasm"), [""; 0]);
        assert_eq!(plugin("file:///opt/auth.wasm"), [""; 0]);
    }
}
