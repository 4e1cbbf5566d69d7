//! Pushing blobs: OCI distribution specification, "Pushing blobs".

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    body::RequestBody,
    client::Client,
    names::{RepositoryName, UploadId},
    range::{self, Span},
    response::{Answer, DOCKER_UPLOAD_UUID, ErrorCode, Refusal, checked_value, created, empty, parse_digest},
    service::{Query, Registry},
    session::{CommitError, ReceiveError, Session, Unavailable, WriterGuard, receive},
};
use crate::oci::{Algorithm, Digest};

impl Registry {
    /// `POST …/blobs/uploads/`: a mount, a whole blob, or a new session.
    pub(super) async fn start_upload(
        &self,
        name: RepositoryName,
        query: &Query,
        body: &mut RequestBody,
        client: Client,
    ) -> Result<Answer, Refusal> {
        if let Some(mount) = query.get("mount") {
            let digest = parse_digest(&mount)?;
            if self.mount(&name, query, &digest).await? {
                return Ok(created(&name, "blobs", &digest));
            }
        } else if let Some(digest) = query.get("digest") {
            let digest = parse_digest(&digest)?;
            let session = self.open_session(&name, client)?;
            let writer = session_writer(&session)?;
            return self.finish(&session, writer, body, digest, None, OnInterruption::Cancel).await;
        }
        let session = self.open_session(&name, client)?;
        Ok(progress(StatusCode::ACCEPTED, &session))
    }

    /// Without `from`, mounts the blob of any repository ("Mounting a blob from another repository", automatic content
    /// discovery). If `from` is this repository, the request asks whether the blob exists.
    async fn mount(&self, name: &RepositoryName, query: &Query, digest: &Digest) -> Result<bool, Refusal> {
        let from = query.get("from").map(|from| RepositoryName::new(&from)).transpose().map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::NameInvalid, error.to_string())
        })?;
        let (name, digest) = (name.clone(), digest.clone());
        Ok(self.change(move |folder| folder.mount_blob(&name, from.as_ref(), &digest)).await??)
    }

    /// `GET …/blobs/uploads/ID`: the number of received bytes.
    pub(super) fn upload_status(&self, name: &RepositoryName, id: &UploadId) -> Result<Answer, Refusal> {
        Ok(progress(StatusCode::NO_CONTENT, &self.session(name, id)?))
    }

    /// `PATCH …/blobs/uploads/ID`: a chunk, or a stream of unknown length.
    pub(super) async fn append_to_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        headers: &HeaderMap,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        let session = self.session(name, id)?;
        let writer = session_writer(&session)?;
        let span = check_chunk(&session, headers, body)?;
        let mut writer = self.take_in(&session, writer, body, Algorithm::Sha256, span).await?;
        writer.rest();
        Ok(progress(StatusCode::ACCEPTED, &session))
    }

    /// `PUT …/blobs/uploads/ID?digest=`: the last chunk, the whole blob, or nothing more.
    pub(super) async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        query: &Query,
        headers: &HeaderMap,
        body: &mut RequestBody,
    ) -> Result<Answer, Refusal> {
        let session = self.session(name, id)?;
        let digest = query.get("digest").ok_or_else(|| {
            let message = "finish an upload with its digest: PUT …?digest=sha256:…";
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, message)
        })?;
        let digest = parse_digest(&digest)?;
        let writer = session_writer(&session)?;
        let span = check_chunk(&session, headers, body)?;
        self.finish(&session, writer, body, digest, span, OnInterruption::Keep).await
    }

    /// `DELETE …/blobs/uploads/ID`: cancels the upload.
    pub(super) async fn cancel_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<Answer, Refusal> {
        let session = self.session(name, id)?;
        let writer = session_writer(&session)?;
        self.cancel(&session, Some(writer)).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    fn open_session(&self, name: &RepositoryName, client: Client) -> Result<Session, Refusal> {
        let limits = &self.limits;
        let message = if self.sessions.count() >= limits.open_uploads {
            "too many uploads are open: finish or cancel some"
        } else if self.sessions.count_of(client) >= limits.open_uploads_per_client {
            "this address has too many open uploads: finish or cancel some"
        } else {
            return Ok(self.sessions.open(self.writable()?, name, client)?);
        };
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message)
            .with(header::RETRY_AFTER, HeaderValue::from(limits.empty_upload_time.as_secs())))
    }

    /// Removes the uploads that have been idle for longer than the limit.
    pub(super) async fn sweep_uploads(&self) {
        let limits = &self.limits;
        for session in self.sessions.idle(limits.idle_upload_time, limits.empty_upload_time) {
            // A session with a writing request is not idle, however slow the request is.
            if let Ok(writer) = session.writer() {
                // Files that cannot be removed now are removed at the next startup.
                let _ = self.cancel(&session, Some(writer)).await;
            }
        }
    }

    fn session(&self, name: &RepositoryName, id: &UploadId) -> Result<Session, Refusal> {
        self.sessions.find(name, id).ok_or_else(upload_unknown)
    }

    async fn take_in(
        &self,
        session: &Session,
        writer: WriterGuard,
        body: &mut RequestBody,
        algorithm: Algorithm,
        span: Option<Span>,
    ) -> Result<WriterGuard, Refusal> {
        session.touch();
        let exact = span.map(Span::length);
        let received = receive(body, writer, algorithm, self.limits.blob_bytes, exact).await;
        session.touch();
        match received {
            Ok(writer) => Ok(writer),
            Err(ReceiveError::Body(error)) => {
                Err(Refusal::new(error.status(), ErrorCode::BlobUploadInvalid, error.to_string()))
            }
            Err(error @ ReceiveError::OtherLength(_)) => Err(out_of_range(session, error.to_string())),
            Err(error @ ReceiveError::TooLarge(_)) => {
                self.cancel(session, None).await?;
                Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, error.to_string()))
            }
            Err(ReceiveError::Io(error)) => {
                self.cancel(session, None).await?;
                Err(error.into())
            }
        }
    }

    async fn finish(
        &self,
        session: &Session,
        writer: WriterGuard,
        body: &mut RequestBody,
        digest: Digest,
        span: Option<Span>,
        on_break: OnInterruption,
    ) -> Result<Answer, Refusal> {
        let mut writer = match self.take_in(session, writer, body, digest.algorithm(), span).await {
            Ok(writer) => writer,
            Err(refusal) => {
                if on_break == OnInterruption::Cancel {
                    self.cancel(session, None).await?;
                }
                return Err(refusal);
            }
        };
        let (repository, wanted) = (session.repository.clone(), digest.clone());
        let committed = self.change(move |_| writer.commit(&repository, &wanted)).await?;
        self.sessions.forget(&session.id);
        match committed {
            Ok(()) => Ok(created(&session.repository, "blobs", &digest)),
            Err(error @ CommitError::Mismatch(_)) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                ErrorCode::DigestInvalid,
                format!("{error}, not {digest}: the upload was discarded"),
            )),
            Err(CommitError::Io(error)) => Err(error.into()),
        }
    }

    /// Ends a session and removes its file. Without the writer (lost in a failed write), the file is removed by name.
    async fn cancel(&self, session: &Session, writer: Option<WriterGuard>) -> Result<(), Refusal> {
        self.sessions.forget(&session.id);
        let id = session.id.clone();
        self.change(move |folder| match writer {
            Some(mut writer) => writer.discard(),
            None => folder.discard_upload(&id),
        })
        .await?
        .map_err(Refusal::from)
    }
}

