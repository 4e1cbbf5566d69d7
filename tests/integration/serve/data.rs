//! Data: every shape of manifest in the conformance suite goes through all of its steps: push by digest and by tag,
//! list, head, pull, referrers, delete.

use thoras_mirror::oci::{
    Algorithm, Hasher,
    media_type::{OCI_INDEX, OCI_MANIFEST},
};

use super::*;

const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EXAMPLE: &str = "application/vnd.example.conformance.v1";

fn digest_of(algorithm: Algorithm, text: &str) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(text.as_bytes());
    hasher.finish()
}

/// Content stays byte-identical under its digest and its tag until it is deleted.
async fn assert_kept(registry: &Registry, media_type: &str, document: &Value, algorithm: Algorithm) {
    let text = document.to_string();
    let digest = digest_of(algorithm, &text);
    let answer = registry.put_manifest("a", &format!("{digest}?tag=shape"), media_type, &text).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{text}");
    assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
    assert_eq!(header(&answer, "oci-tag"), "shape");
    if let Some(subject) = document.get("subject") {
        assert_eq!(header(&answer, "oci-subject"), subject["digest"]);
    }
    let by_digest = header(&answer, "location").to_owned();
    assert_eq!(by_digest, format!("/v2/a/manifests/{digest}"));
    for path in [by_digest.as_str(), "/v2/a/manifests/shape"] {
        for answer in [registry.head(path).await, registry.get(path).await] {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(header(&answer, "content-type"), media_type);
            assert_eq!(header(&answer, "docker-content-digest"), digest.as_str());
            assert_eq!(header(&answer, "content-length"), text.len().to_string());
        }
        assert_eq!(registry.get(path).await.text().await.unwrap(), text);
    }
    let tags: Value = registry.get("/v2/a/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["shape"]));
    for path in ["/v2/a/manifests/shape", by_digest.as_str()] {
        assert_eq!(registry.delete(path).await.status(), StatusCode::ACCEPTED);
        assert_eq!(registry.head(path).await.status(), StatusCode::NOT_FOUND, "gone at once");
    }
}

async fn push(registry: &Registry, media_type: &str, document: &Value) -> Value {
    let text = document.to_string();
    let digest = Digest::sha256(text.as_bytes());
    let answer = registry.put_manifest("a", digest.as_str(), media_type, &text).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    descriptor(media_type, &digest, text.len())
}

fn index(manifests: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests })
}

fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

#[tokio::test]
async fn images() {
    let (_root, registry) = Registry::start().await;
    let image = registry.image("a", "layer").await;
    let missing = descriptor(OCI_MANIFEST, &Digest::sha256(b"missing content"), 123);
    let mut nondistributable = image.clone();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let layer = descriptor(foreign, &Digest::sha256(b"elsewhere"), 123_456);
    let layer = with(layer, "urls", json!(["https://store.example.com/x"]));
    nondistributable["layers"].as_array_mut().unwrap().push(layer);
    let mut data = image.clone();
    data["layers"][0]["data"] = json!("bGF5ZXI=");
    for document in [
        image.clone(),
        with(image.clone(), "layers", json!([])),
        with(image.clone(), "org.example.unknown", json!({ "deep": [1, null] })),
        with(image, "subject", missing),
        nondistributable,
        data,
    ] {
        assert_kept(&registry, OCI_MANIFEST, &document, Algorithm::Sha256).await;
        assert_kept(&registry, OCI_MANIFEST, &document, Algorithm::Sha512).await;
    }
}

#[tokio::test]
async fn artifacts() {
    let (_root, registry) = Registry::start().await;
    let empty = descriptor(EMPTY, &registry.push_blob("a", b"{}").await, 2);
    let blob = descriptor(EXAMPLE, &registry.push_blob("a", b"anything").await, 8);
    let image = registry.image("a", "layer").await;
    let image = push(&registry, OCI_MANIFEST, &image).await;
    let artifact = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": EXAMPLE, "config": empty, "layers": [blob],
    });
    assert_kept(&registry, OCI_MANIFEST, &artifact, Algorithm::Sha256).await;
    let without_layers = with(artifact.clone(), "layers", json!([empty]));
    assert_kept(&registry, OCI_MANIFEST, &without_layers, Algorithm::Sha256).await;
    let about = with(artifact, "subject", image);
    assert_kept(&registry, OCI_MANIFEST, &about, Algorithm::Sha512).await;
}

