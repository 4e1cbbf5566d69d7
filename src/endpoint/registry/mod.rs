//! Registries over HTTP: the OCI distribution specification as real registries speak it.
//!
//! [`Registries`] is one side of a copy, with any number of hosts.
//!
//! # The map
//!
//! | what | where |
//! |---|---|
//! | opening both sides of a copy | `connector` |
//! | connections: TLS, proxies, certificates | [`network`] |
//! | credentials and tokens | [`auth`] |
//! | sending one request: credentials, redirects, retries | `host` |
//! | reading and pushing manifests, listing tags | `manifests` |
//! | signatures, SBOMs and other referrers | `referrers` |
//! | reading a blob | `download` |
//! | pushing or mounting a blob | `upload` |
//! | foreign layers, from the URLs in their descriptors | `foreign` |
//! | checks for `doctor` | `probe` |
//! | what is retried | `retry` |
//! | concurrency, and whether a host is far away | `pace` |
//! | whether a request is still connecting, for the stall timeout | `connecting` |
//! | pauses that a host asks for, and whether it can be reached | `host_state` |
//! | requests per second, for each action | `throttle`, which counts them in a `window` |
//! | bytes per second | `rate`; transfers that are too slow: `trickle` |
//! | memory for large manifests | `manifest_memory` |
//! | timeouts and other fixed limits | `limits` |
//! | what a host supports, such as chunks or mounts | `capabilities` |
//! | checking the URLs that a registry sends | `redirect` |
//! | parsing an error response, and what it means | `answer`, `refusal` |
//! | errors | `error`, `connection_problem`, `referrers_problem` |
//! | what errors mean, and hints | `endpoint_error`, `refusal` |
//! | translating errors of the HTTP client, TLS and proxies | `client_error` |
//! | the only decisions that depend on the text of a message | `message_text` |

mod answer;
pub mod auth;
mod capabilities;
mod client_error;
mod connecting;
mod connection_problem;
mod connector;
mod download;
mod endpoint_error;
mod error;
mod foreign;
pub(crate) mod fuzzing;
mod host;
mod host_state;
mod limits;
mod manifest_memory;
mod manifests;
mod message_text;
pub(crate) mod network;
mod pace;
mod probe;
mod rate;
mod redirect;
mod referrers;
mod referrers_problem;
mod referrers_support;
mod refusal;
mod retry;
mod throttle;
mod trickle;
mod upload;
mod window;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use self::{
    auth::{Authenticator, Origin},
    foreign::LayerUrls,
    host::Host,
    network::Network,
    referrers::Attachments,
    retry::Attempts,
    upload::SuspendedUploads,
};
pub use self::{
    connection_problem::{CertificateProblem, ConnectionProblem},
    connector::Connector,
    error::RegistryError,
    limits::{Parts, Tuning},
    network::{NetworkSettings, Proxies, SettingScope, Trust, TrustError},
    rate::RateLimits,
    referrers_problem::ReferrersProblem,
    refusal::Refusal,
};
pub(crate) use self::{
    probe::{ProbeAnswer, ShownCertificate},
    upload::state_folder,
};
use super::{Begun, BlobStream, Cause, Destination, Error, Location, Operation, Source, retry::attempts};
pub use crate::quota::{QuotaChange, QuotaError, Quotas};
use crate::{
    event::EventSink,
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// A registry, or why it cannot be reached. Detected once per run, so that thirty images do not each wait for the same
/// timeout.
type HostResult = Result<Arc<Host>, Error>;

/// All the registries on one side of a copy.
pub struct Registries {
    side: Side,
    network: Arc<Network>,
    authenticator: Authenticator,
    events: Arc<dyn EventSink>,
    tuning: Tuning,
    /// Interrupted uploads.
    suspended: Arc<SuspendedUploads>,
    attachments: Attachments,
    hosts: Mutex<HashMap<String, Arc<OnceCell<HostResult>>>>,
    /// Fetches foreign layers; `None` when the URLs in manifests are not followed.
    layer_urls: Option<LayerUrls>,
}

impl Registries {
    /// Sends nothing before the first operation.
    #[must_use]
    fn new(
        side: Side,
        network: Arc<Network>,
        authenticator: Authenticator,
        events: Arc<dyn EventSink>,
        tuning: Tuning,
    ) -> Self {
        let suspended = Arc::new(SuspendedUploads::new(None));
        let (attachments, hosts, layer_urls) = (Attachments::default(), Mutex::default(), None);
        Self { side, network, authenticator, events, tuning, suspended, attachments, hosts, layer_urls }
    }

    /// Stores in this folder what a later process needs to resume large uploads. Without a folder, only this process
    /// can resume.
    #[must_use]
    pub fn with_state(self, folder: Option<PathBuf>) -> Self {
        Self { suspended: Arc::new(SuspendedUploads::new(folder)), ..self }
    }

    /// The same side with connections of its own: what occupies those does not delay this one.
    #[must_use]
    pub(crate) fn with_own_connections(&self) -> Self {
        let (network, authenticator) = (Arc::clone(&self.network), self.authenticator.clone());
        let own = Self::new(self.side, network, authenticator, Arc::clone(&self.events), self.tuning);
        Self { layer_urls: self.layer_urls.as_ref().map(|_| LayerUrls::default()), ..own }
    }

    /// The host of a registry. Its scheme is detected once, even for concurrent callers.
    async fn host(&self, repository: &Repository) -> Result<Arc<Host>, Error> {
        let registry = repository.registry();
        let cell = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(hosts.entry(registry.to_owned()).or_default())
        };
        cell.get_or_init(|| self.find(registry)).await.clone()
    }

    /// All tags of a repository; `None` if there is no such repository.
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Option<Vec<String>>, Error> {
        manifests::tags(&*self.host(repository).await?, repository).await
    }

    fn new_host(&self, origin: Origin, authenticator: Option<Authenticator>) -> Host {
        let (network, events) = (Arc::clone(&self.network), Arc::clone(&self.events));
        Host::new(self.side, origin, network, authenticator, events, self.tuning)
    }

    async fn find(&self, registry: &str) -> HostResult {
        let mut tries = Attempts::new(attempts());
        loop {
            tries.begin();
            let cause = match self.network.origin(registry).await {
                Ok(origin) => {
                    return Ok(Arc::new(self.new_host(origin, Some(self.authenticator.clone()))));
                }
                Err(error) => Cause::from(error),
            };
            match tries.next_pause(&cause, 0) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    return Err(Error {
                        location: Location::new(Operation::Connect, self.side, registry),
                        attempts: tries.count(),
                        elapsed: tries.elapsed(),
                        cause,
                    });
                }
            }
        }
    }
}

