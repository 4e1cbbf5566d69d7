//! An index as it is written.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Serialize, Serializer};

use super::{super::attachments::ReferrerFields, CONTAINERD_NAME, LOCK_DIGEST, REF_NAME};
use crate::oci::{Descriptor, Digest, Reference, media_type::OCI_INDEX};

/// The form that is written. It borrows, because thousands of owned descriptors take more memory than the text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrittenIndex<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<ManifestEntry<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, &'a str>,
}

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestEntry<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a str>,
}

#[derive(PartialEq)]
enum Annotations<'a> {
    /// The name of an image, for every reader.
    Name(Box<str>),
    /// Those of a referrer.
    Referrer(&'a BTreeMap<String, String>),
}

impl Annotations<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Referrer(annotations) if annotations.is_empty())
    }
}

impl Serialize for Annotations<'_> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => output.collect_map([(CONTAINERD_NAME, name), (REF_NAME, name)]),
            Self::Referrer(annotations) => annotations.serialize(output),
        }
    }
}

impl<'a> WrittenIndex<'a> {
    /// The index of these images and referrers, and of the lock with this digest.
    pub(crate) fn new(
        images: impl IntoIterator<Item = (&'a Reference, &'a Descriptor)>,
        referrers: impl IntoIterator<Item = (&'a Descriptor, &'a ReferrerFields)>,
        lock: Option<&'a Digest>,
    ) -> Self {
        let entry = |descriptor: &'a Descriptor, annotations| ManifestEntry {
            media_type: descriptor.media_type.as_str(),
            digest: descriptor.digest.as_str(),
            size: descriptor.size,
            annotations,
            artifact_type: None,
        };
        let mut named: Vec<(Box<str>, &Descriptor)> =
            images.into_iter().map(|(reference, root)| (reference.to_string().into(), root)).collect();
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut manifests: Vec<ManifestEntry<'_>> =
            named.into_iter().map(|(name, root)| entry(root, Annotations::Name(name))).collect();
        manifests.dedup();
        let untagged = referrers.into_iter().map(|(descriptor, fields)| ManifestEntry {
            artifact_type: fields.artifact_type.as_deref(),
            ..entry(descriptor, Annotations::Referrer(&fields.annotations))
        });
        let mut untagged: Vec<ManifestEntry<'_>> = untagged.collect();
        untagged.sort_by_key(|entry| entry.digest);
        untagged.dedup_by_key(|entry| entry.digest);
        manifests.append(&mut untagged);
        let annotations = lock.map(|digest| (LOCK_DIGEST, digest.as_str())).into_iter().collect();
        Self { schema_version: 2, media_type: OCI_INDEX, manifests, annotations }
    }

    /// Its bytes, in exactly as much memory as they need.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        // Text, numbers and maps with text keys are always JSON, and these writers never fail.
        let mut length = ByteCount(0);
        let _ = serde_json::to_writer(&mut length, self);
        let mut bytes = Vec::with_capacity(length.0);
        let _ = serde_json::to_writer(&mut bytes, self);
        bytes
    }

    /// Whether these are its bytes. Nothing is written for the comparison.
    pub(crate) fn has_bytes(&self, bytes: &[u8]) -> bool {
        let mut expected = Expected(bytes);
        serde_json::to_writer(&mut expected, self).is_ok() && expected.0.is_empty()
    }
}

/// Counts the bytes that are written.
struct ByteCount(usize);

impl Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes that are still to be written. Any others fail.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of so many images, of which each has another name.
    fn with_index<T>(images: usize, then: impl FnOnce(&WrittenIndex<'_>) -> T) -> T {
        let root = Descriptor::new(OCI_INDEX.into(), Digest::sha256(b"root"), 4);
        let name = |number| format!("reg.example.com/app-{number:05}:1").parse().unwrap();
        let names: Vec<Reference> = (0..images).map(name).collect();
        then(&WrittenIndex::new(names.iter().map(|name| (name, &root)), [], Some(&root.digest)))
    }

    #[test]
    fn only_its_own_bytes_are_its_bytes() {
        with_index(2, |index| {
            let bytes = index.to_vec();
            assert!(index.has_bytes(&bytes));
            assert!(!index.has_bytes(&bytes[..bytes.len() - 1]), "the end is missing");
            assert!(!index.has_bytes(&[&bytes[..], b" "].concat()), "there is more");
            assert!(!index.has_bytes(&bytes.to_ascii_uppercase()));
            assert!(!with_index(1, |other| other.has_bytes(&bytes)));
        });
    }

    /// A bundle may have 10,000 images, and everything else about them is in memory as well when the index is written.
    #[test]
    fn writing_takes_little_more_memory_than_the_text() {
        with_index(100, |index| {
            let bytes = index.to_vec();
            assert_eq!(bytes.capacity(), bytes.len());
            assert!(size_of::<ManifestEntry<'_>>() <= 80, "{}", size_of::<ManifestEntry<'_>>());
            assert!(index.manifests.capacity() <= index.manifests.len(), "no room is left over");
        });
    }
}
