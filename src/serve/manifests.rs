//! Pulling, pushing and deleting manifests: OCI distribution specification, "Pulling manifests", "Pushing
//! Manifests", "Deleting Manifests", "Deleting tags".

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};

use super::{
    body::{AnswerBody, RequestBody},
    names::RepositoryName,
    response::{
        Answer, DOCKER_CONTENT_DIGEST, ErrorCode, OCI_SUBJECT, Refusal, checked_value, created, empty,
    },
    routes::Reference,
    service::Registry,
    storage::{NewManifest, PutError},
};
use crate::oci::{
    RawManifest,
    manifest::{LARGEST_MANIFEST, ManifestError},
};

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
            let size = manifest.content.size;
            let body = if with_body {
                AnswerBody::read_file(manifest.content.file, size)?
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

    /// `PUT …/manifests/REFERENCE`
    pub(super) async fn put_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
        headers: &HeaderMap,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        let bytes = collect(body).await?;
        self.storage(move |storage| {
            let (digest, tag) = match &reference {
                Reference::Digest(digest) => (Some(digest), None),
                Reference::Tag(tag) => (None, Some(tag)),
            };
            let manifest = RawManifest::read(content_type.as_deref(), bytes, digest)
                .and_then(NewManifest::read)
                .map_err(|error| invalid(&error))?;
            storage.put_manifest(&name, tag, &manifest).map_err(|error| match error {
                PutError::Missing(children) => Refusal::missing_children(&children),
                PutError::Io(error) => error.into(),
            })?;
            let mut answer = created(&name, "manifests", manifest.raw.digest());
            if let Some(referrer) = &manifest.referrer {
                answer.headers_mut().insert(OCI_SUBJECT, checked_value(referrer.subject.as_str()));
            }
            Ok(answer)
        })
        .await?
    }

    /// `DELETE …/manifests/REFERENCE`: a tag alone, or a manifest with its tags.
    pub(super) async fn delete_manifest(
        &self,
        name: RepositoryName,
        reference: Reference,
    ) -> Result<Answer, Refusal> {
        let deleted = self
            .storage(move |storage| match &reference {
                Reference::Tag(tag) => storage.delete_tag(&name, tag),
                Reference::Digest(digest) => storage.delete_manifest(&name, digest),
            })
            .await??;
        if deleted { Ok(empty(StatusCode::ACCEPTED)) } else { Err(Refusal::manifest_unknown()) }
    }
}

/// All of a manifest's bytes, up to the limit.
async fn collect(body: &mut RequestBody) -> Result<Bytes, Refusal> {
    let too_large = || {
        let message = format!("a manifest may have {LARGEST_MANIFEST} bytes at most");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
    };
    if body.announced().is_some_and(|length| length > LARGEST_MANIFEST as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| {
            let message = "the request's body ended early";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, message)
        })?;
        if bytes.len() + piece.len() > LARGEST_MANIFEST {
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
