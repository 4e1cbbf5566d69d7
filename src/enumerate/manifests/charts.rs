//! Resources that name a chart, or whose images take their tag from somewhere else in the resource.
//!
//! A chart that another program installs is not rendered here: its values may name images, but most images are in its
//! templates. So each such resource becomes a note with the command that lists the chart's images.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    documents,
    resource::{self, Category, Resource},
};

/// What a note about such a chart says.
pub(super) const REASON: &str = "only images named in its values here are included";

/// A chart that a resource names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedChart {
    pub(super) name: String,
    /// How to list its images.
    pub(super) remedy: Option<String>,
}

/// Whether a text under this key is Helm values, in a resource that installs a chart.
pub(super) fn is_values_key(key: &str) -> bool {
    matches!(key, "values" | "valuesContent" | "valuesInline" | "valuesTemplate" | "valuesObject")
}

/// Helm values with fractions as Helm prints them: a chart whose values say `tag: 1.25` gets the tag `1.25`.
pub(super) fn as_helm_prints(values: &Map<String, Value>) -> Map<String, Value> {
    values.iter().map(|(key, value)| (key.clone(), printed(value))).collect()
}

fn printed(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(as_helm_prints(fields)),
        Value::Array(items) => items.iter().map(printed).collect(),
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            Value::String(text.strip_suffix(".0").unwrap_or(&text).to_owned())
        }
        _ => value.clone(),
    }
}

/// The charts that a resource names, except for those of Flux ([`super::flux`]).
pub(super) fn named_by(resource: &Resource<'_>) -> Vec<NamedChart> {
    let spec = resource.fields.get("spec").unwrap_or(&Value::Null);
    let own_name = resource.name;
    match (group(resource), resource.kind) {
        ("argoproj.io", "Application") => argo_sources(spec, own_name),
        ("argoproj.io", "ApplicationSet") => argo_sources(at(spec, &["template", "spec"]), own_name),
        ("helm.cattle.io", "HelmChart") => {
            vec![chart(text(spec, "chart").unwrap_or(own_name), text(spec, "repo"), text(spec, "version"))]
        }
        ("helm.cattle.io", "HelmChartConfig") => vec![chart(own_name, None, None)],
        ("helm.crossplane.io", "Release") => {
            let wanted = at(spec, &["forProvider", "chart"]);
            let name = text(wanted, "url").or_else(|| text(wanted, "name")).unwrap_or(own_name);
            vec![chart(name, text(wanted, "repository"), text(wanted, "version"))]
        }
        ("addons.cluster.x-k8s.io", "HelmChartProxy") => {
            vec![chart(
                text(spec, "chartName").unwrap_or(own_name),
                text(spec, "repoURL"),
                text(spec, "version"),
            )]
        }
        ("fleet.cattle.io", "Bundle") if at(spec, &["helm"]).is_object() => {
            let helm = at(spec, &["helm"]);
            vec![chart(text(helm, "chart").unwrap_or(own_name), text(helm, "repo"), text(helm, "version"))]
        }
        _ => Vec::new(),
    }
}

/// Where images without a tag get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImpliedTag {
    /// The default tag.
    Default,
    /// A tag that the resource names.
    Known(String),
    /// A tag that something outside the resource decides, for this reason.
    Unknown(&'static str),
}

/// The tag of images without one in a resource. In a Rancher upgrade plan it is the version, in characters that a tag can
/// have. What Flux scans for tags is not an image yet.
pub(super) fn implied_tag(resource: &Resource<'_>) -> ImpliedTag {
    match (group(resource), resource.kind) {
        ("upgrade.cattle.io", "Plan") => {
            let version = resource.fields.get("spec").and_then(|spec| text(spec, "version"));
            let unknown = ImpliedTag::Unknown("its tag comes from the plan's channel");
            version.map_or(unknown, |version| ImpliedTag::Known(version.replace('+', "-")))
        }
        ("image.toolkit.fluxcd.io", "ImageRepository") => ImpliedTag::Unknown("Flux scans it for tags"),
        _ => ImpliedTag::Default,
    }
}

