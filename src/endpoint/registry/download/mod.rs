//! Reading a blob (distribution specification, "Pulling blobs").
//!
//! `span` reads a blob, or a part of it, and survives interruptions. `parts` reads a large blob over several connections
//! where one is slower than the network; `width` decides over how many.

mod part_size;
mod parts;
mod span;
mod width;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use self::span::Span;
pub(super) use self::span::is_range;
use super::{
    auth::Scope,
    error::RegistryError,
    host::{Call, Host},
    retry::Attempts,
};
use crate::{
    endpoint::{BlobStream, Error, Operation, retry::attempts},
    oci::{Descriptor, Digest, Repository},
};

/// The statuses of registries and proxies that do not support HEAD. None of them says whether the blob exists.
pub(super) const HEAD_UNKNOWN: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];

/// The size that the registry reports for a blob.
pub(super) async fn size(
    host: &Host,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    let address = BlobAddress::in_repository(host, Operation::CheckBlob, repository, digest)?;
    let call = address.call(Method::HEAD, None);
    // Fall back to GET and read only the header.
    let get = Call { method: Method::GET, ..call.clone() };
    let response = match host.send(&call, &[&[StatusCode::NOT_FOUND], HEAD_UNKNOWN.as_slice()].concat()).await
    {
        Ok(response) if HEAD_UNKNOWN.contains(&response.status()) => None,
        Err(error) if is_refused_elsewhere(&error) => None,
        answered => Some(answered?),
    };
    let response = match response {
        Some(response) => response,
        None => host.send(&get, &[StatusCode::NOT_FOUND]).await?,
    };
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        let cause = RegistryError::Protocol("it reports no size for a blob".to_owned());
        host.error(call.operation, &call.name, &Attempts::new(1), cause)
    })
}

/// Whether the registry led a HEAD request to a host that refuses it. The signature in such a URL may be for GET alone.
fn is_refused_elsewhere(error: &Error) -> bool {
    let cause = error.cause.downcast_ref();
    matches!(cause, Some(elsewhere @ RegistryError::Elsewhere { .. }) if elsewhere.is_status(&[401, 403]))
}

/// Opens a blob of a repository at an offset.
pub(super) async fn open(
    host: Arc<Host>,
    repository: &Repository,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, Error> {
    let address = BlobAddress::in_repository(&host, Operation::ReadBlob, repository, &blob.digest)?;
    if parts::are_for(&host, blob, offset) {
        return parts::open(host, address, blob, offset).await;
    }
    open_at(host, address, blob, offset).await
}

/// Opens a blob at an offset, in a registry or at a URL.
pub(super) async fn open_at(
    host: Arc<Host>,
    address: BlobAddress,
    blob: &Descriptor,
    offset: u64,
) -> Result<BlobStream, Error> {
    let permit = host.pace.blob().await;
    let mut span = Span::new(host, permit, Arc::new(address), blob, (offset, blob.size));
    span.open().await?;
    Ok(span.into_stream())
}

/// Where to download a blob.
pub(super) struct BlobAddress {
    /// The operation, for errors.
    pub(super) operation: Operation,
    /// The repository that it belongs to.
    pub(super) repository: Repository,
    pub(super) url: Url,
    /// The permissions that a request needs.
    pub(super) scopes: Vec<Scope>,
    /// Its name in errors.
    pub(super) name: String,
}

impl BlobAddress {
    /// The blob in its own registry.
    fn in_repository(
        host: &Host,
        operation: Operation,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Self, Error> {
        let name = format!("{repository}@{digest}");
        let url = host
            .url(repository, &format!("blobs/{digest}"))
            .map_err(|cause| host.error(operation, &name, &Attempts::new(1), cause))?;
        let scopes = vec![Scope::pull(repository)];
        Ok(Self { operation, repository: repository.clone(), url, scopes, name })
    }

    fn call(&self, method: Method, range: Option<HeaderValue>) -> Call<'_> {
        Call {
            operation: self.operation,
            repository: &self.repository,
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            method,
            url: self.url.clone(),
            headers: range.map(|value| (header::RANGE, value)).into_iter().collect::<HeaderMap>(),
            body: None,
            attempts: attempts(),
        }
    }
}
