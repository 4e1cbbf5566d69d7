//! Verified reading: bytes are hashed once while they stream, and the last piece, with which the size in the descriptor is
//! reached, is held back until the digest matches, so that no reader completes a wrong blob.

use bytes::Bytes;

use super::{Descriptor, Digest, Hasher};

/// How bytes differ from their descriptor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The blob is longer than its descriptor says.
    #[error("blob {digest} is longer than the {expected} bytes in its descriptor")]
    TooLong {
        /// Which blob.
        digest: Digest,
        /// The descriptor's size.
        expected: u64,
    },
    /// The blob is shorter than its descriptor says.
    #[error("blob {digest} ended after {found} of {expected} bytes")]
    TooShort {
        /// Which blob.
        digest: Digest,
        /// The descriptor's size.
        expected: u64,
        /// The number of bytes.
        found: u64,
    },
    /// The size matches, the digest does not.
    #[error("blob {expected} arrived corrupted: its bytes have digest {found}")]
    Digest {
        /// The descriptor's digest.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
}

/// Verifies one blob as it streams. Memory: the hash state and the last piece.
#[derive(Debug)]
pub struct DigestVerifier {
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
    last: Option<Bytes>,
}

impl DigestVerifier {
    /// Verifies against `expected`.
    #[must_use]
    pub fn new(expected: &Descriptor) -> Self {
        Self {
            digest: expected.digest.clone(),
            size: expected.size,
            seen: 0,
            hasher: expected.digest.hasher(),
            last: None,
        }
    }

    /// Verifies from `offset` on; `hasher` has hashed all bytes before it.
    #[must_use]
    pub(crate) fn resumed(expected: &Descriptor, offset: u64, hasher: Hasher) -> Self {
        Self { seen: offset, hasher, ..Self::new(expected) }
    }

    /// The hash of all bytes so far.
    #[must_use]
    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// How many bytes have been hashed.
    #[must_use]
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes the next piece and returns it if it may be passed on: the last one may not until the end.
    pub fn push(&mut self, piece: Bytes) -> Result<Option<Bytes>, Mismatch> {
        if piece.is_empty() {
            return Ok(None);
        }
        self.seen += piece.len() as u64;
        if self.seen > self.size {
            return Err(Mismatch::TooLong { digest: self.digest.clone(), expected: self.size });
        }
        self.hasher.update(&piece);
        if self.seen < self.size {
            return Ok(Some(piece));
        }
        self.last = Some(piece);
        Ok(None)
    }

    /// Returns the last piece (none for an empty blob) if size and digest match.
    pub fn finish(self) -> Result<Option<Bytes>, Mismatch> {
        if self.seen < self.size {
            return Err(Mismatch::TooShort { digest: self.digest, expected: self.size, found: self.seen });
        }
        let found = self.hasher.finish();
        if found != self.digest {
            return Err(Mismatch::Digest { expected: self.digest, found });
        }
        Ok(self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn descriptor_of(bytes: &[u8]) -> Descriptor {
        Descriptor::new("application/x".into(), Digest::sha256(bytes), bytes.len() as u64)
    }

    /// The bytes that a consumer receives, and the result.
    fn stream(expected: &Descriptor, pieces: &[Vec<u8>]) -> (Vec<u8>, Result<(), Mismatch>) {
        let mut verifier = DigestVerifier::new(expected);
        let mut received = Vec::new();
        for piece in pieces {
            match verifier.push(Bytes::copy_from_slice(piece)) {
                Ok(passed) => received.extend(passed.into_iter().flatten()),
                Err(mismatch) => return (received, Err(mismatch)),
            }
        }
        match verifier.finish() {
            Ok(last) => {
                received.extend(last.into_iter().flatten());
                (received, Ok(()))
            }
            Err(mismatch) => (received, Err(mismatch)),
        }
    }

    proptest! {
        #[test]
        fn correct_bytes_pass_completely(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let whole = pieces.concat();
            let (received, end) = stream(&descriptor_of(&whole), &pieces);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(received, whole);
        }

        #[test]
        fn a_flipped_bit_never_completes(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let expected = descriptor_of(&pieces.concat());
            let mut wrong = pieces.clone();
            let piece = at.index(wrong.len());
            wrong[piece][0] ^= 1 << bit;
            let (received, end) = stream(&expected, &wrong);
            prop_assert!(end.is_err());
            prop_assert!((received.len() as u64) < expected.size, "the last piece must be held back");
        }
    }

    #[test]
    fn wrong_lengths_are_reported() {
        let expected = descriptor_of(b"abc");
        assert!(matches!(stream(&expected, &[b"ab".to_vec()]).1, Err(Mismatch::TooShort { found: 2, .. })));
        assert!(matches!(stream(&expected, &[b"abcd".to_vec()]).1, Err(Mismatch::TooLong { .. })));
        assert_eq!(stream(&descriptor_of(b""), &[]).1, Ok(()));
    }

    #[test]
    fn counts_what_it_has_hashed() {
        let mut verifier = DigestVerifier::new(&descriptor_of(b"three"));
        assert_eq!(verifier.seen(), 0);
        verifier.push(Bytes::from_static(b"thr")).unwrap();
        assert_eq!(verifier.seen(), 3);
        assert_eq!(DigestVerifier::resumed(&descriptor_of(b"three"), 3, verifier.hasher().clone()).seen(), 3);
    }

    #[test]
    fn a_resumed_blob_is_verified_with_the_bytes_before_it() {
        let mut first = DigestVerifier::new(&descriptor_of(b"three"));
        first.push(Bytes::from_static(b"thr")).unwrap();
        for (rest, is_correct) in [("ee", true), ("EE", false)] {
            let mut resumed = DigestVerifier::resumed(&descriptor_of(b"three"), 3, first.hasher().clone());
            resumed.push(Bytes::from_static(rest.as_bytes())).unwrap();
            assert_eq!(resumed.finish().is_ok(), is_correct, "{rest}");
        }
    }
}
