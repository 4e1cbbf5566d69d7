//! What an `OCIRepository` of Flux asks for, and how to list its images: as a chart, or as manifests that Flux applies.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::charts::{self, NamedChart, at, text};

/// What an `OCIRepository` asks for. Flux prefers a digest to a range, and a range to a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ArtifactReference {
    Digest(String),
    /// The newest tag in a range of versions.
    Range(String),
    Tag(String),
    Latest,
}

impl ArtifactReference {
    pub(super) fn by(spec: &Value) -> Self {
        let field = |key| text(at(spec, &["ref"]), key).map(str::to_owned);
        let range = || field("semver").map(Self::Range);
        field("digest")
            .map(Self::Digest)
            .or_else(range)
            .or_else(|| field("tag").map(Self::Tag))
            .unwrap_or(Self::Latest)
    }

    pub(super) fn chart(&self, url: &str) -> NamedChart {
        match self {
            Self::Digest(digest) => charts::chart(&format!("{url}@{digest}"), None, None),
            Self::Range(version) | Self::Tag(version) => charts::chart(url, None, Some(version)),
            Self::Latest => charts::chart(url, None, None),
        }
    }

    /// How to list the images of the manifests in these folders of the artifact.
    pub(super) fn manifests(&self, url: &str, folders: &BTreeSet<String>) -> String {
        let (artifact, remark) = match self {
            Self::Digest(digest) => (format!("{url}@{digest}"), String::new()),
            Self::Range(range) => {
                (format!("{url}:TAG"), format!(" with the newest TAG in the range {range}"))
            }
            Self::Tag(tag) => (format!("{url}:{tag}"), String::new()),
            Self::Latest => (url.to_owned(), String::new()),
        };
        let artifact = charts::for_shell(&artifact);
        let builds: Vec<String> =
            folders.iter().map(|folder| format!("kustomize build {}", charts::for_shell(folder))).collect();
        let build = match builds.as_slice() {
            [build] => build.clone(),
            several => format!("({})", several.join("; echo ---; ")),
        };
        format!(
            "run mkdir FOLDER && flux pull artifact {artifact} --output FOLDER{remark}, then {build} | thoras-mirror images --rendered - \
             (without a kustomization.yaml, first run kustomize create --autodetect --recursive there)"
        )
    }
}

/// The folder that a `Kustomization` applies, in the folder where the user unpacks the artifact.
pub(super) fn folder(path: Option<&str>) -> String {
    let parts = path.unwrap_or_default().split('/').filter(|part| !matches!(*part, "" | "."));
    std::iter::once("FOLDER").chain(parts).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use crate::enumerate::{
        image::ImageSet,
        manifests::{ScanOptions, scan},
    };

    fn note(reference: &str, others: &str) -> String {
        let text = format!(
            "
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {{name: podinfo, namespace: apps}}
spec: {{url: 'oci://q.io/manifests/podinfo', ref: {reference}}}
{others}
"
        );
        let options = ScanOptions { prefixes: &[], test_hooks: true };
        scan("test", &text, options, &mut ImageSet::default()).unwrap()[0].message()
    }

    fn kustomization(path: &str) -> String {
        format!(
            "---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: podinfo, namespace: apps}}
spec: {{sourceRef: {{kind: OCIRepository, name: podinfo}}, path: {path}}}
"
        )
    }

    #[test]
    fn an_artifact_that_flux_applies_holds_manifests_and_no_chart_bug() {
        assert_eq!(
            note("{tag: latest}", &kustomization("./")),
            "OCIRepository apps/podinfo: its manifests are not read, so their images are not included; run mkdir FOLDER && flux pull artifact \
             oci://q.io/manifests/podinfo:latest --output FOLDER, then kustomize build FOLDER | thoras-mirror images \
             --rendered - (without a kustomization.yaml, first run kustomize create --autodetect --recursive there)"
        );
    }

    #[test]
    fn manifests_of_flux_are_pulled_as_flux_chooses_them() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (reference, artifact) in [
            (
                format!("{{digest: '{digest}', semver: '>=1', tag: a}}"),
                format!("@{digest} --output FOLDER, then"),
            ),
            (
                "{semver: '>= 1.0.0 <2', tag: a}".to_owned(),
                ":TAG --output FOLDER with the newest TAG in the range >= 1.0.0 <2, then".to_owned(),
            ),
            ("{digest: '', semver: null, tag: a}".to_owned(), ":a --output FOLDER, then".to_owned()),
            ("null".to_owned(), " --output FOLDER, then".to_owned()),
        ] {
            let note = note(&reference, &kustomization("./"));
            let expected =
                format!("flux pull artifact oci://q.io/manifests/podinfo{artifact} kustomize build FOLDER |");
            assert!(note.contains(&expected), "{note}");
        }
        assert!(
            note("null", &kustomization("./deploy//prod/"))
                .contains("then kustomize build FOLDER/deploy/prod |")
        );
        let two = kustomization("a") + &kustomization("\"b c\"");
        assert!(
            note("null", &two)
                .contains("then (kustomize build FOLDER/a; echo ---; kustomize build 'FOLDER/b c') |")
        );
    }

    #[test]
    fn a_chart_of_flux_in_a_registry_is_pulled_as_flux_chooses_it() {
        let release = "---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: podinfo, namespace: apps}
spec: {chartRef: {kind: OCIRepository, name: podinfo}}
";
        let chart = |reference: &str| note(reference, release);
        assert!(
            chart("{digest: 'sha256:1', tag: a}").ends_with("--chart oci://q.io/manifests/podinfo@sha256:1")
        );
        assert!(chart("{semver: '>=1', tag: a}").ends_with("--chart-version '>=1'"));
        assert!(chart("{tag: a}").ends_with("--chart-version a"));
    }

    #[test]
    fn an_artifact_to_which_nothing_refers_may_be_a_chart_or_manifests() {
        let note = note("{tag: '1'}", "");
        let expected = "OCIRepository apps/podinfo: it holds a chart or manifests, whose images are not included; for a chart, run thoras-mirror images --chart oci://q.io/manifests/podinfo --chart-version \
                        1; for manifests, run mkdir FOLDER && flux pull artifact oci://q.io/manifests/podinfo:1 --output FOLDER, then";
        assert!(note.starts_with(expected), "{note}");
    }
}
