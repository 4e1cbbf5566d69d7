//! Hostile clients: requests that are meant to confuse, and requests that race each other.

use super::*;

/// Asserts that the registry answers or refuses each and keeps running.
#[tokio::test]
async fn wrong_lengths_are_refused() {
    let (root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    for headers in [
        "content-length: -1",
        "content-length: 99999999999999999999999",
        "content-length: 1, 2",
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip",
    ] {
        let status =
            registry.raw(&format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n0\r\n\r\n")).await;
        assert!([202, 400, 413, 501].contains(&status), "{headers}: {status}");
    }
    let huge = format!("content-length: {}", u64::MAX / 2);
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n{huge}\r\n\r\n");
    let mut stream = registry.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(
        [100, 413].contains(&status_line(&mut stream).await),
        "it may try, and nothing is set aside for it"
    );
    drop(stream);
    let on_disk: u64 =
        files_below(&root.path().join("uploads")).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(on_disk, 0);
}

#[tokio::test]
async fn malformed_chunk_ranges_are_refused() {
    let (_root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    for range in ["-1-3", "0--4", "0-18446744073709551616", "0x0-3", "0-3/4", "bytes=0-3", "", "0 - 3", "4-0"]
    {
        let request = registry.request(Method::PATCH, &upload).header("content-range", range);
        let answer = request.body("four").send().await.unwrap();
        assert_refused(answer, StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID").await;
    }
    let beyond = registry
        .request(Method::PATCH, &upload)
        .header("content-range", "18446744073709551612-18446744073709551615");
    let answer = beyond.body("four").send().await.unwrap();
    assert_refused(answer, StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID").await;
    assert_eq!(header(&registry.get(&upload).await, "range"), "0-0");
}

/// The grammar allows 255 characters: the longest name is served like any other, one more is refused.
#[tokio::test]
async fn names_at_their_limits() {
    let (_root, registry) = Registry::start().await;
    let deep = ["a"; 128].join("/");
    for name in ["a".repeat(255), deep] {
        assert_eq!(name.len(), 255);
        let manifest = registry.push_image(&name, &"t".repeat(128), "layer").await;
        let path = format!("/v2/{name}/manifests/{}", "t".repeat(128));
        assert_eq!(registry.get(&path).await.text().await.unwrap(), manifest);
        assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
    }
    let answer = registry.get(&format!("/v2/{}/tags/list", "a".repeat(256))).await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "NAME_INVALID").await;
    let answer = registry.put_manifest("a", &"t".repeat(129), OCI_MANIFEST, "{}").await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "MANIFEST_INVALID").await;
}

/// Content that is read while it is deleted is complete or missing, never partial, and never a server error.
#[tokio::test]
async fn reads_race_with_deletions_and_pushes() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(600_000);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&bytes));
    let changing = async {
        for _ in 0..25 {
            registry.push_blob("a", &bytes).await;
            assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
        }
    };
    let reading = async {
        for _ in 0..60 {
            let head = registry.head(&path).await.status();
            assert!(head == StatusCode::OK || head == StatusCode::NOT_FOUND, "{head}");
            let answer = registry.get(&path).await;
            match answer.status() {
                StatusCode::OK => assert!(answer.bytes().await.unwrap() == bytes),
                status => assert_eq!(status, StatusCode::NOT_FOUND),
            }
        }
    };
    futures::future::join(changing, reading).await;
}

/// A tag that is read while it moves names one of the two images.
#[tokio::test]
async fn a_moving_tag_is_never_read_half_written() {
    let (_root, registry) = Registry::start().await;
    let images = [registry.push_image("a", "x", "one").await, registry.push_image("a", "x", "two").await];
    let moving = async {
        for turn in 0..30 {
            let answer = registry.put_manifest("a", "x", OCI_MANIFEST, &images[turn % 2]).await;
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
    };
    let reading = async {
        for _ in 0..60 {
            let answer = registry.get("/v2/a/manifests/x").await;
            assert_eq!(answer.status(), StatusCode::OK);
            let digest = header(&answer, "docker-content-digest").to_owned();
            let text = answer.text().await.unwrap();
            assert_eq!(digest, Digest::sha256(text.as_bytes()).as_str());
            assert!(images.contains(&text));
        }
    };
    futures::future::join(moving, reading).await;
}

/// The second request on a connection must not be parsed from the first one's body.
#[tokio::test]
async fn a_refused_body_is_not_parsed_as_the_next_request() {
    let (_root, registry) = Registry::start().await;
    let smuggled = "DELETE /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\n\r\n";
    let head =
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len());
    assert_eq!(registry.raw(&head).await, 405);
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
    let mut access = registry.access.lock().await;
    let methods: Vec<Method> =
        std::iter::from_fn(|| access.try_recv().ok()).map(|record| record.method).collect();
    assert_eq!(methods, [Method::POST, Method::GET]);
}
