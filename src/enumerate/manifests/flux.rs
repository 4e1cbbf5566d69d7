//! Charts of Flux, which a release names in one resource and locates in another: a `HelmRelease` gives the chart's name
//! and refers to a `HelmRepository`, or refers to an `OCIRepository` that is the chart. If a `Kustomization` refers to an
//! `OCIRepository`, that holds manifests. If nothing refers to it, it may hold either.
//!
//! Documents come in any order, so a release is a [`ReferredChart`] until all [`ChartSources`] are known.

mod artifact;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    charts::{self, NamedChart, at, text},
    resource::Resource,
};

use artifact::{ArtifactReference, folder};

const SOURCES: &str = "source.toolkit.fluxcd.io";

/// How other resources refer to a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SourceName {
    kind: String,
    namespace: String,
    name: String,
}

/// A chart that another resource locates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReferredChart {
    source: SourceName,
    /// Its name in the source; an `OCIRepository` is the chart itself.
    chart: Option<String>,
    version: Option<String>,
}

/// Where the sources of charts are.
#[derive(Debug, Default)]
pub(super) struct ChartSources {
    urls: BTreeMap<SourceName, (String, ArtifactReference)>,
    /// `HelmChart` resources, which refer to another source.
    charts: BTreeMap<SourceName, ReferredChart>,
    /// The sources that are charts themselves.
    releases: BTreeSet<SourceName>,
    /// The sources of manifests, with the folders in them that are applied.
    manifests: BTreeMap<SourceName, BTreeSet<String>>,
}

/// What to say about an `OCIRepository` instead of a chart's name.
#[derive(Debug)]
pub(super) struct ArtifactNote {
    pub(super) reason: &'static str,
    pub(super) remedy: String,
}

/// The chart that a resource of Flux names, as far as the resource itself says which.
pub(super) fn named_by(resource: &Resource<'_>) -> Option<NamedChart> {
    let spec = resource.fields.get("spec").unwrap_or(&Value::Null);
    let (name, version) = match (charts::group(resource), resource.kind) {
        ("helm.toolkit.fluxcd.io", "HelmRelease") => {
            let wanted = at(spec, &["chart", "spec"]);
            (text(wanted, "chart").or_else(|| text(at(spec, &["chartRef"]), "name")), text(wanted, "version"))
        }
        (SOURCES, "HelmChart") => (text(spec, "chart"), text(spec, "version")),
        // Its reference is read by `ChartSources`.
        (SOURCES, "OCIRepository") => (text(spec, "url"), None),
        _ => return None,
    };
    Some(charts::chart(name.unwrap_or(resource.name), None, version))
}

/// The chart that a `HelmRelease` or a `HelmChart` of Flux refers to, or that an `OCIRepository` is.
pub(super) fn referred_by(resource: &Resource<'_>) -> Option<ReferredChart> {
    let spec = resource.fields.get("spec")?;
    match (charts::group(resource), resource.kind) {
        ("helm.toolkit.fluxcd.io", "HelmRelease") => match spec
            .get("chartRef")
            .filter(|field| field.is_object())
        {
            Some(reference) => {
                Some(ReferredChart { source: source_name(reference, resource)?, chart: None, version: None })
            }
            None => in_source(at(spec, &["chart", "spec"]), resource),
        },
        (SOURCES, "HelmChart") => in_source(spec, resource),
        (SOURCES, "OCIRepository") => {
            Some(ReferredChart { source: own_name(resource), chart: None, version: None })
        }
        _ => None,
    }
}

fn in_source(spec: &Value, resource: &Resource<'_>) -> Option<ReferredChart> {
    Some(ReferredChart {
        source: source_name(spec.get("sourceRef")?, resource)?,
        chart: Some(text(spec, "chart")?.to_owned()),
        version: text(spec, "version").map(str::to_owned),
    })
}

fn own_name(resource: &Resource<'_>) -> SourceName {
    SourceName {
        kind: resource.kind.to_owned(),
        namespace: resource.namespace.unwrap_or_default().to_owned(),
        name: resource.name.to_owned(),
    }
}

