//! Reading manifests and resolving contradictory digests.
//!
//! A manifest that is requested by digest is verified against it. By tag, only the response's `Docker-Content-Digest`
//! names a digest: if it disagrees with the bytes, either the bytes were damaged in transit or the registry's header is
//! wrong. Further requests tell which: see [`settle`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use tokio::time::Instant;

use super::{
    super::{
        answer,
        auth::Scope,
        client_error,
        download::HEAD_UNKNOWN,
        error::RegistryError,
        host::{Call, Host, discard},
        manifest_memory::{LARGE, Reservation},
        retry::Attempts,
        trickle::Trickle,
    },
    name, url,
};
use crate::{
    endpoint::{Cause, Error, Operation, retry::attempts},
    error::hide_repeated,
    event::Event,
    oci::{
        Algorithm, Descriptor, Digest, MediaType, RawManifest, Repository, Target,
        manifest::{MAX_MANIFEST_SIZE, ManifestError},
        media_type::{ACCEPTED, Structure},
    },
    problem::Side,
    units,
};

const DIGEST_HEADER: &str = "docker-content-digest";

/// The digest of a tag. HEAD does not count against most quotas. If its response has no digest, the manifest is read.
pub(in super::super) async fn digest(
    host: &Host,
    repository: &Repository,
    tag: &str,
) -> Result<Option<Digest>, Error> {
    let target = Target::Tag(tag.to_owned());
    let Some(response) = head(host, repository, &target).await? else { return Ok(None) };
    let named = response.status().is_success().then(|| named_digest(&response)).flatten();
    match named {
        Some(digest) => Ok(Some(digest)),
        None => Ok(get(host, repository, &target).await?.map(|manifest| manifest.digest().clone())),
    }
}

/// A descriptor of what a tag points to, like [`digest`]. Only its digest is verified.
pub(in super::super) async fn descriptor(
    host: &Host,
    repository: &Repository,
    tag: &str,
) -> Result<Option<Descriptor>, Error> {
    let target = Target::Tag(tag.to_owned());
    let Some(response) = head(host, repository, &target).await? else { return Ok(None) };
    let described = response.status().is_success().then(|| described(&response)).flatten();
    match described {
        Some(descriptor) => Ok(Some(descriptor)),
        None => Ok(get(host, repository, &target).await?.map(|manifest| manifest.descriptor())),
    }
}

/// Whether a manifest exists. True if the registry does not tell.
pub(in super::super) async fn exists(
    host: &Host,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool, Error> {
    Ok(head(host, repository, &Target::Digest(digest.clone())).await?.is_some())
}

/// The head of a manifest; `None` if it does not exist. Some registries do not answer HEAD.
async fn head(host: &Host, repository: &Repository, target: &Target) -> Result<Option<Response>, Error> {
    let call = read_call(host, repository, target, Method::HEAD)?;
    let response = host.send(&call, &[&[StatusCode::NOT_FOUND], HEAD_UNKNOWN.as_slice()].concat()).await?;
    Ok((response.status() != StatusCode::NOT_FOUND).then_some(response))
}

/// The descriptor in the head of a manifest, if it is complete.
fn described(response: &Response) -> Option<Descriptor> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let media_type = MediaType::from(text(header::CONTENT_TYPE)?.split(';').next()?.trim());
    let size = text(header::CONTENT_LENGTH)?.parse().ok()?;
    let is_manifest = matches!(media_type.structure(), Structure::Index | Structure::Image);
    is_manifest.then_some(Descriptor::new(media_type, named_digest(response)?, size))
}

/// Reads a manifest. The result matches the requested digest or, by tag, the registry's header, unless the registry
/// confirms both.
pub(in super::super) async fn get(
    host: &Host,
    repository: &Repository,
    target: &Target,
) -> Result<Option<RawManifest>, Error> {
    get_within(host, repository, target, Memory::Reserved).await
}

/// Whether a large manifest reserves memory before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// It waits until other large manifests have been dropped.
    Reserved,
    /// It waits until other pages have been dropped: it is a page of a list, or an index that is changed.
    Page,
    /// It does not, because its reader holds another manifest and would wait for itself.
    Unlimited,
}

/// Reads a manifest like [`get`].
pub(super) async fn get_within(
    host: &Host,
    repository: &Repository,
    target: &Target,
    memory: Memory,
) -> Result<Option<RawManifest>, Error> {
    let call = read_call(host, repository, target, Method::GET)?;
    let expected = match target {
        Target::Digest(digest) => Some(digest),
        Target::Tag(_) => None,
    };
    let Some(reading) = read(host, &call, expected, memory).await? else { return Ok(None) };
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
    let verified = get_by_digest(host, call.repository, named).await?;
    let again = read(host, call, None, Memory::Unlimited).await?;
    let repeats_it = again.as_ref().is_some_and(|again| again.contradicted().is_some());
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
            if repeats_it && again.bytes == first.bytes && host.side == Side::Destination =>
        {
            Err(refused(host, call, ManifestError::Contradicted { named: named.clone(), found }))
        }
        (Some(manifest), _) => {
            if repeats_it {
                warn("using the manifest with the digest in the header");
            }
            Ok(manifest)
        }
        (None, None) => Err(host.error(call.operation, &call.name, &Attempts::new(1), Cause::NoSuchManifest)),
        (None, Some(again)) if repeats_it && again.bytes != first.bytes => {
            let readings = Box::new((found, Digest::sha256(&again.bytes)));
            Err(refused(host, call, ManifestError::Unstable { named: named.clone(), readings }))
        }
        (None, Some(again)) => {
            if repeats_it {
                warn("no manifest has the digest in the header, so using these bytes");
            }
            again.manifest.map_err(|error| refused(host, call, error))
        }
    }
}

