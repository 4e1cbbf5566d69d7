//! Independent clients: skopeo, and the oci-client crate.

use std::ffi::OsString;

use oci_client::{
    Client as OciClient, Reference,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    secrets::RegistryAuth,
};
use thoras_mirror::oci::media_type::OCI_INDEX;
use tokio::process::Command;

use super::*;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An OCI layout of one image for two platforms that share a layer, with the reference name `v1`.
fn layout(folder: &Path) -> Digest {
    let put = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        let path = folder.join("blobs/sha256").join(digest.hex());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        digest
    };
    // The magic number of gzip: clients compress data that does not look compressed.
    let layer = |seed: u8, length| [&[0x1f, 0x8b, 0x08, seed][..], &bytes_of(length)].concat();
    let shared = layer(0, 400_000);
    let platforms = ["amd64", "arm64"].iter().zip([1, 2]).map(|(architecture, seed)| {
        let own = layer(seed, 1_000);
        let config = json!({
            "os": "linux", "architecture": architecture,
            "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(b"0"), Digest::sha256(&[seed])] },
        });
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIG, &put(config.as_bytes()), config.len()),
            "layers": [
                descriptor(LAYER, &put(&shared), shared.len()),
                descriptor(LAYER, &put(&own), own.len()),
            ],
        });
        let manifest = manifest.to_string();
        let mut entry = descriptor(OCI_MANIFEST, &put(manifest.as_bytes()), manifest.len());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    });
    let platforms: Vec<Value> = platforms.collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": platforms }).to_string();
    let digest = put(index.as_bytes());
    let mut root = descriptor(OCI_INDEX, &digest, index.len());
    root["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    let top = json!({ "schemaVersion": 2, "manifests": [root] });
    std::fs::write(folder.join("index.json"), top.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    digest
}

async fn skopeo(arguments: &[&str]) -> String {
    let program = std::env::var_os("THORAS_MIRROR_TEST_SKOPEO").unwrap_or_else(|| OsString::from("skopeo"));
    let output = Command::new(&program).arg("--insecure-policy").args(arguments).output().await;
    let output = output
        .unwrap_or_else(|error| panic!("{}: {error}: `scripts/test` installs skopeo", program.display()));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "skopeo {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pushes_lists_inspects_pulls_and_deletes() {
    let (_root, registry) = Registry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let digest = layout(folder.path());
    let from = format!("oci:{}:v1", folder.path().display());
    let image = format!("docker://{}/team/app:v1", registry.address);
    skopeo(&["copy", "--all", "--dest-tls-verify=false", &from, &image]).await;
    let copy = format!("docker://{}/other/app:v1", registry.address);
    skopeo(&["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", &image, &copy]).await;

    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &copy]).await;
    assert_eq!(Digest::sha256(raw.as_bytes()), digest, "the index came through unchanged");
    let tags = skopeo(&["list-tags", "--tls-verify=false", copy.trim_end_matches(":v1")]).await;
    assert!(tags.contains("\"v1\""), "{tags}");

    let back = tempfile::tempdir().unwrap();
    let to = format!("oci:{}:v1", back.path().display());
    skopeo(&["copy", "--all", "--src-tls-verify=false", &copy, &to]).await;
    let blobs = |folder: &Path| {
        let mut names: Vec<_> = files_below(&folder.join("blobs"))
            .iter()
            .map(|file| file.file_name().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(blobs(back.path()), blobs(folder.path()));

    skopeo(&["delete", "--tls-verify=false", &copy]).await;
    assert_eq!(registry.head("/v2/other/app/manifests/v1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(registry.head("/v2/team/app/manifests/v1").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_client_pushes_and_pulls() {
    let (_root, registry) = Registry::start().await;
    let image: Reference = format!("{}/team/app:v1", registry.address).parse().unwrap();
    let layers: Vec<_> = [10, 600_000].map(|length| ImageLayer::oci_v1_gzip(bytes_of(length), None)).into();
    for use_monolithic_push in [false, true] {
        let settings =
            ClientConfig { protocol: ClientProtocol::Http, use_monolithic_push, ..Default::default() };
        let client = OciClient::new(settings);
        let config = Config::oci_v1(&b"{}"[..], None);
        client.push(&image, &layers, config, &RegistryAuth::Anonymous, None).await.unwrap();
        let pulled = client.pull(&image, &RegistryAuth::Anonymous, vec![LAYER]).await.unwrap();
        // The client returns layers in the order in which they arrived.
        let contents = |layers: &[ImageLayer]| {
            let mut contents: Vec<_> = layers.iter().map(|layer| layer.data.clone()).collect();
            contents.sort();
            contents
        };
        assert!(contents(&pulled.layers) == contents(&layers));
        let tags = client.list_tags(&image, &RegistryAuth::Anonymous, None, None).await.unwrap();
        assert_eq!(tags.tags, ["v1"]);
    }
    let digest = Digest::sha256(&bytes_of(10));
    let elsewhere: Reference = format!("{}/other/app:v1", registry.address).parse().unwrap();
    let client = OciClient::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
    client.mount_blob(&elsewhere, &image, digest.as_str()).await.unwrap();
    assert!(client.blob_exists(&elsewhere, digest.as_str()).await.unwrap());
}
