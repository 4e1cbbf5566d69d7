//! The attachments of a layout's images: signatures, attestations, SBOMs.
//!
//! A manifest that names its subject is attached to it, wherever the index lists it: untagged, as oras does, below an
//! image, or below a fallback index. A manifest under a tag of cosign's older format is attached to the manifest whose
//! digest the tag contains, if the layout has that manifest.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{closure::Closure, index::IndexEntry};
use crate::{
    graph,
    oci::{
        Attachment, Descriptor, Digest, Link, RawManifest, Repository,
        attachment::{is_attachment_tag, subject_of_tag},
        media_type::Structure,
        referrer::Referrer,
    },
};

/// Annotations that name an image. In the descriptor of a referrer, they would make it one.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// The attachments of each manifest, in a fixed order. A tag belongs to the repository of its name, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Attachments(HashMap<Digest, Vec<(Option<Repository>, Attachment)>>);

/// What an index says about a manifest without a name, as registries do in the list of referrers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReferrerFields {
    /// Its artifact type, or the media type of its config.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

impl ReferrerFields {
    /// Reads them from the manifest (distribution specification, "Listing Referrers").
    pub(crate) fn of(manifest: &RawManifest) -> Self {
        let Ok(read) = Referrer::read(manifest) else { return Self::default() };
        let text = |(key, value): (String, Value)| match value {
            Value::String(value) if !NAMES.contains(&&*key) => Some((key, value)),
            _ => None,
        };
        let artifact_type = read.listed_type();
        let annotations = read.annotations.into_iter().flatten().filter_map(text).collect();
        Self { artifact_type, annotations }
    }
}

impl Attachments {
    /// Moves attachments out of the images, and finds all others.
    pub(crate) fn split(images: &mut Vec<IndexEntry>, closure: &Closure) -> (Vec<IndexEntry>, Self) {
        let mut found = Self::default();
        for manifest in closure.manifests.values() {
            if let Some(subject) = subject_of(manifest) {
                let ReferrerFields { artifact_type, .. } = ReferrerFields::of(manifest);
                let attachment =
                    Attachment { descriptor: manifest.descriptor(), artifact_type, link: Link::Subject };
                found.0.entry(subject).or_default().push((None, attachment));
            }
        }
        let attached: Vec<IndexEntry> = images
            .extract_if(.., |entry| {
                let Some(tag) = tag_of(entry) else {
                    let manifest = closure.manifests.get(&entry.root.digest);
                    return entry.label.is_none()
                        && entry.reference.is_none()
                        && manifest.and_then(subject_of).is_some();
                };
                let Some(subject) =
                    subject_of_tag(tag).filter(|subject| closure.manifests.contains_key(subject))
                else {
                    return false;
                };
                if !tag.contains('.') {
                    // The list of referrers of a registry without the API: each of them names its subject.
                    return entry.root.media_type.structure() == Structure::Index;
                }
                let repository = entry.reference.as_ref().map(|name| name.repository().clone());
                let attachment = Attachment {
                    descriptor: entry.root.clone(),
                    artifact_type: None,
                    link: Link::Tag(tag.to_owned()),
                };
                let listed = found.0.entry(subject).or_default();
                if !listed.iter().any(|(known, other)| *known == repository && *other == attachment) {
                    listed.push((repository, attachment));
                }
                true
            })
            .collect();
        (attached, found)
    }

    /// The attachments of a manifest in a repository.
    pub(crate) fn of<'a>(
        &'a self,
        repository: &'a Repository,
        subject: &Digest,
    ) -> impl Iterator<Item = &'a Attachment> {
        let all = self.0.get(subject).into_iter().flatten();
        let is_here = move |(named, _): &&(Option<Repository>, Attachment)| {
            named.as_ref().is_none_or(|named| named == repository)
        };
        all.filter(is_here).map(|(_, attachment)| attachment)
    }

    /// The attachments of a manifest in any repository.
    pub(crate) fn anywhere(&self, subject: &Digest) -> impl Iterator<Item = &Attachment> {
        self.0.get(subject).into_iter().flatten().map(|(_, attachment)| attachment)
    }

    /// The manifest under a tag of cosign's older format.
    pub(crate) fn tagged(&self, repository: &Repository, tag: &str) -> Option<&Descriptor> {
        let subject = subject_of_tag(tag)?;
        let listed = self.0.get(&subject).into_iter().flatten();
        let mut named = listed.filter(|(named, _)| named.as_ref().is_none_or(|named| named == repository));
        let found =
            named.find(|(_, attachment)| matches!(&attachment.link, Link::Tag(other) if other == tag))?;
        Some(&found.1.descriptor)
    }
}

/// The tag of an entry that belongs to another manifest, from its full name or its label.
pub(crate) fn tag_of(entry: &IndexEntry) -> Option<&str> {
    let tag = match &entry.reference {
        Some(reference) => reference.tag(),
        None => entry.label.as_deref(),
    };
    tag.filter(|tag| is_attachment_tag(tag))
}

fn subject_of(manifest: &RawManifest) -> Option<Digest> {
    let contents = manifest.contents().ok()?;
    graph::subject(&contents).map(|subject| subject.digest.clone())
}
