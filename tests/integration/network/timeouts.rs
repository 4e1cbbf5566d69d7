//! How long a registry is waited for, and how long a connection is kept.

use std::time::Duration;

use thoras_mirror::endpoint::registry::{
    auth::{Origin, Scheme},
    network::{Network, NetworkSettings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    images::SampleImage,
    process::Mirror,
    registry::Registry,
    scripted::{Action, End, Scripted},
};

async fn source() -> Scripted {
    let source = Scripted::start().await;
    source.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    source
}

#[tokio::test]
async fn what_stands_still_for_the_stall_timeout_is_tried_again_and_heals() {
    let (source, mirror) = (source().await, Registry::start().await);
    source.on("GET", "/blobs/sha256:").nth(1).then(Action::end(End::StallAfter(100)));
    source.on("GET", "/blobs/sha256:").nth(2).then(Action::Stall);
    let to = &mirror.address().host_port;
    let run = Mirror::new(["sync", &source.address().image("app", "1"), "--to", to, "-v"])
        .env("THORAS_MIRROR_STALL_TIMEOUT", "1");
    let outcome = run.run().await.expect_success();
    assert!(outcome.stderr.matches("no data arrived for 1 s").count() >= 2, "{outcome}");
    assert_eq!(mirror.count("PUT", "/manifests/1").await, 1);
}

#[tokio::test]
async fn a_dead_line_is_told_with_how_long_it_was_dead_and_what_to_change() {
    let source = source().await;
    source.on("GET", "/manifests/").then(Action::Stall);
    let image = source.address().image("app", "1");
    let outcome = Mirror::new(["inspect", &image, "--stall-timeout", "1"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("tried 5 times in "), "{outcome}");
    assert!(outcome.stderr.contains("because no data arrived for 1 s\nhint: check "), "{outcome}");
    assert!(outcome.stderr.contains("--stall-timeout SECONDS"), "{outcome}");
}

/// Answers one request on this connection.
async fn answer(connection: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
}

/// A server that forgets an idle connection without a word loses the blob that is sent on it next, and a blob cannot be
/// sent twice.
#[tokio::test]
async fn an_idle_connection_is_used_again_for_some_seconds_and_closed_within_a_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = listener.local_addr().unwrap().to_string();
    let origin = Origin::of_registry(&registry, Scheme::Http).unwrap();
    let client = Network::new(NetworkSettings::default()).client(&origin).unwrap();
    let get =
        || async { client.get(origin.url("/v2/").unwrap()).send().await.unwrap().bytes().await.unwrap() };
    let (_, mut connection) = tokio::join!(get(), async {
        let (mut connection, _) = listener.accept().await.unwrap();
        answer(&mut connection).await;
        connection
    });
    let moved_on = |seconds| async move {
        // First the client's own tasks take the connection back; then nothing is under way that could be cut short.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    moved_on(10).await;
    // The same connection, or the answer never comes.
    let answered = async { tokio::join!(get(), answer(&mut connection)) };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("the connection is used again");
    moved_on(60).await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), connection.read_to_end(&mut rest)).await;
    closed.expect("the client closes a connection that was idle for a minute").unwrap();
    assert_eq!(rest, b"");
}