fn source_name(reference: &Value, resource: &Resource<'_>) -> Option<SourceName> {
    let namespace = text(reference, "namespace").or(resource.namespace).unwrap_or_default();
    Some(SourceName {
        kind: text(reference, "kind")?.to_owned(),
        namespace: namespace.to_owned(),
        name: text(reference, "name")?.to_owned(),
    })
}

impl ChartSources {
    /// Remembers a resource that is a source of charts, or that says what a source holds.
    pub(super) fn add(&mut self, resource: &Resource<'_>) {
        let spec = resource.fields.get("spec").unwrap_or(&Value::Null);
        let group = charts::group(resource);
        match (group, resource.kind) {
            ("kustomize.toolkit.fluxcd.io", "Kustomization") => {
                if let Some(source) = source_name(at(spec, &["sourceRef"]), resource) {
                    self.manifests.entry(source).or_default().insert(folder(text(spec, "path")));
                }
            }
            ("helm.toolkit.fluxcd.io", "HelmRelease") => {
                self.releases.extend(source_name(at(spec, &["chartRef"]), resource));
            }
            _ => {}
        }
        if group != SOURCES {
            return;
        }
        let name = own_name(resource);
        if let Some(referred) = referred_by(resource).filter(|_| resource.kind == "HelmChart") {
            self.charts.insert(name, referred);
        } else if let Some(url) = text(spec, "url") {
            self.urls.insert(name, (url.to_owned(), ArtifactReference::by(spec)));
        }
    }

    /// What to say about a source that holds manifests, or that nothing here says is a chart.
    pub(super) fn artifact(&self, referred: &ReferredChart) -> Option<ArtifactNote> {
        let source = Some(&referred.source).filter(|source| source.kind == "OCIRepository")?;
        let (url, reference) = self.urls.get(source)?;
        if let Some(folders) = self.manifests.get(source) {
            return Some(ArtifactNote {
                reason: "its manifests are not read, so their images are not included",
                remedy: reference.manifests(url, folders),
            });
        }
        if self.releases.contains(source) {
            return None;
        }
        let chart = reference.chart(url).remedy?;
        let manifests = reference.manifests(url, &BTreeSet::from([folder(None)]));
        Some(ArtifactNote {
            reason: "it holds a chart or manifests, whose images are not included",
            remedy: format!("for a chart, {chart}; for manifests, {manifests}"),
        })
    }

