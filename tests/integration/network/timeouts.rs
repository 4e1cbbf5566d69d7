//! Timeouts for registries, and the lifetime of idle connections.

use std::time::Duration;

use thoras_mirror::{
    endpoint::registry::{
        NetworkSettings,
        auth::{Origin, Scheme},
    },
    internals::registry::Network,
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
async fn a_stalled_request_is_retried_after_the_stall_timeout() {
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
async fn a_dead_connection_is_reported_with_its_duration_and_the_flag_to_change() {
    let source = source().await;
    source.on("GET", "/manifests/").then(Action::Stall);
    let image = source.address().image("app", "1");
    let outcome = Mirror::new(["inspect", &image, "--stall-timeout", "1"]).run().await.expect_code(1);
    assert!(outcome.stderr.contains("tried 5 times in "), "{outcome}");
    assert!(outcome.stderr.contains("because no data arrived for 1 s\nhint: check "), "{outcome}");
    assert!(outcome.stderr.contains("--stall-timeout SECONDS"), "{outcome}");
}

/// The kernel accepts the connection, but no TLS handshake follows, as behind a firewall.
#[tokio::test]
async fn a_registry_that_cannot_be_connected_is_not_one_that_sends_no_data_bug() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = silent.local_addr().unwrap().to_string();
    let run = Mirror::new(["inspect", &format!("{registry}/team/app:1"), "--insecure", &registry])
        .arguments(["--stall-timeout", "1", "--connect-timeout", "2", "--retries", "0"]);
    let outcome = run.run().await.expect_code(1);
    assert!(outcome.stderr.contains("no connection: "), "{outcome}");
    assert!(outcome.stderr.contains("raise --connect-timeout SECONDS"), "{outcome}");
    assert!(!outcome.stderr.contains("no data arrived"), "{outcome}");
}

/// Answers one request on this connection.
async fn answer(connection: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
}

/// If a server silently drops an idle connection, the next blob sent on it is lost, and a streamed blob cannot be sent
/// twice.
#[tokio::test]
async fn an_idle_connection_is_reused_for_some_seconds_and_closed_within_a_minute() {
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
    let advance = |seconds| async move {
        // First the client's own tasks return the connection to the pool; after that, nothing is in flight.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    advance(10).await;
    // Only this connection is answered.
    let answered = async { tokio::join!(get(), answer(&mut connection)) };
    tokio::time::timeout(Duration::from_secs(30), answered).await.expect("the connection is used again");
    advance(60).await;
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), connection.read_to_end(&mut rest)).await;
    closed.expect("the client closes a connection that was idle for a minute").unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn retries_are_limited_by_their_flag() {
    let closed = crate::support::ClosedPort::new();
    let image = format!("{}/team/app:1", closed.host_port);
    for (retries, expected) in [("0", None), ("1", Some("tried 2 times")), ("5", Some("tried 6 times"))] {
        let run = crate::support::process::Mirror::new(["inspect", &image, "--retries", retries]);
        let outcome = run.run().await.expect_code(1);
        match expected {
            Some(expected) => assert!(outcome.stderr.contains(expected), "{outcome}"),
            None => assert!(!outcome.stderr.contains("tried"), "{outcome}"),
        }
    }
}
