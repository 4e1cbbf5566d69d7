//! Limits on one client, without effect on the others.

use std::time::Duration;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// Reads until the registry closes the connection.
async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    // A reset closes the connection too.
    let _ = tokio::time::timeout(Duration::from_secs(30), reading).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn slow_loris_heads_are_cut_off() {
    let (_root, registry) = Registry::limited(Limits { head_time: SHORT, ..Limits::default() }).await;
    let mut silent = registry.connect().await;
    let mut slow = registry.connect().await;
    slow.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let answer = read_to_close(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (_root, registry) = Registry::limited(Limits { head_time: SHORT, ..Limits::default() }).await;
    let mut stream = registry.connect().await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(status_line(&mut stream).await, 200);
    assert_eq!(read_to_close(&mut stream).await, "{}");
}

#[tokio::test]
async fn a_stalled_body_gets_408_and_can_be_resumed() {
    let (_root, registry) = Registry::limited(Limits { stall_time: SHORT, ..Limits::default() }).await;
    let upload = registry.open_upload("a").await;
    let mut stream = registry.connect().await;
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("BLOB_UPLOAD_INVALID") && answer.contains("stalled"), "{answer}");

    assert_eq!(header(&registry.get(&upload).await, "range"), "0-2");
    assert_eq!(registry.patch(&upload, 3, b"d").await.status(), StatusCode::ACCEPTED);
    let path = format!("{upload}?digest={}", Digest::sha256(b"abcd"));
    assert_eq!(registry.put(&path, "").await.status(), StatusCode::CREATED);

    let mut stream = registry.connect().await;
    let head = "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("MANIFEST_INVALID"), "{answer}");
}

/// Each byte arrives in time, but the body as a whole is too slow.
#[tokio::test]
async fn a_dripping_body_counts_as_stalled() {
    let (_root, registry) = Registry::limited(Limits { stall_time: SHORT, ..Limits::default() }).await;
    let upload = registry.open_upload("a").await;
    let mut stream = registry.connect().await;
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut drops = tokio::time::interval(SHORT / 20);
        while writer.write_all(b"x").await.is_ok() {
            drops.tick().await;
        }
    });
    let mut first = [0; 12];
    reader.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 408");
    dripping.abort();
}

/// The client requests a lot and reads nothing: its connection is closed to make room for others.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let limits = Limits { stall_time: SHORT, connections: 1, ..Limits::default() };
    let (root, registry) = Registry::limited(limits).await;
    let bytes = bytes_of(24 * 1024 * 1024);
    let digest = registry.push_blob("a", &bytes).await;
    registry.stop().await;

    let options = Options { limits, ..Options::new(root.path()) };
    let registry = Registry::with(options).await.unwrap();
    let mut deaf = registry.connect().await;
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    deaf.write_all(request.as_bytes()).await.unwrap();
    let _ = registry.answered(&Method::GET).await;
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let (_root, registry) = Registry::limited(Limits { connections: 1, ..Limits::default() }).await;
    let request = b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = registry.connect().await;
    first.write_all(request).await.unwrap();
    assert_eq!(status_line(&mut first).await, 200);
    let mut second = registry.connect().await;
    second.write_all(b"HEAD /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 2]).await.unwrap();
    for _ in 0..20 {
        first.write_all(request).await.unwrap();
        assert_eq!(status_line(&mut first).await, 200);
        first.read_exact(&mut [0; 2]).await.unwrap();
    }
    let methods: Vec<Method> = {
        let mut access = registry.access.lock().await;
        std::iter::from_fn(|| access.try_recv().ok()).map(|record| record.method).collect()
    };
    assert_eq!(methods, vec![Method::GET; 21], "the second one waits");
    drop(first);
    assert_eq!(status_line(&mut second).await, 200);
}

