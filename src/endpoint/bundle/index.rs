//! `index.json`: the references in a layout (OCI image specification, "Image Layout", "index.json file").
//!
//! This program writes a flat index: a descriptor for each reference, with the full name in both annotations that
//! readers use. Other programs name images only by tag, or not at all.

mod written;

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use self::written::WrittenIndex;
use super::{attachments::ReferrerFields, error::BundleError, trust::is_trust_entry};
use crate::oci::{
    Descriptor, Digest, MediaType, Reference, Repository, digest::DigestError, json_problem::json_problem,
    reference::ReferenceError,
};

/// Read by skopeo, regctl and oras.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Read by containerd and Docker.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// An annotation of the index itself: the digest of the lock, so that the bundle's id also covers the lock.
const LOCK_DIGEST: &str = "com.thoras.mirror.lock.digest";
/// The maximum size of an index, in bytes: that of the maximum number of entries with names of typical length.
pub(crate) const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// The most images in a bundle.
const MAX_IMAGES: usize = 20_000;
/// The most entries of an index: images and attachments.
const MAX_ENTRIES: usize = 100_000;
/// The largest lock of a bundle with few images, in bytes, and how much more each image permits: a lock has about
/// 2.3 KiB for each image.
const MAX_LOCK_SIZE: u64 = 16 * 1024 * 1024;
const LOCK_PER_IMAGE: u64 = 4 * 1024;

/// The number of images that an index with these bytes has at most, without parsing it.
pub(crate) fn images_at_most(bytes: &[u8]) -> usize {
    const KEY: &[u8] = b"\"digest\"";
    bytes.windows(KEY.len()).filter(|window| *window == KEY).count().min(MAX_IMAGES)
}

/// The largest lock that is read together with an index of this many images, in bytes.
pub(crate) fn largest_lock(images: usize) -> u64 {
    MAX_LOCK_SIZE.max(images.min(MAX_IMAGES) as u64 * LOCK_PER_IMAGE)
}

/// One image of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its full name, if any.
    pub reference: Option<Reference>,
    /// Its name in the layout if that is not a full name: a tag, for example.
    pub label: Option<String>,
    /// Its root.
    pub root: Descriptor,
    /// Its name in reports: the full name, or a name that no registry can have (RFC 2606, `.invalid`).
    pub handle: Reference,
    /// What the index says about an entry without any name.
    pub(crate) fields: ReferrerFields,
}

/// A layout's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The images in the order of the index.
    pub images: Vec<IndexEntry>,
    /// The attachments of the images: entries without a name, and tags of cosign's older format.
    pub attached: Vec<IndexEntry>,
    /// Lists of trust files.
    pub(crate) trust: Vec<IndexEntry>,
    /// The digest of the lock, in bundles of this program.
    pub lock: Option<Digest>,
    /// The digest of the index's bytes: the id of the bundle.
    pub id: Digest,
}

/// The parts of an index that are read. The images are made one at a time, because thousands of them take much more
/// memory than the text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexDocument<'a> {
    #[serde(rename = "schemaVersion")]
    _schema_version: u8,
    #[serde(borrow)]
    manifests: Vec<ReadEntry<'a>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadEntry<'a> {
    #[serde(borrow)]
    media_type: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    size: u64,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    artifact_type: Option<Text<'a>>,
}

/// The annotations that name an image.
#[derive(Debug, Default, Deserialize)]
struct ReadNames<'a> {
    #[serde(borrow, rename = "io.containerd.image.name")]
    containerd: Option<Text<'a>>,
    #[serde(borrow, rename = "org.opencontainers.image.ref.name")]
    ref_name: Option<Text<'a>>,
}

/// Borrowed text, also inside an option.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> IndexDocument<'a> {
    /// Parses an index.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| BundleError::Index(json_problem(&error)))?;
        if document.manifests.len() > MAX_ENTRIES {
            return Err(BundleError::Index(format!("it has more than {MAX_ENTRIES} entries")));
        }
        Ok(document)
    }

    /// The images in the order of the index, and their attachments.
    pub(crate) fn images(&self) -> impl Iterator<Item = Result<IndexEntry, BundleError>> {
        self.entries().filter(|entry| !entry.as_ref().is_ok_and(is_trust_entry))
    }

    fn entries(&self) -> impl Iterator<Item = Result<IndexEntry, BundleError>> {
        self.manifests.iter().map(entry)
    }

    /// The number of images.
    pub(crate) fn count(&self) -> usize {
        self.manifests.len()
    }

    /// The digest of the lock, in bundles of this program.
    pub(crate) fn lock(&self) -> Result<Option<Digest>, BundleError> {
        let not_a_digest = |error: DigestError| BundleError::Index(format!("{LOCK_DIGEST}: {error}"));
        self.annotations.get(LOCK_DIGEST).map(|digest| digest.parse().map_err(not_a_digest)).transpose()
    }
}

/// The bytes of the index of these images and of the lock with this digest. The order of the images does not matter.
#[must_use]
pub fn write<'a>(
    images: impl IntoIterator<Item = (&'a Reference, &'a Descriptor)>,
    lock: Option<&'a Digest>,
) -> Vec<u8> {
    write_with_referrers(images, [], lock)
}