async fn get_by_digest(
    host: &Host,
    repository: &Repository,
    digest: &Digest,
) -> Result<Option<RawManifest>, Error> {
    let target = Target::Digest(digest.clone());
    Box::pin(get_within(host, repository, &target, Memory::Unlimited)).await
}

/// Reads a manifest by tag to change it: with the `ETag` of its response.
pub(in super::super) async fn get_to_change(
    host: &Host,
    repository: &Repository,
    tag: &str,
) -> Result<Option<(RawManifest, Option<HeaderValue>)>, Error> {
    let call = read_call(host, repository, &Target::Tag(tag.to_owned()), Method::GET)?;
    let Some(reading) = read(host, &call, None, Memory::Page).await? else { return Ok(None) };
    if let Some(named) = reading.contradicted() {
        return settle(host, &call, &reading, named).await.map(|manifest| Some((manifest, None)));
    }
    let manifest = reading.manifest.map_err(|error| refused(host, &call, error))?;
    Ok(Some((manifest, reading.etag)))
}

fn refused(host: &Host, call: &Call<'_>, error: ManifestError) -> Error {
    host.error(call.operation, &call.name, &Attempts::new(1), error)
}

/// A manifest and the digest in its response.
struct Reading {
    bytes: Bytes,
    /// The digest in the response's header.
    named: Option<Digest>,
    etag: Option<HeaderValue>,
    manifest: Result<RawManifest, ManifestError>,
}

impl Reading {
    async fn of(
        response: Response,
        expected: Option<&Digest>,
        (stall, memory): (Duration, Memory),
    ) -> Result<Self, Cause> {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let named = named_digest(&response);
        let etag = response.headers().get(header::ETAG).cloned();
        let bytes = read_body(response, stall, memory).await?;
        if answer::starts_as_web_page(&bytes) {
            return Err(RegistryError::WebPage.into());
        }
        // The header may name the manifest by a digest other than sha256.
        let other = named.as_ref().filter(|named| {
            expected.is_none() && named.algorithm() != Algorithm::Sha256 && named.matches(&bytes)
        });
        let manifest = RawManifest::read(content_type.as_deref(), bytes.clone(), expected.or(other))
            .map_err(|error| error.with_text(hide_repeated));
        Ok(Self { bytes, named, etag, manifest })
    }

    /// The digest in the header, if the bytes have another.
    fn contradicted(&self) -> Option<&Digest> {
        self.named.as_ref().filter(|named| !named.matches(&self.bytes))
    }
}

/// Sends the request until the response is complete and matches the expected digest, if any.
async fn read(
    host: &Host,
    call: &Call<'_>,
    expected: Option<&Digest>,
    memory: Memory,
) -> Result<Option<Reading>, Error> {
    let mut tries = Attempts::new(call.attempts);
    loop {
        tries.begin();
        let response = host.send(call, &[StatusCode::NOT_FOUND]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            discard(response).await;
            return Ok(None);
        }
        let cause = match Reading::of(response, expected, (host.tuning().stall, memory)).await {
            Ok(Reading { manifest: Err(error @ ManifestError::Digest { .. }), .. }) => error.into(),
            Ok(reading) => {
                host.take_rate(reading.bytes.len()).await;
                return Ok(Some(reading));
            }
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

/// Reads a manifest's bytes. A large one reserves memory first: all that a manifest may have, if its size is not known.
pub(super) async fn read_body(
    mut response: Response,
    stall: Duration,
    memory: Memory,
) -> Result<Bytes, Cause> {
    let too_large = || {
        let reason = format!("it is larger than {}", units::bytes(MAX_MANIFEST_SIZE as u64));
        Cause::Manifest(ManifestError::Unreadable(reason))
    };
    let announced = response.content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > MAX_MANIFEST_SIZE) {
        return Err(too_large());
    }
    let mut reservation = None;
    let mut bytes = BytesMut::new();
    let mut trickle = Trickle::new(stall);
    loop {
        let is_limited = memory != Memory::Unlimited && reservation.is_none();
        if is_limited && bytes.len().max(announced.unwrap_or_default()) > LARGE {
            let size = announced.unwrap_or(MAX_MANIFEST_SIZE);
            reservation = Some(match memory {
                Memory::Page => Reservation::of_page(size).await,
                Memory::Reserved | Memory::Unlimited => Reservation::of(size).await,
            });
            bytes.reserve(announced.unwrap_or_default());
        }
        let waiting = Instant::now();
        let piece = tokio::time::timeout(stall, response.chunk())
            .await
            .map_err(|_| RegistryError::Stalled(stall))?
            .map_err(|error| client_error::translate(&error))?;
        let Some(piece) = piece else { break };
        trickle.add(waiting.elapsed(), piece.len() as u64)?;
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(too_large());
        }
    }
    let bytes = bytes.freeze();
    Ok(match reservation {
        Some(reservation) => reservation.hold(bytes),
        None => bytes,
    })
}
