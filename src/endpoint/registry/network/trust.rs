//! The authorities that TLS trusts and the client certificates, for all registries or for one.
//!
//! Files are checked when the settings are read, so that a bad file is a usage error and not a failed connection an
//! hour later.

use std::{collections::BTreeSet, fmt};

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{super::auth::Origin, exact};

/// Why a file is not usable. Never repeats its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(String);

/// The registries that a setting applies to: one, or all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingScope(Option<Origin>);

impl SettingScope {
    /// For every registry.
    pub const EVERY: Self = Self(None);

    /// For one registry only.
    #[must_use]
    pub fn only(origin: Origin) -> Self {
        Self(Some(origin))
    }

    fn covers(&self, origin: &Origin) -> bool {
        self.0.as_ref().is_none_or(|own| own == origin)
    }

    fn is_about(&self, origin: &Origin) -> bool {
        self.0.as_ref() == Some(origin)
    }
}

/// The role of a host, which decides whether it receives a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HostRole {
    /// Images are read from it or written to it.
    Registry,
    /// A registry named it: in a redirect, as a token server, or in the `Location` of an upload.
    Referred,
    /// A manifest named it, whose author is unknown.
    Unknown,
}

/// A client certificate, as the HTTP library takes it and in PEM.
#[derive(Clone)]
struct OwnIdentity {
    identity: Identity,
    pem: SecretSlice<u8>,
}

/// Additional certificate authorities, client certificates, and registries without verification.
#[derive(Clone, Default)]
pub struct Trust {
    authorities: Vec<(SettingScope, Vec<CertificateDer<'static>>)>,
    identities: Vec<(SettingScope, OwnIdentity)>,
    unverified: BTreeSet<Origin>,
}

impl Trust {
    /// Trusts the authorities in a PEM file in addition to the system's, and servers whose own certificate is in it.
    pub fn add_authorities(&mut self, scope: SettingScope, pem: &[u8]) -> Result<(), TrustError> {
        let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(TrustError("it contains no certificate in PEM form".to_owned()));
        }
        let probe = Client::builder().no_proxy().tls_certs_only(certificates.clone()).build();
        probe.map_err(|error| {
            TrustError(format!("it holds an invalid certificate: {}", super::innermost(&error)))
        })?;
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        self.authorities.push((scope, certificates));
        Ok(())
    }

    /// Presents a client certificate to servers that request one. `pem` holds the certificate, its chain and its
    /// private key.
    pub fn add_identity(&mut self, scope: SettingScope, pem: &[u8]) -> Result<(), TrustError> {
        let labels = labels(pem);
        let refused = |reason: &str| Err(TrustError(reason.to_owned()));
        if !labels.iter().any(|label| label == "CERTIFICATE") {
            return refused("it contains no certificate in PEM form");
        }
        if labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") {
            return refused("the private key is encrypted: decrypt it first (`openssl pkey -in FILE`)");
        }
        if !labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
            return refused("it contains no private key in PEM form");
        }
        if self.identities.iter().any(|(other, _)| *other == scope) {
            return refused("there is another client certificate for the same registries");
        }
        // Building a client checks that the key matches the certificate.
        let identity = Identity::from_pem(pem).and_then(|identity| {
            Client::builder().no_proxy().tls_certs_only([]).identity(identity.clone()).build()?;
            Ok(identity)
        });
        let identity = identity.map_err(|error| {
            TrustError(format!(
                "the certificate and the private key do not match: {}",
                super::innermost(&error)
            ))
        })?;
        self.identities.push((scope, OwnIdentity { identity, pem: pem.to_vec().into() }));
        Ok(())
    }

    /// Accepts any certificate of this registry.
    pub fn accept_any(&mut self, origin: Origin) {
        self.unverified.insert(origin);
    }

    /// Whether this registry's certificate is not verified.
    #[must_use]
    pub(crate) fn accepts_any(&self, origin: &Origin) -> bool {
        self.unverified.contains(origin)
    }

    /// Whether a setting applies to this origin alone, so that it needs its own connection pool.
    pub(super) fn is_particular(&self, origin: &Origin) -> bool {
        self.accepts_any(origin)
            || self.authorities.iter().any(|(scope, _)| scope.is_about(origin))
            || self.identities.iter().any(|(scope, _)| scope.is_about(origin))
    }

    /// Whether there are client certificates, so that the role of a host matters.
    pub(super) fn has_identities(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Applies the settings for an https origin. Only this function reads the system's authorities.
    pub(super) fn apply(
        &self,
        builder: ClientBuilder,
        origin: &Origin,
        role: HostRole,
    ) -> Result<ClientBuilder, TrustError> {
        let identity = self.identity(origin, role);
        let authorities = self.authorities.iter().filter(|(scope, _)| scope.covers(origin));
        let authorities: Vec<_> = authorities.flat_map(|(_, certificates)| certificates.clone()).collect();
        let builder = if self.accepts_any(origin) {
            builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true)
        } else if authorities.is_empty() {
            builder.tls_certs_merge([])
        } else {
            let pair = identity.map(OwnIdentity::pair).transpose()?;
            let config = exact::config(authorities, pair).map_err(|error| TrustError(error.to_string()))?;
            return Ok(builder.tls_backend_preconfigured(config));
        };
        Ok(match identity {
            Some(own) => builder.identity(own.identity.clone()),
            None => builder,
        })
    }

    /// The client certificate for an origin: one for this origin alone takes precedence over one for all registries.
    fn identity(&self, origin: &Origin, role: HostRole) -> Option<&OwnIdentity> {
        let common = |scope: &SettingScope| role == HostRole::Registry && *scope == SettingScope::EVERY;
        let own = self.identities.iter().find(|(scope, _)| scope.is_about(origin));
        let own = own.filter(|_| role != HostRole::Unknown);
        own.or_else(|| self.identities.iter().find(|(scope, _)| common(scope))).map(|(_, identity)| identity)
    }
}

