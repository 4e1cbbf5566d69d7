//! What a list of referrers says about a manifest (OCI distribution specification, "Listing Referrers"). Registries with
//! the API, fallback indexes and bundles all write such lists.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Digest, RawManifest};

/// The fields of a manifest that matter to lists of referrers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Referrer {
    /// What it refers to, if that is a valid digest.
    pub(crate) subject: Option<Digest>,
    /// The artifact type that it states.
    pub(crate) stated_type: Option<String>,
    /// The media type of its config.
    pub(crate) config_type: Option<String>,
    /// The media type of its first layer.
    pub(crate) layer_type: Option<String>,
    /// Its annotations, as written.
    pub(crate) annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFields {
    subject: Option<Subject>,
    artifact_type: Option<String>,
    config: Option<TypedDescriptor>,
    layers: Option<Vec<TypedDescriptor>>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Subject {
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedDescriptor {
    media_type: Option<String>,
}

impl Referrer {
    /// Reads the fields.
    pub(crate) fn read(manifest: &RawManifest) -> serde_json::Result<Self> {
        let ManifestFields { subject, artifact_type, config, layers, annotations } =
            serde_json::from_slice(manifest.bytes())?;
        let media_type = |content: TypedDescriptor| content.media_type.filter(|text| !text.is_empty());
        Ok(Self {
            subject: subject.and_then(|subject| subject.digest.parse().ok()),
            stated_type: artifact_type.filter(|text| !text.is_empty()),
            config_type: config.and_then(media_type),
            layer_type: layers.and_then(|layers| layers.into_iter().next()).and_then(media_type),
            annotations,
        })
    }

    /// The type in lists of referrers: the artifact type, or else the media type of the config.
    pub(crate) fn listed_type(&self) -> Option<String> {
        self.stated_type.as_ref().or(self.config_type.as_ref()).cloned()
    }
}
