//! http or https: which a loopback registry is asked first, and the message when neither works.

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
async fn a_first_request_that_is_cut_is_retried_and_not_mistaken_for_https() {
    let registry = registry().await;
    registry.on("GET", "/v2/").nth(1).then(Action::Close);
    let _ = Mirror::new(["inspect", &registry.address().image("app", "1")]).run().await.expect_success();
    let asked = registry.requests();
    assert_eq!(asked.iter().filter(|request| request.path == "/v2/").count(), 2);
}

/// It closes every connection over http and answers https with plain http, which proves that it speaks http.
#[tokio::test]
async fn a_registry_that_answers_tls_with_plain_http_is_a_plain_http_registry() {
    let registry = registry().await;
    registry.on("GET", "/v2/").first(2).then(Action::Close);
    let _ = Mirror::new(["inspect", &registry.address().image("app", "1")]).run().await.expect_success();
}

#[tokio::test]
async fn a_server_that_speaks_neither_http_nor_https_is_reported_with_both_errors() {
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
async fn plain_http_instead_of_https_is_not_retried() {
    let server = Parrot::saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let host = server.host_port();
    // A certificate setting for a registry implies TLS.
    let run = Mirror::new(["inspect", &format!("{host}/app:1"), "--insecure", host]);
    let outcome = run.run().await.expect_code(1);
    assert!(outcome.stderr.contains("the server speaks plain http, not https"), "{outcome}");
    assert!(
        outcome.stderr.contains(&format!("meant to be unencrypted, pass --plain-http {host}")),
        "{outcome}"
    );
    assert_eq!(server.connections(), 1);
}
