//! Builds signatures and other referrers, and a small world to attach them to.

use bytes::Bytes;
use serde_json::{Value, json};
use thoras_mirror::oci::{Digest, media_type::OCI_MANIFEST};

use super::{
    generate::{Format, ImageSpec, Listed, Node, Spec},
    world::World,
};
use crate::support::memory_registry::Contents;

/// The artifact type of a signature.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The endings of the tags in cosign's older format.
pub(super) const SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

pub(super) fn tag_of(subject: &Digest, suffix: &str) -> String {
    format!("{}.{suffix}", subject.as_str().replace(':', "-"))
}

fn descriptor(media_type: &str, bytes: &[u8], more: &Value) -> Value {
    let mut descriptor =
        json!({ "mediaType": media_type, "digest": Digest::sha256(bytes).as_str(), "size": bytes.len() });
    descriptor.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    descriptor
}

/// Stores a manifest with a config and one layer for each entry. Returns its digest.
pub(super) fn store(contents: &mut Contents, entries: &[&str], more: &Value) -> Digest {
    let config = Bytes::from_static(b"{}");
    let mut layers = Vec::new();
    for entry in entries {
        let bytes = Bytes::from((*entry).to_owned());
        let signature = json!({ "annotations": { "signature": entry } });
        layers.push(descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &bytes, &signature));
        contents.blobs.insert(Digest::sha256(&bytes), bytes);
    }
    let empty = descriptor("application/vnd.oci.empty.v1+json", &config, &Value::Null);
    contents.blobs.insert(Digest::sha256(&config), config);
    let mut document =
        json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": layers });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let bytes = Bytes::from(document.to_string());
    let digest = Digest::sha256(&bytes);
    contents.manifests.insert(digest.clone(), (Some(OCI_MANIFEST.to_owned()), bytes));
    digest
}

/// Attaches a manifest to another one by its subject.
pub(super) fn attach_to(
    contents: &mut Contents,
    subject: &Digest,
    artifact_type: &str,
    entry: &str,
) -> Digest {
    let subject = json!({ "mediaType": OCI_MANIFEST, "digest": subject.as_str(), "size": 1 });
    store(contents, &[entry], &json!({ "artifactType": artifact_type, "subject": subject }))
}

/// Attaches a manifest with these entries in cosign's older format.
pub(super) fn tag_to(contents: &mut Contents, subject: &Digest, suffix: &str, entries: &[&str]) -> Digest {
    let digest = store(contents, entries, &json!({}));
    contents.tags.insert(tag_of(subject, suffix), digest.clone());
    digest
}

/// Two tags of one index of two platforms, in one repository. Nothing is attached.
pub(super) fn two_tags() -> World {
    let image = |config| Node::Image {
        config,
        layers: vec![2, 6],
        listed: Listed::Platform,
        format: Format::Oci,
        sha512: false,
    };
    let nodes = vec![image(0), image(1), Node::Index { children: vec![0, 1], format: Format::Oci }];
    let images = (0..2).map(|_| ImageSpec { root: 2, from: 0, to: 0, pinned: false }).collect();
    World::new(Spec {
        nodes,
        images,
        presets: Vec::new(),
        same_registry: false,
        mounts: true,
        jobs: 3,
        seed: 9,
    })
}

impl World {
    pub(super) fn at_source<T>(&self, edit: impl FnOnce(&mut Contents, &Digest) -> T) -> T {
        let image = &self.images[0];
        self.source.edit(image.mapping.source.repository(), |contents| edit(contents, &image.root))
    }

    pub(super) fn at_destination<T>(&self, edit: impl FnOnce(&mut Contents, &Digest) -> T) -> T {
        let image = &self.images[0];
        self.destination.edit(&image.mapping.repository, |contents| edit(contents, &image.root))
    }
}
