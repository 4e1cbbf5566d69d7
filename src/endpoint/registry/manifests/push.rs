//! Pushing manifests, and interpreting a refusal.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    super::{
        auth::Scope,
        error::{Refusal, RegistryError},
        host::{Call, Host, discard},
        message_text::says_immutable,
        retry::Attempts,
    },
    name,
    read::get,
    url,
};
use crate::{
    endpoint::{
        Error, Meaning, Operation,
        retry::{Pause, attempts},
    },
    error::escape,
    oci::{RawManifest, Repository, Target},
};

/// How often a manifest is pushed when the registry does not see its blobs yet.
const LATE_BLOB_ATTEMPTS: u32 = 4;

/// Pushes a manifest byte for byte.
pub(in super::super) async fn put(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
) -> Result<(), Error> {
    let call = put_call(host, repository, target, manifest)?;
    let mut tries = Attempts::new(LATE_BLOB_ATTEMPTS);
    loop {
        tries.begin();
        let error = match host.send(&call, &[]).await {
            Ok(response) => {
                discard(response).await;
                return Ok(());
            }
            Err(error) => error,
        };
        if may_be_late(&error) && tries.count() < LATE_BLOB_ATTEMPTS {
            tokio::time::sleep(Pause::Backoff.duration(tries.count())).await;
            continue;
        }
        return interpret_refusal(host, repository, target, manifest, error).await;
    }
}

/// Whether the registry may accept the same manifest in a moment: a blob may not have reached every part of the registry
/// yet, and distribution 2.8 answers 400 to one of two clients that push the same manifest at once.
fn may_be_late(error: &Error) -> bool {
    error.cause.meaning() == Meaning::ContentMissing
        || matches!(error.cause.downcast_ref(), Some(RegistryError::Refused(refusal))
            if refusal.status == 400 && refusal.has_code("DIGEST_INVALID"))
}

/// Interprets the refusal of a manifest. It is a success when the tag is immutable and points to this manifest.
async fn interpret_refusal(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
    error: Error,
) -> Result<(), Error> {
    let Some(RegistryError::Refused(refusal)) = error.cause.downcast_ref() else { return Err(error) };
    // A registry with immutable tags refuses to write the tag again, even with the same digest:
    // https://github.com/aws/containers-roadmap/issues/2380
    if matches!(refusal.status, 400 | 403 | 405 | 409 | 412)
        && let Ok(Some(found)) = get(host, repository, target).await
    {
        if found.digest() == manifest.digest() {
            return Ok(());
        }
        if says_immutable(refusal) {
            let cause = RegistryError::Immutable(found.digest().clone());
            return Err(Error { cause: cause.into(), ..error });
        }
    }
    if refusal.refuses_manifest() {
        let media_type = escape(manifest.media_type().as_str());
        let message = format!("{} (the manifest's type is {media_type})", refusal.message);
        let cause = RegistryError::Refused(Refusal { message, ..refusal.clone() });
        return Err(Error { cause: cause.into(), ..error });
    }
    Err(error)
}

fn put_call<'a>(
    host: &Host,
    repository: &'a Repository,
    target: &Target,
    manifest: &RawManifest,
) -> Result<Call<'a>, Error> {
    let name = name(repository, target);
    let failed = |cause: RegistryError| host.error(Operation::PushManifest, &name, &Attempts::new(1), cause);
    let content_type = HeaderValue::from_str(manifest.media_type().as_str()).map_err(|_| {
        failed(RegistryError::Protocol("its media type is not a valid header value".to_owned()))
    })?;
    let url = url(host, repository, target).map_err(failed)?;
    Ok(Call {
        operation: Operation::PushManifest,
        repository,
        name,
        scopes: vec![Scope::push(repository)],
        method: Method::PUT,
        url,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]),
        body: Some(manifest.bytes().clone()),
        attempts: attempts(),
    })
}
