//! What a registry has turned out to be capable of. It saves a request or a failure for every blob that follows.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
};

use super::{
    auth::Origin,
    error::{Refusal, RegistryError},
};

const MIB: u64 = 1024 * 1024;
/// Chunks of this size, in bytes, pass everything that limits the size of a request, as far as is known.
const CHUNK: u64 = 5 * MIB;
/// GHCR refuses larger ones (oras-project/rust-oci-client#35).
const GHCR_CHUNK: u64 = 4 * MIB;
/// Smaller chunks are not tried: whatever refuses them refuses uploads.
const SMALLEST_CHUNK: u64 = 256 * 1024;
/// After this many refused mounts in a row, no mount is requested any more.
const MOUNT_REFUSALS: u32 = 3;

/// Whether a mount from a repository into itself tells that the blob is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SelfMount {
    /// Not known yet.
    Unknown = 0,
    /// It answers 201 when the blob is there (CNCF distribution does).
    Answers = 1,
    /// It opens an upload all the same, or refuses.
    Ignored = 2,
    /// It looks like CNCF distribution, and has not been put to the test.
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

/// What is known about one registry.
#[derive(Debug)]
pub(super) struct Capabilities {
    self_mount: AtomicU8,
    self_mount_tested: AtomicBool,
    mount_refusals: AtomicU32,
    method: Mutex<UploadMethod>,
    chunk: u64,
    chunks_refused: AtomicBool,
}

impl Capabilities {
    /// Nothing is known, except what holds for this host everywhere.
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            self_mount: AtomicU8::new(SelfMount::Unknown as u8),
            self_mount_tested: AtomicBool::new(false),
            mount_refusals: AtomicU32::new(0),
            method: Mutex::new(UploadMethod::Whole),
            chunks_refused: AtomicBool::new(false),
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

    pub(super) fn set_self_mount(&self, learnt: SelfMount) {
        self.self_mount.store(learnt as u8, Ordering::Relaxed);
    }

    /// An answer suggests what a mount from a repository into itself would tell. What is known is not changed.
    pub(super) fn expect_self_mount(&self) {
        let (unknown, expected) = (SelfMount::Unknown as u8, SelfMount::Expected as u8);
        let _ = self.self_mount.compare_exchange(unknown, expected, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the caller should test the self-mount, now that there is a blob to do it with. True once, and never
    /// where there is nothing left to learn.
    pub(super) fn tests_self_mount(&self) -> bool {
        let is_open = matches!(self.self_mount(), SelfMount::Unknown | SelfMount::Expected);
        is_open && !self.self_mount_tested.swap(true, Ordering::Relaxed)
    }

    /// Whether mounts from other repositories are worth asking for.
    pub(super) fn mounts(&self) -> bool {
        self.mount_refusals.load(Ordering::Relaxed) < MOUNT_REFUSALS
    }

    /// A mount worked or was refused with an error. (A session in its place is neither.)
    pub(super) fn mount_answered(&self, worked: bool) {
        if worked {
            self.mount_refusals.store(0, Ordering::Relaxed);
        } else {
            self.mount_refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the next blob is sent.
    pub(super) fn method(&self) -> UploadMethod {
        *self.method.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The method for a blob of which one PUT broke off again and again without an explanation: something in
    /// between may refuse bodies of its size without saying so.
    pub(super) fn chunks(&self) -> UploadMethod {
        match self.method() {
            UploadMethod::Whole if self.takes_chunks() => UploadMethod::Chunks(self.chunk),
            UploadMethod::Whole => UploadMethod::Whole,
            chunks @ UploadMethod::Chunks(_) => chunks,
        }
    }

    /// Whether a blob may be sent in pieces, as far as is known.
    pub(super) fn takes_chunks(&self) -> bool {
        !self.chunks_refused.load(Ordering::Relaxed)
    }

    /// Chunks helped where one PUT broke off: all blobs are sent in chunks from now on.
    pub(super) fn adopt(&self, chunks: UploadMethod) {
        *self.method.lock().unwrap_or_else(PoisonError::into_inner) = chunks;
    }

    /// A blob did not arrive by this method.
    pub(super) fn failed(&self, method: UploadMethod, error: &RegistryError) {
        let next = match (method, error) {
            (_, RegistryError::NoChunks(_)) => {
                self.chunks_refused.store(true, Ordering::Relaxed);
                UploadMethod::Whole
            }
            (UploadMethod::Whole, RegistryError::Refused(Refusal { status: 413, .. }))
                if self.takes_chunks() =>
            {
                UploadMethod::Chunks(self.chunk)
            }
            (UploadMethod::Chunks(size), RegistryError::Refused(Refusal { status: 413, .. }))
                if size / 2 >= SMALLEST_CHUNK =>
            {
                UploadMethod::Chunks(size / 2)
            }
            _ => return,
        };
        let mut current = self.method.lock().unwrap_or_else(PoisonError::into_inner);
        // Another blob may have taught more in the meantime.
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
    fn too_large_leads_to_chunks_and_then_to_smaller_ones() {
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
    fn a_registry_that_knows_no_chunks_is_not_sent_any_again() {
        let capabilities = capabilities("registry.example.com");
        capabilities.failed(capabilities.chunks(), &RegistryError::NoChunks(405));
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(
            (capabilities.method(), capabilities.chunks()),
            (UploadMethod::Whole, UploadMethod::Whole)
        );
    }

    #[test]
    fn ghcr_gets_chunks_that_it_takes() {
        let capabilities = capabilities("ghcr.io");
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(capabilities.method(), UploadMethod::Chunks(4 * MIB));
    }

    #[test]
    fn what_one_blob_learnt_is_not_learnt_again_by_those_beside_it() {
        let capabilities = capabilities("registry.example.com");
        capabilities.failed(UploadMethod::Whole, &refused(413));
        capabilities.failed(UploadMethod::Whole, &refused(413));
        assert_eq!(capabilities.method(), UploadMethod::Chunks(CHUNK));
    }

    #[test]
    fn a_self_mount_is_tested_once_and_what_is_known_outweighs_what_is_expected() {
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
    fn mounts_are_given_up_after_three_refusals_in_a_row() {
        let capabilities = capabilities("registry.example.com");
        for worked in [false, false, true, false, false] {
            capabilities.mount_answered(worked);
            assert!(capabilities.mounts());
        }
        capabilities.mount_answered(false);
        assert!(!capabilities.mounts());
    }
}
