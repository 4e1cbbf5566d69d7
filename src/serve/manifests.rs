//! Pulling, pushing and deleting manifests: OCI distribution specification, "Pulling manifests", "Pushing
//! Manifests", "Deleting Manifests", "Deleting tags".

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, header};

use super::{
    body::{AnswerBody, RequestBody},
    conditions::{entity_tag, is_known, not_modified},
    names::{RepositoryName, TagName},
    response::{
        Answer, DOCKER_CONTENT_DIGEST, ErrorCode, OCI_SUBJECT, OCI_TAG, Refusal, checked_value, created,
        empty, parse_digest,
    },
    routes::Reference,
    service::{Query, Registry},
    spool::{Spool, SpoolError},
    storage::{FolderStorage, NewManifest, PutError},
};
use crate::oci::{Digest, RawManifest, manifest::ManifestError};

/// The most tags that a request may set. The specification requires at least 10.
const MAX_TAGS: usize = 100;

/// How many KiB of small manifests are parsed at once, in all requests together. Parsed, a manifest of many small
/// descriptors takes about twenty times its size.
pub(super) const PARSED_KIB_AT_ONCE: usize = 8 * 1024;
/// Larger manifests, in bytes, are parsed one after another.
const LARGE: usize = 256 * 1024;

impl Registry {
    /// `GET` and `HEAD …/manifests/REFERENCE`
    pub(super) async fn get_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
        headers: &HeaderMap,
        with_body: bool,
    ) -> Result<Answer, Refusal> {
        let headers = headers.clone();
        self.storage(move |storage| {
            let manifest = storage.open_manifest(&name, &reference)?.ok_or_else(Refusal::manifest_unknown)?;
            if is_known(&headers, &manifest.digest) {
                return Ok(not_modified(&manifest.digest));
            }
            let size = manifest.content.size();
            let body = if with_body { manifest.content.whole_body()? } else { AnswerBody::empty() };
            let mut answer = Response::new(body);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_LENGTH, size.into());
            headers.insert(header::CONTENT_TYPE, checked_value(&manifest.media_type));
            headers.insert(header::ETAG, checked_value(entity_tag(&manifest.digest)));
            headers.insert(DOCKER_CONTENT_DIGEST, checked_value(manifest.digest.as_str()));
            Ok(answer)
        })
        .await?
    }

    /// `PUT …/manifests/REFERENCE?digest=&tag=`: `tag`, which may be repeated, adds tags to a manifest that is pushed
    /// by digest. Only this way can a manifest with a digest other than sha256 get a tag.
    pub(super) async fn put_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
        query: &Query,
        headers: &HeaderMap,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let PushedNames { digest, tags, requested } = PushedNames::read(reference, query)?;
        let received = Spool::receive(body, self.limits.manifest_bytes, self.writable()?).await;
        let received = received.map_err(not_received)?;
        let allow_sparse = self.allow_sparse;
        let length = received.length();
        let store = move |folder: &FolderStorage| -> Result<Answer, Refusal> {
            let bytes = received.into_bytes()?;
            let mut manifest = RawManifest::read(content_type.as_deref(), bytes, digest.as_ref())
                .and_then(NewManifest::read)
                .map_err(|error| invalid(&error))?;
            manifest.may_be_sparse = allow_sparse;
            folder.put_manifest(&name, &tags, &manifest).map_err(|error| match error {
                PutError::Missing(children) => Refusal::missing_children(&children),
                PutError::OtherSize { .. } => {
                    Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, error.to_string())
                }
                PutError::Io(error) => error.into(),
            })?;
            let mut answer = created(&name, "manifests", manifest.raw.digest());
            if let Some(referrer) = &manifest.referrer {
                answer.headers_mut().insert(OCI_SUBJECT, checked_value(referrer.subject.as_str()));
            }
            for tag in tags.iter().skip(tags.len() - requested) {
                answer.headers_mut().append(OCI_TAG, checked_value(tag.as_str()));
            }
            Ok(answer)
        };
        if length > LARGE {
            let folder = Arc::clone(self.writable()?);
            return self.large_work.run(move || store(&folder)).await?;
        }
        let weight = u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.manifest_memory).acquire_many_owned(weight).await;
        let permit = permit.map_err(std::io::Error::other)?;
        self.change(move |folder| {
            // The thread continues if the client disconnects.
            let _permit = permit;
            store(folder)
        })
        .await?
    }

    /// `DELETE …/manifests/REFERENCE`: only the tag, or a manifest with its tags.
    pub(super) async fn delete_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
    ) -> Result<Answer, Refusal> {
        let deleted = self
            .change(move |folder| match &reference {
                Reference::Tag(tag) => folder.delete_tag(&name, tag),
                Reference::Digest(digest) => folder.delete_manifest(&name, digest),
            })
            .await??;
        if deleted { Ok(empty(StatusCode::ACCEPTED)) } else { Err(Refusal::manifest_unknown()) }
    }
}

/// The names of a pushed manifest.
struct PushedNames {
    /// The digest that its bytes must have, if the client requires one.
    digest: Option<Digest>,
    /// The tags that will point to it, with those from the query last.
    tags: Vec<TagName>,
    /// How many of them come from the query: only these are confirmed in the response.
    requested: usize,
}

impl PushedNames {
    fn read(reference: Reference, query: &Query) -> Result<Self, Refusal> {
        let (mut digest, mut tags) = match reference {
            Reference::Digest(digest) => (Some(digest), Vec::new()),
            Reference::Tag(tag) => (None, vec![tag]),
        };
        if let (None, Some(text)) = (&digest, query.get("digest")) {
            digest = Some(parse_digest(&text)?);
        }
        let before = tags.len();
        for text in query.all("tag") {
            let tag = TagName::new(text).map_err(|error| {
                Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, error.to_string())
            })?;
            tags.push(tag);
        }
        let requested = tags.len() - before;
        if requested > MAX_TAGS {
            let message = format!("one request may set at most {MAX_TAGS} tags");
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message));
        }
        Ok(Self { digest, tags, requested })
    }
}

fn not_received(error: SpoolError) -> Refusal {
    let status = match error {
        SpoolError::Body(error) => error.status(),
        SpoolError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        SpoolError::Io(error) => return error.into(),
    };
    Refusal::new(status, ErrorCode::ManifestInvalid, error.to_string())
}

fn invalid(error: &ManifestError) -> Refusal {
    let code = match error {
        ManifestError::Digest { .. } => ErrorCode::DigestInvalid,
        _ => ErrorCode::ManifestInvalid,
    };
    Refusal::new(StatusCode::BAD_REQUEST, code, error.to_string())
}
