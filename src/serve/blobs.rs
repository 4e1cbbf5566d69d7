//! Pulling and deleting blobs: OCI distribution specification, "Pulling blobs", "Deleting Blobs".

use std::io;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    body::AnswerBody,
    conditions::{entity_tag, is_known, not_modified},
    names::RepositoryName,
    range::{self, Selection, Span},
    response::{Answer, DOCKER_CONTENT_DIGEST, ErrorCode, Refusal, checked_value, empty},
    service::Registry,
    storage::OpenContent,
};
use crate::oci::Digest;

impl Registry {
    /// `HEAD …/blobs/DIGEST`
    pub(super) async fn head_blob(
        &self,
        name: RepositoryName,
        digest: Digest,
        headers: &HeaderMap,
    ) -> Result<Answer, Refusal> {
        let wanted = digest.clone();
        let size = self.storage(move |storage| storage.blob_size(&name, &wanted)).await??;
        let size = size.ok_or_else(Refusal::blob_unknown)?;
        if is_known(headers, &digest) {
            return Ok(not_modified(&digest));
        }
        let mut answer = empty(StatusCode::OK);
        describe(&mut answer, &digest);
        answer.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        Ok(answer)
    }

    /// `GET …/blobs/DIGEST`, with or without a range.
    pub(super) async fn get_blob(
        &self,
        name: RepositoryName,
        digest: Digest,
        headers: &HeaderMap,
    ) -> Result<Answer, Refusal> {
        let wanted = digest.clone();
        let opened = self.storage(move |storage| storage.open_blob(&name, &wanted)).await??;
        let content = opened.ok_or_else(Refusal::blob_unknown)?;
        if is_known(headers, &digest) {
            return Ok(not_modified(&digest));
        }
        let (size, range) = (content.size(), headers.get(header::RANGE));
        let selection = range::select(range.and_then(|range| range.to_str().ok()), size);
        let content = match selection {
            Selection::Part(_) => self.checked_blobs.check(content).await?,
            Selection::Whole | Selection::Unsatisfiable => content,
        };
        let mut answer = self
            .storage(move |_| match selection {
                Selection::Whole => Ok(Response::new(content.whole_body()?)),
                Selection::Part(span) => Ok(partial(content, span)?),
                Selection::Unsatisfiable => Err(unsatisfiable(size)),
            })
            .await??;
        describe(&mut answer, &digest);
        Ok(answer)
    }

    /// `DELETE …/blobs/DIGEST`
    pub(super) async fn delete_blob(&self, name: RepositoryName, digest: Digest) -> Result<Answer, Refusal> {
        let deleted = self.change(move |folder| folder.delete_blob(&name, &digest)).await??;
        if deleted { Ok(empty(StatusCode::ACCEPTED)) } else { Err(Refusal::blob_unknown()) }
    }
}

fn describe(answer: &mut Answer, digest: &Digest) {
    let headers = answer.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ETAG, checked_value(entity_tag(digest)));
    headers.insert(DOCKER_CONTENT_DIGEST, checked_value(digest.as_str()));
}

fn partial(content: OpenContent, span: Span) -> io::Result<Answer> {
    let size = content.size();
    let mut answer = Response::new(AnswerBody::read(content.skip_to(span.start)?, span.length())?);
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{}", span.start, span.end, size);
    answer.headers_mut().insert(header::CONTENT_RANGE, checked_value(range));
    Ok(answer)
}

fn unsatisfiable(size: u64) -> Refusal {
    let message = format!("the blob has {size} bytes");
    Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message)
        .with(header::CONTENT_RANGE, checked_value(format!("bytes */{size}")))
}
