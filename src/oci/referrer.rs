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
    /// Its artifact type, or else the media type of its config.
    pub(crate) artifact_type: Option<String>,
    /// Its annotations, as written.
    pub(crate) annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    subject: Option<Subject>,
    artifact_type: Option<String>,
    config: Option<Config>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Subject {
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: Option<String>,
}

impl Referrer {
    /// Reads the fields.
    pub(crate) fn read(manifest: &RawManifest) -> serde_json::Result<Self> {
        let Document { subject, artifact_type, config, annotations } =
            serde_json::from_slice(manifest.bytes())?;
        let stated = artifact_type.filter(|text| !text.is_empty());
        Ok(Self {
            subject: subject.and_then(|subject| subject.digest.parse().ok()),
            artifact_type: stated.or_else(|| config?.media_type),
            annotations,
        })
    }
}
