//! Several destinations that read one source in memory, on a clock that advances automatically.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};

use super::*;
use crate::{
    endpoint::{BlobStream, Cause, Operation, empty::EmptyDestination},
    oci::{Descriptor, MediaType},
    problem::Side,
};

/// A source with one blob of zeros, in pieces of 64 KiB, each after a pause.
struct Zeros {
    empty: EmptyDestination,
    pause: Duration,
    opened: AtomicUsize,
    sent: Arc<AtomicU64>,
    /// The number of reads, from the first, that break off after this many bytes.
    broken: (usize, u64),
}

const PIECE: u64 = 64 * 1024;
const MIB: u64 = 1024 * 1024;

impl Zeros {
    fn new() -> Self {
        let (empty, pause) = (EmptyDestination, Duration::from_millis(1));
        Self { empty, pause, opened: 0.into(), sent: Arc::default(), broken: (0, 0) }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Source for Zeros {
    crate::endpoint::forward!(empty: digest, manifest, blob_size, attachments);

    fn side(&self) -> Side {
        Side::Source
    }

    async fn open_blob(&self, _: &Repository, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.pause).await;
        let (size, pause, sent) = (blob.size, self.pause, Arc::clone(&self.sent));
        let (broken, after) = self.broken;
        let breaks_off = (number < broken).then_some(after);
        let pieces = stream::unfold(offset, move |at| {
            let sent = Arc::clone(&sent);
            async move {
                tokio::time::sleep(pause).await;
                if breaks_off.is_some_and(|after| at >= after) {
                    let error = Error::new(Operation::ReadBlob, Side::Source, "x", Cause::NoSuchBlob);
                    return Some((Err(error), size));
                }
                let length = PIECE.min(size - at);
                sent.fetch_add(length, Ordering::Relaxed);
                let piece = Bytes::from(vec![0; usize::try_from(length).unwrap()]);
                (length > 0).then_some((Ok(piece), at + length))
            }
        });
        Ok(pieces.boxed())
    }
}

type Run = Arc<Shared<Zeros, EmptyDestination>>;

fn shared(source: Zeros, destinations: usize) -> (Arc<Zeros>, Run) {
    let source = Arc::new(source);
    let sources = vec![Arc::clone(&source); destinations];
    let empty = Arc::new(EmptyDestination);
    let destinations = vec![empty; destinations];
    (source, Shared::new(sources, destinations.clone(), destinations))
}

fn blob(size: u64) -> Descriptor {
    Descriptor::new(MediaType::from("x/y"), Digest::sha256(b"zeros"), size)
}

/// Opens the blob for an upload.
async fn open(run: &Run, number: usize, size: u64, offset: u64) -> Result<BlobStream, Error> {
    run.reads().begin_upload(number, &blob(size).digest);
    let repository = "reg.example.com/a".parse().unwrap();
    // It does not leave while others read.
    let source = std::mem::ManuallyDrop::new(run.source(number).unwrap());
    source.open_blob(&repository, &blob(size), offset).await
}

/// Reads all of a stream, with a pause after each piece. Returns the number of bytes and the time.
async fn read(mut stream: BlobStream, pause: Duration) -> Result<(u64, Duration), Error> {
    let (begun, mut length) = (Instant::now(), 0);
    while let Some(piece) = stream.try_next().await? {
        length += piece.len() as u64;
        if pause > Duration::ZERO {
            tokio::time::sleep(pause).await;
        }
    }
    Ok((length, begun.elapsed()))
}

const NO_PAUSE: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn destinations_that_keep_up_share_one_read() {
    let size = 100 * MIB + 7;
    let (source, run) = shared(Zeros::new(), 3);
    let all = join_all((0..3).map(async |number| {
        tokio::time::sleep(Duration::from_millis(7 * number as u64)).await;
        read(open(&run, number, size, 0).await?, NO_PAUSE).await
    }));
    for read in all.await {
        assert_eq!(read.unwrap().0, size);
    }
    assert_eq!((source.opened(), source.sent.load(Ordering::Relaxed)), (1, size));
    assert!((0..3).all(|number| run.extra_reads(number) == ExtraReads::default()));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_destination_keeps_its_window_and_reads_the_rest_later() {
    let size = 100 * MIB;
    let (_, run) = shared(Zeros::new(), 2);
    let alone = read(open(&run, 0, MIB, 0).await.unwrap(), NO_PAUSE).await.unwrap().1 * 100;
    let (source, run) = shared(Zeros::new(), 2);
    let mut stalled = open(&run, 1, size, 0).await.unwrap();
    let first = stalled.try_next().await.unwrap().unwrap().len() as u64;
    let fast = open(&run, 0, size, 0).await.unwrap();
    let (length, time) = read(fast, NO_PAUSE).await.unwrap();
    assert_eq!(length, size);
    assert!(time <= alone + alone / 20 + Duration::from_millis(200), "{time:?} instead of {alone:?}");
    assert_eq!(source.opened(), 1, "nothing is read for a destination that takes nothing");
    assert_eq!(first + read(stalled, NO_PAUSE).await.unwrap().0, size);
    assert_eq!(source.opened(), 2);
    let extra = run.extra_reads(1);
    assert_eq!((extra.reads, run.extra_reads(0).reads), (1, 0));
    assert!(extra.bytes >= size - WINDOW - 2 * PIECE && extra.bytes <= size - WINDOW + MIB, "{extra:?}");
    assert_eq!(source.sent.load(Ordering::Relaxed), size + extra.bytes);
}

#[tokio::test(start_paused = true)]
async fn a_destination_of_half_the_speed_costs_the_others_a_twentieth() {
    let size = 400 * MIB;
    let (_, run) = shared(Zeros::new(), 2);
    let alone = read(open(&run, 0, MIB, 0).await.unwrap(), NO_PAUSE).await.unwrap().1 * 400;
    let (source, run) = shared(Zeros::new(), 2);
    let (fast, slow) = (open(&run, 0, size, 0).await.unwrap(), open(&run, 1, size, 0).await.unwrap());
    let pause = Duration::from_millis(4);
    let (fast, slow) = futures::future::join(read(fast, NO_PAUSE), read(slow, pause)).await;
    let (fast, slow) = (fast.unwrap(), slow.unwrap());
    assert_eq!((fast.0, slow.0), (size, size));
    assert!(fast.1 <= alone + alone / 10 + Duration::from_millis(200), "{:?} instead of {alone:?}", fast.1);
    assert!(slow.1 > fast.1 * 3 / 2, "{:?}", slow.1);
    assert_eq!((source.opened(), run.extra_reads(1).reads), (2, 1));
}

/// Whichever destination began the read, the others continue it.
#[tokio::test(start_paused = true)]
async fn a_destination_that_fails_does_not_affect_the_others() {
    let size = 10 * MIB;
    let (source, run) = shared(Zeros::new(), 2);
    let mut first = open(&run, 0, size, 0).await.unwrap();
    first.try_next().await.unwrap().unwrap();
    let second = open(&run, 1, size, 0).await.unwrap();
    drop(first);
    assert_eq!(read(second, NO_PAUSE).await.unwrap().0, size);
    assert_eq!(source.opened(), 1);
    // Also while it is opened.
    let (source, run) = shared(Zeros::new(), 2);
    let (mut first, mut second) = (Box::pin(open(&run, 0, size, 0)), Box::pin(open(&run, 1, size, 0)));
    for opening in [&mut first, &mut second] {
        assert!(futures::poll!(opening).is_pending());
    }
    drop(first);
    assert_eq!(read(second.await.unwrap(), NO_PAUSE).await.unwrap().0, size);
    assert_eq!(source.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_breaks_off_fails_for_all_and_is_begun_again_where_it_is_needed() {
    let size = 10 * MIB;
    let (source, run) = shared(Zeros { broken: (1, 5 * MIB), ..Zeros::new() }, 2);
    let both = [open(&run, 0, size, 0).await.unwrap(), open(&run, 1, size, 0).await.unwrap()];
    for result in join_all(both.map(|stream| read(stream, NO_PAUSE))).await {
        assert!(result.is_err());
    }
    let rest = join_all([0, 1].map(async |number| {
        read(open(&run, number, size, 5 * MIB).await.unwrap(), NO_PAUSE).await.unwrap().0
    }));
    assert_eq!(rest.await, [5 * MIB, 5 * MIB]);
    assert_eq!(source.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_has_the_start_waits_for_the_read_to_reach_its_offset() {
    let size = 20 * MIB;
    let (source, run) = shared(Zeros::new(), 2);
    let (whole, rest) =
        (open(&run, 0, size, 0).await.unwrap(), open(&run, 1, size, 15 * MIB + 1).await.unwrap());
    let (whole, rest) = futures::future::join(read(whole, NO_PAUSE), read(rest, NO_PAUSE)).await;
    assert_eq!((whole.unwrap().0, rest.unwrap().0), (size, 5 * MIB - 1));
    assert_eq!(source.opened(), 1);
}
