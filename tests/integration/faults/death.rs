//! The process is killed in the middle of a large blob, and another process resumes.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use thoras_mirror::serve::{AccessRecord, Options, Server};
use tokio::sync::mpsc;

use super::{Case, REPOSITORY, requests};
use crate::support::{
    Address,
    images::SampleImage,
    kill::kill,
    process::Mirror,
    registry::Registry,
    scripted::{Action, End},
};

const MIB: usize = 1024 * 1024;
/// Above the size from which the program resumes, with two snapshots on the way.
const LARGE: usize = 48 * MIB;
/// Where the source stalls: after both snapshots.
const SILENCE: usize = 40 * MIB;

/// How long anything may take, on a machine that is busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An image of a large and two small blobs.
fn large_image() -> SampleImage {
    SampleImage::with_large_layer("1", LARGE)
}

/// The program, told to copy the only image of a case. `home` outlives it.
fn sync(case: &Case, destination: &Address, home: &Path) -> Mirror {
    let image = case.source.address().image("vendor/app", &case.image.tag);
    let to = format!("{}/mirror", destination.host_port);
    Mirror::new([
        "sync",
        "--to",
        &to,
        "--source-prefix",
        &format!("{}/vendor", case.source.address().host_port),
    ])
    .arguments(["--platform", "linux/amd64", &image])
    .env("HOME", home)
}

