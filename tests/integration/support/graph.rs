//! What a manifest refers to, read without this project's code so that tests judge it from outside.

use std::collections::BTreeSet;

use serde_json::Value;
use thoras_mirror::oci::Digest;

/// A child of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Child {
    /// An entry of an index's `manifests`.
    Manifest(Digest),
    /// A config or a layer that registries hold.
    Blob(Digest),
}

/// The children of a manifest, in the order in which they are written. Layers with `urls` live elsewhere.
pub fn children(manifest: &[u8]) -> Vec<Child> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let manifests = list("manifests").into_iter().map(|child| Child::Manifest(digest(&child)));
    let config = manifest.get("config").cloned();
    let held = config.into_iter().chain(list("layers")).filter(|child| child.get("urls").is_none());
    manifests.chain(held.map(|child| Child::Blob(digest(&child)))).collect()
}

/// Everything that is missing below a manifest, by digest, given how to read what is there.
///
/// `manifest` returns a manifest's bytes, `has_blob` says whether a blob is there; both answer for one repository.
pub fn missing_below(
    root: &Digest,
    manifest: &dyn Fn(&Digest) -> Option<Vec<u8>>,
    has_blob: &dyn Fn(&Digest) -> bool,
) -> BTreeSet<Digest> {
    let mut missing = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut queue = vec![root.clone()];
    while let Some(digest) = queue.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        let Some(bytes) = manifest(&digest) else {
            missing.insert(digest);
            continue;
        };
        for child in children(&bytes) {
            match child {
                Child::Manifest(child) => queue.push(child),
                Child::Blob(child) if !has_blob(&child) => drop(missing.insert(child)),
                Child::Blob(_) => (),
            }
        }
    }
    missing
}