/// What a custom resource says about the images that its operator chooses: `version 8.12`, `registry quay.io`.
pub(super) fn operand(resource: &Resource<'_>) -> Option<String> {
    let spec = resource.fields.get("spec").filter(|_| resource.category == Category::Custom)?;
    let is_host = |registry: &&str| registry.contains('.') && !registry.contains("://");
    let registry = || text(spec, "registry").or_else(|| text(spec, "imageRegistry")).filter(is_host);
    let version = text(spec, "version").map(|version| format!("version {version}"));
    version.or_else(|| registry().map(|registry| format!("registry {}", registry.trim_end_matches('/'))))
}

/// Whether the resource installs a Crossplane package, which is an image.
pub(super) fn is_package(resource: &Resource<'_>) -> bool {
    group(resource) == "pkg.crossplane.io"
}

/// The fields of a resource that installs a chart, with its parameters set in the values, as Argo CD and k3s do it: a
/// parameter may hold the tag of an image whose repository is in the values.
pub(super) fn with_merged_values(resource: &Resource<'_>) -> Option<Map<String, Value>> {
    if group(resource) == "helm.cattle.io" && resource.kind == "HelmChart" {
        let mut fields = resource.fields.clone();
        merge_set(fields.get_mut("spec")?)?;
        return Some(fields);
    }
    if group(resource) != "argoproj.io" || !matches!(resource.kind, "Application" | "ApplicationSet") {
        return None;
    }
    let mut fields = resource.fields.clone();
    let mut spec = fields.get_mut("spec")?;
    if resource.kind == "ApplicationSet" {
        spec = spec.get_mut("template")?.get_mut("spec")?;
    }
    if let Some(source) = spec.get_mut("source") {
        merge_parameters(source);
    }
    if let Some(Value::Array(sources)) = spec.get_mut("sources") {
        sources.iter_mut().for_each(merge_parameters);
    }
    Some(fields)
}

fn merge_parameters(source: &mut Value) {
    let Some(Value::Object(helm)) = source.get_mut("helm") else { return };
    let from_text = helm.get("values").and_then(Value::as_str).and_then(|text| documents::parse(text).ok());
    let own = helm.get("valuesObject").filter(|values| values.is_object()).cloned();
    let Some(mut values) = own.or(from_text).filter(Value::is_object) else { return };
    let Some(Value::Array(mut parameters)) = helm.remove("parameters") else { return };
    parameters.retain(|parameter| match (text(parameter, "name"), text(parameter, "value")) {
        (Some(name), Some(value)) => !set(&mut values, name, value),
        _ => true,
    });
    if !parameters.is_empty() {
        helm.insert("parameters".to_owned(), Value::Array(parameters));
    }
    helm.remove("values");
    helm.insert("valuesObject".to_owned(), values);
}

/// `set` of a k3s `HelmChart`: `--set` flags over the values. Values that cannot be read stay as they are.
fn merge_set(spec: &mut Value) -> Option<()> {
    let Some(Value::Object(flags)) = spec.get("set") else { return None };
    let mut values = match text(spec, "valuesContent") {
        Some(content) => documents::parse(content).ok().filter(Value::is_object)?,
        None => Value::Object(Map::new()),
    };
    let mut left = flags.clone();
    left.retain(|name, value| match super::objects::scalar(value) {
        Some(value) => !set(&mut values, name, &value),
        None => true,
    });
    let fields = spec.as_object_mut()?;
    fields.remove("set");
    if !left.is_empty() {
        fields.insert("set".to_owned(), Value::Object(left));
    }
    fields.insert("valuesContent".to_owned(), values);
    Some(())
}

