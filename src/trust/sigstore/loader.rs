//! Reads keys and trusted roots.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use sigstore_verify::{
    Verifier as SigstoreVerifier,
    crypto::KeyAlgorithm,
    trust_root::{SigstoreInstance, TrustedRoot},
    types::DerPublicKey,
};

use super::{Authority, Key};
use crate::{
    bounded_read::{self, MAX_SETTINGS_SIZE},
    error::{Failure, Kind},
    signing::{KeyError, public_key_der},
    trust::{
        files::TrustFiles,
        policy::{Keys, Requirement},
    },
};

/// Reads each trusted root once.
pub(in crate::trust) struct Loader {
    files: TrustFiles,
    /// Without a path: the public Sigstore instance.
    roots: HashMap<Option<PathBuf>, Arc<SigstoreVerifier>>,
}

impl Loader {
    /// Looks for a path among these files before it reads the disk.
    pub(in crate::trust) fn new(files: TrustFiles) -> Self {
        Self { files, roots: HashMap::new() }
    }

    /// Those of which one must have signed; `None` if no signature is required.
    pub(in crate::trust) fn authorities(
        &mut self,
        requirement: &Requirement,
    ) -> Result<Option<Vec<Authority>>, Failure> {
        Ok(match requirement {
            Requirement::Unsigned | Requirement::Notation(_) => None,
            Requirement::Keys(keys) => {
                Some(keys.files.iter().map(|file| self.key(file, keys)).collect::<Result<_, _>>()?)
            }
            Requirement::Identity(identity) => {
                let root = self.root(identity.trusted_root.as_deref())?;
                Some(vec![Authority::Identity(Box::new(identity.clone()), root)])
            }
        })
    }

    fn key(&mut self, file: &Path, keys: &Keys) -> Result<Authority, Failure> {
        let public = public_key(&read(file, &self.files, "public key", "--verify-key")?, file)?;
        let log = if keys.ignore_log { None } else { Some(self.root(keys.trusted_root.as_deref())?) };
        Ok(Authority::Key(Key { file: file.display().to_string(), public, log }))
    }

    fn root(&mut self, file: Option<&Path>) -> Result<Arc<SigstoreVerifier>, Failure> {
        let key = file.map(Path::to_owned);
        if let Some(root) = self.roots.get(&key) {
            return Ok(root.clone());
        }
        let root = Arc::new(read_root(file, &self.files)?);
        self.roots.insert(key, root.clone());
        Ok(root)
    }
}

fn read_root(file: Option<&Path>, files: &TrustFiles) -> Result<SigstoreVerifier, Failure> {
    let refused = |error: &(dyn std::error::Error + 'static)| {
        let name =
            file.map_or_else(|| "the built-in trusted root".to_owned(), |file| file.display().to_string());
        let failure = Failure::from_error(Kind::Input, error);
        let causes = std::iter::once(failure.message).chain(failure.causes).collect();
        Failure { causes, ..Failure::new(Kind::Input, format!("{name} is not a Sigstore trusted root")) }
            .with_hint("pass the trusted_root.json that the publisher provides, or write one with cosign trusted-root create")
    };
    let root = match file {
        Some(file) => TrustedRoot::from_json(&read(file, files, "trusted root", "--trusted-root")?),
        None => SigstoreInstance::PublicGood.embedded_trusted_root(),
    };
    let root = root.map_err(|error| refused(&error))?;
    SigstoreVerifier::new(&root).map_err(|error| refused(&error))
}

/// Reads a file that a flag or a policy names.
fn read(file: &Path, files: &TrustFiles, what: &str, flag: &str) -> Result<String, Failure> {
    if let Some(bytes) = files.read(file) {
        return Ok(String::from_utf8_lossy(bytes).into_owned());
    }
    bounded_read::read_text(file, MAX_SETTINGS_SIZE).map_err(|error| {
        let failure = Failure::from_error(Kind::Input, &error);
        Failure {
            causes: vec![failure.message],
            ..Failure::new(Kind::Input, format!("cannot read the {what} {}", file.display()))
        }
        .with_hint(if bounded_read::is_other_file(error.kind()) {
            "check that it is the right file".to_owned()
        } else {
            format!(
                "check the path: with {flag} it is relative to the current directory, in a policy to its file"
            )
        })
    })
}

/// Reads a public key in PEM of an algorithm that Sigstore uses.
fn public_key(text: &str, file: &Path) -> Result<DerPublicKey, Failure> {
    let name = file.display();
    let refused = |message: String, hint: &str| Failure::new(Kind::Input, message).with_hint(hint);
    let der = public_key_der(text.as_bytes()).map_err(|error| match error {
        KeyError::Private => refused(
            format!("{name} holds a private key, not a public key"),
            "pass the public key: cosign generate-key-pair writes it to cosign.pub",
        ),
        KeyError::Certificate => refused(
            format!("{name} holds a certificate, not a public key"),
            "pass its public key: openssl x509 -pubkey -noout -in FILE prints it",
        ),
        _ => refused(
            format!("{name} does not hold a public key in PEM (BEGIN PUBLIC KEY)"),
            "pass the cosign.pub that the publisher provides",
        ),
    })?;
    let key = DerPublicKey::new(der);
    KeyAlgorithm::from_spki(&key).map_err(|error| {
        refused(
            format!("{name} holds a key that cannot be used: {error}"),
            "use an ECDSA key (P-256, P-384), an RSA key of 2048 to 8192 bits, or an Ed25519 key",
        )
    })?;
    Ok(key)
}
