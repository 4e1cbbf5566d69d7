//! How hosts are reached: over http or https, trusting which certificates, through which proxy; with a connection pool
//! for each distinct combination.
//!
//! Pools are created when they are first needed: a run that speaks only plain http never reads a certificate.

mod proxies;
mod trust;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, StatusCode, redirect::Policy};
use url::Url;

pub(crate) use self::proxies::Route;
use self::trust::HostRole;
pub use self::{
    proxies::Proxies,
    trust::{Scope, Trust, TrustError},
};
use super::{
    auth::{Origin, Reach, Scheme},
    client_error::{self, innermost},
    error::RegistryError,
    limits, retry,
};

/// How often a registry on this machine is asked over http before it is asked over https.
const PLAIN_QUESTIONS: u32 = 2;

/// What the settings say about connections.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// Registries (`HOST[:PORT]`) that are asked over plain http.
    pub plain_http: BTreeSet<String>,
    /// Certificates, theirs and ours.
    pub trust: Trust,
    /// Proxies.
    pub proxies: Proxies,
    /// How long making a connection may take; ten seconds by default.
    pub connect_timeout: Option<Duration>,
}

/// What makes connections to two origins different enough for two pools.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    scheme: Scheme,
    /// The origin itself where certificates are set for it alone.
    own: Option<Origin>,
    /// Whether it is reached through the environment's proxy for its scheme.
    is_proxied: bool,
    /// Where client certificates are set: which of them it is shown.
    role: Option<HostRole>,
}

/// Connection pools. Plain-http hosts share one that never loads a certificate.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    clients: Mutex<HashMap<PoolKey, Client>>,
    /// Every registry that was asked for by its name: only these are shown a client certificate that is set for all.
    /// Hosts that answers and manifests name are not among them.
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
    pub(crate) fn settings(&self) -> &NetworkSettings {
        &self.settings
    }

    /// The proxy that an origin is reached through, if any.
    pub(crate) fn route(&self, origin: &Origin) -> Result<Option<Route>, RegistryError> {
        self.settings.proxies.route(origin)
    }

    /// The client for an origin that is a registry or was named by one. It never follows a redirect, never sends a
    /// `Referer`, keeps no cookies and decodes nothing, so that bytes arrive as they are stored.
    pub fn client(&self, origin: &Origin) -> Result<Client, RegistryError> {
        self.client_for(origin, self.role(origin))
    }

    /// The same for an origin that only a manifest names: it is shown no client certificate.
    pub(super) fn anonymous_client(&self, origin: &Origin) -> Result<Client, RegistryError> {
        self.client_for(origin, HostRole::Unknown)
    }

    fn client_for(&self, origin: &Origin, role: HostRole) -> Result<Client, RegistryError> {
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

    /// A separate client whose answers include the server's certificate. The others do without these copies.
    pub(super) fn client_that_tells_certificates(&self, origin: &Origin) -> Result<Client, RegistryError> {
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
            .pool_idle_timeout(limits::IDLE)
            .http1_only()
            .tls_info(tells)
            // The environment is read by `Proxies`, which knows more rules.
            .no_proxy();
        if let Some(route) = route {
            let proxy = route.proxy().map_err(|error| {
                RegistryError::Settings(format!("the proxy {route} cannot be used: {}", innermost(&error)))
            })?;
            builder = builder.proxy(proxy);
        }
        builder = if origin.is_https() || route.is_some_and(Route::is_https) {
            self.settings.trust.apply(builder, origin, role)
        } else {
            // Without any root, building a client that will never speak TLS costs no certificate parsing.
            builder.tls_certs_only([])
        };
        builder
            .build()
            .map_err(|error| RegistryError::Settings(format!("cannot set up TLS: {}", innermost(&error))))
    }

    fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout.unwrap_or(limits::CONNECT)
    }

    /// The origin of a registry. Remote hosts are https unless plain http was asked for. A registry on
    /// loopback may be either; it is asked once, without credentials.
    pub async fn origin(&self, registry: &str) -> Result<Origin, RegistryError> {
        let settings = |error: super::auth::origin::OriginError| RegistryError::Settings(error.to_string());
        let plain = Origin::of_registry(registry, Scheme::Http).map_err(settings)?;
        if self.settings.plain_http.contains(registry) {
            return Ok(plain);
        }
        let encrypted = Origin::of_registry(registry, Scheme::Https).map_err(settings)?;
        self.registries.lock().unwrap_or_else(PoisonError::into_inner).insert(encrypted.clone());
        // Certificates that are set for a registry on this machine answer the question.
        let is_asked = plain.reach() == Reach::Loopback && !self.settings.trust.is_particular(&encrypted);
        if is_asked { self.find_scheme(plain, encrypted).await } else { Ok(encrypted) }
    }

    /// Which of two schemes a loopback registry speaks. A TLS server answers plain http with a 400 or an alert;
    /// one that hangs up may be anything, and is asked again and then over https.
    async fn find_scheme(&self, plain: Origin, encrypted: Origin) -> Result<Origin, RegistryError> {
        let mut cut = String::new();
        for _ in 0..PLAIN_QUESTIONS {
            match self.ask_plainly(&plain).await? {
                PlainAnswer::Answered => return Ok(plain),
                PlainAnswer::Foreign => return Ok(encrypted),
                PlainAnswer::Cut(reason) => cut = reason,
            }
        }
        match self.ask_encrypted(&encrypted).await {
            Err(RegistryError::NotTls) => Ok(plain),
            Err(error) if retry::is_transient(&error) => {
                Err(RegistryError::NeitherScheme { http: cut, https: error.to_string() })
            }
            // What is wrong with its certificate, or with ours, the first real request tells.
            Ok(()) | Err(_) => Ok(encrypted),
        }
    }

    async fn ask_plainly(&self, origin: &Origin) -> Result<PlainAnswer, RegistryError> {
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

    async fn ask_encrypted(&self, origin: &Origin) -> Result<(), RegistryError> {
        let patience = self.connect_timeout();
        let asked = self.client(origin)?.get(greeting_url(origin)?).timeout(patience).send().await;
        asked.map(drop).map_err(|error| client_error::translate(&error))
    }

    /// Why a request to an origin failed; of a proxy that refuses, with its status.
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

/// How a server answered a request over plain http.
enum PlainAnswer {
    /// It speaks http.
    Answered,
    /// It said that it does not, or something that is not http.
    Foreign,
    /// It hung up.
    Cut(String),
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

    /// A server that accepts connections and then says nothing, as a firewall's black hole does to TLS.
    #[tokio::test]
    async fn a_connection_that_does_not_come_about_ends_after_the_time_set() {
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
