//! Writing a blob (distribution specification, "Pushing blobs"): one POST, then one PUT of known length.
//!
//! The descriptor gives the size in advance, so no chunks or buffers are needed. The POST also requests a mount: from
//! another repository that holds the blob, or from the repository itself, which CNCF distribution answers with 201 when
//! the blob exists. If the registry does not mount, it opens a session, which is used. A registry that looks like
//! distribution is expected to do the same until the first upload confirms it; for any other, a HEAD tells whether the
//! blob exists.
//!
//! Registries differ in everything else:
//!
//! - [`session`]: the URL of an upload; its progress; canceling it;
//! - [`send`]: one request with bytes, supervised for stalls; [`chunks`]: many requests, for registries that refuse
//!   large ones (the method is remembered for each host);
//! - [`suspended`]: interrupted uploads until they are resumed; [`journal`]: interrupted uploads that survive the
//!   process.

mod chunks;
mod journal;
mod send;
mod session;
mod suspended;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use reqwest::Response;
use url::Url;

use self::{
    send::UploadRecord,
    session::Session,
    suspended::{ResumedUpload, Resumption, SuspendedUpload},
};
use super::{
    auth::Scope,
    capabilities::{SelfMount, UploadMethod},
    download,
    error::RegistryError,
    host::{Call, Host, discard},
    pace::Permit,
    refusal::Refusal,
    retry::{self, Attempts},
};
use crate::{
    endpoint::{Begun, BlobSink, Error, Operation, VerifiedBody, body::Start, retry::attempts},
    oci::{Descriptor, Repository},
};

pub(crate) use self::journal::state_folder;
pub(super) use self::suspended::SuspendedUploads;

/// After this many resets of one upload, a proxy may be refusing large requests.
const SUSPICIOUS_RESETS: u32 = 2;

/// A blob and its destination repository.
#[derive(Debug, Clone)]
struct Push {
    host: Arc<Host>,
    suspended: Arc<SuspendedUploads>,
    repository: Repository,
    blob: Descriptor,
}

/// An open upload.
#[derive(Debug)]
pub struct Upload {
    push: Push,
    session: Session,
    start: Start,
    record: UploadRecord,
    method: UploadMethod,
    _permit: Permit,
}

/// Opens the upload of a blob or resumes an interrupted one, unless the blob exists. Calls `expect_wanted` before the
/// request if the registry lacked the last blob that it was asked for: then it probably lacks this one. That happens only
/// with a permit for the transfer: whoever opens the source needs one there too, and two transfers cannot deadlock.
pub(super) async fn begin(
    host: Arc<Host>,
    suspended: Arc<SuspendedUploads>,
    repository: &Repository,
    (blob, mount): (&Descriptor, Option<&Repository>),
    expect_wanted: impl FnOnce() + Send,
) -> Result<Begun<Upload>, Error> {
    let permit = host.pace.blob().await;
    let push = Push { host, suspended, repository: repository.clone(), blob: blob.clone() };
    let mut resets = 0;
    if let Some(suspended) = push.suspended.take(&push) {
        resets = suspended.record.resets;
        let suspended = match suspended.restart(&push) {
            Ok(restarted) => return Ok(Begun::Wanted(Upload::new(push, restarted, permit))),
            Err(suspended) => suspended,
        };
        // It may have been committed although the response was lost.
        if push.is_there().await? {
            suspended.record.finish();
            return Ok(Begun::Completed);
        }
        match suspended.resume(&push).await {
            Resumption::Resumed(resumed) => {
                return Ok(Begun::Wanted(Upload::new(push, *resumed, permit)));
            }
            Resumption::Completed => return Ok(Begun::Completed),
            Resumption::Dead => {}
        }
    }
    if mount.is_none() && push.host.capabilities.lacks_blobs() {
        expect_wanted();
    }
    match push.open(mount).await? {
        PostResult::Present => Ok(Begun::Present),
        PostResult::Mounted => Ok(Begun::Mounted),
        PostResult::Session(session) => {
            let record = UploadRecord::new(&push, &session, resets);
            let start = Start { snapshot_every: push.snapshot_every(), ..Start::at_the_beginning(blob) };
            Ok(Begun::Wanted(Upload::new(push, ResumedUpload { session, start, record }, permit)))
        }
    }
}

