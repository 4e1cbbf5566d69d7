//! Limits on what a registry can make this client do.
//!
//! Limits on content apply to every endpoint: manifests in `oci::manifest`, graphs in `resolve`.

use std::{num::NonZeroU32, time::Duration};

/// The connect timeout.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout for a response's header, and for each piece of its body.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The slowest transfer, in bytes per second, measured over one [`STALL_TIMEOUT`]. A slower one is abandoned and
/// resumed: dead connections and overloaded proxies trickle.
pub(super) const MIN_BYTES_PER_SECOND: u64 = 1024;
/// The timeout for the response to a complete upload: the registry may have to move the blob in its storage.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an idle connection is kept. Short, because a streamed body cannot be sent again after a dead connection.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The maximum number of redirects of one request.
pub(super) const MAX_REDIRECTS: usize = 5;
/// How long the body of a blob waits for a redirect at a registry that redirects uploads.
pub(super) const REDIRECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of URLs that are tried for a foreign layer.
pub(super) const MAX_LAYER_URLS: usize = 8;
/// The total timeout for the body of an error response, or of one that is not needed.
pub(super) const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest error response that is read, in bytes.
pub(super) const MAX_ERROR_BODY_SIZE: usize = 64 * 1024;
/// Concurrent requests to one host, other than blob transfers: initial and maximum number. Several machines share the
/// initial number.
pub(super) const REQUESTS_PER_HOST: (usize, usize) = (24, 48);
/// Concurrent blob transfers from or to one host: initial and maximum number.
pub(super) const BLOBS_PER_HOST: (usize, usize) = (8, 128);
/// The initial number for a host that is far away: there, connections need many round trips to reach their speed.
pub(super) const BLOBS_PER_FAR_HOST: usize = 16;

/// Configurable limits. Tests use smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// The timeout for a response's header, and for each piece of its body.
    pub stall: Duration,
    /// The timeout for the commit of a blob.
    pub commit: Duration,
    /// The smallest blob, in bytes, whose interrupted upload is resumed, if necessary by a later process. Smaller blobs
    /// are sent again, which is as fast as asking for the progress.
    pub resume_from: u64,
    /// The number of bytes between saved hash states.
    pub snapshot_every: u64,
    /// How large blobs are read in parts.
    pub parts: Parts,
    /// How many machines share the limits of each registry.
    pub machines: NonZeroU32,
    /// A host is far away if its quickest answer took this long.
    pub far: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            stall: STALL_TIMEOUT,
            commit: COMMIT_TIMEOUT,
            resume_from: 32 * MIB,
            snapshot_every: 16 * MIB,
            parts: Parts { first: 16 * MIB, size: 2 * MIB },
            machines: NonZeroU32::MIN,
            far: Duration::from_millis(15),
        }
    }
}

/// The parts in which several connections read a large blob.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// The first part, in bytes, which one connection reads alone: it shows whether others would help. Blobs of less than
    /// four times as many bytes are not read in parts.
    pub first: u64,
    /// Each other part, in bytes; twice as many from a registry that is far away.
    pub size: u64,
}

/// How many connections read the parts of one blob, and how many transfers may be in progress at one host for more
/// connections to start.
pub(super) const MAX_CONCURRENT_PARTS: usize = 8;
/// How many parts wait in memory for their turn in the whole run: 14 MiB from registries that are near, 28 MiB from
/// others.
pub(super) const PARTS_IN_MEMORY: usize = 7;
