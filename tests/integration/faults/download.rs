//! Faults of the source registry during a blob download.

use thoras_mirror::oci::Digest;

use super::{Case, SECRET, requests};
use crate::support::{
    images::SampleImage,
    scripted::{Action, Answer, End, Scripted},
};

fn ranges(case: &Case, digest: &Digest) -> Vec<String> {
    let gets = requests(&case.source, "GET", digest.as_str());
    gets.iter().map(|request| request.header("range").unwrap_or("all").to_owned()).collect()
}

#[tokio::test]
async fn a_broken_download_resumes() {
    for (cut, expected) in [(0, "all"), (1, "bytes=1-"), (9_000, "bytes=9000-"), (19_999, "bytes=19999-")] {
        let case = Case::start().await;
        let (digest, _) = case.only_one_layer_is_missing();
        case.source.on("GET", digest.as_str()).nth(1).then(Action::end(End::CutAfter(cut)));
        let ended = case.run().await.expect_success();
        assert_eq!(ranges(&case, &digest), ["all", expected], "cut after {cut}");
        assert_eq!(ended.retries(), 1);
        assert_eq!(case.destination.count("PUT", "/blobs/uploads/"), 1, "the upload noticed nothing");
        case.converges().await;
    }
}

#[tokio::test]
async fn no_content_encoding_is_requested() {
    let case = Case::start().await;
    case.survives().await;
    for request in case.source.requests() {
        assert_eq!(request.header("accept-encoding").unwrap_or("identity"), "identity", "{}", request.path);
    }
}

#[tokio::test]
async fn a_connection_that_keeps_breaking_but_makes_progress_succeeds() {
    let case = Case::with(SampleImage::with_layer_size("1", 3_500_000)).await;
    let (digest, _) = case.only_one_layer_is_missing();
    // More interruptions than the limit for a connection without progress.
    case.source.on("GET", digest.as_str()).first(8).then(Action::end(End::CutAfter(400_000)));
    case.run().await.expect_success();
    assert!(ranges(&case, &digest).len() > 6);
    case.converges().await;
}

#[tokio::test]
async fn a_connection_without_progress_fails_and_nothing_is_committed() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.source.on("GET", digest.as_str()).then(Action::end(End::CutAfter(0)));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("cannot read blob") && failure.contains("(source), tried "), "{failure}");
    assert!(failure.contains(digest.as_str()), "{failure}");
    assert_eq!(ranges(&case, &digest).len(), 6, "what failed is not retried by another layer of the program");
    case.converges().await;
}

#[tokio::test]
async fn a_wrong_content_range_restarts_the_download() {
    let (size, rest) = (20_000, 15_000);
    let wrong_ranges: [(&str, Action); 6] = [
        ("a wrong start", Action::header("content-range", &format!("bytes 4999-{}/{size}", size - 1))),
        ("a wrong end", Action::header("content-range", &format!("bytes 5000-{}/{size}", size - 2))),
        ("a wrong total", Action::header("content-range", &format!("bytes 5000-{}/{}", size - 1, size + 1))),
        ("nothing", Action::header("content-range", "")),
        ("another unit", Action::header("content-range", &format!("items 5000-{}/{size}", size - 1))),
        ("416", Action::error(416, "RANGE_INVALID")),
    ];
    for (name, action) in wrong_ranges {
        let case = Case::start().await;
        let (digest, _) = case.only_one_layer_is_missing();
        case.source.on("GET", digest.as_str()).nth(1).then(Action::end(End::CutAfter(size - rest)));
        case.source.on("GET", digest.as_str()).nth(2).then(action);
        case.run().await.expect_success();
        assert_eq!(ranges(&case, &digest), ["all", "bytes=5000-", "all"], "{name}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_full_answer_to_a_range_request_is_skipped_to_the_offset() {
    let case = Case::start().await;
    let (digest, bytes) = case.only_one_layer_is_missing();
    case.source.on("GET", digest.as_str()).nth(1).then(Action::end(End::CutAfter(5_000)));
    case.source.on("GET", digest.as_str()).nth(2).answer(Answer::status(200).body(bytes));
    case.run().await.expect_success();
    assert_eq!(ranges(&case, &digest), ["all", "bytes=5000-"]);
    case.converges().await;
}

#[tokio::test]
async fn wrong_bytes_are_never_committed() {
    for at in [0, 10_000, 19_999] {
        let case = Case::start().await;
        let (digest, _) = case.only_one_layer_is_missing();
        case.source.on("GET", digest.as_str()).then(Action::flip_bit(at));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains("arrived corrupted"), "{failure}");
        assert!(failure.contains("no wrong data was stored"), "{failure}");
        assert_eq!(ranges(&case, &digest), ["all", "all"], "damaged once more, it is damaged at its source");
        case.converges().await;
    }
}

#[tokio::test]
async fn bytes_damaged_once_in_transit_are_read_again() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.source.on("GET", digest.as_str()).nth(1).then(Action::flip_bit(3));
    case.survives().await;
}

