//! `serve` as a program: its address, its log, how it ends, and a mirror made with it.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::support::{
    Address, client,
    images::SampleImage,
    process::{Mirror, Outcome},
    registry::Registry,
};

/// A server that is read line by line while it runs, which [`Mirror`] does not do.
struct Serving {
    child: Child,
    address: Address,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    /// Starts on a free port and reads where from its standard output, as a script would.
    async fn start(folder: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thoras-mirror"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = stdout.next_line().await.unwrap().unwrap();
        let (start, url) = line.split_once(" on http://").unwrap();
        assert_eq!(start, format!("serving {}", folder.display()));
        let listening: SocketAddr = url.parse().unwrap();
        assert_ne!(listening.port(), 0);
        let address = Address { host_port: listening.to_string(), plain_http: true, authority: None };
        Self { child, address, stdout, stderr }
    }

    /// Sends a signal and waits for the end. Returns the exit code and what was printed on the way.
    async fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, Vec<String>) {
        let id = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await.unwrap();
        assert_eq!(self.stdout.next_line().await.unwrap(), None, "one line is all that stdout holds");
        let mut log = Vec::new();
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            log.push(line);
        }
        (ended.unwrap().code(), log)
    }
}

async fn serve(arguments: &[&str]) -> Outcome {
    Mirror::new(["serve"].iter().chain(arguments)).run().await
}

#[tokio::test]
async fn a_mirror_is_made_verified_and_found_again_after_a_restart() {
    let image = SampleImage::multi_platform("web");
    let source = Registry::start().await;
    client::push(&image, source.address(), "vendor/web").await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new");

    let serving = Serving::start(&root, &[]).await;
    let to = format!("{}/mirror", serving.address.host_port);
    let reference = source.address().image("vendor/web", "web");
    let synced = Mirror::new(["sync", "--to", &to, &reference]).run().await.expect_success();
    let verify = Mirror::new(["verify", "--level", "bytes"]).in_folder(&synced.folder());
    let _ = verify.run().await.expect_success();
    let (code, log) = serving.end(rustix::process::Signal::INT).await;
    assert_eq!(code, Some(0), "{log:#?}");
    let pushed = |line: &&String| line.contains("PUT /v2/mirror/web/manifests/web 201");
    assert_eq!(log.iter().filter(pushed).count(), 1, "{log:#?}");
    assert!(log.iter().all(|line| line.starts_with("127.0.0.1:")), "a log and no errors: {log:#?}");

    let serving = Serving::start(&root, &["--quiet"]).await;
    client::assert_present(&image, &serving.address, "mirror/web").await;
    let (code, log) = serving.end(rustix::process::Signal::TERM).await;
    assert_eq!((code, log), (Some(0), Vec::new()), "quiet means no access log");
}

#[tokio::test]
async fn a_folder_of_somebody_elses_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let path = folder.path().to_str().unwrap();
    let outcome = serve(&["--listen", "127.0.0.1:0", path]).await.expect_code(2);
    assert!(outcome.stderr.contains("name an empty or a new folder"), "{outcome}");
    assert!(outcome.stderr.contains(path), "{outcome}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let outcome = serve(&["--listen", "127.0.0.1:0", file.path().to_str().unwrap()]).await.expect_code(2);
    assert!(outcome.stderr.contains(file.path().to_str().unwrap()), "{outcome}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let listener = TcpListener::bind(taken).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let outcome = serve(&["--listen", &address, folder.path().to_str().unwrap()]).await.expect_code(2);
    assert!(outcome.stderr.contains(&format!("cannot listen on {address}: is the port taken")), "{outcome}");
    assert!(outcome.stderr.contains("in use"), "{outcome}");
}

#[tokio::test]
async fn one_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Serving::start(folder.path(), &[]).await;
    let outcome = serve(&["--listen", "127.0.0.1:0", folder.path().to_str().unwrap()]).await.expect_code(2);
    assert!(outcome.stderr.contains(folder.path().to_str().unwrap()), "{outcome}");
}

#[tokio::test]
async fn an_address_that_is_none_is_a_usage_error() {
    let outcome = serve(&["--listen", "nowhere", "x"]).await.expect_code(2);
    assert!(outcome.stderr.contains("--listen"), "{outcome}");
}
