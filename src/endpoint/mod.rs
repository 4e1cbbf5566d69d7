//! Places that hold images. A copy reads from a [`Source`] and writes to a [`Destination`].
//!
//! The traits are small so that one pipeline serves every pair of places. Content is named by repository and
//! digest; each endpoint decides what those mean on the wire or on disk. What can fail only at one kind of endpoint
//! is an [`EndpointError`] of its own, so that an endpoint can be added without a change here.

pub(crate) mod body;
pub mod bundle;
mod cause;
pub(crate) mod empty;
mod error;
pub(crate) mod known_blobs;
mod location;
pub(crate) mod packaged_chart;
pub(crate) mod pinned;
pub mod registry;
pub(crate) mod retry;

use std::future::Future;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::{
    body::{OnProgress, Snapshot, Start, VerifiedBody},
    cause::{Cause, EndpointError, Meaning},
    error::Error,
    location::{Location, Operation},
    retry::Retry,
};
use crate::{
    oci::{Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// A blob's bytes as they arrive, not yet verified.
pub type BlobStream = BoxStream<'static, Result<Bytes, Error>>;

/// An endpoint that images can be read from.
pub trait Source: Send + Sync + 'static {
    /// Which end of a copy it is, for errors.
    fn side(&self) -> Side;

    /// The digest that a tag names, as cheaply as the endpoint can tell; `None` when there is no such tag.
    fn digest(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Option<Digest>, Error>> + Send;

    /// A manifest's bytes, checked against the digest if that is how it was asked for; `None` when there
    /// is no such manifest.
    fn manifest(
        &self,
        repository: &Repository,
        target: &Target,
    ) -> impl Future<Output = Result<Option<RawManifest>, Error>> + Send;

    /// The size in bytes that the endpoint names for a blob; `None` when it does not have it.
    fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<u64>, Error>> + Send;

    /// A blob's bytes from `offset` on. The stream survives interruptions by itself where it can.
    fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> impl Future<Output = Result<BlobStream, Error>> + Send;

    /// Where a blob's bytes come from, for errors.
    fn blob_location(&self, repository: &Repository, digest: &Digest) -> Location {
        Location::new(Operation::ReadBlob, self.side(), format!("{repository}@{digest}"))
    }
}

/// Blobs that come one after the other, and only once: a pipe, a tape.
pub(crate) trait BlobSequence: Send {
    /// Goes on to the next blob, past the rest of the current one. Its digest and its size in bytes, as the sequence names
    /// them; `None` at the end.
    fn next_blob(&mut self) -> impl Future<Output = Result<Option<(Digest, u64)>, Error>> + Send;

    /// The next bytes of the current blob; `None` at its end.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;

    /// Where a blob's bytes come from, for errors.
    fn location(&self, digest: &Digest) -> Location;
}

/// What a destination says when a blob is about to be written.
#[derive(Debug)]
pub enum Begun<S> {
    /// It is there already.
    Present,
    /// It was linked from another repository of the same endpoint.
    Mounted,
    /// It was sent before: by this run, or by an upload that had broken off and turned out to be complete.
    Completed,
    /// Its bytes are wanted.
    Wanted(S),
}

/// An endpoint that images can be written to.
pub trait Destination: Source {
    /// An opened upload of one blob.
    type Sink: BlobSink;

    /// Opens the upload of a blob, before its source is opened. `mount` names a repository of the same
    /// endpoint that is known to hold the blob.
    fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> impl Future<Output = Result<Begun<Self::Sink>, Error>> + Send;

    /// Writes a manifest, byte for byte, under a tag or its digest.
    fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// An opened upload of one blob.
pub trait BlobSink: Send {
    /// From where on the bytes are wanted: an upload that broke off, in this run or in an earlier one, is resumed
    /// where it ended.
    fn start(&self) -> Start;

    /// Takes the bytes from [`BlobSink::start`] on and makes the blob visible. The body ends early with an error when the bytes
    /// are not the blob's; nothing must become visible then.
    fn write(self, body: VerifiedBody) -> impl Future<Output = Result<(), Error>> + Send;
}
