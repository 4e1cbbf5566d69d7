//! One lock for each manifest in each repository, so that its pushes take turns.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::oci::{Digest, Repository, Target};

/// A manifest in a repository of the destination.
type ManifestKey = (Digest, Repository);

/// Where this run has pushed the manifest to: rarely to more than one target. Locked while a push is in progress.
type Pushed = Arc<tokio::sync::Mutex<Vec<Target>>>;

/// The locks of all manifests in the repositories that may get further images.
#[derive(Debug, Default)]
pub(super) struct ManifestLocks {
    locks: Mutex<HashMap<Repository, HashMap<Digest, Pushed>>>,
}

impl ManifestLocks {
    /// Waits for other pushes of this manifest. The guard holds which succeeded.
    pub(super) async fn lock(&self, key: &ManifestKey) -> OwnedMutexGuard<Vec<Target>> {
        let lock = {
            let (digest, repository) = key;
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(repository.clone()).or_default().entry(digest.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// How many repositories it remembers.
    #[cfg(test)]
    pub(super) fn repositories(&self) -> usize {
        self.locks.lock().unwrap().len()
    }

    /// Drops the locks of a repository that gets no further image.
    pub(super) fn forget(&self, repository: &Repository) {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).remove(repository);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn pushes_of_one_manifest_to_one_repository_take_turns() {
        let locks = ManifestLocks::default();
        let key = |repository: &str| (Digest::sha256(b"x"), repository.parse().unwrap());
        let (a, b) = (key("reg.example.com/a"), key("reg.example.com/b"));
        let mut first = locks.lock(&a).now_or_never().unwrap();
        assert!(locks.lock(&b).now_or_never().is_some(), "another repository");
        let mut second = locks.lock(&a).boxed();
        assert!((&mut second).now_or_never().is_none());
        first.push(Target::Tag("1".to_owned()));
        drop(first);
        let pushed = second.now_or_never().unwrap();
        assert!(pushed.contains(&Target::Tag("1".to_owned())), "the first push succeeded");
    }
}
