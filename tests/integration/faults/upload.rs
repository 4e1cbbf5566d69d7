//! Faults of the destination registry during a blob upload.

use thoras_mirror::{event::Event, oci::Digest, outcome::Status};

use super::{Case, REPOSITORY, SECRET, requests};
use crate::support::{
    images::SampleImage,
    process::Mirror,
    proxy::Proxy,
    scripted::{Action, Answer, Recorded, Scripted},
};

pub(super) const UPLOADS: &str = "/blobs/uploads/";

/// The requests for uploads of the largest blob, in order: `POST`, `PATCH 0-4` (a chunk with its range), … Other blobs
/// are already present and take one POST each, which mounts them.
pub(super) fn uploads(case: &Case) -> Vec<String> {
    let (digest, _) = case.layer();
    let is_about_another = |path: &str| path.contains("mount=") && !path.contains(digest.hex());
    let all = case.destination.requests().into_iter();
    let ours = all.filter(|request| request.path.contains(UPLOADS) && !is_about_another(&request.path));
    ours.map(|request| summary(&request)).collect()
}

fn summary(request: &Recorded) -> String {
    let range = request.header("content-range").map(|range| format!(" {range}")).unwrap_or_default();
    format!("{}{range}", request.method)
}

pub(super) fn heads(case: &Case, digest: &Digest) -> usize {
    requests(&case.destination, "HEAD", digest.as_str()).len()
}

/// The body lengths of the requests that sent bytes, in order; `None` for interrupted ones.
pub(super) fn lengths(case: &Case, method: &str) -> Vec<Option<usize>> {
    requests(&case.destination, method, UPLOADS).iter().map(|request| request.body_length).collect()
}

#[tokio::test]
async fn a_blob_takes_one_post_and_one_put_with_its_length() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.run().await.expect_success();
    let put = &requests(&case.destination, "PUT", UPLOADS)[0];
    assert_eq!(put.header("content-length"), Some("20000"));
    assert_eq!(put.header("transfer-encoding"), None);
    assert!(
        put.path.contains("?_state=a%2Fb%3D%3D&digest=sha256:"),
        "the registry's query is kept: {}",
        put.path
    );
    case.converges().await;
}

#[tokio::test]
async fn every_form_of_location_is_followed() {
    for form in ["http://{host}{path}", "{path}", "//{host}{path}", "{id}"] {
        let case = Case::start().await;
        let own = case.destination.address().host_port.clone();
        case.destination.on("POST", UPLOADS).then(Action::alter(move |mut answer| {
            let path = answer.headers.remove("location").unwrap().to_str().unwrap().to_owned();
            let id = path.rsplit('/').next().unwrap();
            let location = form.replace("{host}", &own).replace("{path}", &path).replace("{id}", id);
            answer.header("location", &location)
        }));
        case.survives().await;
    }
}

#[tokio::test]
async fn a_location_on_another_host_gets_the_bytes_and_no_credentials() {
    let case = Case::start().await;
    let (digest, bytes) = case.only_one_layer_is_missing();
    let storage = Scripted::start().await;
    let location = format!("{}/put?X-Amz-Signature={SECRET}", storage.address().as_localhost().url());
    case.destination.on("POST", UPLOADS).then(Action::header("location", &location));
    // The registry does not learn what its storage received, so the copy cannot succeed.
    storage.on("PUT", "/put").answer(Answer::status(200));
    case.run().await.expect_failure();
    let put = &requests(&storage, "PUT", "/put")[0];
    assert_eq!(put.body_length, Some(bytes.len()));
    assert_eq!(put.header("authorization"), None);
    assert!(put.path.ends_with(&format!("&digest={digest}")), "{}", put.path);
    case.expect_violations_for(&digest);
    case.converges().await;
}

#[tokio::test]
async fn mounts_are_used_and_refused_mounts_fall_back_to_uploads() {
    let both = [("vendor/app", REPOSITORY), ("vendor/app", "mirror/second")];
    for (status, code) in [
        (201, ""),
        (202, ""),
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (404, "NAME_UNKNOWN"),
        (405, "UNSUPPORTED"),
        (500, "UNKNOWN"),
    ] {
        let case = Case::start().await;
        let cross = "mirror/second/blobs/uploads/?mount=";
        if status == 202 {
            case.destination.on("POST", cross).then(Action::alter(|answer| answer));
            case.destination.on("POST", "from=mirror%2Fapp").then(Action::alter(|answer| answer));
        } else if status > 202 {
            case.destination.on("POST", cross).then(Action::error(status, code));
        }
        case.run_all(&both).await.expect_success();
        case.holds_the_image(REPOSITORY);
        case.holds_the_image("mirror/second");
        let second_puts = case.destination.count("PUT", "mirror/second/blobs/uploads/");
        assert_eq!(second_puts == 0, status <= 202, "{status}: {second_puts} blobs were uploaded again");
        let second_posts = requests(&case.destination, "POST", "mirror/second/blobs/uploads/").len();
        assert!(
            second_posts <= 6,
            "{status}: a refused mount is not asked for again and again: {second_posts}"
        );
        case.converges().await;
    }
}

