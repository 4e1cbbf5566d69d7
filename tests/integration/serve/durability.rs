//! What survives the process, and which process may open the folder.

use thoras_mirror::serve::StorageError;

use super::*;

#[tokio::test]
async fn content_survives_a_restart_and_uploads_do_not() {
    let (root, registry) = Registry::start().await;
    let manifest = registry.push_image("a/b", "v1", "layer").await;
    let upload = registry.open_upload("a/b").await;
    registry.patch(&upload, 0, b"half of a blo").await;
    registry.stop().await;
    assert_eq!(files_below(&root.path().join("uploads")).len(), 1);

    let registry = Registry::over(root.path(), true).await.unwrap();
    assert!(files_below(&root.path().join("uploads")).is_empty(), "dead uploads are swept at start");
    assert_refused(registry.get(&upload).await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN").await;
    assert_eq!(registry.get("/v2/a/b/manifests/v1").await.text().await.unwrap(), manifest);
    let layer = format!("/v2/a/b/blobs/{}", Digest::sha256(b"layer"));
    assert_eq!(registry.get(&layer).await.text().await.unwrap(), "layer");
}

/// A process that dies while content is written leaves files under `uploads/` and content without a link.
#[tokio::test]
async fn a_crash_between_two_files_leaves_nothing_visible() {
    let (root, registry) = Registry::start().await;
    registry.push_blob("a", b"first").await;
    registry.stop().await;
    let orphan = Digest::sha256(b"orphan");
    std::fs::write(root.path().join("blobs/sha256").join(orphan.hex()), "orphan").unwrap();
    std::fs::write(root.path().join("uploads/0123"), "orph").unwrap();

    let registry = Registry::over(root.path(), true).await.unwrap();
    assert_eq!(registry.head(&format!("/v2/a/blobs/{orphan}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(registry.push_blob("a", b"orphan").await, orphan);
}

#[tokio::test]
async fn a_folder_is_served_by_one_process_and_only_if_it_has_our_format() {
    let (root, registry) = Registry::start().await;
    let second = Registry::over(root.path(), true).await.err().unwrap();
    assert!(matches!(second, ServeError::Storage(StorageError::InUse(_))), "{second}");
    registry.stop().await;
    Registry::over(root.path(), true).await.unwrap().stop().await;

    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("notes.txt"), "x").unwrap();
    let refused = Registry::over(foreign.path(), true).await.err().unwrap();
    assert!(matches!(refused, ServeError::Storage(StorageError::NotOurs(_))), "{refused}");
    assert!(refused.to_string().contains("pass an empty or new folder"), "{refused}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_root, registry) = Registry::start().await;
    let other = tempfile::tempdir().unwrap();
    let options = Options { listen: registry.address, ..Options::new(other.path()) };
    let error = Server::bind(options).await.unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }));
    assert!(error.to_string().contains(&registry.address.to_string()), "{error}");
}

/// Requests in flight finish before the registry exits.
#[tokio::test]
async fn shutdown_waits_for_a_push_in_flight() {
    let (root, registry) = Registry::start().await;
    let digest = Digest::sha256(b"ab");
    let mut stream = registry.connect().await;
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status_line(&mut stream).await, 100);
    let stopping = tokio::spawn(registry.stop());
    stream.write_all(b"ab").await.unwrap();
    assert_eq!(status_line(&mut stream).await, 201);
    stopping.await.unwrap();
    assert!(root.path().join("blobs/sha256").join(digest.hex()).exists());
}

#[tokio::test]
async fn many_clients_push_the_same_blob_at_once() {
    let (root, registry) = Registry::start().await;
    let bytes = bytes_of(300_000);
    let pushes = (0..12).map(|number| {
        let (registry, bytes) = (&registry, &bytes);
        async move { registry.push_blob(&format!("team-{}", number % 3), bytes).await }
    });
    let digests = futures::future::join_all(pushes).await;
    for number in 0..3 {
        let answer = registry.get(&format!("/v2/team-{number}/blobs/{}", digests[0])).await;
        assert!(answer.bytes().await.unwrap() == bytes);
    }
    assert!(files_below(&root.path().join("uploads")).is_empty());
    assert_eq!(files_below(&root.path().join("blobs")).len(), 1);
}

#[tokio::test]
async fn the_access_log_shows_every_request() {
    let (_root, registry) = Registry::start().await;
    let digest = registry.push_blob("a/b", b"four").await;
    let record = registry.answered(&Method::POST).await;
    assert_eq!(record.repository.as_deref(), Some("a/b"));
    assert_eq!((record.status, record.received, record.sent), (StatusCode::CREATED, 4, 0));
    let line = record.to_string();
    assert!(line.contains(" - [") && line.contains(" GMT] "), "an anonymous request with its time: {line}");
    assert!(line.contains(&format!("POST /v2/a/b/blobs/uploads/?digest={digest} 201 4 in 0 out")), "{line}");
    registry.head(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!(registry.answered(&Method::HEAD).await.sent, 0);
    registry.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!(registry.answered(&Method::GET).await.sent, 4);
}
