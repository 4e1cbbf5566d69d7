//! Passes on one stream of blobs, which can be read only once, to several destinations.
//!
//! Each destination may be a few MiB behind the stream. If one is further behind, the stream waits for it, because what
//! it misses cannot be read again, but no longer than [`DESTINATION_TIMEOUT`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::{
    endpoint::{BlobSequence, Cause, EndpointError, Error, Location, Operation},
    oci::Digest,
    problem::Side,
};

/// How many bytes a destination may be behind.
const WINDOW: usize = 8 * 1024 * 1024;
/// How long the stream waits for a destination that takes nothing, for example a registry that is storing a large blob.
/// Then it continues without that destination.
pub(crate) const DESTINATION_TIMEOUT: Duration = Duration::from_secs(300);

/// The beginning of a stream that several destinations receive.
pub(crate) struct FanOut {
    outlets: Vec<Outlet>,
    patience: Duration,
}

/// What one destination receives: the same blobs in the same order.
pub(crate) struct Feed {
    items: mpsc::UnboundedReceiver<Item>,
    room: Arc<Semaphore>,
    /// The next blob, if its header arrived before the current blob was read to its end.
    next: Option<(Digest, u64, Location)>,
    location: Option<Location>,
}

/// One destination.
struct Outlet {
    items: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
}

enum Item {
    Blob(Digest, u64, Location),
    /// Its room is free again when the destination has taken it.
    Piece(Bytes, OwnedSemaphorePermit),
    Failed(Error),
    End,
}

/// The stream continued without a destination.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it took no data for {} s, and the other destinations continued without it", .0.as_secs())]
struct LeftBehind(Duration);

impl EndpointError for LeftBehind {}

impl FanOut {
    /// A stream for this many destinations.
    pub(crate) fn new(destinations: usize, patience: Duration) -> (Self, Vec<Feed>) {
        let pair = || {
            let (sender, items) = mpsc::unbounded_channel();
            let room = Arc::new(Semaphore::new(WINDOW));
            let outlet = Outlet { items: sender, room: Arc::clone(&room) };
            (outlet, Feed { items, room, next: None, location: None })
        };
        let (outlets, feeds) = std::iter::repeat_with(pair).take(destinations).unzip();
        (Self { outlets, patience }, feeds)
    }

    /// Passes on all blobs, until the end of the stream or until no destination takes any more.
    pub(crate) async fn pass_on(mut self, blobs: &mut impl BlobSequence) {
        loop {
            match blobs.next_blob().await {
                Ok(Some((digest, size))) => {
                    let location = blobs.location(&digest);
                    self.send(|| Item::Blob(digest.clone(), size, location.clone()));
                }
                Ok(None) => return self.send(|| Item::End),
                Err(error) => return self.send(|| Item::Failed(error.clone())),
            }
            loop {
                match blobs.piece().await {
                    Ok(Some(piece)) => self.pass_on_piece(&piece).await,
                    Ok(None) => break,
                    Err(error) => return self.send(|| Item::Failed(error.clone())),
                }
                if self.outlets.is_empty() {
                    return;
                }
            }
        }
    }

    /// Sends a piece to every destination that has room, or makes room in time.
    async fn pass_on_piece(&mut self, piece: &Bytes) {
        let mut kept = Vec::new();
        for outlet in std::mem::take(&mut self.outlets) {
            let room = u32::try_from(piece.len().min(WINDOW)).unwrap_or(u32::MAX);
            let room = Arc::clone(&outlet.room).acquire_many_owned(room);
            match tokio::time::timeout(self.patience, room).await {
                Ok(Ok(room)) => {
                    if outlet.items.send(Item::Piece(piece.clone(), room)).is_ok() {
                        kept.push(outlet);
                    }
                }
                // It has ended on its own, and says why.
                Ok(Err(_)) => {}
                Err(_) => {
                    let location = Location::new(Operation::UploadBlob, Side::Destination, "from the stream");
                    let cause = Cause::Endpoint(Arc::new(LeftBehind(self.patience)));
                    drop(outlet.items.send(Item::Failed(location.error(cause))));
                }
            }
        }
        self.outlets = kept;
    }

