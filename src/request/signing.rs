//! Keys that sign bundles and receipts, and keys that check them. Their files are read before any other work.

use std::{
    env,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::{access::read_file, read_secret_from_stdin, usage};
use crate::{
    cli::{SignatureArgs, SigningArgs, variable},
    error::{Failure, remember_secret},
    signing::{KeyError, MAX_KEY_SIZE, PrivateKey, PublicKey},
};

/// A private key, and its password.
#[derive(Debug, Clone)]
pub(crate) struct SigningKey {
    path: PathBuf,
    password: Option<KeyPassword>,
}

/// Where the password of a key comes from.
#[derive(Debug, Clone)]
enum KeyPassword {
    /// Standard input.
    Stdin,
    /// The environment. It may be empty.
    Variable(&'static str, SecretString),
}

/// A public key that a bundle or a receipt must be signed with, and the name of the signature if it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequiredSignature {
    pub(crate) key: PathBuf,
    pub(crate) signature: Option<PathBuf>,
}

impl SigningKey {
    pub(super) fn new(args: SigningArgs) -> Option<Self> {
        let SigningArgs { sign_key, sign_password_stdin } = args;
        let variable = |name| Some(KeyPassword::Variable(name, env::var(name).ok()?.into()));
        let password = if sign_password_stdin {
            Some(KeyPassword::Stdin)
        } else {
            variable(variable::SIGN_PASSWORD).or_else(|| variable(variable::COSIGN_PASSWORD))
        };
        Some(Self { path: sign_key?, password })
    }

    /// Reads and decrypts the key.
    pub(crate) fn read(&self) -> Result<PrivateKey, Failure> {
        let flag = "--sign-key";
        let text = read_key(&self.path, flag)?;
        let password = match &self.password {
            Some(KeyPassword::Stdin) => {
                let text = read_secret_from_stdin("--sign-password-stdin")?;
                let password = text.trim_end_matches(['\r', '\n']);
                remember_secret(password);
                Some(password.into())
            }
            Some(KeyPassword::Variable(_, password)) => Some(password.clone()),
            None => None,
        };
        PrivateKey::from_pem(&text, password.as_ref()).map_err(|error| {
            let wrong = matches!(error, KeyError::WrongPassword).then(|| self.wrong_password());
            refused(&self.path, flag, error).with_optional_hint(wrong)
        })
    }

    /// What to do about a wrong password: it names where that came from.
    fn wrong_password(&self) -> String {
        let correct = match &self.password {
            Some(KeyPassword::Variable(name, _)) => format!("correct the password in {name}"),
            _ => "write the right password to standard input".to_owned(),
        };
        format!("{correct}, or copy the key again")
    }
}

impl RequiredSignature {
    pub(super) fn new(args: SignatureArgs) -> Option<Self> {
        let SignatureArgs { bundle_key, signature } = args;
        Some(Self { key: bundle_key?, signature })
    }

    /// Reads the key.
    pub(crate) fn read_key(&self) -> Result<PublicKey, Failure> {
        let flag = "--bundle-key";
        let text = read_key(&self.key, flag)?;
        PublicKey::from_pem(&text).map_err(|error| refused(&self.key, flag, error))
    }
}

fn read_key(path: &Path, flag: &str) -> Result<Vec<u8>, Failure> {
    let text = read_file(path, flag)?;
    if text.len() > MAX_KEY_SIZE {
        return Err(usage(format!("{flag}: {} is too large for a key", path.display())));
    }
    Ok(text)
}

fn refused(path: &Path, flag: &str, error: KeyError) -> Failure {
    let failure = usage(format!("{flag}: {}: {error}", path.display()));
    failure.with_hint(match error {
        KeyError::NoPassword | KeyError::WrongPassword => format!(
            "set {} or {}, or pass --sign-password-stdin",
            variable::SIGN_PASSWORD,
            variable::COSIGN_PASSWORD
        ),
        KeyError::Format { .. } => {
            "convert it with `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW` or `cosign import-key-pair --key OLD`".to_owned()
        }
        KeyError::Private => "pass the public key: `cosign public-key --key KEY` or `openssl pkey -pubout -in KEY` prints it".to_owned(),
        KeyError::Certificate => "pass its public key: `openssl x509 -pubkey -noout -in CERTIFICATE` prints it".to_owned(),
        KeyError::Public => "pass the private key that belongs to it".to_owned(),
        KeyError::Algorithm | KeyError::Encryption | KeyError::NotPem | KeyError::OtherPem { .. } => {
            "`cosign generate-key-pair` creates a suitable pair of keys".to_owned()
        }
    })
}
