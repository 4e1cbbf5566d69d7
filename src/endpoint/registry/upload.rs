//! Writing a blob (distribution specification, "Pushing blobs"): one POST, then one PUT of known length.
//!
//! Nothing needs chunks or a buffer, because the descriptor gives the size before the first byte. The POST
//! asks for a mount at the same time: from another repository that is known to hold the blob, or from the
//! repository itself, which CNCF distribution answers with 201 when the blob is there. The session that a
//! refused mount opens is used, not wasted.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode, header};
use reqwest::{Body, Response};
use tokio::time::Instant;
use url::Url;

use super::{
    answer,
    auth::{Origin, Scope},
    download,
    host::{Call, Host, SelfMount, discard},
    limits,
    network::cause_of,
    redirect,
    retry::Tries,
};
use crate::{
    endpoint::{Begun, BlobSink, Cause, Error, Operation, VerifiedBody, body::Watch},
    oci::{Descriptor, Repository},
};

/// An opened upload session.
#[derive(Debug)]
pub struct Upload {
    host: Arc<Host>,
    repository: Repository,
    blob: Descriptor,
    location: Url,
}

/// Opens the upload of a blob, or finds that none is needed.
pub(super) async fn begin(
    host: Arc<Host>,
    repository: &Repository,
    blob: &Descriptor,
    mount: Option<&Repository>,
) -> Result<Begun<Upload>, Error> {
    let mount = mount.filter(|from| *from != repository);
    let asks_itself = mount.is_none();
    if asks_itself && host.self_mount() == SelfMount::Ignored && is_there(&host, repository, blob).await? {
        return Ok(Begun::Present);
    }
    let from = match host.self_mount() {
        SelfMount::Ignored => mount,
        _ => Some(mount.unwrap_or(repository)),
    };
    let (response, url) = post(&host, repository, blob, from).await?;
    if response.status() == StatusCode::CREATED {
        discard(response).await;
        if asks_itself {
            host.learn_self_mount(SelfMount::Answers);
            return Ok(Begun::Present);
        }
        return Ok(Begun::Mounted);
    }
    let location = location_of(&url, &response).map_err(|cause| failed(&host, repository, blob, cause))?;
    discard(response).await;
    let upload = Upload { host, repository: repository.clone(), blob: blob.clone(), location };
    if asks_itself && upload.host.self_mount() == SelfMount::Unknown && upload.was_there_all_along().await? {
        return Ok(Begun::Present);
    }
    Ok(Begun::Wanted(upload))
}

/// POST, with `mount` and `from` where there is a repository to mount from. A registry that refuses
/// because of the mount (its token, its policy, its version) is asked again without it.
async fn post(
    host: &Host,
    repository: &Repository,
    blob: &Descriptor,
    from: Option<&Repository>,
) -> Result<(Response, Url), Error> {
    let mut scopes = vec![Scope::push(repository)];
    let mut url =
        host.url(repository, "blobs/uploads/").map_err(|cause| failed(host, repository, blob, cause))?;
    if let Some(from) = from {
        url.query_pairs_mut().append_pair("mount", blob.digest.as_str()).append_pair("from", from.path());
        scopes.extend((from != repository).then(|| Scope::pull(from)));
    }
    let call = Call {
        operation: Operation::BeginUpload,
        repository,
        place: place(repository, blob),
        scopes,
        method: Method::POST,
        url: url.clone(),
        headers: HeaderMap::new(),
        body: None,
    };
    match host.send(&call, &[]).await {
        Ok(response) => Ok((response, url)),
        Err(error) if from.is_some() && is_about_the_mount(&error) => {
            Box::pin(post(host, repository, blob, None)).await
        }
        Err(error) => Err(error),
    }
}

fn is_about_the_mount(error: &Error) -> bool {
    matches!(error.cause, Cause::Auth(_) | Cause::Refused { .. })
}

