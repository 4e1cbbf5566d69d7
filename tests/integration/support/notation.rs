//! Runs notation, the reference for signatures of the Notary Project.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;
use tokio::process::Command;

use super::programs;

/// notation with a folder of its own for keys, certificates and its trust policy.
pub struct Notation {
    folder: TempDir,
}

impl Notation {
    /// Trusts the certificates of [`Notation::generate_key`] for this name only, in every repository.
    pub fn trusting(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = serde_json::json!({ "version": "1.0", "trustPolicies": [{
            "name": "test",
            "registryScopes": ["*"],
            "signatureVerification": { "level": "strict" },
            "trustStores": [format!("ca:{name}")],
            "trustedIdentities": ["*"],
        }]});
        std::fs::create_dir(folder.path().join("notation")).unwrap();
        std::fs::write(folder.path().join("notation/trustpolicy.json"), policy.to_string()).unwrap();
        Self { folder }
    }

    /// Makes a key with a certificate that signs itself, and puts it into the trust store of that name.
    pub async fn generate_key(&self, name: &str) -> PathBuf {
        self.run(&["cert", "generate-test", name]).await;
        self.folder.path().join(format!("notation/localkeys/{name}.crt"))
    }

    /// Adds a key with its certificate, and puts the certificate into the trust store.
    pub fn add_key(&self, name: &str, key: &str, certificate: &str) -> PathBuf {
        let configuration = self.folder.path().join("notation");
        let (key_file, file) =
            [".key", ".crt"].map(|suffix| configuration.join(format!("localkeys/{name}{suffix}"))).into();
        std::fs::write(&key_file, key).unwrap();
        std::fs::write(&file, certificate).unwrap();
        let keys = serde_json::json!({ "keys": [{ "name": name, "keyPath": key_file, "certPath": file }] });
        std::fs::write(configuration.join("signingkeys.json"), keys.to_string()).unwrap();
        let stores = std::fs::read_dir(configuration.join("truststore/x509/ca")).unwrap();
        for store in stores {
            std::fs::copy(&file, store.unwrap().path().join(format!("{name}.crt"))).unwrap();
        }
        file
    }

    /// Signs an image, through the referrers API where the registry has it.
    pub async fn sign(&self, name: &str, image: &str) {
        self.run(&["sign", "--key", name, "--force-referrers-tag=false", "--insecure-registry", image]).await;
    }

    /// Whether `notation verify IMAGE` accepts an image, and what it says.
    pub async fn verifies(&self, image: &str) -> (bool, String) {
        let output = self.output(&["verify", "--insecure-registry", image]).await;
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    async fn run(&self, arguments: &[&str]) {
        let output = self.output(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "notation {}: {said}", arguments.join(" "));
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        let home: &Path = self.folder.path();
        Command::new(programs::find("THORAS_MIRROR_TEST_NOTATION", "notation"))
            .args(arguments)
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .env("DOCKER_CONFIG", home)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap()
    }
}