impl Source for Registries {
    fn side(&self) -> Side {
        self.side
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        manifests::digest(&*self.host(repository).await?, repository, tag).await
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        manifests::get(&*self.host(repository).await?, repository, target).await
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        download::size(&*self.host(repository).await?, repository, digest).await
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let host = self.host(repository).await?;
        let opened = download::open(Arc::clone(&host), repository, blob, offset).await;
        match (&self.layer_urls, opened) {
            (Some(urls), Err(absent @ Error { cause: Cause::NoSuchBlob, .. }))
                if blob.media_type.is_foreign_layer() =>
            {
                self.open_by_url(urls, &host.origin, (repository, blob), offset, absent).await
            }
            (_, opened) => opened,
        }
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        self.attachments.of(&*self.host(repository).await?, repository, subject).await
    }

    async fn expect_attachments(&self, repository: &Repository) {
        if let Ok(host) = self.host(repository).await {
            self.attachments.expect(&host, repository).await;
        }
    }
}

impl Destination for Registries {
    type Sink = upload::Upload;

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<Self::Sink>, Error> {
        self.begin_blob_expecting(repository, blob, mount, || ()).await
    }

    async fn begin_blob_expecting(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
        expect_wanted: impl FnOnce() + Send,
    ) -> Result<Begun<Self::Sink>, Error> {
        let (host, suspended) = (self.host(repository).await?, Arc::clone(&self.suspended));
        upload::begin(host, suspended, repository, (blob, mount), expect_wanted).await
    }

    fn is_far(&self, repository: &Repository) -> bool {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.get(repository.registry()).and_then(|cell| cell.get());
        host.and_then(|host| host.as_ref().ok()).is_some_and(|host| host.pace.is_far())
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> Result<(), Error> {
        let host = self.host(repository).await?;
        let put = manifests::put(&host, repository, target, manifest).await?;
        self.attachments.pushed(&host, repository, (target, manifest), put).await
    }
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registries").field("side", &self.side).finish_non_exhaustive()
    }
}
