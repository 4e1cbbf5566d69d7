//! Push: manifests, and the content they require.

use thoras_mirror::oci::media_type::{DOCKER_MANIFEST, OCI_INDEX};

use super::*;

#[tokio::test]
async fn a_manifest_keeps_its_bytes_and_gets_its_tag() {
    let (_root, registry) = Registry::start().await;
    let manifest = format!("  {:#}\n\n", registry.image("a", "layer").await);
    let digest = Digest::sha256(manifest.as_bytes());
    let answer = registry.put_manifest("a", "v1", OCI_MANIFEST, &manifest).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(header(&answer, "location"), format!("/v2/a/manifests/{digest}"));
    assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
    assert_eq!(registry.get("/v2/a/manifests/v1").await.text().await.unwrap(), manifest);
}

#[tokio::test]
async fn a_tag_moves() {
    let (_root, registry) = Registry::start().await;
    let first = registry.push_image("a", "latest", "one").await;
    let second = registry.push_image("a", "latest", "two").await;
    assert_eq!(registry.get("/v2/a/manifests/latest").await.text().await.unwrap(), second);
    let first = format!("/v2/a/manifests/{}", Digest::sha256(first.as_bytes()));
    assert_eq!(registry.head(&first).await.status(), StatusCode::OK, "what the tag left is still there");
}

#[tokio::test]
async fn an_image_without_its_blobs_is_refused_and_every_missing_blob_named() {
    let (_root, registry) = Registry::start().await;
    let (config, layer) = (Digest::sha256(b"config"), Digest::sha256(b"layer"));
    registry.push_blob("elsewhere", b"layer").await;
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/c", &config, 6),
        "layers": [descriptor("application/l", &layer, 5)],
    });
    let answer = registry.put_manifest("a", "v1", OCI_MANIFEST, &manifest.to_string()).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let errors: Value = answer.json().await.unwrap();
    let named = |index: usize| {
        (errors["errors"][index]["code"].clone(), errors["errors"][index]["detail"]["digest"].clone())
    };
    assert_eq!(named(0), (json!("MANIFEST_BLOB_UNKNOWN"), json!(config)));
    assert_eq!(named(1), (json!("MANIFEST_BLOB_UNKNOWN"), json!(layer)));
    assert_eq!(registry.head("/v2/a/manifests/v1").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn foreign_layers_may_be_missing() {
    let (_root, registry) = Registry::start().await;
    let mut manifest = registry.image("a", "layer").await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    manifest["layers"][0] = descriptor(foreign, &Digest::sha256(b"windows"), 7);
    let answer = registry.put_manifest("a", "v1", OCI_MANIFEST, &manifest.to_string()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_index_needs_its_manifests() {
    let (_root, registry) = Registry::start().await;
    let image = registry.image("a", "layer").await.to_string();
    let digest = Digest::sha256(image.as_bytes());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(OCI_MANIFEST, &digest, image.len())],
    });
    let answer = registry.put_manifest("a", "v1", OCI_INDEX, &index.to_string()).await;
    let error = assert_refused(answer, StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN").await;
    assert_eq!(error["detail"]["digest"], digest.as_str());

    let answer = registry.put_manifest("a", digest.as_str(), OCI_MANIFEST, &image).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let answer = registry.put_manifest("a", "v1", OCI_INDEX, &index.to_string()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_subject_may_come_later() {
    let (_root, registry) = Registry::start().await;
    let subject = Digest::sha256(b"not pushed yet");
    let mut manifest = registry.image("a", "sbom").await;
    manifest["subject"] = descriptor(OCI_MANIFEST, &subject, 14);
    let answer = registry.put_manifest("a", "sbom", OCI_MANIFEST, &manifest.to_string()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(header(&answer, "oci-subject"), subject.as_str());
}

#[tokio::test]
async fn invalid_manifests_are_refused() {
    let (_root, registry) = Registry::start().await;
    let manifest = registry.image("a", "layer").await.to_string();
    let other = Digest::sha256(b"other");
    for (reference, media_type, text, code) in [
        (other.as_str(), OCI_MANIFEST, manifest.as_str(), "DIGEST_INVALID"),
        ("v1", DOCKER_MANIFEST, &manifest, "MANIFEST_INVALID"),
        ("v1", OCI_INDEX, &manifest, "MANIFEST_INVALID"),
        ("v1", OCI_MANIFEST, "not JSON", "MANIFEST_INVALID"),
        ("v1", OCI_MANIFEST, "", "MANIFEST_INVALID"),
        ("v1", "application/x", r#"{"mediaType":"application/x"}"#, "MANIFEST_INVALID"),
        (".v1", OCI_MANIFEST, &manifest, "MANIFEST_INVALID"),
    ] {
        let answer = registry.put_manifest("a", reference, media_type, text).await;
        assert_refused(answer, StatusCode::BAD_REQUEST, code).await;
    }
    assert_eq!(registry.head("/v2/a/manifests/v1").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn manifests_up_to_the_size_limit_are_accepted() {
    let (_root, registry) = Registry::start().await;
    let mut manifest = registry.image("a", "layer").await;
    manifest["annotations"] = json!({ "padding": "x".repeat(4 * 1024 * 1024) });
    let large = manifest.to_string();
    let answer = registry.put_manifest("a", "large", OCI_MANIFEST, &large).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(registry.get("/v2/a/manifests/large").await.text().await.unwrap() == large);

    let pieces = (0..9).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024 * 1024]));
    let stream = futures::stream::iter(pieces);
    let request = registry.request(Method::PUT, "/v2/a/manifests/larger");
    let answer = request.body(reqwest::Body::wrap_stream(stream)).send().await.unwrap();
    assert_refused(answer, StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID").await;
    let announced = "PUT /v2/a/manifests/x HTTP/1.1\r\nhost: x\r\ncontent-length: 8388609\r\n\r\n";
    assert_eq!(registry.raw(announced).await, 413, "refused before the bytes are sent");
}

#[tokio::test]
async fn a_descriptor_with_another_size_than_the_content_is_refused_bug() {
    for allow_sparse in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let registry = Registry::with(Options { allow_sparse, ..Options::new(root.path()) }).await.unwrap();
        let image = registry.image("a", "layer").await;
        for (field, name) in [("/config/size", "config"), ("/layers/0/size", "layer")] {
            let mut wrong = image.clone();
            let size = wrong.pointer_mut(field).unwrap();
            *size = json!(size.as_u64().unwrap() + 1);
            let answer = registry.put_manifest("a", name, OCI_MANIFEST, &wrong.to_string()).await;
            let error = assert_refused(answer, StatusCode::BAD_REQUEST, "SIZE_INVALID").await;
            assert!(error["message"].as_str().unwrap().contains("bytes in this repository"), "{error}");
            assert_eq!(
                registry.head(&format!("/v2/a/manifests/{name}")).await.status(),
                StatusCode::NOT_FOUND
            );
        }
        let text = image.to_string();
        let digest = Digest::sha256(text.as_bytes());
        let answer = registry.put_manifest("a", digest.as_str(), OCI_MANIFEST, &text).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        for (size, status) in [(text.len() - 1, StatusCode::BAD_REQUEST), (text.len(), StatusCode::CREATED)] {
            let index = json!({
                "schemaVersion": 2, "mediaType": OCI_INDEX,
                "manifests": [descriptor(OCI_MANIFEST, &digest, size)],
            });
            let answer = registry.put_manifest("a", "v1", OCI_INDEX, &index.to_string()).await;
            assert_eq!(answer.status(), status, "sparse: {allow_sparse}");
        }
    }
}
