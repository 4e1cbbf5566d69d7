//! How hosts are reached: scheme, trusted certificates and proxy, with a connection pool for each distinct combination.
//!
//! Pools are created on first use: a run with only plain http never reads a certificate.

mod exact;
pub(super) mod names;
mod proxies;
mod trust;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reqwest::{Client, StatusCode, redirect::Policy};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

pub(super) use self::names::SystemResolver;
pub(crate) use self::proxies::Route;
use self::trust::HostRole;
pub use self::{
    proxies::Proxies,
    trust::{SettingScope, Trust, TrustError},
};
use super::{
    auth::{Origin, Reach, Scheme},
    client_error::{self, innermost},
    connecting::ConnectingLayer,
    error::RegistryError,
    host_state::HostStates,
    limits,
    rate::{RateLimits, Rates},
    retry,
};
use crate::quota::Quotas;

/// How often a loopback registry is tried over http before https.
const PLAIN_HTTP_ATTEMPTS: u32 = 2;

/// Settings for connections.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// Registries (`HOST[:PORT]`) that use plain http.
    pub plain_http: BTreeSet<String>,
    /// Trusted authorities and client certificates.
    pub trust: Trust,
    /// Proxies.
    pub proxies: Proxies,
    /// The connect timeout; ten seconds by default.
    pub connect_timeout: Option<Duration>,
    /// How many bytes per second are exchanged with each side.
    pub rates: RateLimits,
    /// How many requests registries permit.
    pub quotas: Quotas,
}

/// Two origins share a connection pool when these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    scheme: Scheme,
    /// The origin, if certificates are set for it alone.
    own: Option<Origin>,
    /// The environment's proxy for its scheme, if it is used.
    is_proxied: bool,
    /// The role of the host, which decides the client certificate, if there are any.
    role: Option<HostRole>,
}

/// Connection pools. Plain-http hosts share one that never loads a certificate.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    clients: Mutex<HashMap<PoolKey, Client>>,
    /// The registries that the user named: only these receive a client certificate that is set for all registries, not
    /// hosts from responses and manifests.
    registries: Mutex<HashSet<Origin>>,
    /// Where requests went.
    contacted: Mutex<HashSet<Origin>>,
    /// What is known about each host.
    states: Arc<HostStates>,
    rates: Rates,
    /// One permit for each part of a blob that may wait in memory.
    parts: Arc<Semaphore>,
}

