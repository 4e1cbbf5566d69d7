//! Reads of blobs that several destinations take at different speeds.

use std::task::Waker;

use proptest::prelude::*;

use super::*;

fn digest(number: u8) -> Digest {
    Digest::sha256(&[number])
}

fn piece(offset: u64, length: usize) -> Bytes {
    (0..length).map(|at| byte(offset + at as u64)).collect()
}

/// The byte of every blob at an offset.
fn byte(offset: u64) -> u8 {
    u8::try_from(offset % 251).unwrap()
}

fn bytes(reads: &Reads<()>) -> Vec<u64> {
    reads.backlogs.iter().map(|backlog| backlog.bytes).collect()
}

fn take(reads: &mut Reads<()>, (id, reader): (ReadId, ReaderId)) -> Next {
    reads.take(id, reader, Waker::noop())
}

/// Takes everything that is there. Returns its length.
fn drain(reads: &mut Reads<()>, at: (ReadId, ReaderId)) -> usize {
    let mut length = 0;
    while let Next::Piece(piece) = take(reads, at) {
        length += piece.len();
    }
    length
}

fn begin(reads: &mut Reads<()>, destination: usize, blob: u8) -> (ReadId, ReaderId) {
    reads.begin_upload(destination, &digest(blob));
    let (id, reader, is_extra) = reads.begin(destination, &digest(blob), 0, ());
    assert!(!is_extra);
    (id, reader)
}

