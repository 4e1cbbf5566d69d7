//! Pull: blobs and manifests, complete and by range.

use super::*;

#[tokio::test]
async fn the_base_endpoint_identifies_a_registry() {
    let (_root, registry) = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        let answer = registry.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "docker-distribution-api-version"), "registry/2.0");
    }
    assert!(registry.address.ip().is_loopback());
    assert!(Options::new("x").listen.ip().is_loopback(), "only the loopback interface by default");
}

#[tokio::test]
async fn a_blob_is_pulled() {
    let (_root, registry) = Registry::start().await;
    for length in [0, 1, 100_000, 1_500_000] {
        let bytes = bytes_of(length);
        let digest = registry.push_blob("a/b", &bytes).await;
        let path = format!("/v2/a/b/blobs/{digest}");
        for answer in [registry.head(&path).await, registry.get(&path).await] {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(header(&answer, "content-length"), length.to_string());
            assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
            assert_eq!(header(&answer, "accept-ranges"), "bytes");
        }
        let body = registry.get(&path).await.bytes().await.unwrap();
        assert!(body == bytes, "{length} bytes");
    }
}

#[tokio::test]
async fn a_range_of_a_blob_is_pulled() {
    let (_root, registry) = Registry::start().await;
    let bytes = bytes_of(600_000);
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &bytes).await);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-300004", 5, 300_005),
        ("bytes=599990-", 599_990, 600_000),
        ("bytes=-3", 599_997, 600_000),
    ] {
        let answer = registry.request(Method::GET, &path).header("range", range).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(header(&answer, "content-range"), format!("bytes {from}-{}/600000", to - 1));
        assert!(answer.bytes().await.unwrap() == bytes[from..to], "{range}");
    }
    for range in ["bytes=700000-800000", "bytes=500-0"] {
        let answer = registry.request(Method::GET, &path).header("range", range).send().await.unwrap();
        assert_refused(answer, StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID").await;
    }
    let beyond = registry.request(Method::GET, &path).header("range", "bytes=600000-").send().await.unwrap();
    assert_eq!(header(&beyond, "content-range"), "bytes */600000");
    assert_refused(beyond, StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID").await;
}

#[tokio::test]
async fn a_manifest_is_pulled_by_tag_and_by_digest() {
    let (_root, registry) = Registry::start().await;
    let manifest = registry.push_image("a", "1.0", "layer").await;
    let digest = Digest::sha256(manifest.as_bytes());
    for reference in ["1.0", digest.as_str()] {
        let path = format!("/v2/a/manifests/{reference}");
        for answer in [registry.head(&path).await, registry.get(&path).await] {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(header(&answer, "content-type"), OCI_MANIFEST);
            assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
            assert_eq!(header(&answer, "content-length"), manifest.len().to_string());
        }
        assert_eq!(registry.get(&path).await.text().await.unwrap(), manifest);
    }
}

#[tokio::test]
async fn missing_content_gets_404_and_invalid_names_get_400() {
    let (_root, registry) = Registry::start().await;
    let digest = Digest::sha256(b"nothing");
    let not_found = StatusCode::NOT_FOUND;
    for (path, status, code) in [
        (format!("/v2/a/blobs/{digest}"), not_found, "BLOB_UNKNOWN"),
        (format!("/v2/a/manifests/{digest}"), not_found, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/latest".to_owned(), not_found, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/.INVALID_MANIFEST_NAME".to_owned(), not_found, "MANIFEST_UNKNOWN"),
        ("/v2/a/tags/list".to_owned(), not_found, "NAME_UNKNOWN"),
        ("/v2/a/other/things".to_owned(), not_found, "UNSUPPORTED"),
        ("/v2/a/blobs/sha256:00".to_owned(), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        ("/v2/a/manifests/md5:00".to_owned(), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        ("/v2/A/tags/list".to_owned(), StatusCode::BAD_REQUEST, "NAME_INVALID"),
    ] {
        assert_eq!(registry.head(&path).await.status(), status, "{path}");
        assert_refused(registry.get(&path).await, status, code).await;
    }
}

/// Sent byte for byte, because well-behaved clients resolve dots before they send a path.
#[tokio::test]
async fn no_path_escapes_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("secret"), "s").unwrap();
    let registry = Registry::over(&parent.path().join("registry"), true).await.unwrap();
    for path in [
        "/v2/../secret",
        "/v2/../../tags/list",
        "/v2/a/../../manifests/x",
        "/v2/a/manifests/../../../secret",
        "/v2/a/manifests/..%2f..%2f..%2fsecret",
        "/v2/%2e%2e/%2e%2e/manifests/secret",
        "/v2/a/blobs/sha256:../../../secret",
        "/v2/a/blobs/uploads/../../../secret",
        "/v2//etc/manifests/passwd",
    ] {
        let status = registry.raw(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn no_symbolic_link_escapes_the_folder() {
    let (root, registry) = Registry::start().await;
    let digest = registry.push_blob("a", b"inside").await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let content = root.path().join("blobs/sha256").join(digest.hex());
    std::fs::remove_file(&content).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), &content).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("repositories/b")).unwrap();

    let answer = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_refused(answer, StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await;
    let path = format!("/v2/b/blobs/uploads/?digest={}", Digest::sha256(b"x"));
    let answer = registry.request(Method::POST, &path).body("x").send().await.unwrap();
    assert_refused(answer, StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await;
    assert_eq!(files_below(outside.path()).len(), 1);
}

#[tokio::test]
async fn content_that_the_client_has_is_not_sent_again() {
    let (_root, registry) = Registry::start().await;
    let manifest = registry.push_image("a", "v1", "layer").await;
    let (root, layer) = (Digest::sha256(manifest.as_bytes()), Digest::sha256(b"layer"));
    for (path, digest) in [
        ("/v2/a/manifests/v1".to_owned(), &root),
        (format!("/v2/a/manifests/{root}"), &root),
        (format!("/v2/a/blobs/{layer}"), &layer),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let tag = header(&registry.get(&path).await, "etag").to_owned();
            let conditional =
                |tag: &str| registry.request(method.clone(), &path).header("if-none-match", tag);
            let same = conditional(&tag).send().await.unwrap();
            assert_eq!(same.status(), StatusCode::NOT_MODIFIED, "{method} {path}");
            assert_eq!(
                (header(&same, "etag"), header(&same, "docker-content-digest")),
                (tag.as_str(), digest.as_str())
            );
            assert!(same.bytes().await.unwrap().is_empty());
            let other = conditional("\"sha256:0\"").send().await.unwrap();
            assert_eq!(other.status(), StatusCode::OK, "{method} {path}");
        }
    }
    let missing = registry.request(Method::GET, "/v2/a/manifests/v2").header("if-none-match", "*");
    assert_eq!(missing.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    // The connection stays usable after an answer without a body.
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}