impl Network {
    /// Opens and reads nothing.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        let (clients, registries) = (Mutex::default(), Mutex::default());
        let states = Arc::new(HostStates::new(settings.quotas.clone()));
        let rates = Rates::new(settings.rates);
        let parts = Arc::new(Semaphore::new(limits::PARTS_IN_MEMORY));
        Self { settings, clients, registries, contacted: Mutex::default(), states, rates, parts }
    }

    /// Whether any request went to this origin.
    pub(super) fn has_contacted(&self, origin: &Origin) -> bool {
        self.contacted.lock().unwrap_or_else(PoisonError::into_inner).contains(origin)
    }

    fn note_contact(&self, origin: &Origin) {
        let mut contacted = self.contacted.lock().unwrap_or_else(PoisonError::into_inner);
        if !contacted.contains(origin) {
            contacted.insert(origin.clone());
        }
    }

    /// What all requests to a host share.
    pub(super) fn states(&self) -> &Arc<HostStates> {
        &self.states
    }

    /// The rates of both sides.
    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// A permit for one more part of a blob in memory; `None` if there are as many as may be.
    pub(super) fn part_in_memory(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.parts).try_acquire_owned().ok()
    }

    /// The settings.
    #[must_use]
    pub(crate) fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// The proxy for an origin, if any.
    pub(crate) fn route(&self, origin: &Origin) -> Result<Option<Route>, RegistryError> {
        self.settings.proxies.route(origin)
    }

    /// The client for a registry or a host that a registry named. It follows no redirect, sends no `Referer`, keeps no
    /// cookies and decodes nothing, so that bytes arrive as stored.
    pub fn client(&self, origin: &Origin) -> Result<Client, RegistryError> {
        self.client_for(origin, self.role(origin))
    }

    /// The client for a host from a manifest: it presents no client certificate.
    pub(super) fn anonymous_client(&self, origin: &Origin) -> Result<Client, RegistryError> {
        self.client_for(origin, HostRole::Unknown)
    }

    fn client_for(&self, origin: &Origin, role: HostRole) -> Result<Client, RegistryError> {
        self.note_contact(origin);
        let route = self.route(origin)?;
        let trust = &self.settings.trust;
        let is_particular = origin.is_https() && trust.is_particular(origin);
        let shows = origin.is_https() && trust.has_identities();
        let key = PoolKey {
            scheme: origin.scheme(),
            own: is_particular.then(|| origin.clone()),
            is_proxied: route.is_some(),
            role: shows.then_some(role),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(origin, role, route.as_ref(), false)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn role(&self, origin: &Origin) -> HostRole {
        let registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if registries.contains(origin) { HostRole::Registry } else { HostRole::Referred }
    }

    /// A separate client whose responses include the server's certificate. Other clients avoid these copies.
    pub(super) fn client_with_certificate_info(&self, origin: &Origin) -> Result<Client, RegistryError> {
        self.note_contact(origin);
        self.build(origin, self.role(origin), self.route(origin)?.as_ref(), true)
    }

    fn build(
        &self,
        origin: &Origin,
        role: HostRole,
        route: Option<&Route>,
        tells: bool,
    ) -> Result<Client, RegistryError> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("thoras-mirror/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout())
            .connector_layer(ConnectingLayer)
            .pool_idle_timeout(limits::IDLE_TIMEOUT)
            .http1_only()
            .tls_info(tells)
            // `Proxies` reads the environment: it implements more rules.
            .no_proxy();
        if let Some(route) = route {
            let proxy = route.proxy().map_err(|error| {
                RegistryError::Settings(format!("invalid proxy {route}: {}", innermost(&error)))
            })?;
            builder = builder.proxy(proxy);
        } else {
            // With a proxy, this would resolve the proxy's name, and the proxy that of the registry.
            builder = builder.dns_resolver(Arc::new(SystemResolver));
        }
        builder = if origin.is_https() || route.is_some_and(Route::is_https) {
            check_clock(SystemTime::now())?;
            let applied = self.settings.trust.apply(builder, origin, role);
            applied.map_err(|error| RegistryError::Settings(format!("cannot set up TLS: {error}")))?
        } else {
            // Without roots, building a client that never uses TLS parses no certificates.
            builder.tls_certs_only([])
        };
        builder
            .build()
            .map_err(|error| RegistryError::Settings(format!("cannot set up TLS: {}", innermost(&error))))
    }

    fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout.unwrap_or(limits::CONNECT_TIMEOUT)
    }

    /// The origin of a registry. Remote hosts use https unless the user asked for plain http. A loopback registry may
    /// use either; one request without credentials finds out.
    pub async fn origin(&self, registry: &str) -> Result<Origin, RegistryError> {
        let settings = |error: super::auth::origin::OriginError| RegistryError::Settings(error.to_string());
        let plain = Origin::of_registry(registry, Scheme::Http).map_err(settings)?;
        if self.settings.plain_http.contains(registry) {
            return Ok(plain);
        }
        let encrypted = Origin::of_registry(registry, Scheme::Https).map_err(settings)?;
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).insert(encrypted.clone());
        // Certificates that are set for a loopback registry imply https.
        let is_asked = plain.reach() == Reach::Loopback && !self.settings.trust.is_particular(&encrypted);
        if is_asked { self.find_scheme(plain, encrypted).await } else { Ok(encrypted) }
    }

    /// Detects the scheme of a loopback registry. A TLS server answers plain http with a 400 or an alert. If the server
    /// closes the connection, http is tried again and then https.
    async fn find_scheme(&self, plain: Origin, encrypted: Origin) -> Result<Origin, RegistryError> {
        let mut cut = String::new();
        for _ in 0..PLAIN_HTTP_ATTEMPTS {
            match self.try_plain_http(&plain).await? {
                PlainAnswer::Answered => return Ok(plain),
                PlainAnswer::Foreign => return Ok(encrypted),
                PlainAnswer::Cut(reason) => cut = reason,
            }
        }
        match self.try_https(&encrypted).await {
            Err(RegistryError::NotTls) => Ok(plain),
            Err(error) if retry::is_transient(&error) => {
                Err(RegistryError::NeitherScheme { http: cut, https: error.to_string() })
            }
            // The first real request reports a problem with a certificate.
            Ok(()) | Err(_) => Ok(encrypted),
        }
    }

    async fn try_plain_http(&self, origin: &Origin) -> Result<PlainAnswer, RegistryError> {
        let patience = self.connect_timeout();
        match self.client(origin)?.get(greeting_url(origin)?).timeout(patience).send().await {
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => Ok(PlainAnswer::Foreign),
            Ok(_) => Ok(PlainAnswer::Answered),
            Err(error) if error.is_connect() => Err(client_error::translate(&error)),
            Err(error) if error.is_timeout() => Err(RegistryError::Stalled(patience)),
            Err(error) if client_error::is_unreadable(&error) => Ok(PlainAnswer::Foreign),
            Err(error) => Ok(PlainAnswer::Cut(client_error::translate(&error).to_string())),
        }
    }

    async fn try_https(&self, origin: &Origin) -> Result<(), RegistryError> {
        let patience = self.connect_timeout();
        let asked = self.client(origin)?.get(greeting_url(origin)?).timeout(patience).send().await;
        asked.map(drop).map_err(|error| client_error::translate(&error))
    }

    /// Why a request to an origin failed. If a proxy refused it, with the proxy's status.
    pub(super) async fn explain(&self, origin: &Origin, error: &reqwest::Error) -> RegistryError {
        let translated = client_error::translate(error);
        let Ok(Some(route)) = self.route(origin) else { return translated };
        if !client_error::is_refused_tunnel(error) {
            return translated;
        }
        match tokio::time::timeout(self.connect_timeout(), route.status(origin)).await {
            Ok(Ok(status)) if !(200..300).contains(&status) => RegistryError::ProxyRefused(status),
            _ => translated,
        }
    }
}