fn join(reads: &mut Reads<()>, destination: usize, blob: u8, offset: u64) -> Option<(ReadId, ReaderId)> {
    reads.begin_upload(destination, &digest(blob));
    reads.join(destination, &digest(blob), offset).map(|(id, reader, ())| (id, reader))
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_asks_in_time_gets_every_byte_even_of_a_read_that_is_over() {
    let mut reads = Reads::new(2, 1000);
    let first = begin(&mut reads, 0, 1);
    reads.push(first.0, first.1, piece(0, 400));
    assert_eq!(drain(&mut reads, first), 400);
    assert_eq!(bytes(&reads), [0, 400]);
    reads.end(first.0, Ok(()));
    assert!(matches!(take(&mut reads, first), Next::End));
    reads.stop(first.0, first.1);
    let second = join(&mut reads, 1, 1, 100).unwrap();
    assert_eq!(drain(&mut reads, second), 300, "it has the first 100 bytes");
    assert!(matches!(take(&mut reads, second), Next::End));
    reads.stop(second.0, second.1);
    assert!(reads.by_id.is_empty() && reads.by_digest.is_empty() && reads.backlogs[1].reserved.is_empty());
    assert_eq!(bytes(&reads), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_destination_is_left_behind_with_what_it_has_and_reads_the_rest_by_itself() {
    let mut reads = Reads::new(2, 1000);
    let (fast, slow) = (begin(&mut reads, 0, 1), join(&mut reads, 1, 1, 0).unwrap());
    for number in 0..10 {
        reads.push(fast.0, fast.1, piece(number * 300, 300));
        assert_eq!(drain(&mut reads, fast), 300);
        assert!(bytes(&reads)[1] <= 1000, "{:?}", bytes(&reads));
    }
    assert_eq!(drain(&mut reads, slow), 900);
    assert!(matches!(take(&mut reads, slow), Next::LeftBehind));
    reads.stop(slow.0, slow.1);
    assert!(join(&mut reads, 1, 1, 900).is_none(), "those bytes are gone");
    let (_, _, is_extra) = reads.begin(1, &digest(1), 900, ());
    assert!(is_extra);
    assert_eq!((reads.extra(1).reads, reads.extra(0).reads), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_a_moment_for_a_destination_that_takes_bytes_but_not_for_one_that_has_not_opened_the_blob()
 {
    let mut reads = Reads::new(3, 1000);
    let (fast, slow) = (begin(&mut reads, 0, 1), join(&mut reads, 1, 1, 0).unwrap());
    reads.push(fast.0, fast.1, piece(0, 900));
    drain(&mut reads, fast);
    let Next::Wait(until) = take(&mut reads, fast) else { panic!("it waits for the second") };
    drain(&mut reads, slow);
    assert!(matches!(take(&mut reads, fast), Next::NeedsMore), "the third has not opened the blob");
    reads.push(fast.0, fast.1, piece(900, 900));
    drain(&mut reads, fast);
    assert!(matches!(take(&mut reads, fast), Next::Wait(_)), "it waits again");
    tokio::time::sleep_until(until + std::time::Duration::from_secs(1)).await;
    assert!(matches!(take(&mut reads, fast), Next::NeedsMore), "it has waited long enough");
    assert_eq!(drain(&mut reads, slow), 900);
    assert!(matches!(take(&mut reads, slow), Next::LeftBehind));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_reserved_blobs_make_room() {
    let mut reads = Reads::new(2, 1000);
    for blob in 0..100 {
        let read = begin(&mut reads, 0, blob);
        reads.push(read.0, read.1, piece(0, 300));
        assert_eq!(drain(&mut reads, read), 300);
        reads.end(read.0, Ok(()));
        reads.stop(read.0, read.1);
        reads.end_upload(0, &digest(blob));
        assert!(bytes(&reads)[1] <= 1000 && reads.by_id.len() <= 3, "{:?}", bytes(&reads));
    }
    assert!(join(&mut reads, 1, 96, 0).is_none());
    for blob in 97..100 {
        assert!(join(&mut reads, 1, blob, 0).is_some(), "{blob}");
    }
    // A large blob does not drive them out.
    let mut reads = Reads::new(2, 1000);
    let small = begin(&mut reads, 0, 1);
    reads.push(small.0, small.1, piece(0, 300));
    let large = begin(&mut reads, 0, 2);
    for number in 0..9 {
        reads.push(large.0, large.1, piece(number * 100, 100));
    }
    assert!(join(&mut reads, 1, 2, 0).is_none());
    assert!(join(&mut reads, 1, 1, 0).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_leaves_or_has_the_blob_delays_nothing() {
    let mut reads = Reads::new(3, 1000);
    let read = begin(&mut reads, 0, 1);
    reads.push(read.0, read.1, piece(0, 600));
    drain(&mut reads, read);
    reads.leave(1);
    reads.add_holder(2, &digest(1), &"reg.example.com/a".parse().unwrap());
    assert_eq!(bytes(&reads), [0, 0, 0]);
    assert_eq!(reads.holders(&digest(1)).len(), 1);
    // Without a reader, an unfinished read ends.
    reads.stop(read.0, read.1);
    assert!(reads.by_id.is_empty());
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Open { destination: usize, blob: u8, offset: u64 },
    Take(usize),
    Push { reader: usize, length: usize },
    End(usize),
    Stop(usize),
    Leave(usize),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 0..4_u8, 0..40_u64).prop_map(|(destination, blob, offset)| Step::Open {
            destination,
            blob,
            offset: if offset < 30 { 0 } else { offset }
        }),
        6 => (0..8_usize).prop_map(Step::Take),
        6 => (0..8_usize, 1..70_usize).prop_map(|(reader, length)| Step::Push { reader, length }),
        1 => (0..8_usize).prop_map(Step::End),
        2 => (0..8_usize).prop_map(Step::Stop),
        1 => (0..40_usize).prop_map(Step::Leave),
        1 => Just(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, every reader gets the bytes of its blob without a gap, no destination keeps more than its window,
    /// and nothing stays when all are done.
    #[test]
    fn nothing_is_lost_and_memory_is_bounded(steps in prop::collection::vec(step(), 1..200)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let window = 200;
            let mut reads = Reads::new(3, window);
            // Each with its destination, blob and offset.
            let mut readers: Vec<((ReadId, ReaderId), usize, u8, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Open { destination, blob, offset } => {
                        reads.begin_upload(destination, &digest(blob));
                        let joined = reads.join(destination, &digest(blob), offset);
                        let at = joined.map_or_else(
                            || {
                                let (id, reader, _) = reads.begin(destination, &digest(blob), offset, ());
                                (id, reader)
                            },
                            |(id, reader, ())| (id, reader),
                        );
                        readers.push((at, destination, blob, offset));
                    }
                    Step::Take(number) if number < readers.len() => {
                        let (at, .., offset) = &mut readers[number];
                        match take(&mut reads, *at) {
                            Next::Piece(piece) => {
                                let expected = (*offset..).take(piece.len()).map(byte);
                                assert!(piece.iter().copied().eq(expected), "other bytes at {offset}");
                                *offset += piece.len() as u64;
                            }
                            Next::LeftBehind => {
                                let (at, destination, blob, _) = readers.remove(number);
                                reads.stop(at.0, at.1);
                                reads.end_upload(destination, &digest(blob));
                            }
                            Next::End | Next::NeedsMore | Next::Wait(_) => {}
                            Next::Failed(error) => panic!("{error}"),
                        }
                    }
                    Step::Push { reader, length } if reader < readers.len() => {
                        let (id, reader) = readers[reader].0;
                        if reads.needs_more(id, reader) && !matches!(take(&mut reads, (id, reader)), Next::Wait(_)) {
                            reads.push(id, reader, piece(reads.head(id), length));
                        }
                    }
                    Step::End(number) if number < readers.len() => {
                        let (id, reader) = readers[number].0;
                        if reads.needs_more(id, reader) {
                            reads.end(id, Ok(()));
                        }
                    }
                    Step::Stop(number) if number < readers.len() => {
                        let (at, destination, blob, _) = readers.remove(number);
                        reads.stop(at.0, at.1);
                        reads.end_upload(destination, &digest(blob));
                    }
                    Step::Leave(destination) if destination < 3 => reads.leave(destination),
                    Step::Pass => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
                    _ => {}
                }
                // A reader takes the piece that it reads at once. Apart from that piece, the window is never exceeded.
                for behind in bytes(&reads) {
                    assert!(behind <= window + 70 * readers.len() as u64, "{behind}");
                }
            }
            for (at, destination, blob, _) in readers {
                reads.stop(at.0, at.1);
                reads.end_upload(destination, &digest(blob));
            }
            (0..3).for_each(|destination| reads.leave(destination));
            assert!(reads.by_id.is_empty() && reads.by_digest.is_empty());
            assert_eq!(bytes(&reads), [0, 0, 0]);
        });
    }
}
