//! Push: blobs by every method in the specification.

use thoras_mirror::oci::media_type::OCI_INDEX;

use super::*;

async fn assert_pulled(registry: &Registry, repository: &str, digest: &Digest, bytes: &[u8]) {
    let answer = registry.get(&format!("/v2/{repository}/blobs/{digest}")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn post_then_put() {
    let (_root, registry) = Registry::start().await;
    for length in [0, 1, 700_000] {
        let bytes = bytes_of(length);
        let digest = Digest::sha256(&bytes);
        let upload = registry.open_upload("a/b").await;
        let answer = registry.put(&format!("{upload}?digest={digest}"), bytes.clone()).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(header(&answer, "location"), format!("/v2/a/b/blobs/{digest}"));
        assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
        assert_pulled(&registry, "a/b", &digest, &bytes).await;
        assert_refused(registry.get(&upload).await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN").await;
    }
}

#[tokio::test]
async fn single_post() {
    let (root, registry) = Registry::start().await;
    let digest = registry.push_blob("a", b"blob").await;
    assert_pulled(&registry, "a", &digest, b"blob").await;
    assert!(files_below(&root.path().join("uploads")).is_empty());
}

/// A stream of unknown length, then a PUT without a body: what Docker, crane and skopeo do.
#[tokio::test]
async fn streamed_patch() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(900_000);
    let upload = registry.open_upload("a").await;
    let pieces: Vec<_> = bytes.chunks(70_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let answer = registry.request(Method::PATCH, &upload).body(stream).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&answer, "range"), "0-899999");
    let digest = Digest::sha256(&bytes);
    let upload = header(&answer, "location").to_owned();
    assert_eq!(registry.put(&format!("{upload}?digest={digest}"), "").await.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest, &bytes).await;
}

#[tokio::test]
async fn chunks_are_accepted_only_in_order() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(30);
    let upload = registry.open_upload("a").await;

    let early = registry.patch(&upload, 10, &bytes[10..20]).await;
    assert_eq!(header(&early, "location"), upload);
    assert_refused(early, StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID").await;

    let first = registry.patch(&upload, 0, &bytes[..10]).await;
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&first, "range"), "0-9");
    let repeated = registry.patch(&upload, 0, &bytes[..10]).await;
    assert_eq!(header(&repeated, "range"), "0-9");
    assert_eq!(repeated.status(), StatusCode::RANGE_NOT_SATISFIABLE);

    let status = registry.get(&upload).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!((header(&status, "range"), header(&status, "location")), ("0-9", upload.as_str()));

    assert_eq!(registry.patch(&upload, 10, &bytes[10..20]).await.status(), StatusCode::ACCEPTED);
    let digest = Digest::sha256(&bytes);
    let last = registry.request(Method::PUT, &format!("{upload}?digest={digest}"));
    let last = last.header("content-range", "20-29").body(bytes[20..].to_vec()).send().await.unwrap();
    assert_eq!(last.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest, &bytes).await;
}

