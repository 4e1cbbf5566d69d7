//! Trusts a server's own certificate that the user passed with `--ca-cert`.
//!
//! Many private registries have a certificate that signs itself and is marked as an authority (the default of
//! `openssl req -x509`). webpki refuses such a certificate for a server; curl, crane and skopeo accept it. Here a
//! certificate is accepted without a chain only if it is byte for byte one of those in the file, valid now, valid for
//! the name and not restricted to other purposes. Every other certificate is verified as usual.

use std::sync::Arc;

use rustls_platform_verifier::Verifier;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs::default_provider, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{
    Certificate,
    der::{Decode, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage},
};

/// `id-kp-serverAuth` (RFC 5280, 4.2.1.12).
const SERVER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// `anyExtendedKeyUsage`.
const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A TLS configuration that trusts the system's authorities, those in `certificates`, and servers whose own certificate
/// is in `certificates`.
pub(super) fn config(
    certificates: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(default_provider());
    let verifier = Arc::new(ExactCertificateVerifier::new(certificates, &provider)?);
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct ExactCertificateVerifier {
    /// `None` without any authority: neither the file nor the system has one.
    usual: Option<Verifier>,
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactCertificateVerifier {
    /// A server's certificate signs no others, so only authorities become trust anchors: webpki would not ask whether an
    /// anchor is one.
    fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let authorities: Vec<_> = certificates.iter().filter(|own| may_sign(own)).cloned().collect();
        let has_authority = !authorities.is_empty();
        let usual = match Verifier::new_with_extra_roots(authorities, Arc::clone(provider)) {
            Ok(usual) => Some(usual),
            Err(error) if has_authority => return Err(error),
            Err(_) => None,
        };
        Ok(Self { usual, certificates, algorithms: provider.signature_verification_algorithms })
    }
}

/// Whether a certificate may sign others. Certificates before version 3 cannot say so.
fn may_sign(certificate: &CertificateDer<'_>) -> bool {
    let Ok(parsed) = Certificate::from_der(certificate) else { return true };
    let body = parsed.tbs_certificate();
    match body.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) => constraints.ca,
        Ok(None) => body.extensions().is_none(),
        Err(_) => true,
    }
}

impl ServerCertVerifier for ExactCertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match &self.usual {
            Some(usual) => {
                usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        match verified {
            Err(_) if self.certificates.iter().any(|known| **known == **end_entity) => {
                verify_exact(end_entity, server_name, now)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Everything but the chain: the handshake proves that the server has the private key.
fn verify_exact(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let refused = |problem| Err(Error::InvalidCertificate(problem));
    let Ok(parsed) = Certificate::from_der(certificate) else {
        return refused(CertificateError::BadEncoding);
    };
    let body = parsed.tbs_certificate();
    let validity = body.validity();
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return refused(CertificateError::NotValidYet);
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return refused(CertificateError::Expired);
    }
    match body.get_extension::<ExtendedKeyUsage>() {
        Ok(None) => {}
        Ok(Some((_, usage))) if usage.0.iter().any(|purpose| [SERVER, ANY].contains(purpose)) => {}
        Ok(Some(_)) => return refused(CertificateError::InvalidPurpose),
        Err(_) => return refused(CertificateError::BadEncoding),
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints as Constraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    use super::*;

    fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["reg.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(Constraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verified(
        passed: &CertificateDer<'static>,
        shown: &CertificateDer<'_>,
        name: &str,
    ) -> Result<(), Error> {
        let verifier =
            ExactCertificateVerifier::new(vec![passed.clone()], &Arc::new(default_provider())).unwrap();
        let (name, now) =
            (ServerName::try_from(name.to_owned()).unwrap(), Duration::from_secs(1_700_000_000));
        let found = verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::since_unix_epoch(now));
        found.map(drop)
    }

    fn problem(found: Result<(), Error>) -> CertificateError {
        match found {
            Err(Error::InvalidCertificate(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_servers_own_certificate_is_accepted_for_its_names_and_time_bug() {
        for is_ca in [IsCa::Ca(Constraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
            let own = self_signed(|params| params.is_ca = is_ca);
            assert_eq!(verified(&own, &own, "reg.example"), Ok(()));
            let other = problem(verified(&own, &own, "other.example"));
            assert!(matches!(other, CertificateError::NotValidForNameContext { .. }), "{other:?}");
        }
        let expired = self_signed(|params| params.not_after = date_time_ymd(2021, 1, 1));
        assert_eq!(problem(verified(&expired, &expired, "reg.example")), CertificateError::Expired);
        let early = self_signed(|params| params.not_before = date_time_ymd(2029, 1, 1));
        assert_eq!(problem(verified(&early, &early, "reg.example")), CertificateError::NotValidYet);
        let purpose = |purpose| self_signed(|params| params.extended_key_usages = vec![purpose]);
        let client = purpose(ExtendedKeyUsagePurpose::ClientAuth);
        assert_eq!(problem(verified(&client, &client, "reg.example")), CertificateError::InvalidPurpose);
        let server = purpose(ExtendedKeyUsagePurpose::ServerAuth);
        assert_eq!(verified(&server, &server, "reg.example"), Ok(()));
    }

    #[test]
    fn any_other_certificate_is_verified_as_usual() {
        let own = self_signed(|_| ());
        // The same names, signed by itself, marked as an authority: everything is equal but the key.
        let imposter = self_signed(|_| ());
        assert_ne!(verified(&own, &imposter, "reg.example"), Ok(()));
        // A server's own certificate does not become an authority for other names, whatever it has signed.
        for is_ca in [IsCa::ExplicitNoCa, IsCa::NoCa] {
            let key = KeyPair::generate().unwrap();
            let mut leaf = CertificateParams::new(["reg.example".to_owned()]).unwrap();
            leaf.is_ca = is_ca;
            let passed = leaf.self_signed(&key).unwrap().der().clone();
            let params = CertificateParams::new(["victim.example".to_owned()]).unwrap();
            let forged = params.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(leaf, key)).unwrap();
            let found = problem(verified(&passed, forged.der(), "victim.example"));
            assert_eq!(found, CertificateError::UnknownIssuer);
        }
        // An authority still is one.
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(Constraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().der().clone();
        let leaf = CertificateParams::new(["reg.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        assert_eq!(verified(&authority, leaf.der(), "reg.example"), Ok(()));
    }
}
