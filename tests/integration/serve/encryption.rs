//! TLS: valid, unusable and renewed certificates.

use thoras_mirror::serve::{TlsError, TlsFiles};

use super::*;
use crate::support::tls::Authority;

fn files(authority: &Authority) -> TlsFiles {
    TlsFiles { certificate: authority.server_certificate_file(), key: authority.server_key_file() }
}

/// A client that trusts only this authority.
fn trusting(authority: &Authority) -> Client {
    let pem = std::fs::read(authority.certificate_file()).unwrap();
    let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
    Client::builder().no_proxy().tls_certs_only([certificate]).pool_max_idle_per_host(0).build().unwrap()
}

async fn encrypted(root: &Path, tls: TlsFiles) -> Result<Registry, ServeError> {
    Registry::with(Options { tls: Some(tls), ..Options::new(root) }).await
}

#[tokio::test]
async fn pushes_and_pulls_are_encrypted() {
    let (root, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut registry = encrypted(root.path(), files(&authority)).await.unwrap();
    registry.client = trusting(&authority);
    let bytes = bytes_of(700_000);
    let digest = registry.push_blob("a", &bytes).await;
    let answer = registry.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(answer.url().scheme(), "https");
    assert!(answer.bytes().await.unwrap() == bytes);
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("http://{}/v2/", registry.address)).send().await.is_err());
}

#[tokio::test]
async fn a_stalled_handshake_does_not_block_other_clients() {
    let (root, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let limits =
        Limits { connections: 1, head_time: std::time::Duration::from_millis(100), ..Limits::default() };
    let options = Options { tls: Some(files(&authority)), limits, ..Options::new(root.path()) };
    let mut registry = Registry::with(options).await.unwrap();
    registry.client = trusting(&authority);
    let silent = registry.connect().await;
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
    drop(silent);
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (root, old, new) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let tls = files(&old);
    let mut registry = encrypted(root.path(), tls.clone()).await.unwrap();
    registry.client = trusting(&old);
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);

    std::fs::copy(new.server_certificate_file(), &tls.certificate).unwrap();
    let error = registry.reloader.reload().unwrap_err();
    assert!(matches!(error, ServeError::Tls(TlsError::Mismatch { .. })), "half a renewal: {error}");
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK, "the old one stays in use");

    std::fs::copy(new.server_key_file(), &tls.key).unwrap();
    registry.reloader.reload().unwrap();
    registry.client = trusting(&new);
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn unusable_files_are_named_with_the_problem() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let good = files(&authority);
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = std::fs::read_to_string(&good.key).unwrap();
    let (first, secret) = key.split_once('\n').unwrap();
    let cut = write("cut.key", &format!("{first}\n{secret}").replace("-----END", ""));
    let garbage = write("garbage.key", &format!("{first}\n!!!\n-----END PRIVATE KEY-----\n"));
    let empty = write("empty.pem", "not a certificate\n");
    let absent = folder.path().join("absent");
    let stranger = Authority::new();
    let other = stranger.server_key_file();
    for (certificate, key, named, text) in [
        (&absent, &good.key, "absent", "cannot read"),
        (&good.certificate, &absent, "absent", "cannot read"),
        (&empty, &good.key, "empty.pem", "contains no certificate"),
        (&good.key, &good.key, "server.key", "contains no certificate"),
        (&good.certificate, &good.certificate, "server.pem", "contains no usable private key"),
        (&good.certificate, &cut, "cut.key", "a section has no end"),
        (&good.certificate, &garbage, "garbage.key", "not base64"),
        (&good.certificate, &other, "server.key", "does not work with the key in"),
    ] {
        let tls = TlsFiles { certificate: certificate.clone(), key: key.clone() };
        let error = encrypted(&folder.path().join("registry"), tls).await.err().unwrap().to_string();
        assert!(error.contains(named) && error.contains(text), "{error}");
        assert!(secret.lines().all(|line| !error.contains(line)), "{error}");
    }
    assert!(!folder.path().join("registry").exists(), "nothing was created");
}
