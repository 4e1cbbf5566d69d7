//! Resources that install something whose images they do not name: the charts in the fields of any custom resource, the
//! operators of the Operator Lifecycle Manager, and folders of Git.
//!
//! Installers whose fields differ from all others are in [`super::charts`] and [`super::flux`].

use serde_json::{Map, Value};

use crate::enumerate::{Note, NoteKind, image::Confidence};

use super::{
    charts::{self, NamedChart, at, group, text},
    resource::{Category, Resource},
    walk::Walker,
};

/// The keys under which installers write a chart's name, its repository and its version.
const CHART_KEYS: [&str; 3] = ["chart", "chartName", "chartname"];
const REPOSITORY_KEYS: [&str; 6] = ["repoURL", "repositoryURL", "repositoryUrl", "repo", "repository", "url"];
const VERSION_KEYS: [&str; 3] = ["version", "chartVersion", "targetRevision"];

/// The charts that the fields of a custom resource name, as those of Sveltos, `KubeVela`, k0s, kapp-controller and
/// Kustomize do: a name with a repository or a version next to it.
pub(super) fn charts_in(resource: &Resource<'_>) -> Vec<NamedChart> {
    let mut found = Vec::new();
    if resource.category == Category::Custom {
        let fields = resource.fields.iter().filter(|(key, _)| *key != "metadata" && *key != "status");
        fields.for_each(|(key, value)| collect(key, value, &mut found));
    }
    found
}

fn collect(key: &str, value: &Value, found: &mut Vec<NamedChart>) {
    match value {
        // Values are for the templates of a chart, and may say anything.
        Value::Object(_) if charts::is_values_key(key) => {}
        Value::Object(fields) => {
            found.extend(chart_in(key, fields).filter(|chart| !found.contains(chart)));
            fields.iter().for_each(|(key, value)| collect(key, value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(key, item, found)),
        _ => {}
    }
}

/// The chart that an object under `key` names.
fn chart_in(key: &str, fields: &Map<String, Value>) -> Option<NamedChart> {
    let first = |keys: &[&str]| keys.iter().find_map(|key| fields.get(*key)?.as_str()).map(str::trim);
    let is_chart = matches!(key, "helmChart" | "helmCharts");
    let name = first(&CHART_KEYS).or_else(|| first(&["name"]).filter(|_| is_chart))?;
    let nested = || fields.get("repository").and_then(|repository| text(repository, "url"));
    let repository = first(&REPOSITORY_KEYS).or_else(nested).filter(|repository| repository.contains("://"));
    let version = first(&VERSION_KEYS).filter(|version| starts_with_digit(version));
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':'));
    if !is_name || repository.is_none() && version.is_none() {
        return None;
    }
    if name.contains("://") {
        return Some(charts::chart(name, None, version));
    }
    // `prometheus/web`: the repository's name, under which the installer knows it, and the chart's.
    match (name.rsplit_once('/'), repository) {
        (Some((_, name)), Some(_)) => Some(charts::chart(name, repository, version)),
        (Some(_), None) => Some(NamedChart { name: name.to_owned(), remedy: None }),
        (None, _) => Some(charts::chart(name, repository, version)),
    }
}

fn starts_with_digit(version: &str) -> bool {
    version
        .trim_start_matches(['v', '^', '~', '>', '<', '=', ' '])
        .starts_with(|first: char| first.is_ascii_digit())
}

/// What a resource installs without naming an image: an operator from a catalog, a folder of a Git repository.
pub(super) fn installed_by(resource: &Resource<'_>) -> Option<String> {
    let spec = resource.fields.get("spec")?;
    Some(match (group(resource), resource.kind) {
        ("operators.coreos.com", "Subscription") => {
            let catalog = text(spec, "source").unwrap_or("a catalog");
            format!("it installs the operator {} from {catalog}", text(spec, "name")?)
        }
        ("olm.operatorframework.io", "ClusterExtension") => {
            let package = text(at(spec, &["source", "catalog"]), "packageName")?;
            format!("it installs the operator {package} from a catalog")
        }
        ("packaging.carvel.dev", "PackageInstall") => {
            format!("it installs the package {}", text(at(spec, &["packageRef"]), "refName")?)
        }
        ("fleet.cattle.io", "GitRepo") => format!("it deploys manifests in {}", text(spec, "repo")?),
        _ => return None,
    })
}

