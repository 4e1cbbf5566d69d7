//! A pushed manifest: what it requires and references. No I/O.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    graph,
    oci::{
        Descriptor, Digest, MediaType, RawManifest, json_problem::json_problem, manifest::ManifestError,
        referrer,
    },
};

/// The largest entry in a list of referrers, in bytes. A larger entry is listed without its annotations, which are in
/// the manifest itself.
const MAX_ENTRY_SIZE: usize = 256 * 1024;

/// A manifest to store, with its requirements.
#[derive(Debug)]
pub(in crate::serve) struct NewManifest {
    /// The bytes, their digest and media type.
    pub(in crate::serve) raw: RawManifest,
    /// Content that the repository must already have: the blobs of an image, the manifests of an index. Foreign layers
    /// are not required: their bytes may never be pushed.
    pub(in crate::serve) required: Vec<Descriptor>,
    /// Whether some of it may be missing nevertheless.
    pub(in crate::serve) may_be_sparse: bool,
    /// Its entry among the referrers of its subject, if it has a subject.
    pub(in crate::serve) referrer: Option<Referrer>,
}

/// An entry in the list of a subject's referrers.
#[derive(Debug)]
pub(in crate::serve) struct Referrer {
    /// The subject, which does not have to exist (yet).
    pub(in crate::serve) subject: Digest,
    /// The entry, a descriptor in JSON.
    pub(in crate::serve) descriptor: Vec<u8>,
}

/// OCI distribution specification, "Listing Referrers".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a MediaType,
    digest: &'a Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Map<String, Value>>,
}

impl NewManifest {
    /// Parses the manifest for its requirements and its subject.
    pub(in crate::serve) fn read(raw: RawManifest) -> Result<Self, ManifestError> {
        let contents = raw.contents()?;
        let required = graph::successors(&contents)
            .map(|successor| successor.descriptor)
            .filter(|descriptor| !descriptor.media_type.is_foreign_layer());
        let required = required.cloned().collect();
        let referrer = match graph::subject(&contents) {
            Some(subject) => {
                Some(Referrer { subject: subject.digest.clone(), descriptor: describe_referrer(&raw)? })
            }
            None => None,
        };
        Ok(Self { raw, required, may_be_sparse: false, referrer })
    }
}

fn describe_referrer(raw: &RawManifest) -> Result<Vec<u8>, ManifestError> {
    let unreadable = |error: serde_json::Error| ManifestError::Unreadable(json_problem(&error));
    let read = referrer::Referrer::read(raw).map_err(unreadable)?;
    let entry = Entry {
        media_type: raw.media_type(),
        digest: raw.digest(),
        size: raw.size(),
        artifact_type: read.listed_type(),
        annotations: read.annotations,
    };
    let written = serde_json::to_vec(&entry).map_err(unreadable)?;
    if written.len() <= MAX_ENTRY_SIZE {
        return Ok(written);
    }
    serde_json::to_vec(&Entry { annotations: None, ..entry }).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};

    const BLOB: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(document: &Value) -> NewManifest {
        let raw = RawManifest::read(None, Bytes::from(document.to_string()), None).unwrap();
        NewManifest::read(raw).unwrap()
    }

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": BLOB, "size": 0})
    }

    fn entry(manifest: &NewManifest) -> Value {
        serde_json::from_slice(&manifest.referrer.as_ref().unwrap().descriptor).unwrap()
    }

    #[test]
    fn foreign_layers_need_not_be_there() {
        let manifest = read(&json!({
            "schemaVersion": 2,
            "config": descriptor("application/c"),
            "layers": [
                descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
                descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
                descriptor("application/l"),
            ],
        }));
        let types: Vec<&str> = manifest.required.iter().map(|blob| blob.media_type.as_str()).collect();
        assert_eq!(types, ["application/c", "application/l"]);
        assert!(manifest.referrer.is_none());
    }

    #[test]
    fn a_referrers_entry_shows_artifact_type_and_annotations() {
        let stated = read(&json!({
            "schemaVersion": 2, "artifactType": "application/sbom", "annotations": {"a": "b"},
            "config": descriptor("application/c"), "layers": [], "subject": descriptor(OCI_MANIFEST),
        }));
        assert_eq!(entry(&stated)["artifactType"], "application/sbom");
        assert_eq!(entry(&stated)["annotations"], json!({"a": "b"}));
        assert_eq!(entry(&stated)["size"], stated.raw.size());
        let implied = read(&json!({
            "schemaVersion": 2, "config": descriptor("application/c"), "layers": [],
            "subject": descriptor(OCI_MANIFEST),
        }));
        assert_eq!(entry(&implied)["artifactType"], "application/c");
        let index = read(&json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": descriptor(OCI_MANIFEST),
        }));
        assert_eq!(entry(&index).get("artifactType"), None);
    }
}
