//! How hosts are reached: http or https, whom TLS trusts, through which proxy; a connection pool for each
//! distinct answer.
//!
//! Pools are made when they are first needed: a run that speaks only plain http never reads a certificate.

mod proxies;
mod trust;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    error::Error as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, StatusCode, redirect::Policy};
use url::Url;

pub use self::{
    proxies::{Proxies, Route},
    trust::{Scope, Standing, Trust, TrustError},
};
use super::{
    auth::{Origin, Reach, Scheme},
    limits, retry,
};
use crate::endpoint::Cause;

/// How often a registry of this machine is asked over http before it is asked over https.
const PLAIN_QUESTIONS: u32 = 2;
/// What the HTTP client says when a proxy answers `CONNECT` with anything but success or 407.
const REFUSED_TUNNEL: &str = "tunnel error: unsuccessful";

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
    /// Where client certificates are set: which of them it is shown.
    standing: Option<Standing>,
}

/// Connection pools. Plain-http hosts share one that never loads a certificate.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    clients: Mutex<HashMap<Manner, Client>>,
    /// Every registry that was asked for by its name: they alone are shown a client certificate that is for all. Hosts
    /// that answers and manifests name are not among them.
    registries: Mutex<HashSet<Origin>>,
}

impl Network {
    /// Nothing is opened or read yet.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self { settings, clients: Mutex::default(), registries: Mutex::default() }
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

    /// The client for an origin that is a registry or was named by one. It never follows a redirect, never sends a
    /// `Referer`, keeps no cookies and decodes nothing, so that bytes arrive as they are stored.
    pub fn client(&self, origin: &Origin) -> Result<Client, Cause> {
        self.client_for(origin, self.standing(origin))
    }

    /// The same for an origin that only a manifest names: it is not told who we are.
    pub(super) fn client_of_nobody(&self, origin: &Origin) -> Result<Client, Cause> {
        self.client_for(origin, Standing::Unknown)
    }

    fn client_for(&self, origin: &Origin, standing: Standing) -> Result<Client, Cause> {
        let route = self.route(origin)?;
        let trust = &self.settings.trust;
        let is_particular = origin.is_https() && trust.is_particular(origin);
        let shows = origin.is_https() && trust.has_identities();
        let manner = Manner {
            scheme: origin.scheme(),
            own: is_particular.then(|| origin.clone()),
            is_proxied: route.is_some(),
            standing: shows.then_some(standing),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&manner) {
            return Ok(client.clone());
        }
        let client = self.build(origin, standing, route.as_ref(), false)?;
        clients.insert(manner, client.clone());
        Ok(client)
    }

    fn standing(&self, origin: &Origin) -> Standing {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if registries.contains(origin) { Standing::Registry } else { Standing::Referred }
    }

    /// A client of its own, whose answers tell the server's certificate. All others are spared the copies.
    pub(super) fn client_that_tells_certificates(&self, origin: &Origin) -> Result<Client, Cause> {
        self.build(origin, self.standing(origin), self.route(origin)?.as_ref(), true)
    }

    fn build(
        &self,
        origin: &Origin,
        standing: Standing,
        route: Option<&Route>,
        tells: bool,
    ) -> Result<Client, Cause> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("thoras-mirror/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout())
            .pool_idle_timeout(limits::IDLE)
            .http1_only()
            .tls_info(tells)
            // The environment is read by `Proxies`, which knows more rules.
            .no_proxy();
        if let Some(route) = route {
            let proxy = route.proxy().map_err(|error| {
                Cause::Settings(format!("the proxy {route} cannot be used: {}", chain(&error)))
            })?;
            builder = builder.proxy(proxy);
        }
        builder = if origin.is_https() || route.is_some_and(Route::is_https) {
            self.settings.trust.apply(builder, origin, standing)
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
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).insert(encrypted.clone());
        // Whoever sets certificates for a registry of this machine has answered the question.
        let is_asked = plain.reach() == Reach::Loopback && !self.settings.trust.is_particular(&encrypted);
        if is_asked { self.find_scheme(plain, encrypted).await } else { Ok(encrypted) }
    }

    /// Which of two schemes a loopback registry speaks. A TLS server answers plain http with a 400 or an alert;
    /// one that hangs up may be anything, and is asked again and then over https.
    async fn find_scheme(&self, plain: Origin, encrypted: Origin) -> Result<Origin, Cause> {
        let mut cut = String::new();
        for _ in 0..PLAIN_QUESTIONS {
            match self.ask_plainly(&plain).await? {
                Plainly::Answered => return Ok(plain),
                Plainly::Foreign => return Ok(encrypted),
                Plainly::Cut(reason) => cut = reason,
            }
        }
        match self.ask_encrypted(&encrypted).await {
            Err(Cause::NotTls) => Ok(plain),
            Err(cause) if retry::is_transient(&cause) => {
                Err(Cause::NeitherScheme { http: cut, https: cause.to_string() })
            }
            // What is wrong with its certificate, or with ours, the first real request tells.
            Ok(()) | Err(_) => Ok(encrypted),
        }
    }

    async fn ask_plainly(&self, origin: &Origin) -> Result<Plainly, Cause> {
        let patience = self.connect_timeout();
        match self.client(origin)?.get(greeting_url(origin)?).timeout(patience).send().await {
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => Ok(Plainly::Foreign),
            Ok(_) => Ok(Plainly::Answered),
            Err(error) if error.is_connect() => Err(cause_of(&error)),
            Err(error) if error.is_timeout() => Err(Cause::Stalled(patience)),
            Err(error) if is_no_http(&error) => Ok(Plainly::Foreign),
            Err(error) => Ok(Plainly::Cut(cause_of(&error).to_string())),
        }
    }

    async fn ask_encrypted(&self, origin: &Origin) -> Result<(), Cause> {
        let patience = self.connect_timeout();
        let asked = self.client(origin)?.get(greeting_url(origin)?).timeout(patience).send().await;
        asked.map(drop).map_err(|error| cause_of(&error))
    }

    /// Why a request to an origin failed; of a proxy that refuses, with its status.
    pub(super) async fn explain(&self, origin: &Origin, error: &reqwest::Error) -> Cause {
        let cause = cause_of(error);
        let is_tunnel = matches!(&cause, Cause::Unreachable(reason) if reason == REFUSED_TUNNEL);
        let Ok(Some(route)) = self.route(origin) else { return cause };
        if !is_tunnel {
            return cause;
        }
        match tokio::time::timeout(self.connect_timeout(), route.status(origin)).await {
            Ok(Ok(status)) if !(200..300).contains(&status) => Cause::ProxyRefused(status),
            _ => cause,
        }
    }
}

/// How a server took a question in plain http.
enum Plainly {
    /// It speaks http.
    Answered,
    /// It said that it does not, or something that is not http.
    Foreign,
    /// It hung up.
    Cut(String),
}

fn greeting_url(origin: &Origin) -> Result<Url, Cause> {
    origin.url("/v2/").map_err(|error| Cause::Settings(error.to_string()))
}

/// Whether the answer was there and was not http.
fn is_no_http(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Sorts a client error into the causes that decide about retries. Its URL is left out: it may be signed.
pub(super) fn cause_of(error: &reqwest::Error) -> Cause {
    let text = chain(error);
    if text.contains("InvalidContentType") {
        return Cause::NotTls;
    }
    if text == "tunnel error: proxy authorization required" {
        return Cause::ProxyRefused(407);
    }
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