    fn send(&mut self, item: impl Fn() -> Item) {
        self.outlets.retain(|outlet| outlet.items.send(item()).is_ok());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Feed {
    async fn item(&mut self) -> Result<Item, Error> {
        match self.items.recv().await {
            Some(Item::Failed(error)) => Err(error),
            Some(item) => Ok(item),
            // The stream itself was dropped.
            None => Ok(Item::End),
        }
    }
}

impl BlobSequence for Feed {
    async fn next_blob(&mut self) -> Result<Option<(Digest, u64)>, Error> {
        loop {
            let (digest, size, location) = match self.next.take() {
                Some(next) => next,
                None => match self.item().await? {
                    Item::Blob(digest, size, location) => (digest, size, location),
                    Item::End => return Ok(None),
                    Item::Piece(..) | Item::Failed(_) => continue,
                },
            };
            self.location = Some(location);
            return Ok(Some((digest, size)));
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        if self.next.is_some() {
            return Ok(None);
        }
        match self.items.recv().await {
            Some(Item::Piece(piece, _room)) => Ok(Some(piece)),
            Some(Item::Failed(error)) => Err(error),
            Some(Item::Blob(digest, size, location)) => {
                self.next = Some((digest, size, location));
                Ok(None)
            }
            Some(Item::End) => {
                self.items.close();
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn location(&self, digest: &Digest) -> Location {
        let unknown = || Location::new(Operation::ReadBundle, Side::Source, digest.to_string());
        self.location.clone().unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join;

    use super::*;

    /// Blobs of zeros with these sizes, in pieces of 1 MiB.
    struct Zeros {
        sizes: Vec<usize>,
        left: usize,
        fails: bool,
    }

    const MIB: usize = 1024 * 1024;

    impl BlobSequence for Zeros {
        async fn next_blob(&mut self) -> Result<Option<(Digest, u64)>, Error> {
            if self.sizes.is_empty() {
                let error = Location::new(Operation::ReadBundle, Side::Source, "x").error(Cause::NoSuchBlob);
                return if self.fails { Err(error) } else { Ok(None) };
            }
            self.left = self.sizes.remove(0);
            Ok(Some((Digest::sha256(self.left.to_string().as_bytes()), self.left as u64)))
        }

        async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
            let length = self.left.min(MIB);
            self.left -= length;
            Ok((length > 0).then(|| Bytes::from(vec![0; length])))
        }

        fn location(&self, digest: &Digest) -> Location {
            Location::new(Operation::ReadBundle, Side::Source, digest.to_string())
        }
    }

    fn zeros(sizes: &[usize]) -> Zeros {
        Zeros { sizes: sizes.to_vec(), left: 0, fails: false }
    }

    /// The lengths of all blobs. `wanted` says of which to read the bytes.
    async fn read(mut feed: Feed, wanted: impl Fn(usize) -> bool) -> Result<Vec<usize>, Error> {
        let mut lengths = Vec::new();
        while let Some((digest, size)) = feed.next_blob().await? {
            assert!(feed.location(&digest).to_string().contains(digest.as_str()));
            let mut length = 0;
            if wanted(lengths.len()) {
                while let Some(piece) = feed.piece().await? {
                    length += piece.len();
                }
                assert_eq!(length as u64, size);
            }
            lengths.push(length);
        }
        Ok(lengths)
    }

    #[tokio::test(start_paused = true)]
    async fn every_destination_gets_all_blobs_in_one_pass() {
        let sizes = [3 * MIB, 0, 20 * MIB + 7, 5];
        let (fan_out, feeds) = FanOut::new(2, DESTINATION_TIMEOUT);
        let mut feeds = feeds.into_iter();
        let (all, some) = (feeds.next().unwrap(), feeds.next().unwrap());
        let mut blobs = zeros(&sizes);
        let pass_on = fan_out.pass_on(&mut blobs);
        let ((all, some), ()) = join(join(read(all, |_| true), read(some, |at| at == 2)), pass_on).await;
        assert_eq!(all.unwrap(), sizes);
        assert_eq!(some.unwrap(), [0, 0, sizes[2], 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_stream_fails_every_destination_and_an_absent_destination_fails_itself() {
        let (fan_out, mut feeds) = FanOut::new(2, DESTINATION_TIMEOUT);
        drop(feeds.pop());
        let mut blobs = Zeros { fails: true, ..zeros(&[20 * MIB]) };
        let (read, ()) = join(read(feeds.pop().unwrap(), |_| true), fan_out.pass_on(&mut blobs)).await;
        assert!(matches!(read.unwrap_err().cause, Cause::NoSuchBlob));
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_stops_waiting_for_a_destination_that_fails() {
        const UNTIL_IT_FAILS: Duration = Duration::from_secs(1);
        let (fan_out, mut feeds) = FanOut::new(2, DESTINATION_TIMEOUT);
        let failing = feeds.pop().unwrap();
        let failing = async move {
            tokio::time::sleep(UNTIL_IT_FAILS).await;
            drop(failing);
        };
        let mut blobs = zeros(&[20 * MIB]);
        let begun = tokio::time::Instant::now();
        let reading = join(read(feeds.pop().unwrap(), |_| true), failing);
        let ((read, ()), ()) = join(reading, fan_out.pass_on(&mut blobs)).await;
        assert_eq!(read.unwrap(), [20 * MIB]);
        assert!(begun.elapsed() < 2 * UNTIL_IT_FAILS, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_waits_for_a_slow_destination_but_not_forever() {
        let (fan_out, feeds) = FanOut::new(3, DESTINATION_TIMEOUT);
        let mut feeds = feeds.into_iter();
        let (fast, mut slow, mut stalled) =
            (feeds.next().unwrap(), feeds.next().unwrap(), feeds.next().unwrap());
        let slow = async move {
            let mut length = 0;
            slow.next_blob().await.unwrap();
            while let Some(piece) = slow.piece().await.unwrap() {
                tokio::time::sleep(DESTINATION_TIMEOUT / 8).await;
                length += piece.len();
            }
            length
        };
        let mut blobs = zeros(&[40 * MIB]);
        let begun = tokio::time::Instant::now();
        let ((read, slow), ()) = join(join(read(fast, |_| true), slow), fan_out.pass_on(&mut blobs)).await;
        assert_eq!((read.unwrap(), slow), (vec![40 * MIB], 40 * MIB));
        assert!(begun.elapsed() < DESTINATION_TIMEOUT * 7, "{:?}", begun.elapsed());
        // It had 8 MiB of room, and then the stream continued.
        stalled.next_blob().await.unwrap();
        let mut length = 0;
        let error = loop {
            match stalled.piece().await {
                Ok(piece) => length += piece.unwrap().len(),
                Err(error) => break error,
            }
        };
        assert_eq!(length, WINDOW);
        assert!(error.cause.to_string().contains("continued without it"), "{error}");
        assert_eq!(error.location.side, Side::Destination);
    }
}