/// Decides about a session after its connection broke. Only its client can resume it, and the client of a single POST
/// does not know its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnInterruption {
    Keep,
    Cancel,
}

fn upload_unknown() -> Refusal {
    let message = "no such upload: it was finished, canceled, or lost when the registry restarted";
    Refusal::new(StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown, message)
}

fn session_writer(session: &Session) -> Result<WriterGuard, Refusal> {
    session.writer().map_err(|unavailable| match unavailable {
        Unavailable::Closed => upload_unknown(),
        Unavailable::Busy => {
            let message = "another request is writing to this upload";
            Refusal::new(StatusCode::CONFLICT, ErrorCode::BlobUploadInvalid, message)
        }
    })
}

/// A chunk with a `Content-Range` must begin where the session ends, and have the length of that range. A body without
/// an announced length is checked when it arrives.
fn check_chunk(session: &Session, headers: &HeaderMap, body: &RequestBody) -> Result<Option<Span>, Refusal> {
    let Some(header) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let span = header.to_str().ok().and_then(range::chunk).ok_or_else(|| {
        let message = "the Content-Range of a chunk must be START-END, both inclusive";
        Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
    })?;
    if span.start != session.received() {
        let message = format!("the next chunk must begin at byte {}", session.received());
        return Err(out_of_range(session, message));
    }
    if body.announced().is_some_and(|length| length != span.length()) {
        let message = "Content-Range and Content-Length contradict each other";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message));
    }
    Ok(Some(span))
}

/// 416, with the bytes that the session has.
fn out_of_range(session: &Session, message: String) -> Refusal {
    Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid, message)
        .with(header::LOCATION, location(session))
        .with(header::RANGE, received_range(session))
}

fn progress(status: StatusCode, session: &Session) -> Answer {
    let mut answer = empty(status);
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location(session));
    headers.insert(header::RANGE, received_range(session));
    headers.insert(DOCKER_UPLOAD_UUID, checked_value(session.id.as_str()));
    answer
}

fn location(session: &Session) -> HeaderValue {
    checked_value(format!("/v2/{}/blobs/uploads/{}", session.repository, session.id))
}

/// `0-LAST`. The specification has no form for "nothing yet"; `0-0` is what registries send.
fn received_range(session: &Session) -> HeaderValue {
    checked_value(format!("0-{}", session.received().saturating_sub(1)))
}
