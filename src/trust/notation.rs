//! Signatures of the Notary Project. The program `notation` verifies them; this module says what `notation` must trust and
//! which signature it verifies.

use std::path::Path;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use webpki::anchor_from_trusted_cert;

use super::{
    files::TrustFiles,
    policy::{ANY_IDENTITY, NotationRequirement},
};
use crate::{
    bounded_read::{self, MAX_SETTINGS_SIZE},
    error::{Failure, Kind},
    oci::{Digest, RawManifest},
};

/// The artifact type of its signatures.
pub(crate) const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";

/// Certificates and identities that some images need.
#[derive(Debug, Clone)]
pub(crate) struct NotationTrust {
    /// The certificate authorities, in PEM.
    pub(crate) authorities: Vec<Bytes>,
    /// The authorities of timestamps, in PEM.
    pub(crate) timestamp_authorities: Vec<Bytes>,
    /// As in the trust policy of notation.
    pub(crate) identities: Vec<String>,
    /// For messages: the files of the authorities.
    pub(crate) name: String,
}

impl NotationTrust {
    /// Reads the files.
    pub(super) fn load(required: &NotationRequirement, files: &TrustFiles) -> Result<Self, Failure> {
        let read = |paths: &[std::path::PathBuf]| {
            paths.iter().map(|path| certificates(path, files)).collect::<Result<Vec<_>, _>>()
        };
        let names: Vec<String> =
            required.certificates.iter().map(|path| path.display().to_string()).collect();
        let who = match required.identities.as_slice() {
            [identity] if identity == ANY_IDENTITY => String::new(),
            identities => format!(", {}", identities.join(" or ")),
        };
        Ok(Self {
            authorities: read(&required.certificates)?,
            timestamp_authorities: read(&required.timestamp_certificates)?,
            identities: required.identities.clone(),
            name: format!("{}{who}", names.join(", ")),
        })
    }
}

/// A file with at least one certificate.
fn certificates(path: &Path, files: &TrustFiles) -> Result<Bytes, Failure> {
    let refused = |what: &str| Failure::new(Kind::Input, format!("{what} {}", path.display()));
    let bytes = match files.read(path) {
        Some(bytes) => bytes.clone(),
        None => bounded_read::read(path, MAX_SETTINGS_SIZE).map(Bytes::from).map_err(|error| {
            let failure = refused("cannot read the certificate");
            Failure { causes: vec![error.to_string()], ..failure }
                .with_hint(bounded_read::hint_or(&error, "check the path; it is relative to the policy file"))
        })?,
    };
    if !is_certificate(&bytes) {
        return Err(refused("no certificate in PEM:").with_hint(
            "write the file of the authority that issued the publisher's certificate; openssl x509 -inform der converts DER",
        ));
    }
    Ok(bytes)
}

/// Whether a file consists of certificates in PEM.
pub(super) fn is_certificate(bytes: &[u8]) -> bool {
    let mut read = CertificateDer::pem_slice_iter(bytes).peekable();
    let is_valid = |certificate: CertificateDer<'_>| anchor_from_trusted_cert(&certificate).is_ok();
    read.peek().is_some() && read.all(|certificate| certificate.is_ok_and(is_valid))
}

/// A signature and what it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotationQuestion<'a> {
    /// The manifest of the image.
    pub(crate) image: &'a RawManifest,
    /// The manifest of the signature, and the bytes of its layers.
    pub(crate) signature: (&'a RawManifest, &'a [(Digest, Bytes)]),
    /// Whom to trust.
    pub(crate) trust: &'a NotationTrust,
}

/// What notation said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotationAnswer {
    /// The signature is valid.
    Valid,
    /// It is not, for this reason.
    Refused(String),
    /// It is not installed.
    Missing,
    /// It could not be run, for this reason.
    Failed(String),
}

/// Runs the program `notation`. A job provides it: notation reads from a registry.
pub(crate) trait NotationProgram: Send + Sync {
    /// Verifies one signature.
    fn verify<'a>(&'a self, question: NotationQuestion<'a>) -> BoxFuture<'a, NotationAnswer>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_too_large_is_not_at_another_path_bug() {
        let hint =
            |path: &str| certificates(Path::new(path), &TrustFiles::default()).unwrap_err().hint.unwrap();
        assert_eq!(hint("/dev/zero"), "check that it is the right file");
        assert!(hint("/none/such").starts_with("check the path"));
    }

    #[test]
    fn only_certificates_in_pem_are_accepted() {
        let key = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = key.cert.pem();
        assert!(is_certificate(certificate.as_bytes()));
        assert!(is_certificate(format!("{certificate}{certificate}").as_bytes()));
        assert!(!is_certificate(key.cert.der()));
        assert!(!is_certificate(key.signing_key.serialize_pem().as_bytes()));
        assert!(!is_certificate(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
        assert!(!is_certificate(b""));
    }
}