    /// The chart with its location, or how to find it if its source is not in the rendering.
    pub(super) fn locate(&self, referred: &ReferredChart) -> NamedChart {
        let referred = self.charts.get(&referred.source).unwrap_or(referred);
        let ReferredChart { source, chart, version } = referred;
        let version = version.as_deref();
        let SourceName { kind, name, .. } = source;
        match (chart, self.urls.get(source), kind.as_str()) {
            (None, Some((url, reference)), _) => reference.chart(url),
            (None, None, _) => NamedChart {
                name: name.clone(),
                remedy: Some(format!("run thoras-mirror images --chart with the URL of {kind} {name}")),
            },
            (Some(chart), url, "GitRepository" | "Bucket") => {
                let holder = url.map_or_else(|| format!("{kind} {name}"), |(url, _)| url.clone());
                charts::in_repository(chart, &holder)
            }
            (Some(chart), Some((url, _)), _) => charts::chart(chart, Some(url), version),
            (Some(chart), None, _) => {
                let found = charts::chart(chart, None, version);
                let with_source = |remedy| format!("{remedy} --repo URL, where URL is that of {kind} {name}");
                NamedChart { remedy: found.remedy.map(with_source), ..found }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::enumerate::manifests::resource::unfold;

    fn located(sources: &[Value], release: &Value) -> String {
        let mut known = ChartSources::default();
        for source in sources {
            known.add(&unfold(source, None)[0]);
        }
        let chart = known.locate(&referred_by(&unfold(release, None)[0]).unwrap());
        format!("{}: {}", chart.name, chart.remedy.unwrap())
    }

    #[test]
    fn the_resources_of_flux_name_charts() {
        let named = |version: &str, kind: &str, spec: Value| {
            let resource =
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": "own"}, "spec": spec});
            named_by(&unfold(&resource, None)[0]).map(|chart| chart.remedy.unwrap())
        };
        let command = |rest: &str| Some(format!("run thoras-mirror images --chart {rest}"));
        assert_eq!(
            named(
                "helm.toolkit.fluxcd.io/v2",
                "HelmRelease",
                json!({"chart": {"spec": {"chart": "web", "version": "3"}}})
            ),
            command("web --chart-version 3")
        );
        let repository = json!({"url": "oci://reg.example.com/charts/web", "ref": {"tag": "4"}});
        assert_eq!(
            named("source.toolkit.fluxcd.io/v1", "OCIRepository", repository),
            command("oci://reg.example.com/charts/web")
        );
        assert_eq!(named("source.toolkit.fluxcd.io/v1", "HelmChart", json!({})), command("own"));
        assert_eq!(named("source.toolkit.fluxcd.io/v1", "GitRepository", json!({})), None);
    }

    #[test]
    fn a_release_of_flux_is_located_by_the_source_that_it_refers_to() {
        let source = |kind: &str, namespace: &str, spec: Value| {
            let metadata = json!({"name": "src", "namespace": namespace});
            json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
        };
        let release = |spec: Value| {
            let metadata = json!({"name": "own", "namespace": "apps"});
            json!({"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata, "spec": spec})
        };
        let in_chart = |kind: &str, namespace: Option<&str>| {
            let mut reference = json!({"kind": kind, "name": "src"});
            if let Some(namespace) = namespace {
                reference["namespace"] = namespace.into();
            }
            release(json!({"chart": {"spec": {"chart": "web", "version": "3", "sourceRef": reference}}}))
        };
        let sources = [
            source("HelmRepository", "apps", json!({"url": "https://c.example.com"})),
            source("HelmRepository", "other", json!({"url": "oci://r.example.com/charts", "type": "oci"})),
            source("OCIRepository", "apps", json!({"url": "oci://r.example.com/c/db", "ref": {"tag": "4"}})),
            source("GitRepository", "apps", json!({"url": "https://git.example.com/x"})),
            source(
                "HelmChart",
                "apps",
                json!({"chart": "web", "sourceRef": {"kind": "HelmRepository", "name": "src"}}),
            ),
        ];
        let by_reference = |kind: &str| release(json!({"chartRef": {"kind": kind, "name": "src"}}));
        for (release, expected) in [
            (
                in_chart("HelmRepository", None),
                "web: run thoras-mirror images --chart web --repo https://c.example.com --chart-version 3",
            ),
            (
                in_chart("HelmRepository", Some("other")),
                "web: run thoras-mirror images --chart oci://r.example.com/charts/web --chart-version 3",
            ),
            (
                in_chart("HelmRepository", Some("missing")),
                "web: run thoras-mirror images --chart web --chart-version 3 --repo URL, where URL is that of HelmRepository src",
            ),
            (
                release(
                    json!({"chartRef": null, "chart": {"spec": {"chart": "web", "sourceRef": {"kind": "HelmRepository", "name": "src"}}}}),
                ),
                "web: run thoras-mirror images --chart web --repo https://c.example.com",
            ),
            (
                in_chart("GitRepository", None),
                "web in https://git.example.com/x: check it out and run thoras-mirror images --chart web",
            ),
            (
                by_reference("OCIRepository"),
                "oci://r.example.com/c/db: run thoras-mirror images --chart oci://r.example.com/c/db --chart-version 4",
            ),
            (
                by_reference("HelmChart"),
                "web: run thoras-mirror images --chart web --repo https://c.example.com",
            ),
            (
                release(json!({"chartRef": {"kind": "OCIRepository", "name": "gone"}})),
                "gone: run thoras-mirror images --chart with the URL of OCIRepository gone",
            ),
        ] {
            assert_eq!(located(&sources, &release), expected, "{release}");
        }
    }
}
