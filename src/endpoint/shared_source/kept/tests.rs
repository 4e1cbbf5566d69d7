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

fn bytes(kept: &Kept<()>) -> Vec<u64> {
    kept.destinations.iter().map(|behind| behind.bytes).collect()
}

fn take(kept: &mut Kept<()>, (id, taker): (ReadId, TakerId)) -> Taken {
    kept.take(id, taker, Waker::noop())
}

/// Takes everything that is there. Returns its length.
fn drain(kept: &mut Kept<()>, at: (ReadId, TakerId)) -> usize {
    let mut length = 0;
    while let Taken::Piece(piece) = take(kept, at) {
        length += piece.len();
    }
    length
}

fn begin(kept: &mut Kept<()>, destination: usize, blob: u8) -> (ReadId, TakerId) {
    kept.begin_upload(destination, &digest(blob));
    let (id, taker, is_extra) = kept.begin(destination, &digest(blob), 0, ());
    assert!(!is_extra);
    (id, taker)
}

fn join(kept: &mut Kept<()>, destination: usize, blob: u8, offset: u64) -> Option<(ReadId, TakerId)> {
    kept.begin_upload(destination, &digest(blob));
    kept.join(destination, &digest(blob), offset).map(|(id, taker, ())| (id, taker))
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_asks_in_time_gets_every_byte_even_of_a_read_that_is_over() {
    let mut kept = Kept::new(2, 1000);
    let first = begin(&mut kept, 0, 1);
    kept.push(first.0, first.1, piece(0, 400));
    assert_eq!(drain(&mut kept, first), 400);
    assert_eq!(bytes(&kept), [0, 400]);
    kept.end(first.0, Ok(()));
    assert!(matches!(take(&mut kept, first), Taken::End));
    kept.stop(first.0, first.1);
    let second = join(&mut kept, 1, 1, 100).unwrap();
    assert_eq!(drain(&mut kept, second), 300, "it has the first 100 bytes");
    assert!(matches!(take(&mut kept, second), Taken::End));
    kept.stop(second.0, second.1);
    assert!(kept.reads.is_empty() && kept.by_digest.is_empty() && kept.destinations[1].unasked.is_empty());
    assert_eq!(bytes(&kept), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_destination_is_left_behind_with_what_it_has_and_reads_the_rest_by_itself() {
    let mut kept = Kept::new(2, 1000);
    let (fast, slow) = (begin(&mut kept, 0, 1), join(&mut kept, 1, 1, 0).unwrap());
    for number in 0..10 {
        kept.push(fast.0, fast.1, piece(number * 300, 300));
        assert_eq!(drain(&mut kept, fast), 300);
        assert!(bytes(&kept)[1] <= 1000, "{:?}", bytes(&kept));
    }
    assert_eq!(drain(&mut kept, slow), 900);
    assert!(matches!(take(&mut kept, slow), Taken::LeftBehind));
    kept.stop(slow.0, slow.1);
    assert!(join(&mut kept, 1, 1, 900).is_none(), "those bytes are gone");
    let (_, _, is_extra) = kept.begin(1, &digest(1), 900, ());
    assert!(is_extra);
    assert_eq!((kept.extra(1).reads, kept.extra(0).reads), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_a_moment_for_a_destination_that_takes_bytes_but_not_for_one_that_has_not_asked() {
    let mut kept = Kept::new(3, 1000);
    let (fast, slow) = (begin(&mut kept, 0, 1), join(&mut kept, 1, 1, 0).unwrap());
    kept.push(fast.0, fast.1, piece(0, 900));
    drain(&mut kept, fast);
    let Taken::Wait(until) = take(&mut kept, fast) else { panic!("it waits for the second") };
    drain(&mut kept, slow);
    assert!(matches!(take(&mut kept, fast), Taken::NeedsMore), "the third has not asked");
    kept.push(fast.0, fast.1, piece(900, 900));
    drain(&mut kept, fast);
    assert!(matches!(take(&mut kept, fast), Taken::Wait(_)), "it waits again");
    tokio::time::sleep_until(until + std::time::Duration::from_secs(1)).await;
    assert!(matches!(take(&mut kept, fast), Taken::NeedsMore), "it has waited long enough");
    assert_eq!(drain(&mut kept, slow), 900);
    assert!(matches!(take(&mut kept, slow), Taken::LeftBehind));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_blobs_that_nobody_asked_for_make_room() {
    let mut kept = Kept::new(2, 1000);
    for blob in 0..100 {
        let read = begin(&mut kept, 0, blob);
        kept.push(read.0, read.1, piece(0, 300));
        assert_eq!(drain(&mut kept, read), 300);
        kept.end(read.0, Ok(()));
        kept.stop(read.0, read.1);
        kept.end_upload(0, &digest(blob));
        assert!(bytes(&kept)[1] <= 1000 && kept.reads.len() <= 3, "{:?}", bytes(&kept));
    }
    assert!(join(&mut kept, 1, 96, 0).is_none());
    for blob in 97..100 {
        assert!(join(&mut kept, 1, blob, 0).is_some(), "{blob}");
    }
    // A large blob does not drive them out.
    let mut kept = Kept::new(2, 1000);
    let small = begin(&mut kept, 0, 1);
    kept.push(small.0, small.1, piece(0, 300));
    let large = begin(&mut kept, 0, 2);
    for number in 0..9 {
        kept.push(large.0, large.1, piece(number * 100, 100));
    }
    assert!(join(&mut kept, 1, 2, 0).is_none());
    assert!(join(&mut kept, 1, 1, 0).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_has_the_blob_holds_nothing_up() {
    let mut kept = Kept::new(3, 1000);
    let read = begin(&mut kept, 0, 1);
    kept.push(read.0, read.1, piece(0, 600));
    drain(&mut kept, read);
    kept.leave(1);
    kept.add_holder(2, &digest(1), &"reg.example.com/a".parse().unwrap());
    assert_eq!(bytes(&kept), [0, 0, 0]);
    assert_eq!(kept.holders(&digest(1)).len(), 1);
    // Without a taker, an unfinished read ends.
    kept.stop(read.0, read.1);
    assert!(kept.reads.is_empty());
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Open { destination: usize, blob: u8, offset: u64 },
    Take(usize),
    Push { taker: usize, length: usize },
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
        6 => (0..8_usize, 1..70_usize).prop_map(|(taker, length)| Step::Push { taker, length }),
        1 => (0..8_usize).prop_map(Step::End),
        2 => (0..8_usize).prop_map(Step::Stop),
        1 => (0..40_usize).prop_map(Step::Leave),
        1 => Just(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, every taker gets the bytes of its blob without a gap, no destination keeps more than its window,
    /// and nothing stays when all are done.
    #[test]
    fn nothing_is_lost_and_memory_is_bounded(steps in prop::collection::vec(step(), 1..200)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let window = 200;
            let mut kept = Kept::new(3, window);
            // Each with its destination, blob and offset.
            let mut takers: Vec<((ReadId, TakerId), usize, u8, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Open { destination, blob, offset } => {
                        kept.begin_upload(destination, &digest(blob));
                        let joined = kept.join(destination, &digest(blob), offset);
                        let at = joined.map_or_else(
                            || {
                                let (id, taker, _) = kept.begin(destination, &digest(blob), offset, ());
                                (id, taker)
                            },
                            |(id, taker, ())| (id, taker),
                        );
                        takers.push((at, destination, blob, offset));
                    }
                    Step::Take(number) if number < takers.len() => {
                        let (at, .., offset) = &mut takers[number];
                        match take(&mut kept, *at) {
                            Taken::Piece(piece) => {
                                let expected = (*offset..).take(piece.len()).map(byte);
                                assert!(piece.iter().copied().eq(expected), "other bytes at {offset}");
                                *offset += piece.len() as u64;
                            }
                            Taken::LeftBehind => {
                                let (at, destination, blob, _) = takers.remove(number);
                                kept.stop(at.0, at.1);
                                kept.end_upload(destination, &digest(blob));
                            }
                            Taken::End | Taken::NeedsMore | Taken::Wait(_) => {}
                            Taken::Failed(error) => panic!("{error}"),
                        }
                    }
                    Step::Push { taker, length } if taker < takers.len() => {
                        let (id, taker) = takers[taker].0;
                        if kept.needs_more(id, taker) && !matches!(take(&mut kept, (id, taker)), Taken::Wait(_)) {
                            kept.push(id, taker, piece(kept.head(id), length));
                        }
                    }
                    Step::End(number) if number < takers.len() => {
                        let (id, taker) = takers[number].0;
                        if kept.needs_more(id, taker) {
                            kept.end(id, Ok(()));
                        }
                    }
                    Step::Stop(number) if number < takers.len() => {
                        let (at, destination, blob, _) = takers.remove(number);
                        kept.stop(at.0, at.1);
                        kept.end_upload(destination, &digest(blob));
                    }
                    Step::Leave(destination) if destination < 3 => kept.leave(destination),
                    Step::Pass => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
                    _ => {}
                }
                // Who reads takes its piece at once; besides that one, the window is never exceeded.
                for behind in bytes(&kept) {
                    assert!(behind <= window + 70 * takers.len() as u64, "{behind}");
                }
            }
            for (at, destination, blob, _) in takers {
                kept.stop(at.0, at.1);
                kept.end_upload(destination, &digest(blob));
            }
            (0..3).for_each(|destination| kept.leave(destination));
            assert!(kept.reads.is_empty() && kept.by_digest.is_empty());
            assert_eq!(bytes(&kept), [0, 0, 0]);
        });
    }
}
