//! A private certificate authority, and the certificates that it issues: one for a server, one for a client.

use std::{path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

/// A host name that does not resolve, for servers behind a proxy.
pub const REMOTE_HOST: &str = "registry.test";

/// An authority that is not trusted by default, with a certificate for this machine and [`REMOTE_HOST`].
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    certificate: CertificateDer<'static>,
    server_certificate: rcgen::Certificate,
    server_key: KeyPair,
}

impl Authority {
    /// A new authority with its own keys.
    pub fn new() -> Self {
        Self::with_server(|_| ())
    }

    /// One with an expired server certificate.
    pub fn expired() -> Self {
        Self::with_server(|params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        })
    }

    /// One with a server certificate for another name.
    pub fn for_another_name() -> Self {
        Self::with_server(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(REMOTE_HOST.try_into().unwrap())];
        })
    }

    /// One with a server certificate for these names.
    pub fn for_names(names: &[&str]) -> Self {
        let name = |name: &&str| rcgen::SanType::DnsName((*name).try_into().unwrap());
        Self::with_server(|params| params.subject_alt_names.extend(names.iter().map(name)))
    }

    /// A server certificate that signs itself and is marked as an authority, as `openssl req -x509` makes it.
    pub fn self_signed() -> Self {
        let made = Self::new();
        let names = ["localhost", "127.0.0.1", "::1", REMOTE_HOST].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test server");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let server_key = KeyPair::generate().unwrap();
        let server_certificate = params.self_signed(&server_key).unwrap();
        for name in ["authority.pem", "server.pem"] {
            std::fs::write(made.folder.path().join(name), server_certificate.pem()).unwrap();
        }
        std::fs::write(made.folder.path().join("server.key"), server_key.serialize_pem()).unwrap();
        let certificate = server_certificate.der().clone();
        Self { certificate, server_certificate, server_key, ..made }
    }

    fn with_server(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let server_key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "::1", REMOTE_HOST].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "test server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let server_certificate = params.signed_by(&server_key, &issuer).unwrap();

        let client_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_certificate = params.signed_by(&client_key, &issuer).unwrap();

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("client.pem"), client_certificate.pem()).unwrap();
        std::fs::write(folder.path().join("client.key"), client_key.serialize_pem()).unwrap();
        std::fs::write(folder.path().join("authority.pem"), issuer.pem()).unwrap();
        std::fs::write(folder.path().join("server.pem"), server_certificate.pem()).unwrap();
        std::fs::write(folder.path().join("server.key"), server_key.serialize_pem()).unwrap();
        let certificate = issuer.der().clone();
        Self { folder, certificate, server_certificate, server_key }
    }

    /// The file that a client must trust.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The server's certificate, in PEM.
    pub fn server_certificate_file(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The server's private key, in PEM.
    pub fn server_key_file(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// A client's certificate, in PEM.
    pub fn client_certificate_file(&self) -> PathBuf {
        self.folder.path().join("client.pem")
    }

    /// The client's private key, in PEM.
    pub fn client_key_file(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    /// Accepts TLS connections. It requests a client certificate and does not require one.
    pub fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.server_key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(vec![self.server_certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
