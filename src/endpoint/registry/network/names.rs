//! Resolves host names as the HTTP client does by default, with an error type that is recognizable: the operating
//! system's error is the same type as that of a failed connection.

use std::io;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system found no address for a name.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name")]
pub(in super::super) struct UnresolvedName(#[source] io::Error);

/// The system's resolver.
#[derive(Debug)]
pub(in super::super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client replaces port 0 with that of the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(UnresolvedName)?;
            let addresses: Addrs = Box::new(found.collect::<Vec<_>>().into_iter());
            Ok(addresses)
        })
    }
}
