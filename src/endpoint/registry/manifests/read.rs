//! Reading manifests and resolving contradictory digests.
//!
//! A manifest that is requested by digest is verified against it. By tag, only the response's `Docker-Content-Digest`
//! names a digest: if it disagrees with the bytes, either the bytes were damaged in transit or the registry's header is
//! wrong. Further requests tell which: see [`settle`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;

use super::{
    super::{
        auth::Scope,
        client_error,
        error::RegistryError,
        host::{Call, Host, discard},
        retry::Attempts,
    },
    name, url,
};
use crate::{
    endpoint::{Cause, Error, Operation, retry::attempts},
    event::Event,
    oci::{
        Digest, RawManifest, Repository, Target,
        manifest::{LARGEST_MANIFEST, ManifestError},
        media_type::ACCEPTED,
    },
    problem::Side,
};

const DIGEST_HEADER: &str = "docker-content-digest";

/// The digest of a tag. HEAD does not count against most quotas. If its response has no digest, the manifest is read.
pub(in super::super) async fn digest(
    host: &Host,
    repository: &Repository,
    tag: &str,
) -> Result<Option<Digest>, Error> {
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

/// Reads a manifest. The result matches the requested digest or, by tag, the registry's header, unless the registry
/// confirms both.
pub(in super::super) async fn get(
    host: &Host,
    repository: &Repository,
    target: &Target,
) -> Result<Option<RawManifest>, Error> {
    let call = read_call(host, repository, target, Method::GET)?;
    let expected = match target {
        Target::Digest(digest) => Some(digest),
        Target::Tag(_) => None,
    };
    let Some(reading) = read(host, &call, expected).await? else { return Ok(None) };
    match reading.contradicted() {
        Some(named) if expected.is_none() => settle(host, &call, &reading, named).await.map(Some),
        _ => reading.manifest.map(Some).map_err(|error| refused(host, &call, error)),
    }
}

/// Resolves a response by tag whose bytes do not match the digest in its header. Requests the manifest by the named
/// digest, which verifies the bytes, and once more by the tag:
///
/// - The digest exists: use it. Warn if the tag contradicts its header again. At a destination whose tag returns the
///   same other bytes again, fail: nodes would get either.
/// - It does not exist, and the tag is now consistent: use that response.
/// - It does not exist, and the tag returns the same bytes again: the header is wrong. Warn, and use the bytes.
/// - It does not exist, and the tag returns other bytes: the connection corrupts data. Fail.
async fn settle(host: &Host, call: &Call<'_>, first: &Reading, named: &Digest) -> Result<RawManifest, Error> {
    let verified = Box::pin(get(host, call.repository, &Target::Digest(named.clone()))).await?;
    let again = read(host, call, None).await?;
    let stands_by_it = again.as_ref().is_some_and(|again| again.contradicted().is_some());
    let found = Digest::sha256(&first.bytes);
    let warn = |conclusion: &str| {
        let message = format!(
            "{}: the registry's header names digest {named}, but the manifest has {found}; {conclusion}",
            call.name
        );
        host.events().emit(Event::Warning { image: None, message });
    };
    match (verified, again) {
        (Some(_), Some(again))
            if stands_by_it && again.bytes == first.bytes && host.side == Side::Destination =>
        {
            Err(refused(host, call, ManifestError::Contradicted { named: named.clone(), found }))
        }
        (Some(manifest), _) => {
            if stands_by_it {
                warn("using the manifest with the digest in the header");
            }
            Ok(manifest)
        }
        (None, None) => Err(host.error(call.operation, &call.name, &Attempts::new(1), Cause::NoSuchManifest)),
        (None, Some(again)) if stands_by_it && again.bytes != first.bytes => {
            let readings = Box::new((found, Digest::sha256(&again.bytes)));
            Err(refused(host, call, ManifestError::Unstable { named: named.clone(), readings }))
        }
        (None, Some(again)) => {
            if stands_by_it {
                warn("no manifest has the digest in the header, so using these bytes");
            }
            again.manifest.map_err(|error| refused(host, call, error))
        }
    }
}

fn refused(host: &Host, call: &Call<'_>, error: ManifestError) -> Error {
    host.error(call.operation, &call.name, &Attempts::new(1), error)
}

/// A manifest and the digest in its response.
struct Reading {
    bytes: Bytes,
    /// The digest in the response's header.
    named: Option<Digest>,
    manifest: Result<RawManifest, ManifestError>,
}

impl Reading {
    async fn of(response: Response, expected: Option<&Digest>, stall: Duration) -> Result<Self, Cause> {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let named = named_digest(&response);
        let bytes = read_body(response, stall).await?;
        let manifest = RawManifest::read(content_type.as_deref(), bytes.clone(), expected);
        Ok(Self { bytes, named, manifest })
    }

    /// The digest in the header, if the bytes have another.
    fn contradicted(&self) -> Option<&Digest> {
        self.named.as_ref().filter(|named| !named.matches(&self.bytes))
    }
}

/// Sends the request until the response is complete and matches the expected digest, if any.
async fn read(host: &Host, call: &Call<'_>, expected: Option<&Digest>) -> Result<Option<Reading>, Error> {
    let mut tries = Attempts::new(call.attempts);
    loop {
        tries.begin();
        let response = host.send(call, &[StatusCode::NOT_FOUND]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            discard(response).await;
            return Ok(None);
        }
        let cause = match Reading::of(response, expected, host.tuning().stall).await {
            Ok(Reading { manifest: Err(error @ ManifestError::Digest { .. }), .. }) => error.into(),
            Ok(reading) => return Ok(Some(reading)),
            Err(cause) => cause,
        };
        let Some(pause) = tries.next_pause(&cause, host.pace.answers()) else {
            return Err(host.error(call.operation, &call.name, &tries, cause));
        };
        host.wait(call, &cause, pause).await;
    }
}

fn read_call<'a>(
    host: &Host,
    repository: &'a Repository,
    target: &Target,
    method: Method,
) -> Result<Call<'a>, Error> {
    let name = name(repository, target);
    let url = url(host, repository, target)
        .map_err(|cause| host.error(Operation::ReadManifest, &name, &Attempts::new(1), cause))?;
    Ok(Call {
        operation: Operation::ReadManifest,
        repository,
        name,
        scopes: vec![Scope::pull(repository)],
        method,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept()))]),
        body: None,
        attempts: attempts(),
    })
}

/// All accepted types in one header: some registries read only the first `Accept` line.
fn accept() -> &'static str {
    static JOINED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    JOINED.get_or_init(|| ACCEPTED.join(", "))
}

fn named_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

async fn read_body(mut response: Response, stall: Duration) -> Result<Bytes, Cause> {
    let mut bytes = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(stall, response.chunk())
            .await
            .map_err(|_| RegistryError::Stalled(stall))?
            .map_err(|error| client_error::translate(&error))?;
        let Some(piece) = piece else { return Ok(bytes.freeze()) };
        bytes.extend_from_slice(&piece);
        if bytes.len() > LARGEST_MANIFEST {
            let reason = format!("it is larger than {LARGEST_MANIFEST} bytes");
            return Err(Cause::Manifest(ManifestError::Unreadable(reason)));
        }
    }
}