async fn is_there(host: &Host, repository: &Repository, blob: &Descriptor) -> Result<bool, Error> {
    match download::size(host, repository, &blob.digest).await {
        Ok(size) => Ok(size == Some(blob.size)),
        // Some registries forbid to ask, though they take uploads: Artifactory answers 403.
        Err(error) if matches!(error.cause, Cause::Refused { status: 403 | 405, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Upload {
    /// On a registry of which it is not known whether it answers a mount from a repository into itself, a
    /// session may have been opened for a blob that is there.
    async fn was_there_all_along(&self) -> Result<bool, Error> {
        let there = is_there(&self.host, &self.repository, &self.blob).await?;
        if there {
            self.host.learn_self_mount(SelfMount::Ignored);
            self.cancel().await;
        }
        Ok(there)
    }

    /// Gives the session back. Best effort: registries sweep dead sessions by themselves.
    async fn cancel(&self) {
        let call = Call {
            operation: Operation::UploadBlob,
            repository: &self.repository,
            place: place(&self.repository, &self.blob),
            scopes: vec![Scope::push(&self.repository)],
            method: Method::DELETE,
            url: self.location.clone(),
            headers: HeaderMap::new(),
            body: None,
        };
        if let Ok(response) = self.host.send(&call, &[StatusCode::NOT_FOUND]).await {
            discard(response).await;
        }
    }

    /// Sends the bytes. The length is announced, so a body that ends early can never be taken for whole.
    async fn put(&self, body: VerifiedBody) -> Result<(), Cause> {
        let origin = Origin::of(&self.location).map_err(|error| Cause::Redirect(error.to_string()))?;
        let mut request = self
            .host
            .network()
            .client(&origin)?
            .put(with_digest(&self.location, &self.blob))
            .header(header::CONTENT_LENGTH, body.length())
            .header(header::CONTENT_TYPE, "application/octet-stream");
        let scopes = [Scope::push(&self.repository)];
        // A session may live on another host; the registry's credentials do not go there.
        let authorization = if origin == self.host.origin {
            self.host.authorization(&self.repository, &scopes).await?
        } else {
            None
        };
        if let Some(value) = &authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let watch = body.watch();
        let send = request.body(Body::wrap(body)).send();
        let response = tokio::select! {
            answered = send => answered.map_err(|error| cause_of(&error))?,
            cause = stalled(&watch, self.blob.size) => return Err(cause),
        };
        if response.status().is_success() {
            discard(response).await;
            return Ok(());
        }
        if let (StatusCode::UNAUTHORIZED, Some(sent)) = (response.status(), &authorization) {
            self.host.forget(&self.repository, &scopes, sent);
        }
        Err(answer::refusal(response).await)
    }

    /// After the first blob that was really uploaded: does this registry answer a mount from a repository
    /// into itself? It saves a request for every blob that follows.
    async fn learn(&self) {
        if self.host.self_mount() != SelfMount::Unknown {
            return;
        }
        self.host.learn_self_mount(SelfMount::Ignored);
        let asked = post(&self.host, &self.repository, &self.blob, Some(&self.repository)).await;
        let Ok((response, url)) = asked else { return };
        if response.status() == StatusCode::CREATED {
            self.host.learn_self_mount(SelfMount::Answers);
            discard(response).await;
        } else if let Ok(location) = location_of(&url, &response) {
            discard(response).await;
            let session = Self {
                host: Arc::clone(&self.host),
                repository: self.repository.clone(),
                blob: self.blob.clone(),
                location,
            };
            session.cancel().await;
        }
    }
}

impl BlobSink for Upload {
    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        match self.put(body).await {
            Ok(()) => {
                self.learn().await;
                Ok(())
            }
            Err(cause) => {
                let mut tries = Tries::new();
                tries.begin();
                Err(self.host.error(
                    Operation::UploadBlob,
                    &place(&self.repository, &self.blob),
                    &tries,
                    cause,
                ))
            }
        }
    }
}

/// Resolves when the upload has stood still for too long. A read time-out would not notice: nothing is
/// read while the bytes go out.
async fn stalled(watch: &Watch, size: u64) -> Cause {
    let mut moved = watch.moved();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = watch.moved();
        if now != moved {
            moved = now;
            since = Instant::now();
        }
        let patience = if now >= size { limits::COMMIT } else { limits::STALL };
        if since.elapsed() >= patience {
            return Cause::Stalled(patience);
        }
    }
}

/// Where the session is, resolved against the URL that was asked.
fn location_of(asked: &Url, response: &Response) -> Result<Url, Cause> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .ok_or_else(|| Cause::Protocol("it opened an upload without saying where (`Location`)".to_owned()))?;
    let location =
        location.to_str().map_err(|_| Cause::Protocol("the upload's `Location` is not text".to_owned()))?;
    redirect::resolve(asked, location)
}

/// Appends `digest=` and touches nothing else: the query may be signed, or hold the session's state.
fn with_digest(location: &Url, blob: &Descriptor) -> Url {
    let mut url = location.clone();
    let query = match location.query() {
        Some(query) if !query.is_empty() => format!("{query}&digest={}", blob.digest),
        _ => format!("digest={}", blob.digest),
    };
    url.set_query(Some(&query));
    url
}

fn place(repository: &Repository, blob: &Descriptor) -> String {
    format!("{repository}@{}", blob.digest)
}

fn failed(host: &Host, repository: &Repository, blob: &Descriptor, cause: Cause) -> Error {
    host.error(Operation::BeginUpload, &place(repository, blob), &Tries::new(), cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    #[test]
    fn the_query_of_a_session_is_kept_as_it_is() {
        let blob = Descriptor::new("x/y".into(), Digest::sha256(b""), 0);
        let url = |text: &str| with_digest(&Url::parse(text).unwrap(), &blob).to_string();
        let digest = blob.digest.as_str();
        assert_eq!(
            url("https://r/u?_state=a%2Bb==&z=+"),
            format!("https://r/u?_state=a%2Bb==&z=+&digest={digest}")
        );
        assert_eq!(url("https://r/u"), format!("https://r/u?digest={digest}"));
        assert_eq!(url("https://r/u?"), format!("https://r/u?digest={digest}"));
    }
}
