//! Bounds the memory of large manifests that are being read, parsed or pushed, over all registries of the process.
//!
//! An index may have 2,000 children of 8 MiB each, and a run may read many indexes at once. A large manifest reserves
//! its size before its body is read, and returns it when its last copy is dropped. Small ones, which nearly all are,
//! reserve nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The size in bytes from which a manifest reserves memory.
pub(super) const LARGE: usize = 64 * 1024;
const UNIT: usize = 1024;
const UNITS: usize = 32 * 1024;
/// After this time, a manifest is read without a reservation: a user of the library may hold many.
const TIMEOUT: Duration = Duration::from_secs(120);

static MEMORY: Semaphore = Semaphore::const_new(UNITS);
/// For the pages of lists: their readers may hold manifests, and must not wait for them.
static PAGES: Semaphore = Semaphore::const_new(UNITS);

/// Reserved memory.
#[derive(Debug)]
pub(super) struct Reservation {
    _permit: Option<SemaphorePermit<'static>>,
}

impl Reservation {
    /// Waits for memory for a manifest of this size.
    pub(super) async fn of(size: usize) -> Self {
        Self::from(&MEMORY, size).await
    }

    /// Waits for memory for a page of a list, until other pages have been dropped.
    pub(super) async fn of_page(size: usize) -> Self {
        Self::from(&PAGES, size).await
    }

    async fn from(memory: &'static Semaphore, size: usize) -> Self {
        let units = u32::try_from(size.div_ceil(UNIT).min(UNITS)).unwrap_or(u32::MAX);
        let permit = tokio::time::timeout(TIMEOUT, memory.acquire_many(units)).await;
        Self { _permit: permit.ok().and_then(Result::ok) }
    }

    /// Bytes that return the reservation when they are dropped.
    pub(super) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Reserved { bytes, _reservation: self })
    }
}

struct Reserved {
    bytes: Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Reserved {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_returned_with_the_last_copy_and_waiting_ends() {
        static FOUR_MANIFESTS: Semaphore = Semaphore::const_new(UNITS);
        const SIZE: usize = UNIT * UNITS / 4;
        let reserve = || Reservation::from(&FOUR_MANIFESTS, SIZE);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(reserve().now_or_never().unwrap().hold(Bytes::from_static(b"{}")));
        }
        assert!(reserve().now_or_never().is_none());
        let copy = held.pop().unwrap();
        let slice = copy.slice(1..);
        drop(copy);
        assert!(reserve().now_or_never().is_none(), "a slice still holds it");
        drop(slice);
        let last = reserve().now_or_never().unwrap().hold(Bytes::new());
        // With nothing left, a reader is late, not stuck.
        drop(reserve().await);
        drop(last);
        assert!(Reservation::from(&FOUR_MANIFESTS, usize::MAX).now_or_never().is_none());
        held.clear();
        assert!(Reservation::from(&FOUR_MANIFESTS, usize::MAX).now_or_never().is_some());
    }
}
