//! Probes for `doctor` without side effects: whether a registry answers, which credential is used, whether we may push,
//! whether it has the referrers API.

use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Response, tls::TlsInfo};
use tokio::time::Instant;
use url::Url;
use x509_cert::{Certificate, der::Decode};

use super::{
    Registries, answer,
    auth::{Origin, Provenance, Scope},
    connecting,
    error::RegistryError,
    host::{Call, Host, discard},
    network::Route,
    redirect, referrers,
    retry::Attempts,
};
use crate::{
    endpoint::{Error, Operation, retry::attempts},
    error::escape,
    oci::Repository,
};

/// The response to one anonymous request for `/v2/`.
#[derive(Debug)]
pub(crate) struct ProbeAnswer {
    /// The registry's origin.
    pub origin: Origin,
    /// The proxy, if one is used.
    pub route: Option<Route>,
    /// Whether certificate checks are disabled for it.
    pub is_unverified: bool,
    /// Its certificate; `None` over plain http.
    pub certificate: Option<ShownCertificate>,
    /// The HTTP status: 200, or 401 if it requires a login.
    pub status: u16,
    /// The time on its clock.
    pub clock: Option<SystemTime>,
    /// The response time.
    pub time: std::time::Duration,
}

/// A server's certificate. TLS decides whether to trust it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCertificate {
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

impl Registries {
    /// Checks that a repository's registry answers.
    pub(crate) async fn greet(&self, repository: &Repository) -> Result<ProbeAnswer, Error> {
        let host = self.host(repository).await?;
        let mut tries = Attempts::new(1);
        tries.begin();
        greet(&host)
            .await
            .map_err(|cause| host.error(Operation::Connect, repository.registry(), &tries, cause))
    }

    /// Requests `/v2/` with the credential for this repository, which the registry or its token server must accept.
    pub(crate) async fn log_in(&self, repository: &Repository) -> Result<(), Error> {
        let host = self.host(repository).await?;
        let name = repository.registry();
        let cannot = |cause: RegistryError| host.error(Operation::Connect, name, &Attempts::new(1), cause);
        let url =
            host.origin.url("/v2/").map_err(|error| cannot(RegistryError::Settings(error.to_string())))?;
        let call = Call {
            operation: Operation::Connect,
            repository,
            name: name.to_owned(),
            scopes: Vec::new(),
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
            attempts: attempts(),
        };
        discard(host.send(&call, &[]).await?).await;
        Ok(())
    }

    /// The provenance of the credential for a repository; `None` when none matches.
    pub(crate) async fn provenance(&self, repository: &Repository) -> Result<Option<Provenance>, Error> {
        let host = self.host(repository).await?;
        let found = self.authenticator.credentials().for_repository(&host.origin, repository).await;
        found.map(|found| found.map(|found| found.provenance)).map_err(|error| {
            let cause = RegistryError::Auth(error.into());
            Error::new(Operation::Connect, self.side, repository.registry(), cause)
        })
    }

    /// Opens an upload in a repository and cancels it. Fails if we may not push, or if the repository does not exist
    /// and the registry does not create it.
    pub(crate) async fn probe_push(&self, repository: &Repository) -> Result<(), Error> {
        let host = self.host(repository).await?;
        let url = host.url(repository, "blobs/uploads/").map_err(|cause| failed(&host, repository, cause))?;
        let response = ask(&host, repository, Method::POST, url.clone(), &[]).await?;
        let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let session = location.and_then(|location| redirect::resolve(&url, location).ok());
        discard(response).await;
        if let Some(session) = session {
            // Best effort: registries remove abandoned sessions.
            if let Ok(response) = ask(&host, repository, Method::DELETE, session, &[]).await {
                discard(response).await;
            }
        }
        Ok(())
    }

    /// Whether the registry has the referrers API (distribution specification 1.1); `None` if its answer does not tell.
    pub(crate) async fn has_referrers(&self, repository: &Repository) -> Result<Option<bool>, Error> {
        referrers::is_supported(&*self.host(repository).await?, repository).await
    }
}

async fn greet(host: &Host) -> Result<ProbeAnswer, RegistryError> {
    let url = host.origin.url("/v2/").map_err(|error| RegistryError::Settings(error.to_string()))?;
    let network = host.network();
    let begun = Instant::now();
    let stall = host.tuning().stall;
    let request = network.client_with_certificate_info(&host.origin)?.get(url).send();
    let response = match connecting::response(stall, request).await? {
        Ok(response) => response,
        Err(error) => return Err(network.explain(&host.origin, &error).await),
    };
    // A captive portal or a proxy answers in place of the registry.
    if response.status().is_success() && answer::is_web_page(response.headers()) {
        return Err(RegistryError::WebPage);
    }
    let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
    let greeting = ProbeAnswer {
        origin: host.origin.clone(),
        route: network.route(&host.origin)?,
        is_unverified: network.settings().trust.accepts_any(&host.origin),
        certificate: ShownCertificate::of(&response),
        status: response.status().as_u16(),
        clock: date.and_then(|date| httpdate::parse_http_date(date).ok()),
        time: begun.elapsed(),
    };
    discard(response).await;
    Ok(greeting)
}

async fn ask(
    host: &Host,
    repository: &Repository,
    method: Method,
    url: Url,
    expected: &[StatusCode],
) -> Result<Response, Error> {
    let scope = if method == Method::GET { Scope::pull(repository) } else { Scope::push(repository) };
    let call = Call {
        operation: Operation::Probe,
        repository,
        name: repository.to_string(),
        scopes: vec![scope],
        method,
        url,
        headers: HeaderMap::new(),
        body: None,
        attempts: attempts(),
    };
    host.send(&call, expected).await
}

fn failed(host: &Host, repository: &Repository, cause: RegistryError) -> Error {
    host.error(Operation::Probe, &repository.to_string(), &Attempts::new(1), cause)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn issuer_and_expiry_are_read_and_junk_is_ignored() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an\u{1b}[2J authority");
        params.not_after = date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let shown = ShownCertificate::read(certificate.der()).unwrap();
        assert_eq!(shown.issuer, "CN=an\\1b[2J authority");
        assert_eq!(shown.ends, SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_893_456_000));
        assert_eq!(ShownCertificate::read(b"junk"), None);
    }
}
