//! The head of a bundle: what is in it, without its blobs.

use std::collections::HashSet;

use bytes::Bytes;

use super::{closure::Closure, error::BundleError, index::Index, layout::Layout};
use crate::{lock::Lock, oci::Digest};

/// What stands before a bundle's blobs.
#[derive(Debug)]
pub struct Head {
    /// The images.
    pub index: Index,
    /// The record of the export, in bundles of ours.
    pub lock: Option<Lock>,
    index_bytes: Bytes,
    lock_bytes: Option<Bytes>,
    pub(super) closure: Closure,
}

impl Head {
    /// Reads the two files that stand first. Manifests are added as they come.
    pub(super) fn new(index_bytes: Bytes, lock_bytes: Option<Bytes>) -> Result<Self, BundleError> {
        let index = Index::read(&index_bytes)?;
        let lock = lock_bytes.as_deref().map(Lock::from_slice).transpose().map_err(BundleError::Lock)?;
        let foreign_layers = lock.as_ref().is_some_and(|lock| lock.foreign_layers).into();
        let roots = index.images.iter().map(|image| &image.root.digest);
        let closure = Closure::new(roots, foreign_layers);
        Ok(Self { index, lock, index_bytes, lock_bytes, closure })
    }

    /// The bundle's id.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.index.id
    }

    /// The blobs that the bundle leaves out because the far side has them.
    #[must_use]
    pub fn absent(&self) -> HashSet<Digest> {
        let base = self.lock.as_ref().and_then(|lock| lock.base.as_ref());
        base.iter().flat_map(|base| base.blobs.keys().cloned()).collect()
    }

    /// Where everything stands if the bundle is one of ours.
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.index_bytes, self.lock_bytes.as_deref(), &self.closure, &self.absent())
    }
}