#[tokio::test]
async fn indexes() {
    let (_root, registry) = Registry::start().await;
    let image = registry.image("a", "layer").await;
    let image = push(&registry, OCI_MANIFEST, &image).await;
    let platform = with(image.clone(), "platform", json!({ "os": "linux", "architecture": "arm64" }));
    let inner =
        with(index(std::slice::from_ref(&platform)), "annotations", json!({ "org.example": "inner" }));
    let inner = push(&registry, OCI_INDEX, &inner).await;
    let artifact = with(index(std::slice::from_ref(&platform)), "artifactType", json!(EXAMPLE));
    for document in [
        index(&[]),
        index(&[platform]),
        index(&[inner.clone(), inner]),
        with(artifact.clone(), "x-unknown", json!("kept")),
        with(artifact, "subject", image),
    ] {
        assert_kept(&registry, OCI_INDEX, &document, Algorithm::Sha256).await;
        assert_kept(&registry, OCI_INDEX, &document, Algorithm::Sha512).await;
    }
}

#[tokio::test]
async fn an_index_shows_its_artifact_type_among_the_referrers() {
    let (_root, registry) = Registry::start().await;
    let image = registry.image("a", "layer").await;
    let subject = push(&registry, OCI_MANIFEST, &image).await;
    let about = with(index(&[]), "artifactType", json!(EXAMPLE));
    let about = with(about, "annotations", json!({ "org.example": "shown" }));
    let about = push(&registry, OCI_INDEX, &with(about, "subject", subject.clone())).await;
    let path = format!("/v2/a/referrers/{}", subject["digest"].as_str().unwrap());
    let list: Value = registry.get(&path).await.json().await.unwrap();
    let expected = with(about, "artifactType", json!(EXAMPLE));
    assert_eq!(list["manifests"], json!([with(expected, "annotations", json!({ "org.example": "shown" }))]));
}

/// `?tag=` gives several tags to one manifest, whatever the algorithm of its digest; `?digest=` beside a tag
/// says which digest is meant.
#[tokio::test]
async fn tags_and_digests_in_the_query() {
    let (_root, registry) = Registry::start().await;
    let text = registry.image("a", "layer").await.to_string();
    let digest = digest_of(Algorithm::Sha512, &text);
    let answer = registry.put_manifest("a", &format!("{digest}?tag=one&tag=two"), OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let confirmed: Vec<_> = answer.headers().get_all("oci-tag").iter().collect();
    assert_eq!(confirmed, ["one", "two"]);
    let answer = registry.put_manifest("a", &format!("three?digest={digest}"), OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(answer.headers().get("oci-tag").is_none());
    for tag in ["one", "two", "three"] {
        let answer = registry.head(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(header(&answer, "docker-content-digest"), digest.as_str(), "{tag}");
    }

    let other = Digest::sha256(b"other");
    let many = (0..=100).map(|number| format!("&tag=t{number}")).collect::<Vec<_>>().concat();
    for (query, status, code) in [
        (format!("four?digest={other}"), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        ("four?digest=sha256:00".to_owned(), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        (format!("{digest}?tag=four&tag=../five"), StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
        (format!("four?{many}"), StatusCode::URI_TOO_LONG, "UNSUPPORTED"),
    ] {
        assert_refused(registry.put_manifest("a", &query, OCI_MANIFEST, &text).await, status, code).await;
    }
    assert_eq!(registry.head("/v2/a/manifests/four").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_manifest_whose_bytes_have_another_digest_is_refused() {
    let (_root, registry) = Registry::start().await;
    let text = registry.image("a", "layer").await.to_string();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = digest_of(algorithm, &text);
        let answer = registry.put_manifest("a", digest.as_str(), OCI_MANIFEST, &format!("{text}  ")).await;
        assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
        let path = format!("/v2/a/manifests/{digest}");
        assert_eq!(registry.head(&path).await.status(), StatusCode::NOT_FOUND);
    }
    let answer = registry.put_manifest("a", "sha256:baddigeststring", OCI_MANIFEST, &text).await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
}