impl Walker<'_> {
    /// Notes what a resource installs whose images are not named here.
    pub(super) fn note_installed(&mut self, installed: &str) {
        let reason = format!("{installed}, whose images are not named here");
        let remedy =
            "add them with --add-images FILE, or with --add-running FILE from a cluster that runs it";
        let found_at = self.found_at(Confidence::CustomResource);
        self.note(Note::new(NoteKind::NoImage, found_at, None, &reason).with_remedy(remedy.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::enumerate::manifests::resource;

    fn named(resource: &Value) -> Vec<String> {
        let resources = resource::unfold(resource, None);
        let charts = charts_in(&resources[0]).into_iter();
        charts.map(|chart| format!("{}: {}", chart.name, chart.remedy.unwrap_or_default())).collect()
    }

    #[test]
    fn charts_in_the_fields_of_any_resource_are_found_bug() {
        let resource = |spec: Value| json!({"apiVersion": "x.example.com/v1", "kind": "Any", "spec": spec});
        for (spec, expected) in [
            (
                json!({"helmCharts": [{"repositoryURL": "https://c.example.com", "chartName": "web/web", "chartVersion": "v1.2"}]}),
                "web: run thoras-mirror images --chart web --repo https://c.example.com --chart-version v1.2",
            ),
            (
                json!({"components": [{"type": "helm", "properties": {"url": "https://c.example.com", "chart": "web", "version": "1.2"}}]}),
                "web: run thoras-mirror images --chart web --repo https://c.example.com --chart-version 1.2",
            ),
            (
                json!({"fetch": [{"helmChart": {"name": "web", "repository": {"url": "https://c.example.com"}}}]}),
                "web: run thoras-mirror images --chart web --repo https://c.example.com",
            ),
            (
                json!({"charts": [{"chartname": "oci://c.example.com/web", "version": "1.2"}]}),
                "oci://c.example.com/web: run thoras-mirror images --chart oci://c.example.com/web --chart-version 1.2",
            ),
            (json!({"charts": [{"chartname": "prom/web", "version": "1.2"}]}), "prom/web: "),
        ] {
            assert_eq!(named(&resource(spec.clone())), [expected], "{spec}");
        }
        for spec in [
            json!({"chart": "line", "title": "CPU"}),
            json!({"name": "web", "version": "1.2", "url": "https://example.com"}),
            json!({"chart": "the chart", "version": "1.2"}),
            json!({"values": {"chart": "web", "version": "1.2"}}),
        ] {
            assert_eq!(named(&resource(spec.clone())), [""; 0], "{spec}");
        }
    }

    #[test]
    fn what_is_installed_without_an_image_is_told_bug() {
        let installed = |version: &str, kind: &str, spec: Value| {
            let resource = json!({"apiVersion": version, "kind": kind, "spec": spec});
            installed_by(&resource::unfold(&resource, None)[0])
        };
        let subscription = json!({"name": "gatekeeper", "source": "redhat-operators"});
        assert_eq!(
            installed("operators.coreos.com/v1alpha1", "Subscription", subscription.clone()).as_deref(),
            Some("it installs the operator gatekeeper from redhat-operators")
        );
        assert_eq!(installed("messaging.knative.dev/v1", "Subscription", subscription), None);
        assert_eq!(
            installed("fleet.cattle.io/v1alpha1", "GitRepo", json!({"repo": "https://git.example.com/x"}))
                .as_deref(),
            Some("it deploys manifests in https://git.example.com/x")
        );
    }
}