impl OwnIdentity {
    /// The chain and the private key.
    fn pair(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TrustError> {
        let pem = self.pem.expose_secret();
        let unusable = |_| TrustError("the client certificate cannot be read".to_owned());
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(unusable)?;
        Ok((chain, PrivateKeyDer::from_pem_slice(pem).map_err(unusable)?))
    }
}

/// The labels of a file's PEM sections.
fn labels(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem);
    let label = |line: &str| {
        let label = line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
        Some(label.to_owned())
    };
    text.lines().filter_map(label).collect()
}

/// Counts only: an identity holds a private key.
impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trust")
            .field("authorities", &self.authorities.len())
            .field("identities", &self.identities.len())
            .field("unverified", &self.unverified)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::endpoint::registry::auth::Scheme;

    fn origin(registry: &str) -> Origin {
        Origin::of_registry(registry, Scheme::Https).unwrap()
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn identity(pem: &str) -> Result<(), String> {
        Trust::default().add_identity(SettingScope::EVERY, pem.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_certificate_needs_its_own_private_key() {
        let ((certificate, key), (_, foreign)) = (pair(), pair());
        assert_eq!(identity(&format!("{certificate}{key}")), Ok(()));
        assert_eq!(identity(&format!("{key}{certificate}")), Ok(()), "in any order");
        assert_eq!(identity(&certificate).unwrap_err(), "it contains no private key in PEM form");
        assert_eq!(identity(&key).unwrap_err(), "it contains no certificate in PEM form");
        let mismatch = identity(&format!("{certificate}{foreign}")).unwrap_err();
        assert!(mismatch.starts_with("the certificate and the private key do not match: "), "{mismatch}");
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(identity(&format!("{certificate}{encrypted}")).unwrap_err().contains("is encrypted"));
    }

    #[test]
    fn an_authority_must_be_a_certificate() {
        let add = |pem: &str| Trust::default().add_authorities(SettingScope::EVERY, pem.as_bytes());
        let (certificate, key) = pair();
        assert_eq!(add(&certificate.repeat(2)), Ok(()));
        for text in
            ["", "not PEM", key.as_str(), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"]
        {
            assert!(add(text).unwrap_err().to_string().contains("no certificate"), "{text}");
        }
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(add(junk).unwrap_err().to_string().contains("holds an invalid certificate"));
    }

    #[test]
    fn a_setting_for_one_registry_does_not_affect_others() {
        let (certificate, key) = pair();
        let mut trust = Trust::default();
        trust.add_authorities(SettingScope::EVERY, certificate.as_bytes()).unwrap();
        assert!(!trust.is_particular(&origin("a.example")), "what all share needs no connections of its own");
        trust
            .add_identity(SettingScope::only(origin("a.example")), format!("{certificate}{key}").as_bytes())
            .unwrap();
        trust.accept_any(origin("b.example:8443"));
        for (registry, particular, any) in [
            ("a.example", true, false),
            ("b.example:8443", true, true),
            ("a.example:8443", false, false),
            ("b.example", false, false),
        ] {
            assert_eq!(trust.is_particular(&origin(registry)), particular, "{registry}");
            assert_eq!(trust.accepts_any(&origin(registry)), any, "{registry}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let (certificate, key) = pair();
        let mut trust = Trust::default();
        trust.add_identity(SettingScope::EVERY, format!("{certificate}{key}").as_bytes()).unwrap();
        assert_eq!(format!("{trust:?}"), "Trust { authorities: 0, identities: 1, unverified: {} }");
    }
}
