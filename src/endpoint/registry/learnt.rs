//! What a registry has taught us about itself: it saves a request or a failure for every blob that follows.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
};

use super::auth::Origin;
use crate::endpoint::Cause;

const MIB: u64 = 1024 * 1024;
/// Chunks of this size, in bytes, pass everything that limits the size of a request, as far as is known.
const CHUNK: u64 = 5 * MIB;
/// GHCR refuses larger ones (oras-project/rust-oci-client#35).
const GHCR_CHUNK: u64 = 4 * MIB;
/// Smaller chunks are not tried: whatever refuses them refuses uploads.
const SMALLEST_CHUNK: u64 = 256 * 1024;
/// After so many refused mounts without one that worked, none is asked for any more.
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
pub(super) enum Way {
    /// In one PUT.
    Whole,
    /// In PATCH requests of at most this many bytes each, unless the registry demands larger ones.
    Chunks(u64),
}

/// What is known of one registry.
#[derive(Debug)]
pub(super) struct Learnt {
    self_mount: AtomicU8,
    self_mount_tested: AtomicBool,
    mount_refusals: AtomicU32,
    way: Mutex<Way>,
    chunk: u64,
    chunks_refused: AtomicBool,
}

impl Learnt {
    /// Nothing, except what everybody knows of this host.
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            self_mount: AtomicU8::new(SelfMount::Unknown as u8),
            self_mount_tested: AtomicBool::new(false),
            mount_refusals: AtomicU32::new(0),
            way: Mutex::new(Way::Whole),
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

    /// Whether the caller is the one that puts the self-mount to the test, now that there is a blob to do it
    /// with. Nobody does where there is nothing left to learn.
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
    pub(super) fn way(&self) -> Way {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way for a blob of which one PUT broke off again and again without an explanation: something on the
    /// way may refuse bodies of its size without saying so.
    pub(super) fn chunks(&self) -> Way {
        match self.way() {
            Way::Whole if self.takes_chunks() => Way::Chunks(self.chunk),
            Way::Whole => Way::Whole,
            chunks @ Way::Chunks(_) => chunks,
        }
    }

    /// Whether a blob may be sent in pieces, as far as is known.
    pub(super) fn takes_chunks(&self) -> bool {
        !self.chunks_refused.load(Ordering::Relaxed)
    }

    /// Chunks helped where one PUT broke off: they are for everybody from now on.
    pub(super) fn adopt(&self, chunks: Way) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = chunks;
    }

    /// A blob did not arrive in this way.
    pub(super) fn failed(&self, way: Way, cause: &Cause) {
        let next = match (way, cause) {
            (_, Cause::NoChunks(_)) => {
                self.chunks_refused.store(true, Ordering::Relaxed);
                Way::Whole
            }
            (Way::Whole, Cause::Refused { status: 413, .. }) if self.takes_chunks() => {
                Way::Chunks(self.chunk)
            }
            (Way::Chunks(size), Cause::Refused { status: 413, .. }) if size / 2 >= SMALLEST_CHUNK => {
                Way::Chunks(size / 2)
            }
            _ => return,
        };
        let mut current = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        // Others may have learnt more in the meantime.
        if *current == way {
            *current = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::registry::auth::origin::Scheme;

    fn learnt(registry: &str) -> Learnt {
        Learnt::new(&Origin::of_registry(registry, Scheme::Https).unwrap())
    }

    fn refused(status: u16) -> Cause {
        Cause::Refused { status, code: None, message: String::new(), retry_after: None }
    }

    #[test]
    fn too_large_leads_to_chunks_and_then_to_smaller_ones() {
        let learnt = learnt("registry.example.com");
        let mut ways = Vec::new();
        for _ in 0..7 {
            ways.push(learnt.way());
            learnt.failed(learnt.way(), &refused(413));
        }
        let chunks: Vec<Way> = [20, 10, 5].map(|quarters| Way::Chunks(quarters * MIB / 4)).to_vec();
        assert_eq!(ways[..4], [&[Way::Whole], &chunks[..]].concat());
        assert_eq!(ways[5..], [Way::Chunks(5 * MIB / 16); 2], "an end");
    }

    #[test]
    fn a_registry_that_knows_no_chunks_is_not_sent_any_again() {
        let learnt = learnt("registry.example.com");
        learnt.failed(learnt.chunks(), &Cause::NoChunks(405));
        learnt.failed(Way::Whole, &refused(413));
        assert_eq!((learnt.way(), learnt.chunks()), (Way::Whole, Way::Whole));
    }

    #[test]
    fn ghcr_gets_chunks_that_it_takes() {
        let learnt = learnt("ghcr.io");
        learnt.failed(Way::Whole, &refused(413));
        assert_eq!(learnt.way(), Way::Chunks(4 * MIB));
    }

    #[test]
    fn what_one_blob_learnt_is_not_learnt_again_by_those_beside_it() {
        let learnt = learnt("registry.example.com");
        learnt.failed(Way::Whole, &refused(413));
        learnt.failed(Way::Whole, &refused(413));
        assert_eq!(learnt.way(), Way::Chunks(CHUNK));
    }

    #[test]
    fn a_self_mount_is_tested_once_and_what_is_known_outweighs_what_is_expected() {
        let learnt = learnt("registry.example.com");
        learnt.expect_self_mount();
        assert_eq!(learnt.self_mount(), SelfMount::Expected);
        assert_eq!([learnt.tests_self_mount(), learnt.tests_self_mount()], [true, false]);
        learnt.set_self_mount(SelfMount::Ignored);
        learnt.expect_self_mount();
        assert_eq!(learnt.self_mount(), SelfMount::Ignored);
        let known = self::learnt("registry.example.com");
        known.set_self_mount(SelfMount::Answers);
        assert!(!known.tests_self_mount());
    }

    #[test]
    fn mounts_are_given_up_after_three_refusals_in_a_row() {
        let learnt = learnt("registry.example.com");
        for worked in [false, false, true, false, false] {
            learnt.mount_answered(worked);
            assert!(learnt.mounts());
        }
        learnt.mount_answered(false);
        assert!(!learnt.mounts());
    }
}