/// The same with referrers: untagged, each once, after the images.
#[must_use]
pub(crate) fn write_with_referrers<'a>(
    images: impl IntoIterator<Item = (&'a Reference, &'a Descriptor)>,
    referrers: impl IntoIterator<Item = (&'a Descriptor, &'a ReferrerFields)>,
    lock: Option<&'a Digest>,
) -> Vec<u8> {
    WrittenIndex::new(images, referrers, lock).to_vec()
}

impl Index {
    /// Parses an index. Attachments are still among the images: only the manifests tell them apart.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let document = IndexDocument::parse(bytes)?;
        let entries = document.entries().collect::<Result<Vec<_>, _>>()?;
        let (trust, mut images): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_trust_entry);
        images.shrink_to_fit();
        Ok(Self { images, attached: Vec::new(), trust, lock: document.lock()?, id: Digest::sha256(bytes) })
    }
}

fn unreadable(error: &serde_json::Error) -> BundleError {
    BundleError::Index(error.to_string())
}

fn entry(written: &ReadEntry<'_>) -> Result<IndexEntry, BundleError> {
    let digest: Digest =
        written.digest.parse().map_err(|error: DigestError| BundleError::Index(error.to_string()))?;
    let root = Descriptor::new(MediaType::from(written.media_type.as_ref()), digest, written.size);
    let (text, fields) = (written.annotations.map(RawValue::get), &written.artifact_type);
    let names: Option<ReadNames<'_>> =
        text.map(serde_json::from_str).transpose().map_err(|error| unreadable(&error))?;
    let ReadNames { containerd, ref_name } = &names.unwrap_or_default();
    let names = || [containerd, ref_name].into_iter().flatten();
    let reference = names().find_map(|name| full_name(&name.0));
    let label = names().next_back().filter(|_| reference.is_none()).map(|name| name.0.to_string());
    let fields = if reference.is_none() && label.is_none() {
        // Values of another type are not annotations; this program writes no such entry.
        let annotations = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        ReferrerFields { artifact_type: fields.as_ref().map(|text| text.0.to_string()), annotations }
    } else {
        ReferrerFields::default()
    };
    let handle = match &reference {
        Some(reference) => reference.clone(),
        None => {
            stand_in(label.as_deref(), &root.digest).map_err(|error| BundleError::Index(error.to_string()))?
        }
    };
    Ok(IndexEntry { reference, label, root, handle, fields })
}

/// The name of an unnamed image in reports, with its label if that is a valid tag.
fn stand_in(label: Option<&str>, digest: &Digest) -> Result<Reference, ReferenceError> {
    let repository = Repository::new("unnamed.invalid", "image")?;
    let tagged = label.and_then(|label| Reference::tagged(repository.clone(), label).ok());
    Ok(match tagged {
        Some(reference) => reference.with_digest(digest.clone()),
        None => Reference::pinned(repository, digest.clone()),
    })
}

/// A name with a registry. Without one, `latest` or `app` would count as images of Docker Hub.
fn full_name(name: &str) -> Option<Reference> {
    let (first, _) = name.split_once('/')?;
    let names_host = first == "localhost" || first.contains(['.', ':']);
    names_host.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media_type::OCI_INDEX;

    fn root() -> Descriptor {
        Descriptor::new(OCI_INDEX.into(), Digest::sha256(b"root"), 4)
    }

    #[test]
    fn what_is_written_reads_back_in_one_order() {
        let names = ["reg.example.com/b:1", "reg.example.com/a:1", "docker.io/library/busybox:latest"];
        let references: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        let root = root();
        let lock = Digest::sha256(b"lock");
        let forth = write(references.iter().map(|reference| (reference, &root)), Some(&lock));
        let back = write(references.iter().rev().map(|reference| (reference, &root)), Some(&lock));
        assert_eq!(forth, back);
        let index = Index::read(&forth).unwrap();
        assert_eq!(index.id, Digest::sha256(&forth));
        assert_eq!(index.lock, Some(lock));
        let read: Vec<String> =
            index.images.iter().map(|image| image.reference.as_ref().unwrap().to_string()).collect();
        assert_eq!(read, ["docker.io/library/busybox:latest", "reg.example.com/a:1", "reg.example.com/b:1"]);
        assert_eq!(index.images[0].root, root);
    }

    #[test]
    fn a_tag_alone_is_a_label_and_no_image_of_docker_hub() {
        let read = |annotations: &str| {
            let digest = Digest::sha256(b"x");
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{digest}","size":1{annotations}}}]}}"#
            );
            Index::read(text.as_bytes()).unwrap().images.remove(0)
        };
        let image = read(r#","annotations":{"org.opencontainers.image.ref.name":"latest"}"#);
        assert_eq!((image.reference, image.label.as_deref()), (None, Some("latest")));
        let digest = Digest::sha256(b"x");
        assert_eq!(image.handle.to_string(), format!("unnamed.invalid/image:latest@{digest}"));
        let image = read("");
        assert_eq!((image.reference, image.label), (None, None));
        assert_eq!(image.handle.to_string(), format!("unnamed.invalid/image@{digest}"));
        let docker = r#","annotations":{"io.containerd.image.name":"docker.io/library/x:1","org.opencontainers.image.ref.name":"1"}"#;
        assert_eq!(read(docker).reference.unwrap().to_string(), "docker.io/library/x:1");
    }

    #[test]
    fn an_invalid_digest_is_refused() {
        let text = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:../x","size":1}]}"#;
        assert!(Index::read(text.as_bytes()).is_err());
        assert!(Index::read(b"[]").is_err());
    }
}