#[tokio::test]
async fn the_session_opened_by_a_refused_mount_is_used() {
    let case = Case::start().await;
    case.destination.with_store(|store| store.insert("mirror/other", &case.image));
    let ended =
        case.run_all(&[("vendor/app", "mirror/other"), ("vendor/app", REPOSITORY)]).await.expect_success();
    assert_eq!(ended.outcomes[0].status, Status::UpToDate);
    let case = Case::start().await;
    // The registry has forgotten the blobs that are to be mounted, so it opens sessions instead.
    case.destination.on("POST", "mirror/second/blobs/uploads/").then(Action::alter(|answer| answer));
    case.run_all(&[("vendor/app", REPOSITORY), ("vendor/app", "mirror/second")]).await.expect_success();
    let posts = case.destination.count("POST", "mirror/second/");
    let puts = case.destination.count("PUT", "mirror/second/blobs/");
    assert!(posts <= 3 && puts <= 3, "{posts} sessions, {puts} of them used");
}

#[tokio::test]
async fn a_blob_too_large_for_one_request_is_sent_in_chunks_and_so_are_later_blobs() {
    for early in [true, false] {
        let case = Case::with(SampleImage::with_layer_size("1", 6 * 1024 * 1024)).await;
        let case = Case { jobs: 1, ..case };
        let refusal = Answer::error(413, "SIZE_INVALID");
        let action = if early { Action::AnswerEarly(refusal) } else { Action::Answer(refusal) };
        case.destination.on("PUT", UPLOADS).nth(1).then(action);
        case.run().await.expect_success();
        let chunks = requests(&case.destination, "PATCH", UPLOADS);
        assert!(chunks.iter().all(|chunk| chunk.body_length <= Some(5 * 1024 * 1024)));
        assert!(chunks.iter().all(|chunk| chunk.header("content-length").is_some()));
        assert!(chunks.iter().any(|chunk| chunk.header("content-range") == Some("0-5242879")));
        let whole = lengths(&case, "PUT").into_iter().skip(1).filter(|length| *length != Some(0)).count();
        assert_eq!(whole, 0, "one refusal is enough for the whole host");
        case.converges().await;
    }
}

/// Through a proxy that resolves every name to this machine.
#[tokio::test]
async fn chunks_for_ghcr_stay_within_its_limit() {
    const MIB: usize = 1024 * 1024;
    let case = Case::with(SampleImage::with_large_layer("1", 9 * MIB)).await;
    let (digest, bytes) = case.layer();
    case.destination.on("PUT", digest.as_str()).nth(1).then(Action::error(413, "SIZE_INVALID"));
    let proxy = Proxy::start().await;
    let ghcr = case.destination.address().host_port.replace("127.0.0.1", "ghcr.io");
    let from = case.source.address().image("vendor/app", "1");
    let run = Mirror::new(["sync", &from, "--to", &format!("{ghcr}/mirror"), "--plain-http", &ghcr])
        .arguments(["--platform", "linux/amd64", "--jobs", "1"])
        .env("HTTP_PROXY", proxy.url());
    let _ = run.run().await.expect_success();
    let chunks = requests(&case.destination, "PATCH", UPLOADS);
    let large: Vec<_> = chunks.iter().filter(|chunk| chunk.body_length == Some(4 * MIB)).collect();
    assert_eq!(large.len(), 2);
    assert!(chunks.iter().all(|chunk| chunk.body_length <= Some(4 * MIB)), "{chunks:#?}");
    case.destination.with_store(|store| {
        assert!(store.repository(REPOSITORY).blobs[&digest] == bytes);
    });
}

#[tokio::test]
async fn connection_resets_instead_of_a_413_lead_to_chunks() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).first(2).then(Action::CutUpload { after: 10_000, keep: false });
    case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[..],
        ["POST", "PUT", "DELETE", "POST", "PUT", "DELETE", "POST", "PATCH 0-19999", "PUT"]
    );
    case.converges().await;
}

#[tokio::test]
async fn a_registry_without_chunk_support_is_sent_no_chunks() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).first(2).then(Action::CutUpload { after: 10_000, keep: false });
    case.destination.on("PATCH", UPLOADS).then(Action::error(405, "UNSUPPORTED"));
    case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[4..],
        ["PUT", "DELETE", "POST", "PATCH 0-19999", "DELETE", "POST", "PUT"],
        "what had only broken off is sent whole again"
    );
    case.converges().await;
}

#[tokio::test]
async fn a_chunk_size_limit_is_found_and_an_impossible_limit_reported() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", "digest=").nth(1).then(Action::error(413, "SIZE_INVALID"));
    case.destination.on("PATCH", UPLOADS).first(2).then(Action::error(413, "SIZE_INVALID"));
    case.run().await.expect_success();
    case.converges().await;

    let case = Case::start().await;
    for method in ["PUT", "PATCH"] {
        case.destination.on(method, UPLOADS).then(Action::error(413, "SIZE_INVALID"));
    }
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("413 SIZE_INVALID") && failure.contains("client_max_body_size"), "{failure}");
    case.converges().await;
}