#[tokio::test]
async fn inconsistent_chunks_are_refused() {
    let (_root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    for (range, code) in
        [("0-5", "SIZE_INVALID"), ("bytes 0-3/4", "BLOB_UPLOAD_INVALID"), ("3-0", "BLOB_UPLOAD_INVALID")]
    {
        let request = registry.request(Method::PATCH, &upload).header("content-range", range);
        assert_refused(request.body("four").send().await.unwrap(), StatusCode::BAD_REQUEST, code).await;
    }
    assert_eq!(registry.patch(&upload, 0, b"four").await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_broken_upload_is_resumed() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(500_000);
    let upload = registry.open_upload("a").await;
    let mut stream = registry.connect().await;
    let head = format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&bytes[..300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(registry.answered(&Method::PATCH).await.received, 300_000);

    let status = registry.get(&upload).await;
    assert_eq!((status.status(), header(&status, "range")), (StatusCode::NO_CONTENT, "0-299999"));
    assert_eq!(registry.patch(&upload, 300_000, &bytes[300_000..]).await.status(), StatusCode::ACCEPTED);
    let digest = Digest::sha256(&bytes);
    assert_eq!(registry.put(&format!("{upload}?digest={digest}"), "").await.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest, &bytes).await;
}

/// The client of a broken single POST never learned the session's name, so nothing is kept.
#[tokio::test]
async fn a_broken_single_post_leaves_nothing_behind() {
    let (root, registry) = Registry::start().await;
    let digest = Digest::sha256(b"whole");
    let mut stream = registry.connect().await;
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nwho"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(registry.answered(&Method::POST).await.status, StatusCode::BAD_REQUEST);
    assert!(files_below(&root.path().join("uploads")).is_empty());
    assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_request_at_a_time_writes_to_an_upload() {
    let (_root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    let mut stream = registry.connect().await;
    let head =
        format!("PATCH {upload} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status_line(&mut stream).await, 100, "the registry is reading the first request's body");

    assert_refused(registry.patch(&upload, 0, b"xx").await, StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID")
        .await;
    assert_refused(registry.delete(&upload).await, StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID").await;
    assert_eq!(registry.get(&upload).await.status(), StatusCode::NO_CONTENT);

    stream.write_all(b"ab").await.unwrap();
    assert_eq!(status_line(&mut stream).await, 202);
    let digest = Digest::sha256(b"ab");
    assert_eq!(registry.put(&format!("{upload}?digest={digest}"), "").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn wrong_bytes_are_never_visible() {
    let (root, registry) = Registry::start().await;
    let claimed = Digest::sha256(b"claimed");
    let upload = registry.open_upload("a").await;
    let answer = registry.put(&format!("{upload}?digest={claimed}"), "other").await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
    for digest in [claimed, Digest::sha256(b"other")] {
        assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(registry.get(&upload).await.status(), StatusCode::NOT_FOUND, "the upload is dropped");
    let kept: Vec<_> = files_below(root.path());
    assert_eq!(kept, [root.path().join("registry.json")]);
}

#[tokio::test]
async fn finishing_an_upload_requires_a_digest() {
    let (_root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    for query in ["", "?digest=", "?digest=sha256:00", "?digest=../../x"] {
        let answer = registry.put(&format!("{upload}{query}"), "x").await;
        assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
    }
    let answer = registry.put(&format!("{upload}?digest={}", Digest::sha256(b"x")), "x").await;
    assert_eq!(answer.status(), StatusCode::CREATED, "the session outlived the mistakes");
}

#[tokio::test]
async fn an_upload_is_canceled() {
    let (root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await;
    assert_eq!(registry.patch(&upload, 0, b"bytes").await.status(), StatusCode::ACCEPTED);
    assert_eq!(files_below(&root.path().join("uploads")).len(), 1);
    assert_eq!(registry.delete(&upload).await.status(), StatusCode::NO_CONTENT);
    assert_refused(registry.delete(&upload).await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN").await;
    assert!(files_below(&root.path().join("uploads")).is_empty());
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let (_root, registry) = Registry::start().await;
    let upload = registry.open_upload("a").await.replace("/v2/a/", "/v2/b/");
    assert_refused(registry.get(&upload).await, StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn sha512_in_one_piece_and_in_chunks() {
    let (_root, registry) = Registry::start().await;
    let digest = |bytes: &[u8]| {
        let mut hasher = thoras_mirror::oci::Hasher::new(thoras_mirror::oci::Algorithm::Sha512);
        hasher.update(bytes);
        hasher.finish()
    };
    let upload = registry.open_upload("a").await;
    let answer = registry.put(&format!("{upload}?digest={}", digest(b"one")), "one").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest(b"one"), b"one").await;

    // Before the PUT, the digest algorithm is unknown.
    let upload = registry.open_upload("a").await;
    registry.patch(&upload, 0, b"tw").await;
    let answer = registry.put(&format!("{upload}?digest={}", digest(b"two")), "o").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest(b"two"), b"two").await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let (_root, registry) = Registry::start().await;
    let digest = registry.push_blob("from/here", b"blob").await;
    assert_eq!(registry.head(&format!("/v2/to/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    let answer = registry.post(&format!("/v2/to/blobs/uploads/?mount={digest}&from=from/here")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(header(&answer, "location"), format!("/v2/to/blobs/{digest}"));
    assert_pulled(&registry, "to", &digest, b"blob").await;

    let automatic = registry.post(&format!("/v2/third/blobs/uploads/?mount={digest}")).await;
    assert_eq!(automatic.status(), StatusCode::CREATED);
    assert_pulled(&registry, "third", &digest, b"blob").await;
}

#[tokio::test]
async fn a_mount_of_a_missing_blob_opens_an_upload() {
    let (_root, registry) = Registry::start().await;
    let digest = Digest::sha256(b"blob");
    registry.push_blob("other", b"blob").await;
    for from in ["&from=unknown", "&from=to"] {
        let answer = registry.post(&format!("/v2/to/blobs/uploads/?mount={digest}{from}")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{from}");
        let upload = header(&answer, "location").to_owned();
        assert_eq!(registry.delete(&upload).await.status(), StatusCode::NO_CONTENT);
    }
    let answer = registry.post("/v2/to/blobs/uploads/?mount=sha256:00&from=other").await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
    let answer = registry.post(&format!("/v2/to/blobs/uploads/?mount={digest}&from=../x")).await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "NAME_INVALID").await;
}

/// One round trip checks for the blob and opens an upload if it is missing.
#[tokio::test]
async fn a_mount_from_the_same_repository_is_an_existence_check() {
    let (_root, registry) = Registry::start().await;
    let digest = Digest::sha256(b"blob");
    let path = format!("/v2/a/blobs/uploads/?mount={digest}&from=a");
    let absent = registry.post(&path).await;
    assert_eq!(absent.status(), StatusCode::ACCEPTED);
    let upload = header(&absent, "location").to_owned();
    assert_eq!(
        registry.put(&format!("{upload}?digest={digest}"), "blob").await.status(),
        StatusCode::CREATED
    );
    assert_eq!(registry.post(&path).await.status(), StatusCode::CREATED);
}

/// The body of a chunk without a length was taken in whatever its range said.
#[tokio::test]
async fn a_streamed_chunk_has_the_length_of_its_range() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(600_000);
    let upload = registry.open_upload("a").await;
    let streamed = async |range: String, bytes: &[u8]| {
        let pieces: Vec<_> =
            bytes.chunks(100_000).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        registry
            .request(Method::PATCH, &upload)
            .header("content-range", range)
            .body(body)
            .send()
            .await
            .unwrap()
    };
    assert_eq!(streamed("0-99".to_owned(), &bytes[..100]).await.status(), StatusCode::ACCEPTED);
    for length in [1, 299_000, 400_000, 599_900] {
        let refused = streamed("100-300099".to_owned(), &bytes[100..100 + length]).await;
        assert_eq!(header(&refused, "range"), "0-99", "{length}: nothing of it is kept");
        assert_eq!(header(&refused, "location"), upload);
        assert_refused(refused, StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID").await;
        assert_eq!(header(&registry.get(&upload).await, "range"), "0-99");
    }
    assert_eq!(streamed("100-300099".to_owned(), &bytes[100..300_100]).await.status(), StatusCode::ACCEPTED);
    let digest = Digest::sha256(&bytes[..300_100]);
    assert_eq!(registry.put(&format!("{upload}?digest={digest}"), "").await.status(), StatusCode::CREATED);
    assert_pulled(&registry, "a", &digest, &bytes[..300_100]).await;
}

#[tokio::test]
async fn a_manifest_without_its_content_is_accepted_only_on_request() {
    let root = tempfile::tempdir().unwrap();
    let missing = Digest::sha256(b"a manifest that was not pushed");
    for (allow_sparse, status) in [(false, StatusCode::BAD_REQUEST), (true, StatusCode::CREATED)] {
        let registry = Registry::with(Options { allow_sparse, ..Options::new(root.path()) }).await.unwrap();
        let image = registry.push_image("a", "v1", "layer").await;
        let digest = Digest::sha256(image.as_bytes());
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
                descriptor(OCI_MANIFEST, &digest, image.len()), descriptor(OCI_MANIFEST, &missing, 10)],
        });
        let answer = registry.put_manifest("a", "sparse", OCI_INDEX, &index.to_string()).await;
        assert_eq!(answer.status(), status);
        let text = image.replace(Digest::sha256(b"layer").as_str(), missing.as_str());
        let answer = registry.put_manifest("a", "blobs", OCI_MANIFEST, &text).await;
        if allow_sparse {
            assert_eq!(answer.status(), StatusCode::CREATED);
            assert_eq!(registry.get("/v2/a/manifests/blobs").await.status(), StatusCode::OK);
        } else {
            assert_refused(answer, StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN").await;
        }
        registry.stop().await;
    }
}
