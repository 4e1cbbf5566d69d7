//! Runs notation, the reference for signatures of the Notary Project.

use std::path::PathBuf;

use super::isolated::Isolated;

/// notation with a folder of its own for keys, certificates and its trust policy.
pub struct Notation(Isolated);

impl Notation {
    /// Trusts the certificates of [`Notation::generate_key`] for this name only, in every repository.
    pub fn trusting(name: &str) -> Self {
        let notation = Isolated::new("THORAS_MIRROR_TEST_NOTATION", "notation")
            .with_home_in("XDG_CONFIG_HOME")
            .with_home_in("DOCKER_CONFIG");
        let policy = serde_json::json!({ "version": "1.0", "trustPolicies": [{
            "name": "test",
            "registryScopes": ["*"],
            "signatureVerification": { "level": "strict" },
            "trustStores": [format!("ca:{name}")],
            "trustedIdentities": ["*"],
        }]});
        std::fs::create_dir(notation.file("notation")).unwrap();
        std::fs::write(notation.file("notation/trustpolicy.json"), policy.to_string()).unwrap();
        Self(notation)
    }

    /// Makes a key with a certificate that signs itself, and puts it into the trust store of that name.
    pub async fn generate_key(&self, name: &str) -> PathBuf {
        self.0.run(&["cert", "generate-test", name]).await;
        self.0.file(format!("notation/localkeys/{name}.crt"))
    }

    /// Adds a key with its certificate, and puts the certificate into the trust store.
    pub fn add_key(&self, name: &str, key: &str, certificate: &str) -> PathBuf {
        let configuration = self.0.file("notation");
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
        self.0
            .run(&["sign", "--key", name, "--force-referrers-tag=false", "--insecure-registry", image])
            .await;
    }

    /// Whether `notation verify IMAGE` accepts an image, and what it says.
    pub async fn verifies(&self, image: &str) -> (bool, String) {
        self.0.says(&["verify", "--insecure-registry", image]).await
    }
}
