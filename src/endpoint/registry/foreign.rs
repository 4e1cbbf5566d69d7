//! Foreign layers: blobs that a registry need not hold, because their descriptors name other URLs for them (OCI image
//! specification, `urls` in "Content Descriptors").
//!
//! The author of the manifest chose those URLs, so they are requested anonymously: no credential goes there, not even
//! one that is set for that very host (CVE-2020-15157), and the bytes are accepted only if their digest matches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Registries,
    auth::{Origin, origin::redacted},
    download::{self, BlobAddress},
    error::RegistryError,
    host::Host,
    limits, redirect,
};
use crate::{
    endpoint::{BlobStream, Error, Operation},
    event::Event,
    graph::ForeignLayers,
    oci::{Descriptor, Digest, Repository},
};

/// The hosts that serve foreign layers, and the requests so far.
#[derive(Default)]
pub(super) struct LayerUrls {
    /// A registry may be among them; it gets no credential.
    hosts: Mutex<HashMap<Origin, Arc<Host>>>,
    /// How often each layer was requested.
    asked: Mutex<HashMap<Digest, usize>>,
}

impl LayerUrls {
    /// A layer's URLs in the order in which they are tried. When a layer is requested again, the first URL did not
    /// work, so the next one comes first.
    fn of<'a>(&self, blob: &'a Descriptor) -> impl Iterator<Item = &'a str> + use<'a> {
        let urls = blob.urls.as_slice();
        let urls = urls.get(..limits::MAX_LAYER_URLS).unwrap_or(urls);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(blob.digest.clone()).or_default();
        let first = times.checked_rem(urls.len()).unwrap_or_default();
        *times += 1;
        urls.iter().cycle().skip(first).take(urls.len()).map(String::as_str)
    }

    fn host(&self, origin: &Origin, new: impl FnOnce() -> Host) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(origin.clone()).or_insert_with(|| Arc::new(new())))
    }
}

impl Registries {
    /// Fetches required foreign layers that a registry does not have from the URLs in their manifests.
    #[must_use]
    pub fn with_foreign_layers(self, foreign_layers: ForeignLayers) -> Self {
        let is_required = foreign_layers == ForeignLayers::Required;
        Self { layer_urls: is_required.then(LayerUrls::default), ..self }
    }

    /// Opens a foreign layer that its registry does not have, from the first of its URLs that works. `absent` is the
    /// registry's error, which is returned if there is no URL.
    pub(super) async fn open_by_url(
        &self,
        urls: &LayerUrls,
        registry: &Origin,
        (repository, blob): (&Repository, &Descriptor),
        offset: u64,
        absent: Error,
    ) -> Result<BlobStream, Error> {
        let mut failed = absent;
        for (position, text) in urls.of(blob).enumerate() {
            if position > 0 {
                let reason = format!("{failed}: {}", failed.cause);
                self.events.emit(Event::Retrying { side: self.side, reason, pause: Duration::ZERO });
            }
            let name = format!("{repository}@{}", blob.digest);
            let opened = match self.address(urls, registry, repository, &name, text) {
                Ok((host, address)) => download::open_at(host, address, blob, offset).await,
                Err(cause) => Err(Error::new(Operation::ReadForeignLayer, self.side, name, cause)),
            };
            match opened {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn address(
        &self,
        urls: &LayerUrls,
        registry: &Origin,
        repository: &Repository,
        name: &str,
        text: &str,
    ) -> Result<(Arc<Host>, BlobAddress), RegistryError> {
        let url = redirect::named_in_manifest(registry, text)?;
        let origin = Origin::of(&url).map_err(|error| RegistryError::Redirect(error.to_string()))?;
        let address = BlobAddress {
            operation: Operation::ReadForeignLayer,
            repository: repository.clone(),
            name: format!("{name} from {}", redacted(&url)),
            url,
            scopes: Vec::new(),
        };
        let host = urls.host(&origin, || self.new_host(origin.clone(), None));
        Ok((host, address))
    }
}
