//! How hosts are reached: http or https, which certificate authorities, one connection pool for each.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use reqwest::{Certificate, Client, redirect::Policy};

use super::{
    auth::{Origin, Reach, Scheme},
    limits,
};
use crate::endpoint::Cause;

/// What the settings say about connections.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// Registries (`HOST[:PORT]`) that are asked over plain http.
    pub plain_http: BTreeSet<String>,
    /// Certificate authorities in addition to the system's, PEM.
    pub ca_certificates: Vec<Vec<u8>>,
}

/// Connection pools. Plain-http hosts share one that never loads a certificate.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    clients: Mutex<HashMap<Scheme, Client>>,
}

impl Network {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self { settings, clients: Mutex::default() }
    }

    /// The client for an origin. It never follows a redirect, never sends a `Referer`, keeps no cookies
    /// and decodes nothing, so that bytes arrive as they are stored.
    pub fn client(&self, origin: &Origin) -> Result<Client, Cause> {
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&origin.scheme()) {
            return Ok(client.clone());
        }
        let client = self.build(origin.scheme())?;
        clients.insert(origin.scheme(), client.clone());
        Ok(client)
    }

    fn build(&self, scheme: Scheme) -> Result<Client, Cause> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("thoras-mirror/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits::CONNECT)
            .pool_idle_timeout(limits::IDLE)
            .http1_only();
        builder = match scheme {
            // Without any root, building a client that will never speak TLS costs no certificate parsing.
            Scheme::Http => builder.tls_certs_only([]),
            Scheme::Https => builder.tls_certs_merge(self.certificates()?),
        };
        builder.build().map_err(|error| Cause::Settings(format!("cannot set up TLS: {}", chain(&error))))
    }

    fn certificates(&self) -> Result<Vec<Certificate>, Cause> {
        let mut all = Vec::new();
        for pem in &self.settings.ca_certificates {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|error| {
                Cause::Settings(format!("a --ca-cert file is not PEM: {}", chain(&error)))
            })?;
            all.extend(bundle);
        }
        Ok(all)
    }

    /// The origin of a registry. Remote hosts are https unless plain http was asked for. A registry on
    /// loopback may be either; it is asked once, without credentials.
    pub async fn origin(&self, registry: &str) -> Result<Origin, Cause> {
        let settings = |error: super::auth::origin::OriginError| Cause::Settings(error.to_string());
        let plain = Origin::of_registry(registry, Scheme::Http).map_err(settings)?;
        if self.settings.plain_http.contains(registry) {
            return Ok(plain);
        }
        if plain.reach() == Reach::Loopback && self.answers_plainly(&plain).await? {
            return Ok(plain);
        }
        Origin::of_registry(registry, Scheme::Https).map_err(settings)
    }

    /// Whether a loopback registry speaks http. A TLS server answers plain http with a 400 or hangs up.
    async fn answers_plainly(&self, origin: &Origin) -> Result<bool, Cause> {
        let url = origin.url("/v2/").map_err(|error| Cause::Settings(error.to_string()))?;
        let asked = self.client(origin)?.get(url).timeout(limits::CONNECT).send().await;
        match asked {
            Ok(response) => Ok(response.status() != reqwest::StatusCode::BAD_REQUEST),
            Err(error) if error.is_connect() || error.is_timeout() => Err(cause_of(&error)),
            Err(_) => Ok(false),
        }
    }
}

/// Sorts a client error into the causes that decide about retries. Its URL is left out: it may be signed.
pub(super) fn cause_of(error: &reqwest::Error) -> Cause {
    let text = chain(error);
    if error.is_connect() {
        Cause::Unreachable(text)
    } else if error.is_timeout() {
        Cause::Stalled(limits::STALL)
    } else {
        Cause::Broken(text)
    }
}

/// The innermost cause of an error: the outer ones of an HTTP stack only say that something failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    crate::error::escape(&innermost.to_string())
}