/// Runs until the journal has both snapshots of the hash, then kills the process. Returns the upload's location.
async fn killed_during_a_blob(case: &Case, destination: &Address, home: &Path) -> String {
    let (digest, _) = case.layer();
    case.source.on("GET", digest.as_str()).nth(1).then(Action::end(End::StallAfter(SILENCE)));
    let journal = home.join(".local/state/thoras-mirror/uploads");
    let noted = || {
        let files = std::fs::read_dir(&journal).into_iter().flatten().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect::<String>()
    };
    let both = async {
        while noted().matches("\"hash\"").count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = kill(sync(case, destination, home), both).await;
    assert_eq!(outcome.status.code(), None, "it ended before both hashes were noted: {outcome}");
    let lines = noted();
    let mut lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.find_map(|line| Some(line["session"]["location"].as_str()?.to_owned())).unwrap()
}

/// The offset from which each run read the source.
fn offsets(case: &Case) -> Vec<usize> {
    let (digest, _) = case.layer();
    let gets = requests(&case.source, "GET", digest.as_str());
    let range = |value: &str| value["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    gets.iter().map(|request| request.header("range").map_or(0, range)).collect()
}

/// The registry of `thoras-mirror serve`, over its own folder.
struct Serve {
    _root: tempfile::TempDir,
    address: Address,
    access: mpsc::UnboundedReceiver<AccessRecord>,
}

impl Serve {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (record, access) = mpsc::unbounded_channel();
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            writable: true,
            access_log: Some(std::sync::Arc::new(move |shown: &AccessRecord| {
                drop(record.send(shown.clone()));
            })),
            ..Options::new(root.path())
        };
        let server = Server::bind(options).await.unwrap();
        let host_port = server.address().to_string();
        tokio::spawn(server.run(std::future::pending()));
        Self { _root: root, address: Address { host_port, plain_http: true, authority: None }, access }
    }

    /// Waits until the registry has read everything that a killed client sent and has noticed the disconnect. Until
    /// then, it refuses other writes to the upload.
    async fn wait_until_released(&self, upload: &str) {
        let client = self.address.http_client();
        let deadline = Instant::now() + TIMEOUT;
        // An empty chunk, so that nothing changes.
        while client.patch(upload).send().await.unwrap().status() == StatusCode::CONFLICT {
            assert!(Instant::now() < deadline, "the dead client's request has no end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The requests for uploads since the last call.
    fn uploads(&mut self) -> Vec<AccessRecord> {
        let records = std::iter::from_fn(|| self.access.try_recv().ok());
        records.filter(|record| record.path.contains("/blobs/uploads/")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_resumes_after_the_process_was_killed() {
    let case = Case::with(large_image()).await;
    let home = tempfile::tempdir().unwrap();
    let mut serve = Serve::start().await;
    let upload = killed_during_a_blob(&case, &serve.address, home.path()).await;
    serve.wait_until_released(&upload).await;
    serve.uploads();

    let outcome = sync(&case, &serve.address, home.path()).run().await.expect_success();
    let uploads = serve.uploads();
    let of = |method: Method| uploads.iter().filter(|record| record.method == method).collect::<Vec<_>>();
    assert_eq!(of(Method::GET).len(), 1, "it was asked how far it is");
    let [patch] = of(Method::PATCH)[..] else { panic!("one request for the rest, not {uploads:?}") };
    let kept = LARGE - usize::try_from(patch.received).unwrap();
    let [0, offset] = offsets(&case)[..] else {
        panic!("the source is asked once by each run, not {:?}", offsets(&case))
    };
    assert!(offset >= 16 * MIB && offset <= kept && kept <= SILENCE, "{offset} {kept}");
    assert!(
        kept - offset < 17 * MIB,
        "only what came after the last snapshot is hashed again: {offset} {kept}"
    );
    assert!(
        !outcome.to_string().contains("/blobs/uploads/"),
        "the URL of a session is not printed: {outcome}"
    );
    crate::support::client::assert_present(&case.image, &serve.address, REPOSITORY).await;

    let state = home.path().join(".local/state/thoras-mirror/uploads");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "nothing is left to resume");
    let again = sync(&case, &serve.address, home.path()).run().await.expect_success();
    assert!(serve.uploads().is_empty(), "{again}");
}

#[tokio::test]
async fn a_registry_that_forgets_broken_sessions_is_sent_the_whole_blob_without_an_error() {
    let case = Case::with(large_image()).await;
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start().await;
    killed_during_a_blob(&case, registry.address(), home.path()).await;

    let outcome = sync(&case, registry.address(), home.path()).run().await.expect_success();
    assert!(!outcome.stderr.contains("error:"), "{outcome}");
    assert_eq!(offsets(&case), [0, 0]);
    let requests = registry.requests().await;
    let asked =
        requests.iter().find(|request| request.method == "GET" && request.path.contains("/blobs/uploads/"));
    assert_eq!(asked.unwrap().status, 404, "docker-registry 2.8");
    crate::support::client::assert_present(&case.image, registry.address(), REPOSITORY).await;
}

/// A failed run leaves a journal just as a killed one does. The next process has nothing else.
#[tokio::test]
async fn a_later_run_resumes_where_a_failed_run_stopped() {
    let case = Case::resumable().await;
    let (digest, _) = case.only_one_layer_is_missing();
    case.destination
        .on("PUT", "/blobs/uploads/")
        .nth(1)
        .then(Action::CutUpload { after: 250_000, keep: true });
    case.destination
        .on("GET", "/blobs/uploads/")
        .then(Action::Hold(crate::support::scripted::Gate::default()));
    case.drop_when(case.destination.wait_for(1, "GET", "/blobs/uploads/")).await;
    assert_eq!(case.journals(), 1);
    case.destination.clear();
    case.source.clear();
    case.run().await.expect_success();
    let patch = &requests(&case.destination, "PATCH", "/blobs/uploads/")[0];
    assert_eq!(patch.header("content-range"), Some("250000-399999"));
    let get = &requests(&case.source, "GET", digest.as_str())[0];
    assert!(get.header("range").is_some(), "what was hashed is not read again");
    case.converges().await;
}

#[tokio::test]
async fn a_damaged_or_stale_journal_or_a_dead_session_is_harmless() {
    for damage in ["empty", "noise", "dead"] {
        let case = Case::resumable().await;
        case.only_one_layer_is_missing();
        case.destination.on("PUT", "/blobs/uploads/").then(Action::Stall);
        case.drop_when(case.destination.wait_for(1, "PUT", "/blobs/uploads/")).await;
        let journal = std::fs::read_dir(case.state()).unwrap().next().unwrap().unwrap().path();
        match damage {
            "empty" => std::fs::write(journal, "").unwrap(),
            "noise" => std::fs::write(journal, [0xff, 0, b'\n', 7]).unwrap(),
            _ => case.destination.with_store(|store| store.uploads.clear()),
        }
        case.destination.clear();
        let ended = case.run().await.expect_success();
        assert_eq!(ended.retries(), 0, "{damage}: {}", ended.text());
        case.converges().await;
    }
}

#[tokio::test]
async fn a_signed_or_foreign_location_is_never_written_to_disk() {
    let query = format!("X-Amz-Signature={}", super::SECRET);
    let case = Case::resumable().await;
    case.only_one_layer_is_missing();
    let location = format!("/v2/{REPOSITORY}/blobs/uploads/1?{query}");
    case.destination.on("POST", "/blobs/uploads/").then(Action::alter(move |answer| {
        let is_session = answer.status == 202;
        let (location, kept) = (location.clone(), answer.clone());
        if is_session {
            crate::support::scripted::Answer::status(202).header("location", &location)
        } else {
            kept
        }
    }));
    case.destination.on("PUT", "/blobs/uploads/").then(Action::Stall);
    case.drop_when(case.destination.wait_for(1, "PUT", "/blobs/uploads/")).await;
    let journal = std::fs::read_dir(case.state()).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(journal).unwrap();
    assert!(!text.contains(super::SECRET), "{text}");
    case.converges().await;
}
