//! Uploads interrupted within a run: resumed, found committed, or restarted.

use super::{
    Case, requests,
    upload::{UPLOADS, heads, lengths, uploads},
};
use crate::support::scripted::{Action, Answer};

#[tokio::test]
async fn an_interrupted_upload_of_a_small_blob_restarts_in_a_new_session() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 10_000, keep: true });
    let ended = case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[..5],
        ["POST", "PUT", "DELETE", "POST", "PUT"],
        "no byte is replayed on the old one"
    );
    assert_eq!(ended.retries(), 1);
    assert!(heads(&case, &digest) >= 1, "it might have been committed");
    case.converges().await;
}

#[tokio::test]
async fn an_interrupted_upload_of_a_large_blob_resumes_at_the_registrys_offset() {
    let case = Case::resumable().await;
    let (digest, bytes) = case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    case.run().await.expect_success();
    assert_eq!(uploads(&case)[..5], ["POST", "PUT", "GET", "PATCH 250000-399999", "PUT"]);
    assert_eq!(lengths(&case, "PATCH"), [Some(bytes.len() - 250_000)]);
    let source = requests(&case.source, "GET", digest.as_str());
    let from: u64 =
        source[1].header("range").unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    assert!((100_000..=250_000).contains(&from), "hashed from the last snapshot on, not from {from}");
    case.converges().await;
}

#[tokio::test]
async fn an_upload_that_keeps_breaking_but_makes_progress_succeeds() {
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    for method in ["PUT", "PATCH"] {
        let times = if method == "PUT" { 1 } else { 6 };
        case.destination
            .on(method, UPLOADS)
            .first(times)
            .then(Action::CutUpload { after: 50_000, keep: true });
    }
    case.run().await.expect_success();
    assert_eq!(uploads(&case).iter().filter(|request| *request == "POST").count(), 1);
    case.converges().await;
}

#[tokio::test]
async fn a_dead_or_inconsistent_session_is_replaced() {
    let status = |range: &str| {
        Answer::status(204).header("range", range).header("location", "/v2/mirror/app/blobs/uploads/1")
    };
    for (name, answer) in [
        ("404 BLOB_UPLOAD_INVALID", Answer::error(404, "BLOB_UPLOAD_INVALID")),
        ("404 BLOB_UPLOAD_UNKNOWN", Answer::error(404, "BLOB_UPLOAD_UNKNOWN")),
        ("0-0", status("0-0")),
        ("more than there is", status("0-400000")),
        ("not from the beginning", status("5-99")),
        ("nothing", status("")),
        ("200", Answer::status(200).header("range", "0-99")),
        ("403", Answer::error(403, "DENIED")),
    ] {
        let case = Case::resumable().await;
        case.only_one_layer_is_missing();
        case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 60_000, keep: true });
        case.destination.on("GET", UPLOADS).answer(answer);
        case.run().await.expect_success();
        assert_eq!(uploads(&case)[..6], ["POST", "PUT", "GET", "DELETE", "POST", "PUT"], "{name}");
        assert_eq!(lengths(&case, "PUT")[..2], [None, Some(400_000)], "{name}");
        case.converges().await;
    }
}

#[tokio::test]
async fn a_chunk_at_the_wrong_offset_queries_the_session_status() {
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    // The first status is stale, as ECR's is; the next chunk gets the correct offset with a 416.
    case.destination.on("GET", UPLOADS).nth(1).then(Action::header("range", "0-99999"));
    case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[..7],
        ["POST", "PUT", "GET", "PATCH 100000-399999", "GET", "PATCH 250000-399999", "PUT"]
    );
    case.converges().await;
}

#[tokio::test]
async fn a_registry_that_repeats_a_wrong_offset_is_sent_the_whole_blob() {
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    case.destination.on("GET", UPLOADS).then(Action::header("range", "0-99999"));
    case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[..],
        ["POST", "PUT", "GET", "PATCH 100000-399999", "GET", "DELETE", "POST", "PUT"]
    );
    case.converges().await;
}

/// The registry may not have noticed yet that the client of the broken request is gone.
#[tokio::test]
async fn a_busy_upload_session_is_resumed_a_little_later() {
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    case.destination.on("PATCH", UPLOADS).first(2).then(Action::error(409, "BLOB_UPLOAD_INVALID"));
    case.run().await.expect_success();
    let chunk = "PATCH 250000-399999";
    assert_eq!(uploads(&case)[..], ["POST", "PUT", "GET", chunk, "GET", chunk, "GET", chunk, "PUT"]);
    case.converges().await;
}

#[tokio::test]
async fn an_upload_session_that_stays_busy_is_replaced() {
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    case.destination.on("PATCH", UPLOADS).then(Action::error(409, "BLOB_UPLOAD_INVALID"));
    case.run().await.expect_success();
    let asked = ["GET", "PATCH 250000-399999"].repeat(4);
    assert_eq!(uploads(&case)[..], [&["POST", "PUT"], &asked[..], &["DELETE", "POST", "PUT"]].concat());
    case.converges().await;
}

#[tokio::test]
async fn a_blob_committed_with_a_lost_answer_is_not_sent_again() {
    let case = Case::start().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::ServeThenClose);
    case.run().await.expect_success();
    assert_eq!(case.destination.count("PUT", UPLOADS), 1, "it was there");
    assert!(heads(&case, &digest) >= 1);
    case.converges().await;
}

#[tokio::test]
async fn an_upload_missing_only_its_final_put_is_closed_without_reading_the_source() {
    let case = Case::resumable().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::CutUpload { after: 250_000, keep: true });
    case.destination.on("PUT", UPLOADS).nth(2).then(Action::Close);
    case.run().await.expect_success();
    assert_eq!(uploads(&case)[..7], ["POST", "PUT", "GET", "PATCH 250000-399999", "PUT", "GET", "PUT"]);
    assert_eq!(case.source.count("GET", digest.as_str()), 2);
    case.converges().await;
}
