//! Content discovery: tags and referrers.

use thoras_mirror::oci::media_type::OCI_INDEX;

use super::*;

#[tokio::test]
async fn tags_are_listed_in_order_and_in_pages() {
    let (_root, registry) = Registry::start().await;
    for tag in ["b", "a", "B", "1.10", "1.9"] {
        registry.push_image("deep/er", tag, "layer").await;
    }
    let all: Value = registry.get("/v2/deep/er/tags/list").await.json().await.unwrap();
    assert_eq!(all, json!({ "name": "deep/er", "tags": ["1.10", "1.9", "B", "a", "b"] }));

    let mut path = "/v2/deep/er/tags/list?n=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = registry.get(&path).await;
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = answer.json().await.unwrap();
        pages.push(page["tags"].clone());
        let Some(link) = link else { break };
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
    }
    assert_eq!(json!(pages), json!([["1.10", "1.9"], ["B", "a"], ["b"]]));

    let none = registry.get("/v2/deep/er/tags/list?n=0").await;
    assert!(none.headers().get("link").is_none());
    assert_eq!(none.json::<Value>().await.unwrap()["tags"], json!([]));
    let answer = registry.get("/v2/deep/er/tags/list?n=many").await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let (_root, registry) = Registry::start().await;
    registry.push_blob("a/b", b"blob").await;
    let list: Value = registry.get("/v2/a/b/tags/list").await.json().await.unwrap();
    assert_eq!(list["tags"], json!([]));
    assert_refused(registry.get("/v2/a/tags/list").await, StatusCode::NOT_FOUND, "NAME_UNKNOWN").await;
}

async fn push_referrer(registry: &Registry, subject: &Digest, artifact_type: &str) -> Digest {
    let mut manifest = registry.image("a", artifact_type).await;
    manifest["artifactType"] = json!(artifact_type);
    manifest["annotations"] = json!({ "made": "today" });
    manifest["subject"] = descriptor(OCI_MANIFEST, subject, 1);
    let text = manifest.to_string();
    let digest = Digest::sha256(text.as_bytes());
    let answer = registry.put_manifest("a", digest.as_str(), OCI_MANIFEST, &text).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    digest
}

async fn referrers(registry: &Registry, path: &str) -> Vec<Value> {
    let answer = registry.get(path).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header(&answer, "content-type"), OCI_INDEX);
    let filtered =
        answer.headers().get("oci-filters-applied").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(filtered.as_deref(), path.contains("artifactType").then_some("artifactType"));
    let index: Value = answer.json().await.unwrap();
    assert_eq!((index["schemaVersion"].as_u64(), index["mediaType"].as_str()), (Some(2), Some(OCI_INDEX)));
    index["manifests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let (_root, registry) = Registry::start().await;
    let subject = Digest::sha256(registry.push_image("a", "v1", "subject").await.as_bytes());
    let path = format!("/v2/a/referrers/{subject}");
    assert_eq!(referrers(&registry, &path).await, Vec::<Value>::new());
    let sbom = push_referrer(&registry, &subject, "application/x.sbom+json").await;
    let signature = push_referrer(&registry, &subject, "application/x.signature").await;

    assert_eq!(referrers(&registry, &path).await.len(), 2);
    let filtered = referrers(&registry, &format!("{path}?artifactType=application%2Fx.sbom%2Bjson")).await;
    assert_eq!(filtered.len(), 1);
    assert_eq!(filtered[0]["digest"], sbom.as_str());
    assert_eq!(filtered[0]["mediaType"], OCI_MANIFEST);
    assert_eq!(filtered[0]["artifactType"], "application/x.sbom+json");
    assert_eq!(filtered[0]["annotations"], json!({ "made": "today" }));
    assert_eq!(referrers(&registry, &format!("{path}?artifactType=application/none")).await.len(), 0);

    registry.delete(&format!("/v2/a/manifests/{sbom}")).await;
    let left = referrers(&registry, &path).await;
    assert_eq!((left.len(), left[0]["digest"].as_str()), (1, Some(signature.as_str())));
}