/// The response to a request over plain http.
enum PlainAnswer {
    /// It speaks http.
    Answered,
    /// It requires TLS, or the response is not http.
    Foreign,
    /// It closed the connection.
    Cut(String),
}

/// The TLS library panics if the clock is before 1970.
fn check_clock(now: SystemTime) -> Result<(), RegistryError> {
    let problem = "this machine's clock is before the year 1970, so that certificates cannot be verified: set the clock";
    let is_set = now.duration_since(UNIX_EPOCH).is_ok();
    if is_set { Ok(()) } else { Err(RegistryError::Settings(problem.to_owned())) }
}

fn greeting_url(origin: &Origin) -> Result<Url, RegistryError> {
    origin.url("/v2/").map_err(|error| RegistryError::Settings(error.to_string()))
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

    #[test]
    fn a_clock_before_1970_is_an_error_and_no_panic_bug() {
        let error = check_clock(UNIX_EPOCH - Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().ends_with("set the clock"), "{error}");
        assert!(check_clock(UNIX_EPOCH).is_ok());
    }

    /// A server that accepts connections and sends nothing, like a firewall that drops TLS.
    #[tokio::test]
    async fn the_connect_timeout_covers_the_tls_handshake() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = silent.local_addr().unwrap().to_string();
        let connect_timeout = Some(Duration::from_millis(50));
        let network = Network::new(NetworkSettings { connect_timeout, ..NetworkSettings::default() });
        let error = network.origin(&registry).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::Stalled(time) if time == Duration::from_millis(50)),
            "{error}"
        );
        let origin = Origin::of_registry(&registry, Scheme::Https).unwrap();
        let mut settings = NetworkSettings { connect_timeout, ..NetworkSettings::default() };
        settings.trust.accept_any(origin.clone());
        let client = Network::new(settings).client(&origin).unwrap();
        let error = client.get(origin.url("/v2/").unwrap()).send().await.unwrap_err();
        let translated = client_error::translate(&error);
        assert!(matches!(translated, RegistryError::Unreachable { .. }), "{error:?}");
    }
}