#[tokio::test]
async fn a_wrong_content_length_fails_before_the_body_is_read() {
    for (more, expected) in [(true, "is longer than the 20000 bytes"), (false, "ended after 19000 of 20000")]
    {
        let case = Case::start().await;
        let (digest, bytes) = case.only_one_layer_is_missing();
        let wrong = if more { [&bytes[..], b"more"].concat() } else { bytes[..19_000].to_vec() };
        case.source.on("GET", digest.as_str()).answer(Answer::status(200).body(wrong));
        let failure = case.run().await.expect_failure();
        assert!(failure.contains(expected), "{failure}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_chunked_body_longer_than_the_blob_is_refused() {
    let case = Case::start().await;
    let (digest, bytes) = case.only_one_layer_is_missing();
    let more = [&bytes[..], b"more"].concat();
    // Without a length to compare in advance.
    let endless = Answer::status(200).header("transfer-encoding", "chunked").body(more);
    case.source.on("GET", digest.as_str()).answer(endless);
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("is longer than the 20000 bytes"), "{failure}");
    case.converges().await;
}

#[tokio::test]
async fn an_expired_signed_url_is_requested_again_from_the_registry() {
    let case = Case::start().await;
    let (digest, bytes) = case.only_one_layer_is_missing();
    let storage = Scripted::start().await;
    let url = |token: &str| {
        let host = storage.address().as_localhost().url();
        format!("{host}/storage/{token}?X-Amz-Signature={SECRET}")
    };
    storage
        .on("GET", "/storage/first")
        .answer(Answer { end: End::CutAfter(5_000), ..Answer::status(200).body(bytes.clone()) });
    storage.on("GET", "/storage/expired").answer(Answer::status(403).body("Request has expired"));
    let rest =
        Answer::status(206).header("content-range", "bytes 5000-19999/20000").body(bytes[5_000..].to_vec());
    storage.on("GET", "/storage/second").answer(rest);
    for (n, token) in [(1, "first"), (2, "expired"), (3, "second")] {
        case.source.on("GET", digest.as_str()).nth(n).then(Action::redirect(&url(token)));
    }
    case.run().await.expect_success();
    assert_eq!(ranges(&case, &digest), ["all", "bytes=5000-", "bytes=5000-"]);
    assert_eq!(storage.count("GET", "/storage/"), 3);
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none()));
    case.converges().await;
}

#[tokio::test]
async fn a_signed_url_that_is_always_refused_fails_after_a_few_attempts() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    let storage = Scripted::start().await;
    let url = format!("{}/storage?sig={SECRET}", storage.address().as_localhost().url());
    storage.on("GET", "/storage").answer(Answer::status(403));
    case.source.on("GET", digest.as_str()).then(Action::redirect(&url));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("403"), "{failure}");
    assert_eq!(storage.count("GET", "/storage"), 2);
    case.converges().await;
}

#[tokio::test]
async fn a_silent_source_is_retried_while_the_upload_waits() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.source.on("GET", digest.as_str()).nth(1).then(Action::end(End::StallAfter(7_000)));
    let ended = case.run().await.expect_success();
    assert_eq!(ranges(&case, &digest), ["all", "bytes=7000-"]);
    assert_eq!(case.destination.count("PUT", "/blobs/uploads/"), 1);
    assert!(ended.text().contains("no data arrived for 1 s"), "it is reported: {}", ended.text());
    case.converges().await;
}

#[tokio::test]
async fn unusual_blobs_are_copied() {
    for image in [SampleImage::odd_layers("1"), SampleImage::with_sha512_layer("1")] {
        Case::with(image).await.survives().await;
    }
}

#[tokio::test]
async fn an_empty_blob_under_another_digest_is_refused() {
    let mut image = SampleImage::odd_layers("1");
    let empty = Digest::sha256(b"");
    let root = String::from_utf8(image.root().bytes.to_vec()).unwrap();
    let lie = Digest::sha256(b"not empty");
    let root = root.replace(empty.as_str(), lie.as_str());
    let last = image.manifests.last_mut().unwrap();
    last.digest = Digest::sha256(root.as_bytes());
    last.bytes = root.into();
    image.blobs.remove(&empty);
    image.blobs.insert(lie, bytes::Bytes::new());
    let case = Case::with(image).await;
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("arrived corrupted"), "{failure}");
    case.assert_nothing_wrong_is_stored();
}