/// Whether the answer to an existence check says nothing about the blob.
fn refuses_existence_checks(error: &RegistryError) -> bool {
    error.is_status(&[400, 403, 405, 501])
}

/// The result of a POST.
enum PostResult {
    Present,
    Mounted,
    Session(Session),
}

impl Push {
    fn scopes(&self) -> Vec<Scope> {
        vec![Scope::push(&self.repository)]
    }

    /// Its name in errors.
    fn name(&self) -> String {
        format!("{}@{}", self.repository, self.blob.digest)
    }

    /// Whether the blob is large enough to resume an interrupted upload.
    fn is_resumable(&self) -> bool {
        self.blob.size >= self.host.tuning().resume_from
    }

    fn snapshot_every(&self) -> Option<u64> {
        self.is_resumable().then_some(self.host.tuning().snapshot_every)
    }

    fn failed(&self, operation: Operation, cause: RegistryError) -> Error {
        let mut tries = Attempts::new(1);
        tries.begin();
        self.host.error(operation, &self.name(), &tries, cause)
    }

    /// A request without a body about an upload.
    fn call(&self, operation: Operation, method: Method, url: Url) -> Call<'_> {
        Call {
            operation,
            repository: &self.repository,
            name: self.name(),
            scopes: self.scopes(),
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            attempts: attempts(),
        }
    }

    /// Records in a throttled request whether the registry serves others: then this blob only has to wait.
    fn note_progress(&self, cause: RegistryError) -> RegistryError {
        match cause {
            RegistryError::Refused(refusal) => {
                let serves_others = self.host.pace.serves_other_uploads(&self.blob.digest);
                RegistryError::Refused(Refusal { serves_others, ..refusal })
            }
            cause => cause,
        }
    }

    async fn is_there(&self) -> Result<bool, Error> {
        match download::size(&self.host, &self.repository, &self.blob.digest).await {
            Ok(size) => Ok(size == Some(self.blob.size)),
            // Some registries accept uploads but refuse HEAD and GET: Artifactory answers 403.
            Err(error) if error.cause.downcast_ref().is_some_and(refuses_existence_checks) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends the POST: the blob is mounted, it exists already, or a session is opened.
    async fn open(&self, mount: Option<&Repository>) -> Result<PostResult, Error> {
        let capabilities = &self.host.capabilities;
        let mount = mount.filter(|from| **from != self.repository && capabilities.mounts());
        let asks_itself = mount.is_none();
        let answered = self.open_or_find(mount, asks_itself).await?;
        if asks_itself {
            capabilities.set_lacks_blobs(!matches!(answered, PostResult::Present));
        }
        Ok(answered)
    }

    async fn open_or_find(&self, mount: Option<&Repository>, asks_itself: bool) -> Result<PostResult, Error> {
        let capabilities = &self.host.capabilities;
        if asks_itself && capabilities.self_mount() == SelfMount::Ignored && self.is_there().await? {
            return Ok(PostResult::Present);
        }
        let from = match capabilities.self_mount() {
            SelfMount::Ignored => mount,
            _ => Some(mount.unwrap_or(&self.repository)),
        };
        let (response, asked) = self.post(from).await?;
        if response.status() == StatusCode::CREATED {
            discard(response).await;
            if asks_itself {
                capabilities.set_self_mount(SelfMount::Answers);
                return Ok(PostResult::Present);
            }
            capabilities.mount_answered(true);
            return Ok(PostResult::Mounted);
        }
        let session =
            Session::opened(&response).map_err(|cause| self.failed(Operation::BeginUpload, cause))?;
        discard(response).await;
        let is_open = asks_itself && from.is_some() && (!asked || self.says_nothing(&session));
        if is_open && self.is_there().await? {
            if asked {
                // It opened a session for a blob that exists.
                capabilities.set_self_mount(SelfMount::Ignored);
            }
            session.cancel(self).await;
            return Ok(PostResult::Present);
        }
        Ok(PostResult::Session(session))
    }

    /// Whether this answer to a mount from the repository into itself leaves open whether the blob exists. Another blob
    /// may have shown in the meantime what the registry does.
    fn says_nothing(&self, session: &Session) -> bool {
        let capabilities = &self.host.capabilities;
        if session.is_of_distribution() {
            capabilities.expect_self_mount();
        }
        matches!(capabilities.self_mount(), SelfMount::Unknown | SelfMount::Ignored)
    }

    /// Sends the POST, with `mount` and `from` if there is a repository to mount from. If the registry refuses because
    /// of the mount (token, policy, version, bug), sends it again without. Returns whether the answered request had them.
    async fn post(&self, from: Option<&Repository>) -> Result<(Response, bool), Error> {
        let mut url = self
            .host
            .url(&self.repository, "blobs/uploads/")
            .map_err(|cause| self.failed(Operation::BeginUpload, cause))?;
        let mut scopes = self.scopes();
        if let Some(from) = from {
            url.query_pairs_mut()
                .append_pair("mount", self.blob.digest.as_str())
                .append_pair("from", from.path());
            scopes.extend((*from != self.repository).then(|| Scope::pull(from)));
        }
        let attempts = if from.is_some() { 1 } else { attempts() };
        let call = Call { scopes, attempts, ..self.call(Operation::BeginUpload, Method::POST, url) };
        match (self.host.send(&call, &[]).await, from) {
            (Ok(response), _) => Ok((response, from.is_some())),
            (Err(error), Some(from)) => {
                // A temporary failure does not count as a refused mount, but is retried without the mount.
                let may_pass = error.cause.downcast_ref().is_some_and(retry::is_transient);
                if *from != self.repository {
                    self.host.capabilities.mount_answered(false);
                } else if !may_pass {
                    self.host.capabilities.set_self_mount(SelfMount::Ignored);
                }
                Box::pin(self.post(None)).await
            }
            (Err(error), None) => Err(error),
        }
    }

    /// After the first uploaded blob, tests whether the registry answers a mount from a repository into itself, which
    /// saves a request for every later blob. It cannot be tested earlier: for a missing blob, every registry opens a
    /// session.
    async fn learn_self_mount(&self) {
        let capabilities = &self.host.capabilities;
        if !capabilities.tests_self_mount() {
            return;
        }
        if capabilities.self_mount() == SelfMount::Unknown {
            capabilities.set_self_mount(SelfMount::Ignored);
        }
        let Ok((response, _)) = self.post(Some(&self.repository)).await else {
            return capabilities.set_self_mount(SelfMount::Ignored);
        };
        if response.status() == StatusCode::CREATED {
            capabilities.set_self_mount(SelfMount::Answers);
            return discard(response).await;
        }
        capabilities.set_self_mount(SelfMount::Ignored);
        if let Ok(session) = Session::opened(&response) {
            discard(response).await;
            session.cancel(self).await;
        }
    }
}

impl Upload {
    fn new(push: Push, ResumedUpload { session, start, record }: ResumedUpload, permit: Permit) -> Self {
        let capabilities = &push.host.capabilities;
        let method = match start.received {
            _ if record.resets >= SUSPICIOUS_RESETS => capabilities.chunks(),
            0 => capabilities.method(),
            _ => capabilities.method_for_rest(),
        };
        Self { push, session, start, record, method, _permit: permit }
    }
}

impl BlobSink for Upload {
    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        let Self { push, mut session, start, mut record, method, _permit } = self;
        let body = match push.host.rate().cloned() {
            Some(rate) => body.paced(move |bytes| {
                let rate = rate.clone();
                async move { rate.take(bytes).await }
            }),
            None => body,
        };
        let watch = body.watch();
        let sent = match method {
            UploadMethod::Whole if start.received == 0 => {
                send::whole(&push, &session, body, &watch, &mut record).await
            }
            _ => chunks::all(&push, &mut session, (method, start.received), body, &watch, &mut record).await,
        };
        match sent {
            Ok(()) => {
                if record.resets >= SUSPICIOUS_RESETS {
                    push.host.capabilities.adopt(method);
                }
                record.finish();
                push.host.pace.moved();
                push.learn_self_mount().await;
                Ok(())
            }
            Err(cause) => {
                let cause = push.note_progress(cause);
                push.host.capabilities.failed(method, &cause);
                // A chunk belongs to its session.
                record.redirected =
                    record.redirected.filter(|_| method == UploadMethod::Whole && start.received == 0);
                let record = (start.received, record);
                SuspendedUpload::keep_or_cancel(&push, session, record, &watch, &cause).await;
                Err(push.failed(Operation::UploadBlob, cause))
            }
        }
    }
}
