//! How hosts are reached: http or https, whom TLS trusts, through which proxy; a connection pool for each
//! distinct answer.
//!
//! Pools are made when they are first needed: a run that speaks only plain http never reads a certificate.

mod proxies;
mod trust;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
    time::Duration,
};

use reqwest::{Client, redirect::Policy};

pub use self::{
    proxies::{Proxies, Route},
    trust::{Scope, Trust, TrustError},
};
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
    /// Certificates, theirs and ours.
    pub trust: Trust,
    /// Proxies.
    pub proxies: Proxies,
    /// How long a connection may take to come about; ten seconds unless told.
    pub connect_timeout: Option<Duration>,
}

/// What makes connections to two origins different enough for two pools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Manner {
    scheme: Scheme,
    /// The origin itself where certificates are set for it alone.
    own: Option<Origin>,
    /// Whether it is reached through the environment's proxy for its scheme.
    is_proxied: bool,
}

/// Connection pools. Plain-http hosts share one that never loads a certificate.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    clients: Mutex<HashMap<Manner, Client>>,
}

impl Network {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self { settings, clients: Mutex::default() }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// The proxy that an origin is reached through, if any.
    pub fn route(&self, origin: &Origin) -> Result<Option<Route>, Cause> {
        self.settings.proxies.route(origin)
    }

    /// The client for an origin. It never follows a redirect, never sends a `Referer`, keeps no cookies
    /// and decodes nothing, so that bytes arrive as they are stored.
    pub fn client(&self, origin: &Origin) -> Result<Client, Cause> {
        let route = self.route(origin)?;
        let is_particular = origin.is_https() && self.settings.trust.is_particular(origin);
        let manner = Manner {
            scheme: origin.scheme(),
            own: is_particular.then(|| origin.clone()),
            is_proxied: route.is_some(),
        };
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&manner) {
            return Ok(client.clone());
        }
        let client = self.build(origin, route.as_ref())?;
        clients.insert(manner, client.clone());
        Ok(client)
    }

    fn build(&self, origin: &Origin, route: Option<&Route>) -> Result<Client, Cause> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("thoras-mirror/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout())
            .pool_idle_timeout(limits::IDLE)
            .http1_only()
            // The environment is read by `Proxies`, which knows more rules.
            .no_proxy();
        if let Some(route) = route {
            let proxy = route.proxy().map_err(|error| {
                Cause::Settings(format!("the proxy {route} cannot be used: {}", chain(&error)))
            })?;
            builder = builder.proxy(proxy);
        }
        builder = if origin.is_https() || route.is_some_and(Route::is_https) {
            self.settings.trust.apply(builder, origin)
        } else {
            // Without any root, building a client that will never speak TLS costs no certificate parsing.
            builder.tls_certs_only([])
        };
        builder.build().map_err(|error| Cause::Settings(format!("cannot set up TLS: {}", chain(&error))))
    }

    fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout.unwrap_or(limits::CONNECT)
    }

    /// The origin of a registry. Remote hosts are https unless plain http was asked for. A registry on
    /// loopback may be either; it is asked once, without credentials.
    pub async fn origin(&self, registry: &str) -> Result<Origin, Cause> {
        let settings = |error: super::auth::origin::OriginError| Cause::Settings(error.to_string());
        let plain = Origin::of_registry(registry, Scheme::Http).map_err(settings)?;
        if self.settings.plain_http.contains(registry) {
            return Ok(plain);
        }
        let encrypted = Origin::of_registry(registry, Scheme::Https).map_err(settings)?;
        // Whoever sets certificates for a registry of this machine has answered the question.
        let is_asked = plain.reach() == Reach::Loopback && !self.settings.trust.is_particular(&encrypted);
        if is_asked && self.answers_plainly(&plain).await? {
            return Ok(plain);
        }
        Ok(encrypted)
    }

    /// Whether a loopback registry speaks http. A TLS server answers plain http with a 400 or hangs up.
    async fn answers_plainly(&self, origin: &Origin) -> Result<bool, Cause> {
        let url = origin.url("/v2/").map_err(|error| Cause::Settings(error.to_string()))?;
        let patience = self.connect_timeout();
        let asked = self.client(origin)?.get(url).timeout(patience).send().await;
        match asked {
            Ok(response) => Ok(response.status() != reqwest::StatusCode::BAD_REQUEST),
            Err(error) if error.is_connect() => Err(cause_of(&error)),
            Err(error) if error.is_timeout() => Err(Cause::Stalled(patience)),
            Err(_) => Ok(false),
        }
    }
}

/// Sorts a client error into the causes that decide about retries. Its URL is left out: it may be signed.
pub(super) fn cause_of(error: &reqwest::Error) -> Cause {
    let text = chain(error);
    // In TLS 1.3 a server that misses a client certificate says so when the connection stands already.
    if error.is_connect() || text.contains("received fatal alert") {
        Cause::Unreachable(text)
    } else if error.is_timeout() {
        Cause::Stalled(limits::STALL)
    } else {
        Cause::Broken(text)
    }
}

/// The innermost cause of an error: the outer ones of an HTTP stack only say that something failed. It names
/// no URL and no header.
fn chain(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    crate::error::escape(&innermost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(network: &Network) -> usize {
        network.clients.lock().unwrap().len()
    }

    #[test]
    fn one_pool_for_each_distinct_setting_and_no_more() {
        let origin = |name: &str, scheme| Origin::of_registry(name, scheme).unwrap();
        let mut settings = NetworkSettings::default();
        settings.trust.accept_any(origin("lab.example:8443", Scheme::Https));
        let network = Network::new(settings);
        assert_eq!(pools(&network), 0, "nothing is made in advance");
        for (name, scheme, expected) in [
            ("a.example", Scheme::Http, 1),
            ("b.example", Scheme::Http, 1),
            ("lab.example:8443", Scheme::Http, 1),
            ("lab.example:8443", Scheme::Https, 2),
            ("lab.example:8443", Scheme::Https, 2),
        ] {
            network.client(&origin(name, scheme)).unwrap();
            assert_eq!(pools(&network), expected, "{name}");
        }
    }

    /// A server that accepts connections and then says nothing, as a firewall's black hole does to TLS.
    #[tokio::test]
    async fn a_connection_that_does_not_come_about_ends_after_the_time_set() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = silent.local_addr().unwrap().to_string();
        let connect_timeout = Some(Duration::from_millis(50));
        let network = Network::new(NetworkSettings { connect_timeout, ..NetworkSettings::default() });
        let cause = network.origin(&registry).await.unwrap_err();
        assert!(matches!(cause, Cause::Stalled(time) if time == Duration::from_millis(50)), "{cause}");
        let origin = Origin::of_registry(&registry, Scheme::Https).unwrap();
        let mut settings = NetworkSettings { connect_timeout, ..NetworkSettings::default() };
        settings.trust.accept_any(origin.clone());
        let client = Network::new(settings).client(&origin).unwrap();
        let error = client.get(origin.url("/v2/").unwrap()).send().await.unwrap_err();
        assert!(matches!(cause_of(&error), Cause::Unreachable(_)), "{error:?}");
    }
}
