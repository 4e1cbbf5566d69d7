//! Decides which image transfers which blob, so that each blob is transferred once and other images wait for it.
//!
//! An image claims its blobs when it is planned, without awaiting anything in between; images that need the same blob
//! later find the [`Claim`] and wait. A claim that is dropped without success passes to one of them. Waiting takes no
//! slot of the queue, because the transfer may need the last one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::SetOnce;

use crate::oci::{Digest, Repository};

/// A blob in a repository of the destination.
pub(super) type BlobKey = (Digest, Repository);
type States = HashMap<Digest, State>;
/// Whether the blob was transferred (true) or its claim abandoned (false); pending until then. An image may have
/// thousands of blobs, so it is small.
type State = Arc<SetOnce<bool>>;

/// The claims in all repositories that may get further images, including those that are done.
#[derive(Debug, Default)]
pub(super) struct Claims {
    repositories: Mutex<HashMap<Repository, States>>,
}

/// The exclusive right and duty to transfer one blob to one repository.
#[derive(Debug)]
pub(super) struct Claim {
    state: State,
}

impl Claim {
    /// Marks the blob as transferred.
    pub(super) fn done(self) {
        // Only the claim sets its state.
        let _ = self.state.set(true);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // No effect if it is done.
        let _ = self.state.set(false);
    }
}

impl Claims {
    /// Claims a blob, unless another claim on it is pending or done.
    pub(super) fn claim(&self, key: &BlobKey) -> Option<Claim> {
        let (digest, repository) = key;
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let states = match repositories.get_mut(repository) {
            Some(states) => states,
            None => repositories.entry(repository.clone()).or_default(),
        };
        if let Some(current) = states.get(digest)
            && current.get() != Some(&false)
        {
            return None;
        }
        let state = State::default();
        states.insert(digest.clone(), Arc::clone(&state));
        Some(Claim { state })
    }

    /// Waits until the blob is transferred (true) or its claim is abandoned (false). A blob without a claim was present
    /// from the start.
    pub(super) async fn wait(&self, key: &BlobKey) -> bool {
        match self.state(key) {
            Some(state) => *state.wait().await,
            None => true,
        }
    }

    fn state(&self, (digest, repository): &BlobKey) -> Option<State> {
        let repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        repositories.get(repository)?.get(digest).cloned()
    }

    /// How many repositories it remembers.
    #[cfg(test)]
    pub(super) fn repositories(&self) -> usize {
        self.repositories.lock().unwrap().len()
    }

    /// Drops the claims in a repository that gets no further image. Returns the blobs that were not transferred.
    pub(super) fn forget(&self, repository: &Repository) -> Vec<Digest> {
        let mut repositories = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let states = repositories.remove(repository).unwrap_or_default();
        let is_lost = |(_, state): &(Digest, State)| state.get() != Some(&true);
        states.into_iter().filter(is_lost).map(|(digest, _)| digest).collect()
    }

    /// Waits until the blob is transferred, or takes over its abandoned claim.
    pub(super) async fn wait_or_take_over(&self, key: &BlobKey) -> Option<Claim> {
        loop {
            if self.wait(key).await {
                return None;
            }
            if let Some(claim) = self.claim(key) {
                return Some(claim);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn key() -> BlobKey {
        (Digest::sha256(b"x"), "reg.example.com/a".parse().unwrap())
    }

    #[test]
    fn a_transferred_blob_wakes_its_waiters() {
        let (claims, key) = (Claims::default(), key());
        let claim = claims.claim(&key).unwrap();
        assert!(claims.claim(&key).is_none());
        let mut waiting = claims.wait(&key).boxed();
        assert!((&mut waiting).now_or_never().is_none());
        claim.done();
        assert_eq!(waiting.now_or_never(), Some(true));
        assert!(claims.claim(&key).is_none(), "it is transferred");
    }

    #[test]
    fn a_dropped_claim_passes_on_exactly_once() {
        let (claims, key) = (Claims::default(), key());
        drop(claims.claim(&key).unwrap());
        let first = claims.wait_or_take_over(&key).now_or_never().unwrap();
        assert!(first.is_some());
        let mut second = claims.wait_or_take_over(&key).boxed();
        assert!((&mut second).now_or_never().is_none());
        first.unwrap().done();
        assert!(second.now_or_never().unwrap().is_none());
    }

    #[test]
    fn a_repository_without_remaining_images_is_forgotten() {
        let claims = Claims::default();
        let other = (Digest::sha256(b"y"), key().1);
        claims.claim(&key()).unwrap().done();
        drop(claims.claim(&other).unwrap());
        assert_eq!(claims.forget(&key().1), [other.0]);
        assert!(claims.repositories.lock().unwrap().is_empty());
        assert_eq!(claims.wait(&key()).now_or_never(), Some(true), "it can be mounted");
    }
}
