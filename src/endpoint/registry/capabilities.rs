//! The detected capabilities of a registry. They save a request or a failure for every later blob.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
};

use super::{auth::Origin, error::RegistryError, referrers_support::ReferrersSupport, refusal::Refusal};
use crate::oci::Digest;

const MIB: u64 = 1024 * 1024;
/// The chunk size in bytes. No known limit on request sizes is smaller, except GHCR's.
const CHUNK: u64 = 5 * MIB;
/// GHCR refuses larger chunks (oras-project/rust-oci-client#35).
const GHCR_CHUNK: u64 = 4 * MIB;
/// The smallest chunk to try: a server that refuses it refuses all uploads.
const MIN_CHUNK_SIZE: u64 = 256 * 1024;
/// After this many refused mounts in a row, mounts are no longer requested.
const MOUNT_REFUSALS: u32 = 3;

/// Whether a mount from a repository into itself tells that the blob exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfMount {
    /// Not tested.
    Unknown = 0,
    /// The registry answers 201 when the blob exists (CNCF distribution does).
    Answers = 1,
    /// The registry opens an upload anyway, or refuses.
    Ignored = 2,
    /// The registry looks like CNCF distribution but was not tested.
    Expected = 3,
}

/// How a blob's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadMethod {
    /// In one PUT.
    Whole,
    /// In PATCH requests of at most this many bytes each, unless the registry demands larger ones.
    Chunks(u64),
}

/// The capabilities of one registry.
#[derive(Debug)]
pub(super) struct Capabilities {
    self_mount: AtomicU8,
    self_mount_tested: AtomicBool,
    mount_refusals: AtomicU32,
    lacks_blobs: AtomicBool,
    method: Mutex<UploadMethod>,
    chunk: u64,
    chunks_refused: AtomicBool,
    redirects_uploads: AtomicBool,
    reads_bodies_first: AtomicBool,
    refuses_parts: AtomicBool,
    /// The blobs that were begun in parts.
    in_parts: Mutex<HashSet<Digest>>,
    pub(super) referrers: ReferrersSupport,
}

