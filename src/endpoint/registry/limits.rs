//! The numbers that bound what a registry can make this client do.

use std::time::Duration;

/// How long a connection may take to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer's head may take, and how long a body may stay silent.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// How long a registry may take to answer once it has all the bytes of a blob: it may have to move them
/// in its storage.
const COMMIT: Duration = Duration::from_secs(300);
/// How long an idle connection is kept. Short, because a streamed body on a dead one cannot be replayed.
pub(super) const IDLE: Duration = Duration::from_secs(20);
/// How many redirects are followed for one request.
pub(super) const REDIRECTS: usize = 5;
/// How many of the URLs that a manifest names for a layer are asked.
pub(super) const LAYER_URLS: usize = 8;
/// How long the body of an error answer, or of one that is not needed, may take altogether.
pub(super) const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(10);
/// The largest error answer that is read, in bytes.
pub(super) const ERROR_BODY: usize = 64 * 1024;
/// How many requests other than blob transfers run at once on one host: at the beginning, and at most.
pub(super) const REQUESTS_PER_HOST: (usize, usize) = (24, 48);
/// How many blobs move at once from or to one host: at the beginning, and at most.
pub(super) const BLOBS_PER_HOST: (usize, usize) = (8, 128);

/// The bounds that depend on how long a person waits and how large blobs are; tests choose smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How long an answer's head may take, and how long a body may stay silent.
    pub stall: Duration,
    /// How long a registry may take to commit a blob.
    pub commit: Duration,
    /// From this size on, in bytes, a broken upload is continued, by the next process if need be. Smaller
    /// blobs are sent again: asking how far they came costs as much.
    pub resume_from: u64,
    /// After so many bytes the state of the hash is kept.
    pub snapshot_every: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { stall: STALL, commit: COMMIT, resume_from: 32 * MIB, snapshot_every: 16 * MIB }
    }
}
