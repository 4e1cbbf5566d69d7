//! Which step of connecting to a registry failed, and what the user can do about it.

use super::auth::{Origin, Reach, Scheme};

/// Which step of connecting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionProblem {
    /// The registry's certificate is not trusted.
    Certificate(CertificateProblem),
    /// The registry refused our client certificate or requires one.
    ClientCertificate,
    /// The proxy did not open a tunnel.
    Tunnel,
    /// The name of the registry does not resolve.
    UnknownHost,
    /// It took longer than the connect timeout.
    TimedOut,
    /// Anything else: TCP, other TLS errors.
    Other,
}

/// What is wrong with a registry's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateProblem {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// No trusted authority signed it.
    UnknownAuthority,
    /// It is the certificate of an authority, which is not valid for a server.
    IsAuthority,
    /// Anything else.
    Other,
}

/// Whether plain http is tried without being asked for.
fn is_loopback(registry: &str) -> bool {
    Origin::of_registry(registry, Scheme::Http).is_ok_and(|origin| origin.reach() == Reach::Loopback)
}

impl ConnectionProblem {
    /// Whether a certificate was refused, by us or by the registry.
    pub(super) fn is_about_certificates(self) -> bool {
        matches!(self, Self::Certificate(_) | Self::ClientCertificate)
    }

    /// What the user can do about it.
    pub(super) fn remedy(self, registry: &str) -> String {
        match self {
            Self::Certificate(problem) => format!(
                "{}, or disable certificate checks with --insecure {registry}",
                problem.remedy(registry)
            ),
            Self::ClientCertificate => {
                format!("{registry} requires a client certificate: pass --client-cert FILE --client-key FILE")
            }
            Self::Tunnel => format!("check HTTPS_PROXY, or bypass the proxy with NO_PROXY={registry}"),
            Self::UnknownHost => {
                let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
                format!("check the spelling of {host}, and this machine's DNS and VPN: `getent hosts {host}`")
            }
            Self::TimedOut => {
                format!(
                    "check the network to {registry}; if it is only slow, raise --connect-timeout SECONDS"
                )
            }
            Self::Other if is_loopback(registry) => {
                format!("check that a server is running at {registry}")
            }
            Self::Other => format!(
                "check the name and port of {registry} and the network; if it speaks plain http, pass --plain-http \
                 {registry}"
            ),
        }
    }
}

impl CertificateProblem {
    fn remedy(self, registry: &str) -> String {
        match self {
            Self::Expired => format!("renew the certificate of {registry} and check this machine's clock"),
            Self::NotYetValid => "check this machine's clock".to_owned(),
            Self::WrongName => format!("replace {registry} with a name that the certificate covers"),
            Self::IsAuthority => format!(
                "the server presents a certificate that is marked as an authority: if it is the right one, pass that \
                 certificate with --ca-cert {registry}=FILE"
            ),
            Self::UnknownAuthority | Self::Other => {
                "pass the registry's certificate authority with --ca-cert FILE".to_owned()
            }
        }
    }
}
