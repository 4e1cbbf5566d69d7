//! Opens registries for both sides of a copy.

use std::{fmt, sync::Arc};

use super::{
    Registries, Tuning,
    auth::{Authenticator, Credentials, Origin},
    network::{Network, NetworkSettings},
};
use crate::{
    endpoint::{Error, Operation},
    event::EventSink,
    problem::Side,
};

/// Opens registries. Everything that one connector opens shares settings and connections; each side of a copy has its own
/// credentials.
///
/// ```
/// use std::sync::Arc;
///
/// use thoras_mirror::{
///     endpoint::registry::{
///         Connector, NetworkSettings,
///         auth::{Credentials, Environment},
///     },
///     event::Silent,
///     problem::Side,
/// };
///
/// let connector = Connector::new(NetworkSettings::default(), Arc::new(Silent));
/// let source = connector.open(Side::Source, Credentials::new(&Environment::of_process()));
/// let destination = connector.open(Side::Destination, Credentials::new(&Environment::of_process()));
/// ```
#[derive(Clone)]
pub struct Connector {
    network: Arc<Network>,
    tuning: Tuning,
    events: Arc<dyn EventSink>,
}

impl Connector {
    /// Opens no connection. `events` receives retries and warnings.
    #[must_use]
    pub fn new(settings: NetworkSettings, events: Arc<dyn EventSink>) -> Self {
        Self { network: Arc::new(Network::new(settings)), tuning: Tuning::default(), events }
    }

    /// Sets timeouts, and the size from which uploads are resumed.
    #[must_use]
    pub fn with_tuning(self, tuning: Tuning) -> Self {
        Self { tuning, ..self }
    }

    /// Opens one side of a copy. Sends no request before the first operation.
    #[must_use]
    pub fn open(&self, side: Side, credentials: Credentials) -> Registries {
        let (network, states) = (Arc::clone(&self.network), Arc::clone(self.network.states()));
        let clients = Arc::new(move |origin: &_| network.client(origin).map_err(Into::into));
        let authenticator = Authenticator::new(credentials, clients, states, self.tuning.stall);
        Registries::new(side, Arc::clone(&self.network), authenticator, Arc::clone(&self.events), self.tuning)
    }

    /// The scheme, host and port of a registry (`HOST[:PORT]`), which [`Credentials::with_explicit`] binds a password to.
    /// Asks a registry on loopback whether it speaks HTTPS; sends nothing to any other.
    pub async fn origin(&self, side: Side, registry: &str) -> Result<Origin, Error> {
        let origin = self.network.origin(registry).await;
        origin.map_err(|error| Error::new(Operation::Connect, side, registry, error))
    }

    /// Whether any request of what this connector opened went to this origin.
    pub(crate) fn has_contacted(&self, origin: &Origin) -> bool {
        self.network.has_contacted(origin)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").field("tuning", &self.tuning).finish_non_exhaustive()
    }
}
