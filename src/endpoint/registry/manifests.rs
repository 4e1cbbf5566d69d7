//! Manifests over HTTP (distribution specification, "Pulling manifests" and "Pushing manifests").

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;

use super::{
    auth::Scope,
    host::{Call, Host, discard},
    network::cause_of,
    retry::{self, Tries},
};
use crate::{
    endpoint::{Cause, Error, Operation},
    error::escape,
    event::Event,
    oci::{
        Digest, RawManifest, Repository, Target,
        manifest::{LARGEST_MANIFEST, ManifestError},
        media_type::ACCEPTED,
    },
};

const DIGEST_HEADER: &str = "docker-content-digest";
/// How often a manifest is pushed whose blobs the registry does not see yet.
const LATE_BLOB_ATTEMPTS: u32 = 4;

/// The digest that the registry names for a tag. HEAD costs nothing against most quotas; a registry that
/// does not answer it usefully is asked for the manifest itself.
pub(super) async fn digest(host: &Host, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
    let target = Target::Tag(tag.to_owned());
    let call = read_call(host, repository, &target, Method::HEAD)?;
    let response = host
        .send(&call, &[StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::BAD_REQUEST])
        .await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let named = response.status().is_success().then(|| named_digest(&response)).flatten();
    match named {
        Some(digest) => Ok(Some(digest)),
        None => Ok(get(host, repository, &target).await?.map(|manifest| manifest.digest().clone())),
    }
}

/// Reads a manifest.
pub(super) async fn get(
    host: &Host,
    repository: &Repository,
    target: &Target,
) -> Result<Option<RawManifest>, Error> {
    let call = read_call(host, repository, target, Method::GET)?;
    let mut tries = Tries::new(retry::ATTEMPTS);
    loop {
        tries.begin();
        let response = host.send(&call, &[StatusCode::NOT_FOUND]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            discard(response).await;
            return Ok(None);
        }
        let cause = match accept_manifest(host, &call.place, target, response).await {
            Ok(manifest) => return Ok(Some(manifest)),
            Err(cause) => cause,
        };
        // The head of the answer came, its body broke off.
        match tries.next_pause(&cause, host.pace.answers()) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(host.error(call.operation, &call.place, &tries, cause)),
        }
    }
}

/// Reads the body of a successful answer and checks it.
async fn accept_manifest(
    host: &Host,
    place: &str,
    target: &Target,
    response: Response,
) -> Result<RawManifest, Cause> {
    let content_type =
        response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let named = named_digest(&response);
    let bytes = read_body(response, host.tuning().stall).await?;
    let expected = match target {
        Target::Digest(digest) => Some(digest),
        Target::Tag(_) => None,
    };
    let manifest = RawManifest::read(content_type.as_deref(), bytes, expected)?;
    warn_of_wrong_header(host, place, named.as_ref(), &manifest);
    Ok(manifest)
}

/// Pushes a manifest's bytes as they are.
pub(super) async fn put(
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
    let url = manifest_url(host, repository, target).map_err(failed)?;
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

fn read_call<'a>(
    host: &Host,
    repository: &'a Repository,
    target: &Target,
    method: Method,
) -> Result<Call<'a>, Error> {
    let place = place(repository, target);
    let url = manifest_url(host, repository, target)
        .map_err(|cause| host.error(Operation::ReadManifest, &place, &Tries::new(1), cause))?;
    Ok(Call {
        operation: Operation::ReadManifest,
        repository,
        place,
        scopes: vec![Scope::pull(repository)],
        method,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept()))]),
        body: None,
        attempts: retry::ATTEMPTS,
    })
}

/// All accepted types in one header: some registries read only the first `Accept` line.
fn accept() -> &'static str {
    static JOINED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    JOINED.get_or_init(|| ACCEPTED.join(", "))
}

fn manifest_url(host: &Host, repository: &Repository, target: &Target) -> Result<url::Url, Cause> {
    host.url(repository, &format!("manifests/{target}"))
}

fn place(repository: &Repository, target: &Target) -> String {
    match target {
        Target::Tag(tag) => format!("{repository}:{tag}"),
        Target::Digest(digest) => format!("{repository}@{digest}"),
    }
}

fn named_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

async fn read_body(mut response: Response, stall: Duration) -> Result<Bytes, Cause> {
    let mut bytes = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(stall, response.chunk())
            .await
            .map_err(|_| Cause::Stalled(stall))?
            .map_err(|error| cause_of(&error))?;
        let Some(piece) = piece else { return Ok(bytes.freeze()) };
        bytes.extend_from_slice(&piece);
        if bytes.len() > LARGEST_MANIFEST {
            let reason = format!("it is larger than {LARGEST_MANIFEST} bytes");
            return Err(Cause::Manifest(ManifestError::Unreadable(reason)));
        }
    }
}

/// By digest the bytes have been checked already; by tag a wrong header only tells of a broken registry.
fn warn_of_wrong_header(host: &Host, place: &str, named: Option<&Digest>, manifest: &RawManifest) {
    if let Some(named) = named
        && named.algorithm() == manifest.digest().algorithm()
        && named != manifest.digest()
    {
        host.events().emit(Event::Warning {
            image: None,
            message: format!(
                "{place}: the registry names the digest {named}, its bytes have {}",
                manifest.digest()
            ),
        });
    }
}
