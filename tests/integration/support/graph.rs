//! What a manifest references, read without this project's code, so that tests are independent of it.

use std::collections::BTreeSet;

use serde_json::Value;
use thoras_mirror::oci::Digest;

/// A child of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Child {
    /// An entry of an index's `manifests`.
    Manifest(Digest),
    /// A config or a layer that a registry has.
    Blob(Digest),
}

/// The children of a manifest, in the order in which they are written. Foreign layers (with `urls`) are omitted.
pub fn children(manifest: &[u8]) -> Vec<Child> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse::<Digest>().unwrap();
    let list = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
    let manifests = list("manifests").into_iter().map(|child| Child::Manifest(digest(&child)));
    let config = manifest.get("config").cloned();
    let held = config.into_iter().chain(list("layers")).filter(|child| child.get("urls").is_none());
    manifests.chain(held.map(|child| Child::Blob(digest(&child)))).collect()
}

/// The digests of everything missing below a manifest.
///
/// `manifest` returns a manifest's bytes, `has_blob` whether a blob is present; both are about one repository.
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
