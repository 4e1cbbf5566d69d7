//! Reading manifests, and what is done about bytes that are not what they should be.
//!
//! By digest, the bytes are held against it. By tag, nothing but the answer's own `Docker-Content-Digest` says
//! what they should be: where the two disagree, either the bytes were damaged on the way or the registry's
//! header is wrong, and asking again tells which. See [`settle`].

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
        retry::Tries,
    },
    name, url,
};
use crate::{
    endpoint::{Cause, Error, Operation, retry::ATTEMPTS},
    event::Event,
    oci::{
        Digest, RawManifest, Repository, Target,
        manifest::{LARGEST_MANIFEST, ManifestError},
        media_type::ACCEPTED,
    },
    problem::Side,
};

const DIGEST_HEADER: &str = "docker-content-digest";

/// The digest that the registry names for a tag. HEAD costs nothing against most quotas; a registry that
/// does not answer it usefully is asked for the manifest itself.
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

/// Reads a manifest. What is returned matches the digest that it was asked for by; by tag, the one that the
/// registry names for it, unless the registry stands by both.
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

/// Decides about a reading by tag whose bytes are not those that its header names. The manifest is asked for by
/// the named digest, where its bytes can be checked, and once more by the tag:
///
/// - the digest is there: it is taken. If the tag is answered with a contradiction again, that is said; at a
///   destination whose tag brings the same other bytes again it is an error, since nodes would get either.
/// - it is not there, and the tag now agrees with itself: that reading is taken.
/// - it is not there, and the tag brings the same bytes again: the registry's header is wrong, which is said.
/// - it is not there, and the tag brings other bytes: the line damages what it carries, and nothing is taken.
async fn settle(host: &Host, call: &Call<'_>, first: &Reading, named: &Digest) -> Result<RawManifest, Error> {
    let verified = Box::pin(get(host, call.repository, &Target::Digest(named.clone()))).await?;
    let again = read(host, call, None).await?;
    let stands_by_it = again.as_ref().is_some_and(|again| again.contradicted().is_some());
    let found = Digest::sha256(&first.bytes);
    let warn = |conclusion: &str| {
        let message = format!(
            "{}: the registry names the digest {named}, its bytes have {found}; {conclusion}",
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
                warn("the manifest of that digest is taken");
            }
            Ok(manifest)
        }
        (None, None) => Err(host.error(call.operation, &call.name, &Tries::new(1), Cause::NoSuchManifest)),
        (None, Some(again)) if stands_by_it && again.bytes != first.bytes => {
            let readings = Box::new((found, Digest::sha256(&again.bytes)));
            Err(refused(host, call, ManifestError::Unstable { named: named.clone(), readings }))
        }
        (None, Some(again)) => {
            if stands_by_it {
                warn("it has no manifest of that digest, so these bytes are taken");
            }
            again.manifest.map_err(|error| refused(host, call, error))
        }
    }
}

fn refused(host: &Host, call: &Call<'_>, error: ManifestError) -> Error {
    host.error(call.operation, &call.name, &Tries::new(1), error)
}

/// A manifest's bytes as they came, and what they are.
struct Reading {
    bytes: Bytes,
    /// The digest in the answer's header.
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

    /// The digest that the answer named, if the bytes have another.
    fn contradicted(&self) -> Option<&Digest> {
        self.named.as_ref().filter(|named| !named.matches(&self.bytes))
    }
}

/// Sends the request until its answer has come whole and, where a digest is expected, with its bytes.
async fn read(host: &Host, call: &Call<'_>, expected: Option<&Digest>) -> Result<Option<Reading>, Error> {
    let mut tries = Tries::new(call.attempts);
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
        .map_err(|cause| host.error(Operation::ReadManifest, &name, &Tries::new(1), cause))?;
    Ok(Call {
        operation: Operation::ReadManifest,
        repository,
        name,
        scopes: vec![Scope::pull(repository)],
        method,
        url,
        headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept()))]),
        body: None,
        attempts: ATTEMPTS,
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
