//! Trust files in a bundle: trusted roots, public keys and policies.
//!
//! They are the layers of one OCI artifact without a name in `index.json`, so the signature of the index covers them, and
//! other tools skip the artifact or copy it as it is. Their blobs come before all others, so that a reader of a pipe has
//! them before it needs them. They decide nothing by themselves: see `--trust-bundle`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Bundle, BundleError, Head, attachments::ReferrerFields, index::IndexEntry};
use crate::oci::{Descriptor, Digest, RawManifest, media_type::OCI_MANIFEST, referrer::Referrer};

/// The type of the artifact.
pub(super) const ARTIFACT_TYPE: &str = "application/vnd.thoras-mirror.trust.v1+json";
/// The largest file, in bytes. A trusted root has about 10 KiB.
pub(crate) const MAX_TRUST_FILE_SIZE: u64 = 256 * 1024;
/// The most files.
pub(crate) const MAX_TRUST_FILES: usize = 64;

/// The config of an artifact that needs none (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";
/// The annotation that holds the name of a file.
const TITLE: &str = "org.opencontainers.image.title";

/// A file with its name and its media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustFile {
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// The same in a bundle, where its bytes are a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedTrustFile {
    pub(crate) name: String,
    pub(crate) blob: Descriptor,
}

/// The artifact, with its blobs.
#[derive(Debug, Clone)]
pub(crate) struct TrustArtifact {
    pub(super) manifest: RawManifest,
    pub(super) blobs: BTreeMap<Digest, Bytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u8,
    media_type: String,
    artifact_type: String,
    config: Layer,
    layers: Vec<Layer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Layer {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        let (digest, size) = (Digest::sha256(bytes), bytes.len() as u64);
        Self { media_type: media_type.to_owned(), digest, size, annotations: BTreeMap::new() }
    }
}

impl TrustArtifact {
    /// The order of the files does not matter. `None` without files.
    pub(crate) fn new(mut files: Vec<TrustFile>) -> Option<Self> {
        if files.is_empty() {
            return None;
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let layer = |file: &TrustFile| Layer {
            annotations: BTreeMap::from([(TITLE.to_owned(), file.name.clone())]),
            ..Layer::of(&file.media_type, &file.bytes)
        };
        let document = Document {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            artifact_type: ARTIFACT_TYPE.to_owned(),
            config: Layer::of(EMPTY_TYPE, EMPTY),
            layers: files.iter().map(layer).collect(),
        };
        let manifest = serde_json::to_vec(&document).ok()?;
        let manifest = RawManifest::read(Some(OCI_MANIFEST), manifest.into(), None).ok()?;
        let blobs = files.into_iter().map(|file| file.bytes).chain([Bytes::from_static(EMPTY)]);
        let blobs = blobs.map(|bytes| (Digest::sha256(&bytes), bytes)).collect();
        Some(Self { manifest, blobs })
    }

    /// Whether this is the digest of one of its blobs.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest)
    }

    /// Its entry in `index.json`.
    pub(super) fn entry(&self) -> (Descriptor, ReferrerFields) {
        let artifact_type = Some(ARTIFACT_TYPE.to_owned());
        (self.manifest.descriptor(), ReferrerFields { artifact_type, ..ReferrerFields::default() })
    }
}

/// Whether an entry of an index is the artifact, as far as the index says.
pub(super) fn is_trust_entry(entry: &IndexEntry) -> bool {
    let is_nameless = entry.reference.is_none() && entry.label.is_none();
    is_nameless && entry.fields.artifact_type.as_deref() == Some(ARTIFACT_TYPE)
}

/// Whether a manifest is the artifact. Other tools may drop the artifact type from the index.
pub(super) fn is_trust_manifest(manifest: &RawManifest) -> bool {
    Referrer::read(manifest)
        .is_ok_and(|read| read.stated_type.as_deref() == Some(ARTIFACT_TYPE) && read.subject.is_none())
}