#[tokio::test]
async fn referrers_of_a_missing_manifest_are_an_empty_list() {
    let (_root, registry) = Registry::start().await;
    let path = format!("/v2/unknown/referrers/{}", Digest::sha256(b"x"));
    assert_eq!(referrers(&registry, &path).await.len(), 0);
    let answer = registry.get("/v2/unknown/referrers/latest").await;
    assert_refused(answer, StatusCode::BAD_REQUEST, "DIGEST_INVALID").await;
}

/// Follows the links of a list and returns its pages.
async fn pages(registry: &Registry, mut path: String, field: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    loop {
        let answer = registry.get(&path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        pages.push(answer.json::<Value>().await.unwrap()[field].clone());
        let Some(link) = link else { return pages };
        link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().clone_into(&mut path);
    }
}

#[tokio::test]
async fn referrers_come_in_pages() {
    let (_root, registry) = Registry::start().await;
    let subject = Digest::sha256(registry.push_image("a", "v1", "subject").await.as_bytes());
    let mut pushed = Vec::new();
    for number in 0..5 {
        let kind = if number % 2 == 0 { "application/x.even+json" } else { "application/x.odd" };
        let mut manifest = registry.image("a", &number.to_string()).await;
        manifest["artifactType"] = json!(kind);
        // Three of them fill a page.
        manifest["annotations"] = json!({ "text": "x".repeat(90_000) });
        manifest["subject"] = descriptor(OCI_MANIFEST, &subject, 1);
        let text = manifest.to_string();
        let digest = Digest::sha256(text.as_bytes());
        let answer = registry.put_manifest("a", digest.as_str(), OCI_MANIFEST, &text).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        pushed.push((digest.to_string(), kind));
    }
    pushed.sort();
    let digests = |pages: Vec<Value>| -> Vec<Vec<String>> {
        let of_page = |page: Value| {
            let entries = page.as_array().unwrap().clone();
            entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
        };
        pages.into_iter().map(of_page).collect()
    };
    let path = format!("/v2/a/referrers/{subject}");
    let found = digests(pages(&registry, path.clone(), "manifests").await);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1], "a page has at most 256 KiB");
    assert_eq!(found.concat(), pushed.iter().map(|(digest, _)| digest.clone()).collect::<Vec<_>>());
    let filtered = format!("{path}?artifactType=application%2Fx.even%2Bjson&n=1");
    let found = digests(pages(&registry, filtered, "manifests").await);
    let even = pushed.iter().filter(|(_, kind)| kind.contains("even"));
    assert_eq!(found, even.map(|(digest, _)| vec![digest.clone()]).collect::<Vec<_>>());
}

/// An entry of the list with 8 MiB of annotations would be read for each of 512 connections.
#[tokio::test]
async fn a_referrer_with_huge_annotations_is_listed_without_them() {
    let (_root, registry) = Registry::start().await;
    let subject = Digest::sha256(registry.push_image("a", "v1", "subject").await.as_bytes());
    let mut manifest = registry.image("a", "x").await;
    manifest["artifactType"] = json!("application/x.large");
    manifest["annotations"] = json!({ "text": "x".repeat(300_000) });
    manifest["subject"] = descriptor(OCI_MANIFEST, &subject, 1);
    let answer = registry.put_manifest("a", "large", OCI_MANIFEST, &manifest.to_string()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let listed = referrers(&registry, &format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(listed[0]["artifactType"], "application/x.large");
    assert_eq!(listed[0].get("annotations"), None);
}

#[tokio::test]
async fn the_catalog_lists_repositories_in_pages() {
    let (_root, registry) = Registry::start().await;
    assert_eq!(pages(&registry, "/v2/_catalog".to_owned(), "repositories").await, [json!([])]);
    for repository in ["b", "a/b", "a", "a/b/c", "a-b"] {
        registry.push_image(repository, "1", "layer").await;
    }
    let all = pages(&registry, "/v2/_catalog".to_owned(), "repositories").await;
    assert_eq!(all, [json!(["a", "a-b", "a/b", "a/b/c", "b"])]);
    let two = pages(&registry, "/v2/_catalog?n=2".to_owned(), "repositories").await;
    assert_eq!(two, [json!(["a", "a-b"]), json!(["a/b", "a/b/c"]), json!(["b"])]);
    let answer = registry.put("/v2/_catalog", "").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}
