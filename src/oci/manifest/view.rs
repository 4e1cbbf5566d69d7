//! What is read of a manifest.
//!
//! `null` in place of a list is an empty list: some tools written in Go write it so, and all of them read it so.

use std::collections::HashMap;

use oci_spec::image::Descriptor;
use serde::{Deserialize, Deserializer};

/// An index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    #[expect(dead_code, reason = "only checked: it is required")]
    schema_version: u32,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) manifests: Vec<Descriptor>,
    pub(super) subject: Option<Descriptor>,
    #[expect(dead_code, reason = "only checked: other tools read text only")]
    annotations: Option<HashMap<String, String>>,
}

/// An image or artifact manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    #[expect(dead_code, reason = "only checked: it is required")]
    schema_version: u32,
    pub(super) config: Descriptor,
    #[serde(deserialize_with = "null_as_empty")]
    pub(super) layers: Vec<Descriptor>,
    pub(super) subject: Option<Descriptor>,
    #[expect(dead_code, reason = "only checked: other tools read text only")]
    annotations: Option<HashMap<String, String>>,
}

fn null_as_empty<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<Descriptor>, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}
