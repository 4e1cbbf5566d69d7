//! Remembers which blobs of a bundle have been verified.
//!
//! A whole blob is hashed while it is sent. A range of it cannot be, so the blob is read and hashed before its first
//! range is sent.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use super::storage::OpenContent;
use crate::oci::Digest;

/// The largest blob that is hashed for a range, in bytes. For larger ones, the client would wait too long.
const MAX_SIZE: u64 = 4 * 1024 * 1024 * 1024;

/// The blobs that were hashed.
#[derive(Debug, Default)]
pub(super) struct CheckedBlobs {
    known: Arc<Mutex<HashSet<Digest>>>,
    /// One blob is hashed at a time, also if the client disconnects.
    hashing: Arc<tokio::sync::Mutex<()>>,
}

impl CheckedBlobs {
    /// Returns the content once its bytes are known to have its digest. Fails if they do not.
    pub(super) async fn check(&self, content: OpenContent) -> io::Result<OpenContent> {
        let Some(digest) = content.unchecked().filter(|_| content.size() <= MAX_SIZE).cloned() else {
            return Ok(content);
        };
        if contains(&self.known, &digest) {
            return Ok(content);
        }
        let hashing = Arc::clone(&self.hashing).lock_owned().await;
        let known = Arc::clone(&self.known);
        let work = move || {
            let _hashing = hashing;
            if !contains(&known, &digest) {
                content.check()?;
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
            }
            Ok(content)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

fn contains(known: &Mutex<HashSet<Digest>>, digest: &Digest) -> bool {
    known.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
}
