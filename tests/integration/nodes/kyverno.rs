//! The Kyverno policy, evaluated as Kyverno does: the only functions in it are two on regular expressions.

use regex::Regex;
use serde_json::json;

use super::*;

const IMAGES: [Locked<'static>; 4] = [
    ("us-east4-docker.pkg.dev/thoras-registry/platform/services:4", "services:4", ['1', '2', '3']),
    ("docker.io/library/nginx:1", "library/nginx:1", ['4', '5', '6']),
    ("docker.io/acme/web:1", "acme/web:1", ['4', '5', '6']),
    ("[::1]:5000/a/b:1", "a/b:1", ['4', '5', '6']),
];

async fn policy() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let lock = write_lock(folder.path(), &IMAGES);
    let run = with_lock("redirect", &lock, &["--to", "reg.example.com/m", "--format", "kyverno"]).run();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&run.await.expect_success().stdout).unwrap();
    let [policy] = documents.as_slice() else { panic!("{documents:?}") };
    policy.clone()
}

/// The arguments of `{{ FUNCTION('TEXT', element.image[, 'TEXT']) }}`.
fn arguments(expression: &str, function: &str) -> Vec<String> {
    let inner = expression.strip_prefix("{{ ").and_then(|rest| rest.strip_suffix(") }}")).unwrap();
    let list = inner.strip_prefix(function).and_then(|rest| rest.strip_prefix('(')).unwrap();
    assert!(list.contains(", element.image"), "{expression}");
    let texts: Vec<String> = list.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(texts.iter().all(|text| !text.contains("{{") && !text.contains('\\')), "{expression}");
    texts
}

/// What the rule for a list of containers makes of an image.
fn rewritten(policy: &Value, list: &str, image: &str) -> String {
    let rules = policy["spec"]["rules"].as_array().unwrap();
    let steps = rules.iter().flat_map(|rule| rule["mutate"]["foreach"].as_array().unwrap());
    let mut image = image.to_owned();
    for step in steps.filter(|step| step["list"] == format!("request.object.spec.{list}")) {
        let condition = &step["preconditions"]["all"][0];
        assert_eq!((&condition["operator"], &condition["value"]), (&json!("Equals"), &json!(true)));
        let is_it = arguments(condition["key"].as_str().unwrap(), "regex_match");
        if !Regex::new(&is_it[0]).unwrap().is_match(&image) {
            continue;
        }
        let container = &step["patchStrategicMerge"]["spec"][list][0];
        assert_eq!(container["(name)"], "{{ element.name }}");
        let [pattern, text] =
            arguments(container["image"].as_str().unwrap(), "regex_replace_all_literal").try_into().unwrap();
        image = Regex::new(&pattern).unwrap().replace_all(&image, regex::NoExpand(&text)).into_owned();
    }
    image
}

#[tokio::test]
async fn every_spelling_of_a_mirrored_image_is_rewritten_and_no_other() {
    let policy = policy().await;
    let pinned = format!("nginx@{}", digest('4'));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let rewritten = |image: &str| rewritten(&policy, list, image);
        for (image, expected) in [
            ("us-east4-docker.pkg.dev/thoras-registry/platform/services:4", "reg.example.com/m/services:4"),
            ("us-east4-docker.pkg.dev/thoras-registry/platform/services", "reg.example.com/m/services"),
            ("nginx:1", "reg.example.com/m/library/nginx:1"),
            ("nginx", "reg.example.com/m/library/nginx"),
            ("library/nginx:1", "reg.example.com/m/library/nginx:1"),
            ("docker.io/nginx:1", "reg.example.com/m/library/nginx:1"),
            ("index.docker.io/library/nginx:1", "reg.example.com/m/library/nginx:1"),
            ("acme/web:1", "reg.example.com/m/acme/web:1"),
            ("[::1]:5000/a/b:1", "reg.example.com/m/a/b:1"),
        ] {
            assert_eq!(rewritten(image), expected);
            assert_eq!(rewritten(expected), expected, "a second admission changes nothing");
        }
        assert_eq!(rewritten(&pinned), format!("reg.example.com/m/library/nginx@{}", digest('4')));
        for other in [
            "nginx-unit:1",
            "quay.io/library/nginx:1",
            "acme/nginx:1",
            "web:1",
            "usXeast4-docker.pkg.dev/a:1",
        ] {
            assert_eq!(rewritten(other), other);
        }
    }
}

/// The fields of the published `kyverno.io/v1` `ClusterPolicy` that the policy uses, and nothing that asks a registry.
#[tokio::test]
async fn the_policy_follows_its_definition() {
    let conditions = json!({
        "type": "object", "additionalProperties": false, "required": ["all"],
        "properties": {"all": {"type": "array", "minItems": 1, "items": {
            "type": "object", "additionalProperties": false, "required": ["key", "operator", "value"],
            "properties": {"key": {"type": "string"}, "operator": {"enum": ["Equals", "GreaterThanOrEquals"]}, "value": {}},
        }}},
    });
    let step = json!({
        "type": "object", "additionalProperties": false, "required": ["list", "patchStrategicMerge"],
        "properties": {"list": {"type": "string"}, "preconditions": conditions, "patchStrategicMerge": {"type": "object"}},
    });
    let resources = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "kinds": {"const": ["Pod"]},
            "operations": {"items": {"enum": ["CREATE", "CONNECT", "UPDATE", "DELETE"]}},
        },
    });
    let rule = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "match", "mutate"],
        "properties": {
            "name": {"type": "string", "maxLength": 63},
            "match": {"type": "object", "additionalProperties": false, "properties": {"any": {"items": {
                "type": "object", "additionalProperties": false, "properties": {"resources": resources}}}}},
            "preconditions": conditions,
            "mutate": {"type": "object", "additionalProperties": false, "required": ["foreach"],
                       "properties": {"foreach": {"type": "array", "minItems": 1, "items": step}}},
        },
    });
    let definition = json!({
        "type": "object", "additionalProperties": false, "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "kyverno.io/v1"},
            "kind": {"const": "ClusterPolicy"},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "additionalProperties": false, "properties": {
                "background": {"const": false}, "rules": {"type": "array", "minItems": 3, "items": rule}}},
        },
    });
    let policy = policy().await;
    crate::support::documents::assert_follows(&policy, &definition);
    let text = policy.to_string();
    assert!(!text.contains("imageData") && !text.contains("imageRegistry"), "no lookups");
}
