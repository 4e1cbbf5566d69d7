//! Reads of blobs from memory.

use bytes::Bytes;
use futures::stream;
use thoras_mirror::{
    endpoint::Error,
    oci::{Digest, Repository},
};

use super::{Act, Memory, faults};

/// A blob that is being read.
pub(super) struct Reading {
    pub(super) memory: Memory,
    pub(super) repository: Repository,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Reading {
    /// Pieces of random length from `offset` on; the connection breaks after `breaks_at` bytes.
    pub(super) fn from(
        self,
        offset: usize,
        breaks_at: Option<usize>,
    ) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send {
        stream::unfold((self, Some(offset), 0), move |(reading, at, sent)| async move {
            let at = at.filter(|at| *at < reading.bytes.len())?;
            if breaks_at.is_some_and(|breaks_at| sent >= breaks_at) {
                let what = reading.digest.as_str();
                let error = faults::broken(reading.memory.side, Act::OpenBlob, &reading.repository, what);
                return Some((Err(error), (reading, None, sent)));
            }
            let (length, pause) = {
                let mut state = reading.memory.state();
                let length = usize::try_from(state.below(150)).unwrap() + 1;
                let length = length.min(reading.bytes.len() - at);
                let side = reading.memory.side;
                *state.history.read.entry((side, reading.digest.clone())).or_default() += length as u64;
                (length, state.pause())
            };
            tokio::time::sleep(pause).await;
            let piece = reading.bytes.slice(at..at + length);
            Some((Ok(piece), (reading, Some(at + length), sent + length)))
        })
    }
}
