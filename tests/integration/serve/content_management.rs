//! Content management: deletion, and read-only registries.

use super::*;

#[tokio::test]
async fn deleting_a_tag_keeps_its_manifest() {
    let (_root, registry) = Registry::start().await;
    let manifest = registry.push_image("a", "v1", "layer").await;
    assert_eq!(registry.delete("/v2/a/manifests/v1").await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.head("/v2/a/manifests/v1").await.status(), StatusCode::NOT_FOUND);
    let by_digest = format!("/v2/a/manifests/{}", Digest::sha256(manifest.as_bytes()));
    assert_eq!(registry.head(&by_digest).await.status(), StatusCode::OK);
    assert_refused(registry.delete("/v2/a/manifests/v1").await, StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN")
        .await;
}

#[tokio::test]
async fn deleting_a_manifest_deletes_its_tags() {
    let (root, registry) = Registry::start().await;
    let manifest = registry.push_image("a", "v1", "layer").await;
    registry.push_image("a", "v1-again", "layer").await;
    registry.push_image("a", "v2", "other").await;
    let digest = Digest::sha256(manifest.as_bytes());
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(registry.delete(&path).await.status(), StatusCode::ACCEPTED);
    assert_eq!(registry.get(&path).await.status(), StatusCode::NOT_FOUND);
    let list: Value = registry.get("/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(list["tags"], json!(["v2"]));
    assert!(!root.path().join("blobs/sha256").join(digest.hex()).exists(), "its bytes are off the disk");
    assert_eq!(registry.delete(&path).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_blob_deleted_in_one_repository_stays_in_others() {
    let (root, registry) = Registry::start().await;
    let digest = registry.push_blob("a", b"blob").await;
    registry.post(&format!("/v2/b/blobs/uploads/?mount={digest}&from=a")).await;
    let (in_a, in_b) = (format!("/v2/a/blobs/{digest}"), format!("/v2/b/blobs/{digest}"));
    assert_eq!(registry.delete(&in_a).await.status(), StatusCode::ACCEPTED);
    assert_refused(registry.delete(&in_a).await, StatusCode::NOT_FOUND, "BLOB_UNKNOWN").await;
    assert_eq!(registry.get(&in_b).await.bytes().await.unwrap(), "blob");
    assert_eq!(registry.delete(&in_b).await.status(), StatusCode::ACCEPTED);
    assert!(files_below(&root.path().join("blobs")).is_empty(), "its bytes are off the disk");
}

#[tokio::test]
async fn a_read_only_registry_allows_pulls_and_no_changes() {
    let (root, registry) = Registry::start().await;
    let manifest = registry.push_image("a", "v1", "layer").await;
    registry.stop().await;
    let before = files_below(root.path());

    let registry = Registry::over(root.path(), false).await.unwrap();
    assert_eq!(registry.get("/v2/a/manifests/v1").await.text().await.unwrap(), manifest);
    let digest = Digest::sha256(b"layer");
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (Method::POST, format!("/v2/b/blobs/uploads/?mount={digest}&from=a")),
        (Method::PUT, "/v2/a/manifests/v2".to_owned()),
        (Method::DELETE, "/v2/a/manifests/v1".to_owned()),
        (Method::DELETE, format!("/v2/a/blobs/{digest}")),
    ] {
        let answer = registry.request(method, &path).send().await.unwrap();
        assert_refused(answer, StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED").await;
    }
    assert_eq!(files_below(root.path()), before);
}

#[tokio::test]
async fn unsupported_methods_get_405_and_the_allowed_methods() {
    let (_root, registry) = Registry::start().await;
    for path in ["/v2/", "/v2/a/tags/list", "/v2/a/blobs/uploads/", "/v2/a/manifests/x"] {
        let answer = registry.request(Method::OPTIONS, path).send().await.unwrap();
        assert!(!header(&answer, "allow").is_empty());
        assert_refused(answer, StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED").await;
    }
}
