//! A destination that is empty and stores nothing, for plans without a destination.

use super::{Begun, BlobSink, BlobStream, Cause, Destination, Error, Source, Start, VerifiedBody};
use crate::{
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

/// See the module documentation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EmptyDestination;

impl Source for EmptyDestination {
    fn side(&self) -> Side {
        Side::Destination
    }

    async fn digest(&self, _: &Repository, _: &str) -> Result<Option<Digest>, Error> {
        Ok(None)
    }

    async fn manifest(&self, _: &Repository, _: &Target) -> Result<Option<RawManifest>, Error> {
        Ok(None)
    }

    async fn attachments(&self, _: &Repository, _: &Digest) -> Result<Vec<Attachment>, Error> {
        Ok(Vec::new())
    }

    async fn blob_size(&self, _: &Repository, _: &Digest) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        _: u64,
    ) -> Result<BlobStream, Error> {
        Err(self.blob_location(repository, &blob.digest).error(Cause::NoSuchBlob))
    }
}

impl Destination for EmptyDestination {
    type Sink = NoSink;

    async fn begin_blob(
        &self,
        _: &Repository,
        _: &Descriptor,
        _: Option<&Repository>,
    ) -> Result<Begun<NoSink>, Error> {
        Ok(Begun::Present)
    }

    async fn put_manifest(&self, _: &Repository, _: &Target, _: &RawManifest) -> Result<(), Error> {
        Ok(())
    }
}

/// Never constructed: no blob is sent.
#[derive(Debug)]
pub(crate) enum NoSink {}

impl BlobSink for NoSink {
    fn start(&self) -> Start {
        match *self {}
    }

    async fn write(self, _: VerifiedBody) -> Result<(), Error> {
        match self {}
    }
}
