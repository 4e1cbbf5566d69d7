//! `thoras-mirror/lock/v1`, which earlier versions wrote: one destination, and one `confirmed` for each image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::model::{self, Base, LockedCopy, Placement};
use crate::{
    graph::PlatformManifest,
    oci::{ArtifactKind, ChartIdentity, Digest, MediaType, Platform, Reference},
};

pub(super) const SCHEMA: &str = "thoras-mirror/lock/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Lock {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(default)]
    chart: Option<ChartIdentity>,
    placement: Placement,
    platforms: Vec<Platform>,
    images: Vec<LockedImage>,
    #[serde(deserialize_with = "super::parse::blobs")]
    blobs: BTreeMap<Digest, u64>,
    #[serde(default)]
    foreign_layers: bool,
    #[serde(default)]
    base: Option<Base>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LockedImage {
    source: Reference,
    destinations: Vec<Reference>,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default)]
    media_type: Option<MediaType>,
    #[serde(default)]
    kind: ArtifactKind,
    platforms: Vec<PlatformManifest>,
    #[serde(default)]
    waived: Vec<Platform>,
    blobs: Vec<Digest>,
    confirmed: bool,
}

impl From<Lock> for model::Lock {
    fn from(lock: Lock) -> Self {
        let to = lock.placement.to.clone();
        Self {
            schema: model::SCHEMA.to_owned(),
            chart: lock.chart,
            destinations: vec![lock.placement],
            platforms: lock.platforms,
            shard: None,
            images: lock.images.into_iter().map(|image| image.with_copies_at(to.as_deref())).collect(),
            excluded: Vec::new(),
            blobs: lock.blobs,
            foreign_layers: lock.foreign_layers,
            base: lock.base,
        }
    }
}

impl LockedImage {
    fn with_copies_at(self, to: Option<&str>) -> model::LockedImage {
        // In the lock of a bundle an image had no destination: it keeps its source's name there.
        let mut references = self.destinations;
        if to.is_none() && references.is_empty() {
            references.push(self.source.clone());
        }
        let copy = |reference| LockedCopy { to: to.map(str::to_owned), reference, confirmed: self.confirmed };
        model::LockedImage {
            source: self.source,
            digest: self.digest,
            media_type: self.media_type,
            kind: self.kind,
            optional: false,
            platforms: self.platforms,
            waived: self.waived,
            blobs: self.blobs,
            attached: Vec::new(),
            destinations: references.into_iter().map(copy).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::model::Lock;

    #[test]
    fn only_an_image_of_a_bundle_without_a_destination_has_the_name_of_its_source() {
        let lock = |to: &str, destinations: &str| {
            let text = format!(
                r#"{{"schema": "thoras-mirror/lock/v1", "placement": {{{to} "naming": "last"}}, "platforms": [], "blobs": {{}}, "images": [
                {{"source": "source.example.com/app:1", "destinations": [{destinations}], "confirmed": true,
                  "platforms": [], "blobs": []}}]}}"#
            );
            let lock = Lock::from_slice(text.as_bytes())?;
            Ok::<_, String>(lock.copies().map(|(_, copy)| copy.reference.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(lock("", "").unwrap(), ["source.example.com/app:1"]);
        assert_eq!(lock("", r#""a.example.com/app:1""#).unwrap(), ["a.example.com/app:1"]);
        let to = r#""to": "prod.example.com/a","#;
        assert_eq!(lock(to, r#""prod.example.com/a/app:1""#).unwrap(), ["prod.example.com/a/app:1"]);
        assert!(lock(to, "").unwrap_err().contains("has no destination"));
    }
}
