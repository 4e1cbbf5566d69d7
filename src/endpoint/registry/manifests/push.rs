//! Pushing manifests, and interpreting a refusal.
//!
//! A registry computes the digest of a manifest that is pushed by tag, with sha256. A manifest with another digest is
//! therefore pushed by its digest, with the tag as a parameter (distribution specification, "Pushing Manifests with
//! Tags"). Many registries refuse the digest or ignore the parameter: then the image fails.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;

use super::{
    super::{
        auth::Scope,
        error::RegistryError,
        host::{Call, Host, discard},
        message_text::{names_content, says_immutable},
        refusal::Refusal,
        retry::Attempts,
    },
    name,
    read::{Memory, get_within},
    url,
};
use crate::{
    endpoint::{
        Error, Meaning, Operation,
        retry::{Pause, attempts},
    },
    error::{escape, hide_repeated},
    graph,
    oci::{Algorithm, RawManifest, Repository, Target, media_type::Structure},
};

/// Confirms the tags of a push by digest.
const TAG_HEADER: &str = "oci-tag";
/// Confirms that the registry lists referrers by itself.
const SUBJECT_HEADER: &str = "oci-subject";
/// How often a manifest is pushed when the registry does not see its blobs yet.
const LATE_BLOB_ATTEMPTS: u32 = 4;

/// How a push ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PutResult {
    /// The registry has the manifest.
    Stored {
        /// Whether it confirms that it lists the manifest among the referrers of its subject.
        lists_subject: bool,
    },
    /// The tag has changed since it was read.
    Conflict,
}

/// Pushes a manifest byte for byte.
pub(in super::super) async fn put(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
) -> Result<PutResult, Error> {
    put_if_unchanged(host, repository, target, manifest, None).await
}

/// Pushes a manifest byte for byte; if there is an `ETag`, only if the tag still has it. Not all registries check that.
pub(in super::super) async fn put_if_unchanged(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
    etag: Option<&HeaderValue>,
) -> Result<PutResult, Error> {
    let tag = tag_parameter(target, manifest);
    let mut call = put_call(host, repository, target, manifest)?;
    let mut expected = Vec::new();
    if let Some(etag) = etag {
        call.headers.insert(header::IF_MATCH, etag.clone());
        expected.push(StatusCode::PRECONDITION_FAILED);
    }
    let mut tries = Attempts::new(LATE_BLOB_ATTEMPTS);
    loop {
        tries.begin();
        let error = match host.send(&call, &expected).await {
            Ok(response) => {
                let is_tagged = tag.is_none_or(|tag| names_tag(&response, tag));
                let lists_subject = response.headers().contains_key(SUBJECT_HEADER);
                let is_conflict = !response.status().is_success();
                discard(response).await;
                if is_conflict {
                    return Ok(PutResult::Conflict);
                }
                if !is_tagged {
                    check_tag(host, repository, target, manifest, &call, &tries).await?;
                }
                return Ok(PutResult::Stored { lists_subject });
            }
            Err(error) => note_content(error, manifest),
        };
        if is_sha256(manifest) && may_be_late(&error) && tries.count() < LATE_BLOB_ATTEMPTS {
            tokio::time::sleep(Pause::Backoff.duration(tries.count())).await;
            continue;
        }
        interpret_refusal(host, repository, target, manifest, error).await?;
        return Ok(PutResult::Stored { lists_subject: false });
    }
}

/// Whether the digest is the one that every registry computes.
fn is_sha256(manifest: &RawManifest) -> bool {
    manifest.digest().algorithm() == Algorithm::Sha256
}

/// The tag that has to be a parameter of a push by digest.
fn tag_parameter<'a>(target: &'a Target, manifest: &RawManifest) -> Option<&'a str> {
    match target {
        Target::Tag(tag) if !is_sha256(manifest) => Some(tag),
        _ => None,
    }
}

/// Whether the registry confirms that it set the tag.
fn names_tag(response: &Response, tag: &str) -> bool {
    response.headers().get_all(TAG_HEADER).iter().any(|value| value == tag)
}

/// Reads a tag that the registry did not confirm.
async fn check_tag(
    host: &Host,
    repository: &Repository,
    target: &Target,
    manifest: &RawManifest,
    call: &Call<'_>,
    tries: &Attempts,
) -> Result<(), Error> {
    let found = match get_within(host, repository, target, Memory::Unlimited).await? {
        Some(found) if found.digest() == manifest.digest() => return Ok(()),
        Some(found) => format!("points to {}", found.digest()),
        None => "does not exist".to_owned(),
    };
    let cause = RegistryError::TagNotSet { algorithm: manifest.digest().algorithm(), found };
    Err(host.error(call.operation, &call.name, tries, cause))
}

/// Records in a refusal whether it names something that the manifest references.
fn note_content(error: Error, manifest: &RawManifest) -> Error {
    let Some(RegistryError::Refused(refusal)) = error.cause.downcast_ref() else { return error };
    let Ok(contents) = manifest.contents() else { return error };
    let referenced = graph::successors(&contents).map(|successor| &successor.descriptor.digest);
    if !names_content(refusal, referenced) {
        return error;
    }
    let cause = RegistryError::Refused(Refusal { names_content: true, ..refusal.clone() });
    Error { cause: cause.into(), ..error }
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
        && let Ok(Some(found)) = get_within(host, repository, target, Memory::Unlimited).await
    {
        if found.digest() == manifest.digest() {
            return Ok(());
        }
        if says_immutable(refusal) {
            let cause = RegistryError::Immutable(found.digest().clone());
            return Err(Error { cause: cause.into(), ..error });
        }
    }
    let is_about_digest = (400..500).contains(&refusal.status)
        && !matches!(refusal.status, 401 | 403 | 408 | 429)
        && !refusal.names_missing_content()
        && !error.lacks_repository();
    if !is_sha256(manifest) && is_about_digest {
        let (algorithm, refusal) = (manifest.digest().algorithm(), refusal.clone());
        return Err(Error { cause: RegistryError::DigestRefused { algorithm, refusal }.into(), ..error });
    }
    if refusal.refuses_manifest() {
        let media_type = match manifest.media_type() {
            unknown if unknown.structure() == Structure::Unknown => hide_repeated(unknown.as_str()),
            known => known.to_string(),
        };
        let media_type = escape(&media_type);
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
    let url = match tag_parameter(target, manifest) {
        Some(tag) => url(host, repository, &Target::Digest(manifest.digest().clone())).map(|mut url| {
            url.query_pairs_mut().append_pair("tag", tag);
            url
        }),
        None => url(host, repository, target),
    };
    let url = url.map_err(failed)?;
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
