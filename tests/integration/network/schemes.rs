//! http or https: what a registry of this machine is asked first, and what is said when neither answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    http_server::Listener,
    images::SampleImage,
    process::Mirror,
    scripted::{Action, Scripted},
};

async fn registry() -> Scripted {
    let registry = Scripted::start().await;
    registry.with_store(|store| store.insert("app", &SampleImage::multi_platform("1")));
    registry
}

/// A server that answers every connection with the same bytes, and counts them.
struct Parrot {
    listener: Listener,
    connections: Arc<AtomicUsize>,
}

impl Parrot {
    async fn saying(bytes: &'static [u8]) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let listener = Listener::start(move |mut stream| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                // Read first: a connection closed over unread bytes is reset, and the answer may be lost.
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes).await;
            }
        });
        Self { listener: listener.await, connections }
    }

    fn host_port(&self) -> &str {
        self.listener.host_port()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_first_question_that_is_cut_is_asked_again_and_not_taken_for_https() {
    let registry = registry().await;
    registry.on("GET", "/v2/").nth(1).then(Action::Close);
    let _ = Mirror::new(["inspect", &registry.address().image("app", "1")]).run().await.expect_success();
    let asked = registry.requests();
    assert_eq!(asked.iter().filter(|request| request.path == "/v2/").count(), 2);
}

/// It closes every connection over http; over https it answers in plain http, which is proof enough.
#[tokio::test]
async fn a_registry_that_answers_tls_in_plain_http_is_one_of_plain_http() {
    let registry = registry().await;
    registry.on("GET", "/v2/").first(2).then(Action::Close);
    let _ = Mirror::new(["inspect", &registry.address().image("app", "1")]).run().await.expect_success();
}

#[tokio::test]
async fn what_is_neither_http_nor_https_is_told_with_both_answers() {
    let server = Parrot::saying(b"").await;
    let outcome =
        Mirror::new(["inspect", &format!("{}/app:1", server.host_port())]).run().await.expect_code(1);
    let stderr = &outcome.stderr;
    assert!(stderr.contains("because over http: the connection was lost: "), "{outcome}");
    assert!(stderr.contains("; over https: no connection: "), "{outcome}");
    assert!(stderr.contains(&format!("--plain-http {}", server.host_port())), "{outcome}");
    assert!(stderr.contains("tried 5 times"), "a registry may be starting: {outcome}");
    assert_eq!(server.connections(), 5 * 3);
}

#[tokio::test]
async fn plain_http_where_https_was_expected_is_asked_once() {
    let server = Parrot::saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let host = server.host_port();
    // Whoever sets certificates for a registry says that it speaks TLS.
    let run = Mirror::new(["inspect", &format!("{host}/app:1"), "--insecure", host]);
    let outcome = run.run().await.expect_code(1);
    assert!(outcome.stderr.contains("the server speaks plain http, not https"), "{outcome}");
    assert!(
        outcome.stderr.contains(&format!("meant to be unencrypted, pass --plain-http {host}")),
        "{outcome}"
    );
    assert_eq!(server.connections(), 1);
}
