//! Bundles: OCI layouts as folders and as tars, served in place and read-only.

use thoras_mirror::{
    oci::{Naming, media_type::OCI_INDEX},
    serve::{Names, StorageError},
};

use super::*;

const WEB: &str = "us-east4-docker.pkg.dev/thoras-registry/platform/services/web:1.0";
const NODE: &str = "quay.io/prom/node:2";

/// A layout in a folder, to which images can be added.
struct Layout {
    folder: tempfile::TempDir,
    images: Vec<Value>,
}

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder, images: Vec::new() }
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join("blobs/sha256").join(digest.hex())
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        std::fs::write(self.path_of(&digest), bytes).unwrap();
        descriptor(media_type, &digest, bytes.len())
    }

    /// An image of one layer, in an index of one platform, under a name; returns its manifest.
    fn add(&mut self, name: Option<&str>, layer: &[u8]) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": self.put("application/vnd.oci.image.config.v1+json", b"{}"),
            "layers": [self.put("application/vnd.oci.image.layer.v1.tar", layer)],
        });
        let manifest = self.put(OCI_MANIFEST, manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest] });
        let index = self.put(OCI_INDEX, index.to_string().as_bytes());
        self.name(index, name);
        manifest
    }

    fn name(&mut self, mut root: Value, name: Option<&str>) {
        if let Some(name) = name {
            root["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        self.images.push(root);
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.images });
        std::fs::write(self.folder.path().join("index.json"), index.to_string()).unwrap();
    }

    /// The same as one file.
    fn tar(&self) -> tempfile::TempPath {
        let file = tempfile::Builder::new().prefix("bundle").suffix(".tar").tempfile().unwrap();
        let mut archive = tar::Builder::new(file.as_file());
        for name in ["oci-layout", "index.json"] {
            archive.append_path_with_name(self.folder.path().join(name), name).unwrap();
        }
        archive.append_dir_all("blobs", self.folder.path().join("blobs")).unwrap();
        archive.finish().unwrap();
        drop(archive);
        file.into_temp_path()
    }
}

async fn serve(path: &Path, naming: Option<Naming>) -> Result<Registry, ServeError> {
    let names = Names { naming, source_prefix: None };
    Registry::with(Options { names, ..Options::new(path) }).await
}

async fn tags(registry: &Registry, repository: &str) -> Value {
    registry.get(&format!("/v2/{repository}/tags/list")).await.json::<Value>().await.unwrap()["tags"].clone()
}

