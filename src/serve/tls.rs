//! The server's certificate: read, checked against its key, and reloaded on demand.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject as _},
        },
    },
};

use crate::bounded_read::{self, MAX_SETTINGS_SIZE};

use super::options::TlsFiles;

/// Why HTTPS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("{path} is not PEM: {problem}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file contains no certificate.
    #[error("{0} contains no certificate (BEGIN CERTIFICATE)")]
    NoCertificate(PathBuf),
    /// The file contains no usable private key.
    #[error(
        "{0} contains no usable private key: it needs a line with BEGIN PRIVATE KEY, and must not be encrypted"
    )]
    NoKey(PathBuf),
    /// The two files do not belong together, or the key has an unknown type.
    #[error("the certificate in {certificate} does not work with the key in {key}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
}

/// The certificate for new connections.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub(super) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let config = read(&files)?;
        Ok(Self { files, config: RwLock::new(config) })
    }

    /// Reloads both files, for [`Self::replace`].
    pub(super) fn read_again(&self) -> Result<Arc<ServerConfig>, TlsError> {
        read(&self.files)
    }

    /// Uses this certificate for new connections.
    pub(super) fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let TlsFiles { certificate, key } = files;
    let mismatch = |source| TlsError::Mismatch { certificate: certificate.clone(), key: key.clone(), source };
    let chain = read_chain(certificate)?;
    let private_key = match PrivateKeyDer::from_pem_slice(&read_file(key)?) {
        Ok(private_key) => private_key,
        Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey(key.clone())),
        Err(error) => return Err(malformed(key, &error)),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_file(path)?).collect();
    let chain = chain.map_err(|error| malformed(path, &error))?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    bounded_read::read(path, MAX_SETTINGS_SIZE)
        .map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Describes the error without repeating the file's content, which may be a key.
fn malformed(path: &Path, error: &pem::Error) -> TlsError {
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section's first line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    TlsError::Pem { path: path.to_owned(), problem: problem.to_owned() }
}
