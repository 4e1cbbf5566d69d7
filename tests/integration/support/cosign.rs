//! Runs cosign, the reference for signatures of images.

use std::path::PathBuf;

use super::isolated::Isolated;

/// cosign with a folder of its own for keys, configuration and caches. It never asks and never uses a network service.
pub struct Cosign(Isolated);

impl Cosign {
    pub fn new() -> Self {
        // Without a network, it must fail at once instead of asking for the public instance's keys.
        let cosign = Isolated::new("THORAS_MIRROR_TEST_COSIGN", "cosign")
            .with_home_in("TUF_ROOT")
            .with("TUF_MIRROR", "http://127.0.0.1:9")
            .with("COSIGN_PASSWORD", "");
        // No log, no timestamps, no certificates.
        let offline = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
        std::fs::write(cosign.file("offline.json"), offline).unwrap();
        Self(cosign)
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    /// Writes `NAME.key` and `NAME.pub`: ECDSA P-256.
    pub async fn generate_key(&self, name: &str) -> PathBuf {
        self.0.run(&["generate-key-pair", "--output-key-prefix", name]).await;
        self.file(&format!("{name}.pub"))
    }

    /// The same, from a private key in PKCS#8.
    pub async fn import_key(&self, name: &str, pem: &str) -> PathBuf {
        let file = self.file(&format!("{name}.pem"));
        std::fs::write(&file, pem).unwrap();
        self.0.run(&["import-key-pair", "--key", file.to_str().unwrap(), "--output-key-prefix", name]).await;
        self.file(&format!("{name}.pub"))
    }

    /// Signs an image with the key `NAME.key`: as a bundle that refers to the image.
    pub async fn sign(&self, name: &str, image: &str, more: &[&str]) {
        let key = format!("{name}.key");
        let offline = ["sign", "--yes", "--key", &key, "--signing-config", "offline.json"];
        self.0.run(&[&offline, more, &[image]].concat()).await;
    }

    /// The same in the older format, under a `.sig` tag.
    pub async fn sign_as_tag(&self, name: &str, image: &str, more: &[&str]) {
        let key = format!("{name}.key");
        let older = ["sign", "--yes", "--key", &key, "--use-signing-config=false"];
        let older = [&older[..], &["--new-bundle-format=false", "--tlog-upload=false"]].concat();
        self.0.run(&[&older, more, &[image]].concat()).await;
    }

    /// Whether `cosign verify ARGUMENTS… IMAGE` accepts an image, and what it says.
    pub async fn verifies(&self, arguments: &[&str], image: &str) -> (bool, String) {
        self.0.says(&[&["verify"], arguments, &[image]].concat()).await
    }
}