#[tokio::test]
async fn folders_and_tars_serve_complete_and_partial_pulls() {
    let mut layout = Layout::new();
    let layer = bytes_of(700_001);
    let manifest = layout.add(Some(WEB), &layer);
    layout.add(Some(NODE), b"small");
    let tar = layout.tar();
    let before = std::fs::read(&tar).unwrap();
    for path in [layout.folder.path(), &tar] {
        let registry = serve(path, None).await.unwrap();
        assert_eq!(tags(&registry, "services/web").await, json!(["1.0"]));
        assert_eq!(tags(&registry, "prom/node").await, json!(["2"]));
        let root = registry.get("/v2/services/web/manifests/1.0").await;
        assert_eq!(header(&root, "content-type"), OCI_INDEX);
        assert_eq!(header(&root, "docker-content-digest"), layout.images[0]["digest"]);
        let root: Value = root.json().await.unwrap();
        assert_eq!(root["manifests"], json!([manifest]));
        let child = format!("/v2/services/web/manifests/{}", manifest["digest"].as_str().unwrap());
        assert_eq!(header(&registry.head(&child).await, "content-type"), OCI_MANIFEST);

        let blob = format!("blobs/{}", Digest::sha256(&layer));
        let head = registry.head(&format!("/v2/services/web/{blob}")).await;
        assert_eq!(header(&head, "content-length"), "700001");
        let whole = registry.get(&format!("/v2/services/web/{blob}")).await;
        assert!(whole.bytes().await.unwrap() == layer);
        let part = registry.request(Method::GET, &format!("/v2/services/web/{blob}"));
        let part = part.header("range", "bytes=300000-600000").send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert!(part.bytes().await.unwrap() == layer[300_000..=600_000]);
        let elsewhere = registry.get(&format!("/v2/prom/node/{blob}")).await;
        assert_refused(elsewhere, StatusCode::NOT_FOUND, "BLOB_UNKNOWN").await;
        for path in ["/v2/other/manifests/x", "/v2/services/web/manifests/2.0", "/v2/prom/node/manifests/1.0"]
        {
            assert_eq!(registry.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
    assert!(std::fs::read(&tar).unwrap() == before);
}

#[tokio::test]
async fn nothing_in_a_bundle_changes() {
    let mut layout = Layout::new();
    layout.add(Some(WEB), b"layer");
    let before = files_below(layout.folder.path());
    let registry = serve(layout.folder.path(), None).await.unwrap();
    for (method, path) in [
        (Method::POST, "/v2/services/web/blobs/uploads/"),
        (Method::PUT, "/v2/services/web/manifests/2.0"),
        (Method::DELETE, "/v2/services/web/manifests/1.0"),
    ] {
        let answer = registry.request(method, path).send().await.unwrap();
        assert_refused(answer, StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED").await;
    }
    assert_eq!(files_below(layout.folder.path()), before);
}

#[tokio::test]
async fn repositories_are_named_by_the_requested_rule() {
    let mut layout = Layout::new();
    layout.add(Some(WEB), b"one");
    layout.add(Some(NODE), b"two");
    for (naming, web, node) in [
        (Naming::Relative, "services/web", "prom/node"),
        (Naming::Last, "web", "node"),
        (Naming::Full, "us-east4-docker.pkg.dev/thoras-registry/platform/services/web", "quay.io/prom/node"),
    ] {
        let registry = serve(layout.folder.path(), Some(naming)).await.unwrap();
        assert_eq!(tags(&registry, web).await, json!(["1.0"]), "{naming:?}");
        assert_eq!(tags(&registry, node).await, json!(["2"]), "{naming:?}");
    }
    layout.add(Some("docker.io/other/node:2"), b"three");
    let refused = serve(layout.folder.path(), Some(Naming::Last)).await.err().unwrap();
    assert!(refused.to_string().contains("would be node:2"), "{refused}");
}

/// Layouts that crane and skopeo write without a full name get the name of the file.
#[tokio::test]
async fn images_without_a_name_get_the_name_of_the_folder() {
    let mut layout = Layout::new();
    layout.add(Some("v1"), b"one");
    layout.add(None, b"two");
    // Names without a registry: a name and a tag, as podman writes it, and a name.
    layout.add(Some("app:1"), b"three");
    layout.add(Some("team/app"), b"four");
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("web");
    std::fs::rename(layout.folder.path(), &path).unwrap();
    let registry = serve(&path, None).await.unwrap();
    assert_eq!(tags(&registry, "web").await, json!(["latest", "v1"]));
    assert_eq!(tags(&registry, "app").await, json!(["1"]));
    assert_eq!(tags(&registry, "team/app").await, json!(["latest"]));
}

#[tokio::test]
async fn referrers_in_a_bundle_are_found() {
    let mut layout = Layout::new();
    let subject = layout.add(Some(WEB), b"layer");
    let sbom = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x.sbom",
        "config": layout.put("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [layout.put("application/x.sbom", b"sbom")], "subject": subject,
    });
    let sbom = layout.put(OCI_MANIFEST, sbom.to_string().as_bytes());
    layout.name(sbom.clone(), Some(&WEB.replace("1.0", "sbom")));
    let registry = serve(&layout.tar(), None).await.unwrap();
    let path = format!("/v2/services/web/referrers/{}", subject["digest"].as_str().unwrap());
    let list: Value = registry.get(&path).await.json().await.unwrap();
    assert_eq!(list["manifests"][0]["digest"], sbom["digest"]);
    assert_eq!(list["manifests"][0]["artifactType"], "application/x.sbom");
}

#[tokio::test]
async fn damaged_bundles_are_refused_at_startup() {
    let mut layout = Layout::new();
    let manifest = layout.add(Some(WEB), b"layer");
    let digest: Digest = manifest["digest"].as_str().unwrap().parse().unwrap();
    std::fs::write(layout.path_of(&digest), r#"{"schemaVersion":2}"#).unwrap();
    for path in [layout.folder.path(), &layout.tar()] {
        let refused = serve(path, None).await.err().unwrap();
        assert!(matches!(refused, ServeError::Storage(_)), "{refused}");
        assert!(refused.to_string().contains(digest.as_str()), "{refused}");
    }
    let junk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(junk.path(), bytes_of(5000)).unwrap();
    let refused = serve(junk.path(), None).await.err().unwrap();
    assert!(matches!(refused, ServeError::Storage(StorageError::Bundle(_))), "{refused}");
}

/// A client that does not check digests stored damaged layers, and those that do could not tell the reason.
#[tokio::test]
async fn damaged_content_never_leaves_a_bundle_whole() {
    let mut layout = Layout::new();
    let layer = bytes_of(700_001);
    layout.add(Some(WEB), &layer);
    layout.add(Some(NODE), b"small");
    let damage = |bytes: &[u8]| {
        let path = layout.path_of(&Digest::sha256(bytes));
        let mut damaged = bytes.to_vec();
        damaged[bytes.len() / 2] ^= 1;
        std::fs::write(path, damaged).unwrap();
    };
    damage(&layer);
    damage(b"small");
    for path in [layout.folder.path(), &layout.tar()] {
        let registry = serve(path, None).await.unwrap();
        let url = format!("/v2/services/web/blobs/{}", Digest::sha256(&layer));
        let answer = registry.get(&url).await;
        assert_eq!(answer.status(), StatusCode::OK, "its head is sent before its end is read");
        answer.bytes().await.expect_err("the connection is cut");
        let mut stream = registry.connect().await;
        stream.write_all(format!("GET {url} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        assert!(received.len() < layer.len(), "the last piece is held back");
        // No range is sent either, also of bytes that are intact.
        for range in ["bytes=0-9", "bytes=-9", "bytes=700000-", "bytes=300000-400000"] {
            let answer = registry.request(Method::GET, &url).header("range", range).send().await.unwrap();
            let error = assert_refused(answer, StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await;
            assert!(error["message"].as_str().unwrap().contains("do not have the digest"), "{error}");
        }
        let small = registry.get(&format!("/v2/prom/node/blobs/{}", Digest::sha256(b"small"))).await;
        let error = assert_refused(small, StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await;
        assert!(error["message"].as_str().unwrap().contains("do not have the digest"), "{error}");
    }
}

/// Of a folder with many images only the index is read at startup. It kept one file open for each of them.
#[tokio::test]
async fn a_folder_of_many_images_keeps_no_file_open() {
    let mut layout = Layout::new();
    let manifest = layout.add(Some("reg.example.com/team/app0:1"), b"layer");
    let index = layout.images[0].clone();
    layout.images = (0..1500)
        .map(|number| {
            let mut named = index.clone();
            named["annotations"] =
                json!({ "org.opencontainers.image.ref.name": format!("reg.example.com/team/app{number}:1") });
            named
        })
        .collect();
    layout.add(Some("reg.example.com/team/other:1"), b"other layer");
    let missing = json!({ "mediaType": OCI_INDEX, "digest": Digest::sha256(b"missing"), "size": 7 });
    layout.name(missing, Some("reg.example.com/team/missing:1"));
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    let registry = serve(layout.folder.path(), None).await.unwrap();
    assert!(open_files() < before + 100, "{} files are open", open_files() - before);
    let list: Value = registry.get("/v2/_catalog?n=3").await.json().await.unwrap();
    assert_eq!(list["repositories"], json!(["app0", "app1", "app10"]));
    let layer = Digest::sha256(b"layer");
    // In any order: a blob before any manifest of its repository, and a child before its index.
    let blob = registry.get(&format!("/v2/app7/blobs/{layer}")).await;
    assert_eq!(blob.bytes().await.unwrap(), "layer");
    let child = registry.get(&format!("/v2/app8/manifests/{}", manifest["digest"].as_str().unwrap())).await;
    assert_eq!(header(&child, "content-type"), OCI_MANIFEST);
    let root = registry.get("/v2/app1499/manifests/1").await;
    assert_eq!(header(&root, "docker-content-digest"), index["digest"]);
    assert_eq!(root.json::<Value>().await.unwrap()["manifests"], json!([manifest]));
    let elsewhere = registry.get(&format!("/v2/other/blobs/{layer}")).await;
    assert_refused(elsewhere, StatusCode::NOT_FOUND, "BLOB_UNKNOWN").await;
    assert_eq!(registry.get("/v2/missing/manifests/1").await.status(), StatusCode::NOT_FOUND);
    let path = layout.path_of(&manifest["digest"].as_str().unwrap().parse().unwrap());
    std::fs::write(path, "{}").unwrap();
    let damaged = registry.get("/v2/app9/manifests/1").await;
    assert_refused(damaged, StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await;
}

#[tokio::test]
async fn a_layout_in_a_subfolder_is_named() {
    let mut layout = Layout::new();
    layout.add(Some(WEB), b"layer");
    let parent = tempfile::tempdir().unwrap();
    std::fs::rename(layout.folder.path(), parent.path().join("thoras")).unwrap();
    let refused = serve(parent.path(), None).await.err().unwrap();
    assert!(refused.to_string().contains("but its folder `thoras` is"), "{refused}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
}
