//! Large blobs that several connections read in parts.

use std::{
    num::NonZeroU32,
    ops::Range,
    time::{Duration, Instant},
};

use thoras_mirror::{endpoint::registry::Parts, oci::Digest};

use super::{Case, REPOSITORY, requests};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer, End},
};

const FIRST: usize = 100_000;
const PART: usize = 50_000;

/// A layer of this many bytes, the only blob that is missing.
async fn case(size: usize) -> (Case, Digest, Vec<u8>) {
    let mut case = Case::with(SampleImage::with_large_layer("1", size)).await;
    case.tuning.parts = Parts { first: FIRST as u64, size: PART as u64 };
    let (digest, bytes) = case.only_one_layer_is_missing();
    (case, digest, bytes)
}

/// The ranges of the layer that were requested, in the order of their starts.
fn ranges(case: &Case, digest: &Digest, size: usize) -> Vec<Range<usize>> {
    let range = |text: Option<&str>| {
        let Some(text) = text else { return 0..size };
        let (start, end) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        start.parse().unwrap()..end.parse::<usize>().map_or(size, |last| last + 1)
    };
    let gets = requests(&case.source, "GET", digest.as_str());
    let mut ranges: Vec<Range<usize>> = gets.iter().map(|get| range(get.header("range"))).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// Asserts that every byte was requested exactly once.
fn assert_once(ranges: &[Range<usize>], size: usize) {
    let end = ranges.iter().fold(0, |end, range| {
        assert_eq!(range.start, end, "{ranges:?}");
        range.end
    });
    assert_eq!(end, size, "{ranges:?}");
}

#[tokio::test]
async fn slow_connections_are_joined_by_others_and_no_byte_is_requested_twice() {
    let (case, digest, bytes) = case(1_500_000).await;
    // A part takes 400 milliseconds.
    case.source.on("GET", digest.as_str()).then(Action::end(End::Paced(2_500)));
    case.run().await.expect_success();
    let ranges = ranges(&case, &digest, bytes.len());
    assert_once(&ranges, bytes.len());
    assert_eq!(ranges[0], 0..FIRST, "one connection alone");
    let parts = ranges.iter().filter(|range| range.len() <= PART).count();
    assert!(parts >= 20, "{ranges:?}");
    let at: Vec<Instant> = requests(&case.source, "GET", digest.as_str()).iter().map(|get| get.at).collect();
    let during = |&first: &Instant| {
        let end = first + Duration::from_millis(390);
        at.iter().filter(|&&at| (first..end).contains(&at)).count()
    };
    let most = at.iter().map(during).max();
    assert!((Some(4)..=Some(8)).contains(&most), "{most:?} at once");
    case.converges().await;
}

/// One of many machines may make few transfers at first, here all of them of large blobs. Each goes on in its place.
#[tokio::test]
async fn large_blobs_do_not_hold_one_transfer_while_they_wait_for_another() {
    let image = SampleImage::with_layer_size("1", 5 * FIRST);
    let mut case = Case { jobs: 16, ..Case::with(image).await };
    case.tuning.parts = Parts { first: FIRST as u64, size: PART as u64 };
    case.tuning.machines = NonZeroU32::new(8).unwrap();
    let is_large = |bytes: &[u8]| bytes.len() >= 4 * FIRST;
    let blobs = case.image.blobs.iter();
    let (large, small): (Vec<_>, Vec<_>) = blobs.partition(|(_, bytes)| is_large(bytes));
    assert!(large.len() >= 4, "{} large blobs", large.len());
    let there = small.into_iter().map(|(digest, bytes)| (digest.clone(), bytes.clone())).collect();
    case.destination.with_store(|store| store.repository(REPOSITORY).blobs = there);
    case.source.on("GET", "/blobs/").then(Action::end(End::Paced(10_000)));
    let ended = tokio::time::timeout(Duration::from_secs(30), case.run()).await;
    ended.expect("the blobs wait for each other").expect_success();
    for (digest, bytes) in large {
        assert_once(&ranges(&case, digest, bytes.len()), bytes.len());
    }
    case.converges().await;
}

#[tokio::test]
async fn any_size_arrives_whole() {
    for size in [4 * FIRST - 1, 4 * FIRST, 4 * FIRST + 1, 449_999, 450_001, 777_777] {
        for pace in [End::Whole, End::Paced(20_000)] {
            let (case, digest, bytes) = case(size).await;
            case.source.on("GET", digest.as_str()).then(Action::end(pace));
            case.run().await.expect_success();
            let ranges = ranges(&case, &digest, bytes.len());
            assert_once(&ranges, bytes.len());
            assert_eq!(ranges.len() > 1, bytes.len() >= 4 * FIRST, "{ranges:?}");
            case.converges().await;
        }
    }
}

/// A bounded range is asked for once. Its answer, the whole blob, is not wasted.
#[tokio::test]
async fn a_registry_that_ignores_ranges_sends_the_blob_once() {
    let (case, digest, bytes) = case(500_000).await;
    let whole = bytes.clone();
    case.source.on("GET", digest.as_str()).answer(Answer::status(200).body(whole));
    case.run().await.expect_success();
    let ranges = ranges(&case, &digest, bytes.len());
    assert_eq!((ranges.len(), &ranges[0]), (1, &(0..FIRST)));
    case.converges().await;
}

#[tokio::test]
async fn a_wrong_first_range_is_replaced_by_the_whole_blob() {
    let (case, digest, bytes) = case(500_000).await;
    let wrong = Action::header("content-range", &format!("bytes 1-{FIRST}/{}", bytes.len()));
    case.source.on("GET", digest.as_str()).nth(1).then(wrong);
    case.run().await.expect_success();
    assert_eq!(ranges(&case, &digest, bytes.len()), [0..FIRST, 0..bytes.len()]);
    case.converges().await;
}

#[tokio::test]
async fn a_part_that_fails_leaves_the_rest_to_one_connection() {
    let failures: [(&str, Action); 5] = [
        ("another range", Action::header("content-range", "bytes 0-9/10")),
        ("the whole blob", Action::alter(|answer| Answer { status: 200.try_into().unwrap(), ..answer })),
        ("416", Action::error(416, "RANGE_INVALID")),
        ("404", Action::error(404, "BLOB_UNKNOWN")),
        ("403", Action::error(403, "DENIED")),
    ];
    for (name, action) in failures {
        let (case, digest, bytes) = case(900_000).await;
        case.source.on("GET", digest.as_str()).then(Action::end(End::Paced(5_000)));
        case.source.on("GET", digest.as_str()).nth(5).then(action);
        case.run().await.expect_success();
        let ranges = ranges(&case, &digest, bytes.len());
        let last = ranges.iter().filter(|range| range.end == bytes.len() && range.len() > PART).count();
        assert_eq!(last, 1, "{name}: {ranges:?}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_part_that_breaks_is_resumed() {
    let (case, digest, bytes) = case(900_000).await;
    case.source.on("GET", digest.as_str()).then(Action::end(End::Paced(5_000)));
    case.source.on("GET", digest.as_str()).nth(4).then(Action::end(End::CutAfter(30_000)));
    let ended = case.run().await.expect_success();
    assert_eq!(ended.retries(), 1);
    let resumed = ranges(&case, &digest, bytes.len()).iter().filter(|range| range.len() == 20_000).count();
    assert_eq!(resumed, 1);
    case.converges().await;
}

/// The ranges may be to blame, so one connection reads the blob again.
#[tokio::test]
async fn wrong_bytes_in_a_part_are_not_committed_and_the_blob_is_read_whole() {
    let (case, digest, bytes) = case(900_000).await;
    case.source.on("GET", digest.as_str()).then(Action::end(End::Paced(10_000)));
    case.source.on("GET", digest.as_str()).nth(4).then(Action::flip_bit(7));
    case.run().await.expect_success();
    let ranges = ranges(&case, &digest, bytes.len());
    assert_eq!(ranges.iter().filter(|range| **range == (0..bytes.len())).count(), 1, "{ranges:?}");
    case.converges().await;
}