impl Capabilities {
    /// The defaults, with the known limits of this host.
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            self_mount: AtomicU8::new(SelfMount::Unknown as u8),
            self_mount_tested: AtomicBool::new(false),
            mount_refusals: AtomicU32::new(0),
            lacks_blobs: AtomicBool::new(false),
            method: Mutex::new(UploadMethod::Whole),
            chunks_refused: AtomicBool::new(false),
            redirects_uploads: AtomicBool::new(false),
            reads_bodies_first: AtomicBool::new(false),
            refuses_parts: AtomicBool::new(false),
            in_parts: Mutex::default(),
            referrers: ReferrersSupport::default(),
            chunk: if origin.host() == "ghcr.io" { GHCR_CHUNK } else { CHUNK },
        }
    }

    pub(super) fn self_mount(&self) -> SelfMount {
        match self.self_mount.load(Ordering::Relaxed) {
            1 => SelfMount::Answers,
            2 => SelfMount::Ignored,
            3 => SelfMount::Expected,
            _ => SelfMount::Unknown,
        }
    }

    pub(super) fn set_self_mount(&self, detected: SelfMount) {
        self.self_mount.store(detected as u8, Ordering::Relaxed);
    }

    /// Expects a self-mount to work because of the looks of a response. Does not override a test.
    pub(super) fn expect_self_mount(&self) {
        let (unknown, expected) = (SelfMount::Unknown as u8, SelfMount::Expected as u8);
        let _ = self.self_mount.compare_exchange(unknown, expected, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the caller should test the self-mount with the blob it just uploaded. True at most once.
    pub(super) fn tests_self_mount(&self) -> bool {
        let is_open = matches!(self.self_mount(), SelfMount::Unknown | SelfMount::Expected);
        is_open && !self.self_mount_tested.swap(true, Ordering::Relaxed)
    }

    /// Whether to request mounts from other repositories.
    pub(super) fn mounts(&self) -> bool {
        self.mount_refusals.load(Ordering::Relaxed) < MOUNT_REFUSALS
    }

    /// Records that a mount worked or was refused with an error. (A session instead is neither.)
    pub(super) fn mount_answered(&self, worked: bool) {
        if worked {
            self.mount_refusals.store(0, Ordering::Relaxed);
        } else {
            self.mount_refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it lacked the last blob that it was asked for.
    pub(super) fn lacks_blobs(&self) -> bool {
        self.lacks_blobs.load(Ordering::Relaxed)
    }

    /// Records whether it lacks a blob.
    pub(super) fn set_lacks_blobs(&self, lacks: bool) {
        self.lacks_blobs.store(lacks, Ordering::Relaxed);
    }

    /// How to send the next blob.
    pub(super) fn method(&self) -> UploadMethod {
        *self.method.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The method for a blob whose PUT was interrupted repeatedly without an error: a proxy may silently refuse bodies
    /// of this size.
    pub(super) fn chunks(&self) -> UploadMethod {
        match self.method() {
            UploadMethod::Whole if self.takes_chunks() => UploadMethod::Chunks(self.chunk),
            UploadMethod::Whole => UploadMethod::Whole,
            chunks @ UploadMethod::Chunks(_) => chunks,
        }
    }

    /// How to send the rest of a blob. The whole rest in one chunk, unless the registry is known to refuse large ones.
    pub(super) fn method_for_rest(&self) -> UploadMethod {
        match self.method() {
            UploadMethod::Whole if self.chunk < CHUNK => UploadMethod::Chunks(self.chunk),
            method => method,
        }
    }

    /// Whether the registry is not known to refuse chunks.
    pub(super) fn takes_chunks(&self) -> bool {
        !self.chunks_refused.load(Ordering::Relaxed)
    }

    /// Whether the registry answered the body of a blob with a redirect. From then on, a body waits for the redirect,
    /// unless the registry is known to read the body first.
    pub(super) fn redirects_before_bodies(&self) -> bool {
        self.redirects_uploads.load(Ordering::Relaxed) && !self.reads_bodies_first.load(Ordering::Relaxed)
    }

    /// A body waited for nothing: the registry redirected the request only after reading it.
    pub(super) fn redirected_after_body(&self) {
        self.reads_bodies_first.store(true, Ordering::Relaxed);
    }

    /// Whether to read this blob in parts. Each blob only once: if its bytes were wrong, the ranges may be.
    pub(super) fn begins_in_parts(&self, blob: &Digest) -> bool {
        !self.refuses_parts.load(Ordering::Relaxed)
            && self.in_parts.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.clone())
    }

    /// Records that the registry ignored a range, or sent another one.
    pub(super) fn refuses_parts(&self) {
        self.refuses_parts.store(true, Ordering::Relaxed);
    }

    /// Chunks worked where a PUT was interrupted: sends all blobs in chunks from now on.
    pub(super) fn adopt(&self, chunks: UploadMethod) {
        *self.method.lock().unwrap_or_else(PoisonError::into_inner) = chunks;
    }

    /// Records that this method failed.
    pub(super) fn failed(&self, method: UploadMethod, error: &RegistryError) {
        // A session, and so its limits, may be on another host.
        let next = match (method, error.innermost()) {
            (_, RegistryError::UploadRedirected) => {
                return self.redirects_uploads.store(true, Ordering::Relaxed);
            }
            (_, RegistryError::NoChunks(_)) => {
                self.chunks_refused.store(true, Ordering::Relaxed);
                UploadMethod::Whole
            }
            (UploadMethod::Whole, RegistryError::Refused(refusal))
                if self.takes_chunks() && (refusal.status == 413 || refusal.wants_chunks()) =>
            {
                UploadMethod::Chunks(self.chunk)
            }
            (UploadMethod::Chunks(size), RegistryError::Refused(Refusal { status: 413, .. }))
                if size / 2 >= MIN_CHUNK_SIZE =>
            {
                UploadMethod::Chunks(size / 2)
            }
            _ => return,
        };
        let mut current = self.method.lock().unwrap_or_else(PoisonError::into_inner);
        // Another blob may have changed the method in the meantime.
        if *current == method {
            *current = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::registry::auth::origin::Scheme;

    fn capabilities(registry: &str) -> Capabilities {
        Capabilities::new(&Origin::of_registry(registry, Scheme::Https).unwrap())
    }

    fn refused(status: u16) -> RegistryError {
        RegistryError::Refused(Refusal { status, ..Refusal::default() })
    }

    #[test]
    fn a_413_leads_to_chunks_and_then_to_smaller_ones() {
        let capabilities = capabilities("registry.example.com");
        let mut methods = Vec::new();
        for _ in 0..7 {
            methods.push(capabilities.method());
            capabilities.failed(capabilities.method(), &refused(413));
        }
        let chunks: Vec<UploadMethod> =
            [20, 10, 5].map(|quarters| UploadMethod::Chunks(quarters * MIB / 4)).to_vec();
        assert_eq!(methods[..4], [&[UploadMethod::Whole], &chunks[..]].concat());
        assert_eq!(methods[5..], [UploadMethod::Chunks(5 * MIB / 16); 2], "an end");
    }

    #[test]
    fn a_registry_that_refuses_chunks_gets_no_more() {
        let capabilities = capabilities("registry.example.com");
        capabilities.failed(capabilities.chunks(), &RegistryError::NoChunks(405));
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(
            (capabilities.method(), capabilities.chunks()),
            (UploadMethod::Whole, UploadMethod::Whole)
        );
    }

    #[test]
    fn a_registry_that_knows_no_blob_during_a_put_gets_chunks() {
        let capabilities = capabilities("registry.example.com");
        let code = Some("BLOB_UNKNOWN".to_owned());
        let refused = RegistryError::Refused(Refusal { status: 404, code, ..Refusal::default() });
        capabilities.failed(UploadMethod::Whole, &refused);
        assert_eq!(capabilities.method(), UploadMethod::Chunks(CHUNK));
    }

    #[test]
    fn ghcr_gets_chunks_that_it_accepts() {
        assert_eq!(capabilities("registry.example.com").method_for_rest(), UploadMethod::Whole);
        let capabilities = capabilities("ghcr.io");
        assert_eq!(capabilities.method_for_rest(), UploadMethod::Chunks(4 * MIB));
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(capabilities.method(), UploadMethod::Chunks(4 * MIB));
    }

    #[test]
    fn concurrent_failures_reduce_the_chunk_size_once() {
        let capabilities = capabilities("registry.example.com");
        capabilities.failed(UploadMethod::Whole, &refused(413));
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(capabilities.method(), UploadMethod::Chunks(CHUNK));
    }

    #[test]
    fn a_self_mount_is_tested_once_and_a_test_outweighs_an_expectation() {
        let capabilities = capabilities("registry.example.com");
        capabilities.expect_self_mount();
        assert_eq!(capabilities.self_mount(), SelfMount::Expected);
        assert_eq!([capabilities.tests_self_mount(), capabilities.tests_self_mount()], [true, false]);
        capabilities.set_self_mount(SelfMount::Ignored);
        capabilities.expect_self_mount();
        assert_eq!(capabilities.self_mount(), SelfMount::Ignored);
        let known = self::capabilities("registry.example.com");
        known.set_self_mount(SelfMount::Answers);
        assert!(!known.tests_self_mount());
    }

    #[test]
    fn mounts_stop_after_three_refusals_in_a_row() {
        let capabilities = capabilities("registry.example.com");
        for worked in [false, false, true, false, false] {
            capabilities.mount_answered(worked);
            assert!(capabilities.mounts());
        }
        capabilities.mount_answered(false);
        assert!(!capabilities.mounts());
    }
}
