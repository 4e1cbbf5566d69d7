//! Endpoints hold images. A copy reads from a [`Source`] and writes to a [`Destination`].
//!
//! The traits are small so that one pipeline serves every pair of endpoints. Content is named by repository and digest;
//! each endpoint maps these to requests or files. Failures that only one kind of endpoint has are an [`EndpointError`]
//! of its own, so that an endpoint can be added without a change here.

pub(crate) mod artifact;
pub(crate) mod body;
pub mod bundle;
mod cause;
pub(crate) mod empty;
mod error;
mod forward;
pub(crate) mod known_blobs;
mod location;
pub(crate) mod packaged_chart;
pub(crate) mod pinned;
pub mod registry;
pub(crate) mod retry;
pub(crate) mod shared_source;

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::{
    body::{OnProgress, Snapshot, Start, VerifiedBody},
    cause::{Cause, EndpointError, Meaning, Unavailable},
    error::Error,
    location::{Location, Operation},
    retry::Retry,
};
pub(crate) use self::{error::without_attempts, forward::forward, location::registry_in, retry::set_retries};
use crate::{
    event::BlobOutcome,
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// Locks a mutex, even if a thread has panicked while it held the lock: none of these values is ever left half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A blob's bytes as they arrive, not yet verified.
pub type BlobStream = BoxStream<'static, Result<Bytes, Error>>;

/// An endpoint that images can be read from.
pub trait Source: Send + Sync + 'static {
    /// The side of the copy, for errors.
    fn side(&self) -> Side;

    /// The digest of a tag, by the cheapest request; `None` when there is no such tag.
    fn digest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Option<Digest>, Error>> + Send;

    /// A manifest. Verified if it is requested by digest. `None` when it does not exist.
    fn manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> impl Future<Output = Result<Option<RawManifest>, Error>> + Send;

    /// The size of a blob in bytes, as the endpoint reports it; `None` when it does not exist.
    fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<u64>, Error>> + Send;

    /// A blob's bytes from `offset` on. The stream resumes after interruptions if the endpoint can.
    fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> impl Future<Output = Result<BlobStream, Error>> + Send;

    /// The attachments of a manifest: everything that names it as its subject (distribution specification, "Listing
    /// Referrers"), and the tags of cosign's older format. Attachments of attachments are not listed.
    ///
    /// A list may name manifests about others, or too large ones: the reader of an attachment checks its subject. There is
    /// no default, because a source that wraps another one and forgot to ask it would lose signatures silently.
    fn attachments(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> impl Future<Output = Result<Vec<Attachment>, Error>> + Send;

    /// Says that [`attachments`](Self::attachments) of this repository will be asked for, before any digest is known. A
    /// source may begin with requests that need none. Errors appear when attachments are asked for.
    fn expect_attachments(&self, _repository: &Repository) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Where a blob's bytes come from, for errors.
    fn blob_location(&self, repository: &Repository, digest: &Digest) -> Location {
        Location::new(Operation::ReadBlob, self.side(), format!("{repository}@{digest}"))
    }
}

/// Blobs in a stream that can be read only once, such as a pipe.
pub(crate) trait BlobSequence: Send {
    /// Skips the rest of the current blob. Returns the digest and the size in bytes of the next one, unverified; `None`
    /// at the end.
    fn next_blob(&mut self) -> impl Future<Output = Result<Option<(Digest, u64)>, Error>> + Send;

    /// The next bytes of the current blob; `None` at its end.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;

    /// Where a blob's bytes come from, for errors.
    fn location(&self, digest: &Digest) -> Location;
}

/// How a destination answers the start of an upload.
#[derive(Debug)]
pub enum Begun<S> {
    /// The blob exists.
    Present,
    /// The blob was mounted from another repository of the same endpoint.
    Mounted,
    /// The blob was sent earlier: by this run, or by an interrupted upload that turned out to be complete.
    Completed,
    /// The blob must be sent.
    Wanted(S),
}

impl<S> Begun<S> {
    /// The open upload; or how the blob reached the destination, if nothing has to be sent.
    pub(crate) fn sink_or_outcome(self) -> Result<S, BlobOutcome> {
        match self {
            Self::Present => Err(BlobOutcome::Present),
            Self::Mounted => Err(BlobOutcome::Mounted),
            Self::Completed => Err(BlobOutcome::Copied),
            Self::Wanted(sink) => Ok(sink),
        }
    }
}

/// An endpoint that images can be written to.
pub trait Destination: Source {
    /// An open upload of one blob.
    type Sink: BlobSink;

    /// Starts the upload of a blob, before its source is opened. `mount` is a repository of the same endpoint that
    /// holds the blob.
    fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> impl Future<Output = Result<Begun<Self::Sink>, Error>> + Send;

    /// Like [`begin_blob`](Self::begin_blob). Calls `expect_wanted` before it asks the destination, if the destination
    /// probably lacks the blob: then its source may be opened at the same time. At most once, and by default never.
    fn begin_blob_expecting(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
        expect_wanted: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<Begun<Self::Sink>, Error>> + Send {
        drop(expect_wanted);
        self.begin_blob(repository, blob, mount)
    }

    /// Whether its answers are known to take long, because it is far away.
    fn is_far(&self, _repository: &Repository) -> bool {
        false
    }

    /// Writes a manifest, byte for byte, under a tag or its digest. A manifest with a subject can then be found from its
    /// subject, even if the endpoint does not list referrers by itself.
    fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// An open upload of one blob.
pub trait BlobSink: Send {
    /// The offset at which to start: an interrupted upload of this run or an earlier one is resumed.
    fn start(&self) -> Start;

    /// Writes the bytes from [`BlobSink::start`] on and commits the blob. If the bytes are wrong, the body ends early
    /// with an error; then the blob must not be committed.
    fn write(self, body: VerifiedBody) -> impl Future<Output = Result<(), Error>> + Send;
}
