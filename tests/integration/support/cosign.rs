//! Runs cosign, the reference for signatures of images.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;
use tokio::process::Command;

use super::programs;

/// cosign with a folder of its own for keys, configuration and caches. It never asks and never uses a network service.
pub struct Cosign {
    folder: TempDir,
}

impl Cosign {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // No log, no timestamps, no certificates.
        let offline = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
        std::fs::write(folder.path().join("offline.json"), offline).unwrap();
        Self { folder }
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.key` and `NAME.pub`: ECDSA P-256.
    pub async fn generate_key(&self, name: &str) -> PathBuf {
        self.run(&["generate-key-pair", "--output-key-prefix", name]).await;
        self.file(&format!("{name}.pub"))
    }

    /// The same, from a private key in PKCS#8.
    pub async fn import_key(&self, name: &str, pem: &str) -> PathBuf {
        let file = self.file(&format!("{name}.pem"));
        std::fs::write(&file, pem).unwrap();
        self.run(&["import-key-pair", "--key", file.to_str().unwrap(), "--output-key-prefix", name]).await;
        self.file(&format!("{name}.pub"))
    }

    /// Signs an image with the key `NAME.key`: as a bundle that refers to the image.
    pub async fn sign(&self, name: &str, image: &str, more: &[&str]) {
        let key = format!("{name}.key");
        let offline = ["sign", "--yes", "--key", &key, "--signing-config", "offline.json"];
        self.run(&[&offline, more, &[image]].concat()).await;
    }

    /// The same in the older format, under a `.sig` tag.
    pub async fn sign_as_tag(&self, name: &str, image: &str, more: &[&str]) {
        let key = format!("{name}.key");
        let older = ["sign", "--yes", "--key", &key, "--use-signing-config=false"];
        let older = [&older[..], &["--new-bundle-format=false", "--tlog-upload=false"]].concat();
        self.run(&[&older, more, &[image]].concat()).await;
    }

    /// Whether `cosign verify ARGUMENTS… IMAGE` accepts an image, and what it says.
    pub async fn verifies(&self, arguments: &[&str], image: &str) -> (bool, String) {
        let output = self.output(&[&["verify"], arguments, &[image]].concat()).await;
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn run(&self, arguments: &[&str]) {
        let output = self.output(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cosign {}: {said}", arguments.join(" "));
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        let home: &Path = self.folder.path();
        Command::new(programs::find("THORAS_MIRROR_TEST_COSIGN", "cosign"))
            .args(arguments)
            .current_dir(home)
            .env("HOME", home)
            .env("TUF_ROOT", home.join("tuf"))
            // Without a network, it must fail at once instead of asking for the public instance's keys.
            .env("TUF_MIRROR", "http://127.0.0.1:9")
            .env("COSIGN_PASSWORD", "")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap()
    }
}