#[tokio::test]
async fn a_chunk_minimum_of_a_tebibyte_is_capped_at_the_blob_size() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("POST", UPLOADS).then(Action::header("oci-chunk-min-length", "1099511627776"));
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::error(413, "SIZE_INVALID"));
    case.run().await.expect_success();
    assert_eq!(uploads(&case).last().unwrap(), "PUT");
    assert_eq!(lengths(&case, "PATCH"), [Some(20_000)]);
    case.converges().await;
}

#[tokio::test]
async fn a_lost_session_is_replaced() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::error(404, "BLOB_UPLOAD_UNKNOWN"));
    case.run().await.expect_success();
    assert_eq!(uploads(&case)[..4], ["POST", "PUT", "POST", "PUT"]);
    case.converges().await;
}

#[tokio::test]
async fn a_blob_with_a_disputed_digest_is_sent_twice_at_most() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::error(400, "DIGEST_INVALID"));
    case.survives().await;

    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).then(Action::error(400, "DIGEST_INVALID"));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("400 DIGEST_INVALID: as scripted"), "{failure}");
    assert_eq!(case.destination.count("PUT", UPLOADS), 2);
    case.converges().await;
}

#[tokio::test]
async fn a_token_that_expires_during_the_upload_costs_one_restart_at_most() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::error(401, "UNAUTHORIZED"));
    case.run().await.expect_success();
    assert_eq!(uploads(&case)[..5], ["POST", "PUT", "DELETE", "POST", "PUT"]);
    case.converges().await;

    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).then(Action::error(401, "UNAUTHORIZED"));
    let failure = case.run().await.expect_failure();
    assert!(failure.contains("401 UNAUTHORIZED"), "{failure}");
    assert_eq!(case.destination.count("PUT", UPLOADS), 2);
    case.converges().await;
}

#[tokio::test]
async fn an_upload_to_a_registry_that_stops_reading_is_retried() {
    let case = Case::with(SampleImage::with_layer_size("1", 8 * 1024 * 1024)).await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::Stall);
    let ended = case.run().await.expect_success();
    assert!(ended.text().contains("no data arrived for 1 s"), "{}", ended.text());
    case.converges().await;
}

#[tokio::test]
async fn a_registry_that_commits_slowly_is_waited_for_and_reported() {
    let case = Case::start().await;
    case.only_one_layer_is_missing();
    case.destination.on("PUT", UPLOADS).nth(1).then(Action::Stall);
    let ended = case.run().await.expect_success();
    let waited = ended.events.iter().any(|event| {
        matches!(event, Event::Warning { message, .. } if message.contains("has not responded for 1 s"))
    });
    assert!(waited, "{}", ended.text());
    assert!(ended.text().contains("no data arrived for 2 s"), "the longer patience: {}", ended.text());
    case.converges().await;
}

#[tokio::test]
async fn a_source_with_wrong_bytes_leaves_no_resumable_upload() {
    let case = Case::resumable().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.source.on("GET", digest.as_str()).nth(1).then(Action::flip_bit(1));
    case.run().await.expect_success();
    assert_eq!(
        uploads(&case)[..5],
        ["POST", "PUT", "DELETE", "POST", "PUT"],
        "wrong bytes are not built upon"
    );
    case.converges().await;
}

#[tokio::test]
async fn a_repository_that_must_be_created_first_is_reported() {
    let case = Case::start().await;
    case.destination.on("POST", UPLOADS).then(Action::error(404, "NAME_UNKNOWN"));
    let failure = case.run().await.expect_failure();
    let repository = format!("create {}/{REPOSITORY} first", case.destination.address().host_port);
    assert!(failure.contains("404 NAME_UNKNOWN") && failure.contains(&repository), "{failure}");
    assert!(
        failure.contains("cannot start the upload of blob") && failure.contains("(destination)"),
        "{failure}"
    );
    case.converges().await;
}

#[tokio::test]
async fn a_registry_that_denies_blob_head_requests_still_gets_the_blobs() {
    for status in [403, 405] {
        let case = Case::start().await;
        case.destination.on("HEAD", "/blobs/").then(Action::error(status, "DENIED"));
        case.survives().await;
    }
}

/// A canceled copy stops immediately: no task keeps running, and its sessions can be resumed.
#[test]
fn a_canceled_copy_leaves_no_task_behind() {
    let servers = tokio::runtime::Runtime::new().unwrap();
    let case = servers.block_on(Case::resumable());
    case.destination.on("PUT", UPLOADS).then(Action::Stall);
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    client.block_on(case.drop_when(case.destination.wait_for(2, "PUT", UPLOADS)));
    client.block_on(async {
        let metrics = tokio::runtime::Handle::current().metrics();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while metrics.num_alive_tasks() > 0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} tasks are still running",
                metrics.num_alive_tasks()
            );
            tokio::task::yield_now().await;
        }
    });
    servers.block_on(case.converges());
}
