//! The content of one repository.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use thoras_mirror::oci::{Attachment, Digest, Link, RawManifest};

use crate::support::graph::missing_below;

/// What one repository holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The bytes under each digest, which may not match it.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// The media type, if one is served, and the bytes.
    pub manifests: BTreeMap<Digest, (Option<String>, Bytes)>,
    /// What each tag names.
    pub tags: BTreeMap<String, Digest>,
    /// The received bytes of interrupted uploads.
    pub uploads: BTreeMap<Digest, Vec<u8>>,
    /// What is listed as attached although it is not.
    pub falsely_listed: BTreeMap<Digest, Vec<Digest>>,
    /// Manifests that are not listed although they have a subject.
    pub unlisted: BTreeSet<Digest>,
}

impl Contents {
    /// Everything below this manifest that is missing.
    pub fn missing_below(&self, root: &Digest) -> BTreeSet<Digest> {
        let manifest = |digest: &Digest| self.manifests.get(digest).map(|(_, bytes)| bytes.to_vec());
        missing_below(root, &manifest, &|digest| self.blobs.contains_key(digest))
    }

    /// The attachments of a manifest: by subject, then by cosign's tags.
    pub fn attachments(&self, subject: &Digest) -> Vec<Attachment> {
        let describe = |digest: &Digest, link: Link| {
            let (media_type, bytes) = self.manifests.get(digest)?;
            let raw = RawManifest::read(media_type.as_deref(), bytes.clone(), Some(digest)).ok()?;
            Some(Attachment { descriptor: raw.descriptor(), artifact_type: None, link })
        };
        let names = |bytes: &Bytes| {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            document["subject"]["digest"] == subject.as_str()
        };
        let by_subject = self
            .manifests
            .iter()
            .filter(|(digest, (_, bytes))| names(bytes) && !self.unlisted.contains(*digest));
        let falsely = self.falsely_listed.get(subject).into_iter().flatten();
        let listed = by_subject.map(|(digest, _)| digest).chain(falsely);
        let by_tag =
            ["sig", "att", "sbom"].map(|suffix| format!("{}.{suffix}", subject.as_str().replace(':', "-")));
        let by_tag =
            by_tag.into_iter().filter_map(|tag| describe(self.tags.get(&tag)?, Link::Tag(tag.clone())));
        listed.filter_map(|digest| describe(digest, Link::Subject)).chain(by_tag).collect()
    }
}
