//! What a registry's certificate says of itself: who issued it, and until when it holds.

use std::time::SystemTime;

use reqwest::{Response, tls::TlsInfo};
use x509_cert::{Certificate, der::Decode};

use crate::error::escape;

/// A certificate as it was shown. Whether it is to be trusted, TLS has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Its issuer's distinguished name as RFC 4514 writes it, control characters escaped.
    pub issuer: String,
    /// When it ends.
    pub ends: SystemTime,
}

impl ShownCertificate {
    /// The certificate of the server that answered; `None` over plain http, or where it cannot be read.
    pub(super) fn of(response: &Response) -> Option<Self> {
        Self::read(response.extensions().get::<TlsInfo>()?.peer_certificate()?)
    }

    fn read(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let ends = body.validity().not_after.to_system_time();
        Some(Self { issuer: escape(&body.issuer().to_string()).replace('\n', " "), ends })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn issuer_and_end_are_read_and_anything_else_is_nothing() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an\u{1b}[2J authority");
        params.not_after = date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let shown = ShownCertificate::read(certificate.der()).unwrap();
        assert_eq!(shown.issuer, "CN=an\\1b[2J authority");
        assert_eq!(shown.ends, SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000));
        assert_eq!(ShownCertificate::read(b"junk"), None);
    }
}
