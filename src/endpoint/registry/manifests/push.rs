//! Pushing manifests, and what a refusal means.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{
    super::{
        auth::Scope,
        host::{Call, Host, discard},
        retry::{self, Tries},
    },
    place,
    read::get,
    url,
};
use crate::{
    endpoint::{Cause, Error, Operation},
    error::escape,
    oci::{RawManifest, Repository, Target},
};

/// How often a manifest is pushed whose blobs the registry does not see yet.
const LATE_BLOB_ATTEMPTS: u32 = 4;

/// Pushes a manifest's bytes as they are.
pub(in super::super) async fn put(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
) -> Result<(), Error> {
    let call = put_call(host, repository, target, manifest)?;
    let mut tries = Tries::new(LATE_BLOB_ATTEMPTS);
    loop {
        tries.begin();
        let error = match host.send(&call, &[]).await {
            Ok(response) => {
                discard(response).await;
                return Ok(());
            }
            Err(error) => error,
        };
        // What was uploaded a moment ago may not have reached every part of the registry.
        if error.cause.names_missing_content() && tries.count() < LATE_BLOB_ATTEMPTS {
            tokio::time::sleep(retry::pause(tries.count(), &error.cause, retry::random())).await;
            continue;
        }
        return judge_refusal(host, repository, target, manifest, error).await;
    }
}

/// What a refusal of a manifest means: nothing, when the tag cannot be moved and names this very manifest.
async fn judge_refusal(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
    mut error: Error,
) -> Result<(), Error> {
    // A registry with immutable tags refuses to write the tag again, even with the same digest:
    // https://github.com/aws/containers-roadmap/issues/2380
    if matches!(error.cause, Cause::Refused { status: 400 | 403 | 405 | 409 | 412, .. })
        && let Ok(Some(found)) = get(host, repository, target).await
    {
        if found.digest() == manifest.digest() {
            return Ok(());
        }
        if says_immutable(&error.cause) {
            return Err(Error { cause: Cause::Immutable(found.digest().clone()), ..error });
        }
    }
    if error.cause.refuses_manifest()
        && let Cause::Refused { message, .. } = &mut error.cause
    {
        let media_type = escape(manifest.media_type().as_str());
        *message = format!("{message} (the manifest's type is {media_type})");
    }
    Err(error)
}

/// Each registry has words of its own. Of a 403 they are needed: it may be about anything.
fn says_immutable(cause: &Cause) -> bool {
    let Cause::Refused { status, code, message, .. } = cause else { return false };
    let text = format!("{} {message}", code.as_deref().unwrap_or_default()).to_ascii_lowercase();
    let words = ["immutable", "already exists", "alreadyexists", "overwrit", "locked"];
    matches!(status, 409 | 412) || words.iter().any(|word| text.contains(word))
}

fn put_call<'a>(
    host: &Host,
    repository: &'a Repository,
    target: &Target,
    manifest: &RawManifest,
) -> Result<Call<'a>, Error> {
    let place = place(repository, target);
    let failed = |cause: Cause| host.error(Operation::PushManifest, &place, &Tries::new(1), cause);
    let content_type = HeaderValue::from_str(manifest.media_type().as_str())
        .map_err(|_| failed(Cause::Protocol("its media type cannot be sent in a header".to_owned())))?;
    let url = url(host, repository, target).map_err(failed)?;
    Ok(Call {
        operation: Operation::PushManifest,
        repository,
        place,
        scopes: vec![Scope::push(repository)],
        method: Method::PUT,
        url,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]),
        body: Some(manifest.bytes().clone()),
        attempts: retry::ATTEMPTS,
    })
}
