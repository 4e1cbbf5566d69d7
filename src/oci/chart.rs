//! A packaged Helm chart as an OCI artifact in the format of `helm push`, which `helm pull`, `helm install` and
//! registries understand: a config with the fields of `Chart.yaml`, one layer with the package, and a manifest.
//!
//! The same chart always yields the same bytes: Helm's annotation with the time of the push is omitted.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Digest, RawManifest, Reference, Repository, manifest::ManifestError, mapping::CHARTS,
    media_type::OCI_MANIFEST, reference::ReferenceError,
};

/// The config's media type.
pub(crate) const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// The layer's media type.
pub(crate) const HELM_CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// The registry in the name of an artifact that was packaged on this machine, like the images that Podman and Buildah build.
const LOCAL: &str = "localhost";

/// Which chart was rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChartIdentity {
    /// The chart's own name.
    pub name: String,
    /// The chart's own version.
    pub version: String,
    /// The digest of the packaged chart; an unpacked folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A chart's artifact with all its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChartArtifact {
    manifest: RawManifest,
    blobs: [Bytes; 2],
}

impl ChartArtifact {
    /// `metadata` is `Chart.yaml`, `package` the `.tgz` file.
    pub(crate) fn new(metadata: &Value, package: Bytes) -> Result<Self, ManifestError> {
        let config = Bytes::from(metadata.to_string());
        let descriptor = |media_type: &str, bytes: &Bytes| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(HELM_CONFIG, &config),
            "layers": [descriptor(HELM_CONTENT, &package)],
            "annotations": annotations(metadata),
        });
        let manifest = RawManifest::read(Some(OCI_MANIFEST), Bytes::from(manifest.to_string()), None)?;
        Ok(Self { manifest, blobs: [config, package] })
    }

    /// The manifest.
    #[must_use]
    pub(crate) fn manifest(&self) -> &RawManifest {
        &self.manifest
    }

    /// The config or the package.
    #[must_use]
    pub(crate) fn blob(&self, digest: &Digest) -> Option<&Bytes> {
        self.blobs.iter().find(|bytes| Digest::sha256(bytes) == *digest)
    }
}

/// The manifest's annotations, derived from `Chart.yaml` as by Helm 3.12 and later: non-empty ones of the
/// specification, then the chart's own, which cannot override name and version.
fn annotations(metadata: &Value) -> BTreeMap<String, String> {
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let source = metadata.get("sources").and_then(|sources| sources.get(0)).and_then(Value::as_str);
    let standard = [
        ("description", text("description")),
        ("title", text("name")),
        ("version", text("version")),
        ("url", text("home")),
        ("source", source.unwrap_or_default().to_owned()),
        ("authors", authors(metadata)),
    ];
    let mut annotations: BTreeMap<String, String> = standard
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value))
        .collect();
    let own = metadata.get("annotations").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in own {
        let is_fixed = ["title", "version"].map(|fixed| format!("org.opencontainers.image.{fixed}"));
        if let Some(value) = value.as_str().filter(|_| !is_fixed.contains(name)) {
            annotations.insert(name.clone(), value.to_owned());
        }
    }
    annotations
}

/// `NAME (EMAIL), NAME`
fn authors(metadata: &Value) -> String {
    let maintainers = metadata.get("maintainers").and_then(Value::as_array).into_iter().flatten();
    let author = |maintainer: &Value| {
        let text =
            |field: &str| maintainer.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let email = text("email").map(|email| format!(" ({email})")).unwrap_or_default();
        format!("{}{email}", text("name").unwrap_or_default())
    };
    maintainers.map(author).collect::<Vec<_>>().join(", ")
}

/// The tag for a version. Tags cannot contain `+`, so Helm uses `_`.
#[must_use]
pub(crate) fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

/// The reference of a chart artifact that was packaged on this machine: no registry has it.
pub(crate) fn local_chart(name: &str, version: &str) -> Result<Reference, ReferenceError> {
    Reference::tagged(Repository::new(LOCAL, &format!("{CHARTS}/{name}"))?, &tag_of(version))
}

/// Whether a chart artifact was packaged on this machine, so that no registry has it.
#[must_use]
pub(crate) fn is_local_chart(chart: &Reference) -> bool {
    chart.repository().registry() == LOCAL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{ArtifactKind, Contents};

    fn metadata() -> Value {
        json!({
            "annotations": { "x/y": "z", "org.opencontainers.image.version": "9" },
            "apiVersion": "v2",
            "description": "",
            "home": "https://shop.example.com",
            "maintainers": [{ "name": "Ann", "email": "ann@example.com" }, { "name": "Ben" }],
            "name": "shop",
            "sources": ["https://git.example.com/shop", "https://other.example.com"],
            "version": "1.2.3+b",
        })
    }

    #[test]
    fn an_artifact_is_what_helm_pushes_without_the_time() {
        let artifact = ChartArtifact::new(&metadata(), Bytes::from_static(b"package")).unwrap();
        let Contents::Image { config, layers, .. } = artifact.manifest().contents().unwrap() else {
            panic!("an image manifest")
        };
        assert_eq!(config.media_type.as_str(), HELM_CONFIG);
        assert_eq!(ArtifactKind::of(&config.media_type, &[]), ArtifactKind::Chart);
        let [layer] = layers.as_slice() else { panic!("one layer") };
        assert_eq!(layer.media_type.as_str(), HELM_CONTENT);
        assert_eq!(artifact.blob(&layer.digest).unwrap(), "package");
        assert_eq!(
            serde_json::from_slice::<Value>(artifact.blob(&config.digest).unwrap()).unwrap(),
            metadata()
        );
        let manifest: Value = serde_json::from_slice(artifact.manifest().bytes()).unwrap();
        assert_eq!(
            manifest["annotations"],
            json!({
                "org.opencontainers.image.authors": "Ann (ann@example.com), Ben",
                "org.opencontainers.image.source": "https://git.example.com/shop",
                "org.opencontainers.image.title": "shop",
                "org.opencontainers.image.url": "https://shop.example.com",
                "org.opencontainers.image.version": "1.2.3+b",
                "x/y": "z",
            })
        );
    }

    #[test]
    fn a_local_chart_has_its_own_registry_name() {
        let reference = local_chart("shop", "1.2.3+build.5").unwrap();
        assert_eq!(reference.to_string(), "localhost/charts/shop:1.2.3_build.5");
        assert!(is_local_chart(&reference));
        assert!(!is_local_chart(&"ghcr.io/team/shop:1".parse().unwrap()));
        assert!(local_chart("Shop", "1").is_err(), "no registry takes upper case in a repository's name");
    }
}