impl Head {
    /// The files that the bundle carries, by name.
    pub(crate) fn trust_files(&self) -> Result<Vec<ListedTrustFile>, BundleError> {
        let mut files: BTreeMap<String, ListedTrustFile> = BTreeMap::new();
        for entry in &self.index.trust {
            for file in self.files_of(&entry.root.digest)? {
                let name = file.name.clone();
                if files.insert(name.clone(), file).is_some() {
                    return Err(BundleError::TrustFile { name, reason: "it is listed twice" });
                }
            }
        }
        if files.len() > MAX_TRUST_FILES {
            return Err(refused("there are too many of them"));
        }
        Ok(files.into_values().collect())
    }

    fn files_of(&self, artifact: &Digest) -> Result<Vec<ListedTrustFile>, BundleError> {
        let manifest = self.closure.manifests.get(artifact);
        let manifest = manifest.ok_or_else(|| refused("their manifest is missing or damaged"))?;
        let document: Document = serde_json::from_slice(manifest.bytes())
            .map_err(|_| refused("their manifest does not list trust files"))?;
        let listed = |layer: Layer| {
            let name = layer.annotations.get(TITLE).filter(|name| is_file_name(name)).cloned();
            let name = name.ok_or_else(|| refused("the name of one is not a plain file name"))?;
            if layer.size > MAX_TRUST_FILE_SIZE {
                return Err(BundleError::TrustFile { name, reason: "it is too large" });
            }
            let blob = Descriptor::new(layer.media_type.as_str().into(), layer.digest, layer.size);
            Ok(ListedTrustFile { name, blob })
        };
        document.layers.into_iter().map(listed).collect()
    }
}

impl Bundle {
    /// Reads the files that the bundle carries. Bytes with another digest are an error.
    pub(crate) fn read_trust_files(&self) -> Result<Vec<TrustFile>, BundleError> {
        let read = |ListedTrustFile { name, blob }: ListedTrustFile| {
            let bytes = match self.trust_blobs.get(&blob.digest) {
                Some(bytes) => bytes.clone(),
                None => match self.blob(&blob.digest)? {
                    Some(reader) => reader.whole("a trust file", MAX_TRUST_FILE_SIZE, self.path())?,
                    None => return Err(BundleError::TrustFile { name, reason: "it is missing" }),
                },
            };
            if bytes.len() as u64 != blob.size || !blob.digest.matches(&bytes) {
                return Err(BundleError::TrustFile { name, reason: "its bytes do not match its digest" });
            }
            Ok(TrustFile { name, media_type: blob.media_type.to_string(), bytes })
        };
        self.head().trust_files()?.into_iter().map(read).collect()
    }
}

fn refused(reason: &'static str) -> BundleError {
    BundleError::TrustFiles { reason }
}

/// A name without a folder, which is safe to show.
pub(crate) fn is_file_name(name: &str) -> bool {
    let is_plain = |character: char| !character.is_control() && !matches!(character, '/' | '\\');
    !matches!(name, "" | "." | "..") && name.len() <= 255 && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> TrustFile {
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        TrustFile { name: name.to_owned(), media_type: "text/plain".to_owned(), bytes }
    }

    #[test]
    fn the_order_of_the_files_does_not_matter() {
        let (one, other) = (file("a.pub", "a"), file("b.pub", "b"));
        let forth = TrustArtifact::new(vec![one.clone(), other.clone()]).unwrap();
        let back = TrustArtifact::new(vec![other, one]).unwrap();
        assert_eq!(forth.manifest.bytes(), back.manifest.bytes());
        assert!(is_trust_manifest(&forth.manifest));
        assert!(forth.has(&Digest::sha256(b"a")) && forth.has(&Digest::sha256(b"{}")));
        assert!(TrustArtifact::new(Vec::new()).is_none());
    }

    #[test]
    fn names_are_plain_file_names() {
        for name in ["a", "cosign.pub", "my key.pub", "..pub"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "../a", "a\\b", "a\nb", &"x".repeat(256)] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