/// Sets a value by its dotted name, and says whether it did: list items and escaped dots are left alone.
fn set(values: &mut Value, name: &str, value: &str) -> bool {
    if name.contains(['[', '\\']) {
        return false;
    }
    let mut target = values;
    for key in name.split('.') {
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        let Value::Object(fields) = target else { return false };
        target = fields.entry(key.to_owned()).or_insert(Value::Null);
    }
    *target = Value::String(value.to_owned());
    true
}

fn argo_sources(spec: &Value, own_name: &str) -> Vec<NamedChart> {
    let several = spec.get("sources").and_then(Value::as_array);
    let sources = several.into_iter().flatten().chain(spec.get("source"));
    // A source with nothing but a `ref` lends its files to the others.
    let named = sources.filter(|source| {
        text(source, "chart").is_some() || text(source, "path").is_some() || text(source, "ref").is_none()
    });
    let named = named.map(|source| match (text(source, "chart"), text(source, "path")) {
        (None, Some(path)) => in_repository(path, text(source, "repoURL").unwrap_or(own_name)),
        (name, _) => chart(name.unwrap_or(own_name), text(source, "repoURL"), text(source, "targetRevision")),
    });
    named.collect()
}

/// A chart in a folder of a Git repository.
pub(super) fn in_repository(path: &str, repository: &str) -> NamedChart {
    NamedChart {
        name: format!("{path} in {repository}"),
        remedy: Some(format!("check it out and run thoras-mirror images --chart {}", for_shell(path))),
    }
}

pub(super) fn chart(name: &str, repository: Option<&str>, version: Option<&str>) -> NamedChart {
    let mut command = match repository {
        // Argo CD writes an OCI registry without a scheme.
        Some(repository) if !repository.contains("://") || repository.starts_with("oci://") => {
            let registry = repository.trim_start_matches("oci://").trim_end_matches('/');
            format!("thoras-mirror images --chart {}", for_shell(&format!("oci://{registry}/{name}")))
        }
        Some(repository) => {
            format!("thoras-mirror images --chart {} --repo {}", for_shell(name), for_shell(repository))
        }
        None => format!("thoras-mirror images --chart {}", for_shell(name)),
    };
    if let Some(version) = version {
        command.push_str(" --chart-version ");
        command.push_str(&for_shell(version));
    }
    NamedChart { name: name.to_owned(), remedy: Some(format!("run {command}")) }
}

/// A word of a command that the user may paste: a manifest decides what it contains (`>= 6.0.0`).
pub(super) fn for_shell(word: &str) -> Cow<'_, str> {
    shlex::try_quote(word).unwrap_or(Cow::Borrowed("…"))
}

pub(super) fn group<'v>(resource: &Resource<'v>) -> &'v str {
    resource.fields.get("apiVersion").and_then(Value::as_str).map_or("", resource::group)
}

pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(super) fn at<'v>(value: &'v Value, keys: &[&str]) -> &'v Value {
    keys.iter().fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(resource: &Value) -> Vec<String> {
        let resources = resource::unfold(resource, None);
        named_by(&resources[0])
            .into_iter()
            .map(|chart| format!("{}: {}", chart.name, chart.remedy.unwrap()))
            .collect()
    }

    #[test]
    fn every_installer_of_charts_is_known() {
        let resource = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "own"}, "spec": spec});
        for (resource, expected) in [
            (
                resource(
                    "argoproj.io/v1alpha1",
                    "Application",
                    json!({"sources": [
                        {"repoURL": "https://charts.example.com", "chart": "web", "targetRevision": "1.2"},
                        {"repoURL": "reg.example.com/charts", "chart": "db"},
                        {"repoURL": "https://git.example.com/x", "ref": "values"},
                        {"repoURL": "https://git.example.com/x", "path": "deploy/app"},
                    ]}),
                ),
                &[
                    "web: run thoras-mirror images --chart web --repo https://charts.example.com --chart-version 1.2",
                    "db: run thoras-mirror images --chart oci://reg.example.com/charts/db",
                    "deploy/app in https://git.example.com/x: check it out and run thoras-mirror images --chart deploy/app",
                ][..],
            ),
            (
                resource(
                    "argoproj.io/v1alpha1",
                    "ApplicationSet",
                    json!({"template": {"spec": {"source": {"helm": {}}}}}),
                ),
                &["own: run thoras-mirror images --chart own"],
            ),
            (
                resource(
                    "helm.cattle.io/v1",
                    "HelmChart",
                    json!({"chart": "web", "repo": "https://c.example.com", "version": "2"}),
                ),
                &["web: run thoras-mirror images --chart web --repo https://c.example.com --chart-version 2"],
            ),
            (
                resource("helm.cattle.io/v1", "HelmChartConfig", json!({})),
                &["own: run thoras-mirror images --chart own"],
            ),
            (resource("example.com/v1", "Application", json!({"source": {"chart": "x"}})), &[]),
        ] {
            assert_eq!(named(&resource), expected, "{resource}");
        }
    }

    #[test]
    fn fields_without_a_value_count_as_absent() {
        let bundle = |helm: Value| json!({"apiVersion": "fleet.cattle.io/v1alpha1", "kind": "Bundle", "metadata": {"name": "own"}, "spec": {"helm": helm}});
        assert_eq!(named(&bundle(Value::Null)), [""; 0]);
        assert_eq!(named(&bundle(json!({}))), ["own: run thoras-mirror images --chart own"]);
        let lends_files =
            json!({"repoURL": "https://git.example.com/x", "ref": "values", "chart": null, "path": ""});
        let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "own"}, "spec": {"sources": [lends_files]}});
        assert_eq!(named(&application), [""; 0]);
    }

    #[test]
    fn parameters_are_set_in_the_values() {
        let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "spec": {"source": {"helm": {
            "valuesObject": null,
            "values": "image: {repository: q.io/a/b, tag: old}\n",
            "parameters": [{"name": "image.tag", "value": "new"}, {"name": "list[0].x", "value": "y"}],
        }}}});
        let merged = with_merged_values(&resource::unfold(&application, None)[0]).unwrap();
        let helm = &merged["spec"]["source"]["helm"];
        let values = json!({"image": {"repository": "q.io/a/b", "tag": "new"}});
        let left = json!([{"name": "list[0].x", "value": "y"}]);
        assert_eq!(helm, &json!({"valuesObject": values, "parameters": left}));
    }

    #[test]
    fn the_flags_of_a_k3s_chart_are_set_in_its_values() {
        let chart =
            |spec: Value| json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "spec": spec});
        let merged = |spec: Value| with_merged_values(&resource::unfold(&chart(spec), None)[0]);
        for (spec, expected) in [
            (
                json!({"set": {"image.repository": "q.io/a/b", "image.tag": 7}}),
                json!({"valuesContent": {"image": {"repository": "q.io/a/b", "tag": "7"}}}),
            ),
            (
                json!({"set": {"image.tag": "8"}, "valuesContent": "image: {repository: q.io/a/b, tag: old}"}),
                json!({"valuesContent": {"image": {"repository": "q.io/a/b", "tag": "8"}}}),
            ),
        ] {
            assert_eq!(merged(spec).unwrap()["spec"], expected);
        }
        assert!(merged(json!({"set": {"a": "b"}, "valuesContent": "{{ not yaml"})).is_none());
        assert!(merged(json!({"valuesContent": "a: b"})).is_none());
    }

    #[test]
    fn a_plan_gives_its_version_to_images_as_a_tag() {
        let plan = json!({"apiVersion": "upgrade.cattle.io/v1", "kind": "Plan", "spec": {"version": "v1.30.1+k3s1"}});
        assert_eq!(
            implied_tag(&resource::unfold(&plan, None)[0]),
            ImpliedTag::Known("v1.30.1-k3s1".to_owned())
        );
    }
}
