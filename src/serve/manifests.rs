//! Pulling, pushing and deleting manifests: OCI distribution specification, "Pulling manifests", "Pushing
//! Manifests", "Deleting Manifests", "Deleting tags".

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};

use super::{
    body::{AnswerBody, RequestBody},
    names::{RepositoryName, TagName},
    response::{
        Answer, DOCKER_CONTENT_DIGEST, ErrorCode, OCI_SUBJECT, OCI_TAG, Refusal, checked_value, created,
        empty, parse_digest,
    },
    routes::Reference,
    service::{Query, Registry},
    storage::{NewManifest, PutError},
};
use crate::oci::{Digest, RawManifest, manifest::ManifestError};

/// The most tags that a request may set. The specification requires at least 10.
const MOST_TAGS: usize = 100;

impl Registry {
    /// `GET` and `HEAD …/manifests/REFERENCE`
    pub(super) async fn get_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
        with_body: bool,
    ) -> Result<Answer, Refusal> {
        self.storage(move |storage| {
            let manifest = storage.open_manifest(&name, &reference)?.ok_or_else(Refusal::manifest_unknown)?;
            let size = manifest.content.size();
            let body = if with_body {
                AnswerBody::read(manifest.content.skip_to(0)?, size)?
            } else {
                AnswerBody::empty()
            };
            let mut answer = Response::new(body);
            let headers = answer.headers_mut();
            headers.insert(header::CONTENT_LENGTH, size.into());
            headers.insert(header::CONTENT_TYPE, checked_value(&manifest.media_type));
            headers.insert(header::ETAG, checked_value(format!("\"{}\"", manifest.digest)));
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
        let Wanted { digest, tags, requested } = Wanted::read(reference, query)?;
        let bytes = collect(body, self.limits.manifest_bytes).await?;
        self.change(move |folder| {
            let manifest = RawManifest::read(content_type.as_deref(), bytes, digest.as_ref())
                .and_then(NewManifest::read)
                .map_err(|error| invalid(&error))?;
            folder.put_manifest(&name, &tags, &manifest).map_err(|error| match error {
                PutError::Missing(children) => Refusal::missing_children(&children),
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
struct Wanted {
    /// The digest that its bytes must have, if the client requires one.
    digest: Option<Digest>,
    /// The tags that will point to it, with those from the query last.
    tags: Vec<TagName>,
    /// How many of them come from the query: only these are confirmed in the response.
    requested: usize,
}

impl Wanted {
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
        if requested > MOST_TAGS {
            let message = format!("one request may set at most {MOST_TAGS} tags");
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, ErrorCode::Unsupported, message));
        }
        Ok(Self { digest, tags, requested })
    }
}

/// Reads a manifest's bytes, up to the limit.
async fn collect(body: &mut RequestBody, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("a manifest may have at most {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
    };
    if body.announced().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece
            .map_err(|error| Refusal::new(error.status(), ErrorCode::ManifestInvalid, error.to_string()))?;
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn invalid(error: &ManifestError) -> Refusal {
    let code = match error {
        ManifestError::Digest { .. } => ErrorCode::DigestInvalid,
        _ => ErrorCode::ManifestInvalid,
    };
    Refusal::new(StatusCode::BAD_REQUEST, code, error.to_string())
}