#[tokio::test]
async fn the_size_of_request_heads_is_limited() {
    let (_root, registry) = Registry::start().await;
    let many = (0..101).map(|number| format!("x-{number}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x-long: {}\r\n", "y".repeat(70_000));
    for headers in [many, long] {
        let status = registry.raw(&format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{headers}\r\n")).await;
        assert_eq!(status, 431);
    }
    let path = format!("/v2/{}/manifests/x", "a".repeat(66_000));
    let status = registry.raw(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(status == 414 || status == 431, "{status}");
}

#[tokio::test]
async fn the_size_of_manifests_is_limited() {
    let (_root, registry) = Registry::limited(Limits { manifest_bytes: 1000, ..Limits::default() }).await;
    let mut manifest = registry.image("a", "layer").await;
    let padding = 1000 - manifest.to_string().len() - r#","padding":"""#.len();
    manifest["padding"] = json!("x".repeat(padding));
    let fits = manifest.to_string();
    assert_eq!(fits.len(), 1000);
    assert_eq!(registry.put_manifest("a", "x", OCI_MANIFEST, &fits).await.status(), StatusCode::CREATED);
    let answer = registry.put_manifest("a", "x", OCI_MANIFEST, &format!("{fits} ")).await;
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn the_size_of_blobs_is_limited() {
    let (root, registry) = Registry::limited(Limits { blob_bytes: 10, ..Limits::default() }).await;
    registry.push_blob("a", b"0123456789").await;

    let eleven = "01234567890";
    let digest = Digest::sha256(eleven.as_bytes());
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = registry.request(Method::POST, &path).body(eleven).send().await.unwrap();
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID").await;

    let upload = registry.open_upload("a").await;
    let streamed = futures::stream::iter([Ok::<_, std::io::Error>("012345"), Ok("67890")]);
    let request = registry.request(Method::PATCH, &upload);
    let answer = request.body(reqwest::Body::wrap_stream(streamed)).send().await.unwrap();
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID").await;

    let upload = registry.open_upload("a").await;
    assert_eq!(registry.patch(&upload, 0, b"012345").await.status(), StatusCode::ACCEPTED);
    let answer = registry.patch(&upload, 6, b"67890").await;
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID").await;
    assert_eq!(registry.get(&upload).await.status(), StatusCode::NOT_FOUND, "it is of no further use");
    assert!(files_below(&root.path().join("uploads")).is_empty());
}

#[tokio::test]
async fn the_number_of_uploads_is_limited() {
    let (_root, registry) = Registry::limited(Limits { open_uploads: 2, ..Limits::default() }).await;
    let first = registry.open_upload("a").await;
    registry.open_upload("b").await;
    let refused = registry.post("/v2/a/blobs/uploads/").await;
    assert_refused(refused, StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS").await;
    registry.delete(&first).await;
    registry.open_upload("a").await;
}

#[tokio::test]
async fn abandoned_uploads_are_removed_while_running() {
    let limits = Limits { idle_upload_time: Duration::from_millis(50), ..Limits::default() };
    let (root, registry) = Registry::limited(limits).await;
    let upload = registry.open_upload("a").await;
    registry.patch(&upload, 0, b"half a bl").await;
    let swept = async {
        while registry.get(&upload).await.status() != StatusCode::NOT_FOUND
            || !files_below(&root.path().join("uploads")).is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), swept).await.expect("it is never swept");
    assert_refused(registry.put(&upload, "").await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN").await;
}

/// A connection from another address of the loopback network.
async fn connect_from(registry: &Registry, last: u8) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(registry.address).await.unwrap()
}

async fn asked(stream: &mut TcpStream) -> u16 {
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(10), status_line(stream)).await;
    let status = status.expect("no answer in time");
    stream.read_exact(&mut [0; 2]).await.unwrap();
    status
}

#[tokio::test]
async fn open_uploads_are_limited_for_each_client() {
    let limits = Limits { open_uploads_per_client: 2, ..Limits::default() };
    let (_root, registry) = Registry::limited(limits).await;
    let first = registry.open_upload("a").await;
    registry.open_upload("b").await;
    let refused = registry.post("/v2/a/blobs/uploads/").await;
    assert_eq!(header(&refused, "retry-after"), "60");
    assert_refused(refused, StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS").await;
    let mut other = connect_from(&registry, 2).await;
    let request = b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    other.write_all(request).await.unwrap();
    assert_eq!(status_line(&mut other).await, 202, "another client is not affected");
    registry.delete(&first).await;
    registry.open_upload("a").await;
}

/// Some clients open an upload for each blob that they could mount, and never use it.
#[tokio::test]
async fn uploads_without_bytes_are_swept_first() {
    let limits = Limits { empty_upload_time: Duration::from_millis(50), ..Limits::default() };
    let (_root, registry) = Registry::limited(limits).await;
    let (empty, used) = (registry.open_upload("a").await, registry.open_upload("a").await);
    registry.patch(&used, 0, b"half a bl").await;
    let swept = async {
        while registry.get(&empty).await.status() != StatusCode::NOT_FOUND {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), swept).await.expect("it is never swept");
    assert_eq!(registry.get(&used).await.status(), StatusCode::NO_CONTENT);
}

/// A refused body was read for as long as its sender dripped: hours for a few MiB.
#[tokio::test]
async fn a_refused_body_is_dropped_within_seconds() {
    let (_root, registry) = Registry::limited(Limits { refused_body_time: SHORT, ..Limits::default() }).await;
    let mut stream = registry.connect().await;
    let head = "PUT /v2/A/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut drops = tokio::time::interval(SHORT / 20);
        while writer.write_all(&[b'x'; 100]).await.is_ok() {
            drops.tick().await;
        }
    });
    let mut first = [0; 12];
    let answered = tokio::time::timeout(Duration::from_secs(10), reader.read_exact(&mut first)).await;
    answered.expect("it reads on").unwrap();
    assert_eq!(&first, b"HTTP/1.1 400");
    tokio::time::timeout(Duration::from_secs(10), dripping)
        .await
        .expect("the connection stays open")
        .unwrap();
}

/// One address took every connection, and the others waited until it was done.
#[tokio::test]
async fn one_address_leaves_connections_to_the_others() {
    let (_root, registry) = Registry::limited(Limits { connections: 4, ..Limits::default() }).await;
    let mut busy = Vec::new();
    for _ in 0..20 {
        busy.push(registry.connect().await);
    }
    for stream in busy.iter_mut().take(3) {
        assert_eq!(asked(stream).await, 200);
    }
    let mut other = connect_from(&registry, 2).await;
    assert_eq!(asked(&mut other).await, 200);
}

/// With a single slot, an idle connection of one address ends as soon as another address waits.
#[tokio::test]
async fn idle_and_silent_connections_make_room_for_another_address() {
    let (_root, registry) = Registry::limited(Limits { connections: 1, ..Limits::default() }).await;
    let mut idle = registry.connect().await;
    assert_eq!(asked(&mut idle).await, 200);
    let mut second = connect_from(&registry, 2).await;
    assert_eq!(asked(&mut second).await, 200);
    assert_eq!(read_to_close(&mut idle).await, "");
    drop(second);
    let silent = connect_from(&registry, 3).await;
    // Let it take the slot.
    tokio::time::sleep(SHORT).await;
    let mut fourth = connect_from(&registry, 4).await;
    assert_eq!(asked(&mut fourth).await, 200);
    drop(silent);
}

/// 512 connections could take 4 GiB. A manifest waits in a file until a thread parses it.
#[tokio::test]
async fn large_manifests_wait_in_files() {
    let (root, registry) = Registry::start().await;
    let uploads = root.path().join("uploads");
    let body = vec![b' '; 4 * 1024 * 1024];
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = registry.connect().await;
        let head = format!(
            "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len() + 1
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        streams.push(stream);
    }
    let size =
        || files_below(&uploads).iter().map(|path| path.metadata().map_or(0, |file| file.len())).sum::<u64>();
    let arrived = async {
        while size() < 7 * body.len() as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), arrived).await.expect("they are elsewhere");
    for stream in &mut streams {
        stream.write_all(b" ").await.unwrap();
        assert_eq!(status_line(stream).await, 400, "spaces are not a manifest");
    }
    drop(streams);
    assert_eq!(files_below(&uploads), Vec::<PathBuf>::new());
}
