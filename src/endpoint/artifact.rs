//! A source with a single artifact that this program made and holds in memory.

use bytes::Bytes;

use super::{BlobStream, Cause, Error, Operation, Source, body::stream_of};
use crate::{
    oci::{Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target},
    problem::Side,
};

/// An artifact with all its bytes.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactSource {
    /// Its name, which no registry knows.
    pub(crate) reference: Reference,
    pub(crate) manifest: RawManifest,
    /// Its config and layers.
    pub(crate) blobs: Vec<(Digest, Bytes)>,
}

impl ArtifactSource {
    fn is_in(&self, repository: &Repository) -> bool {
        self.reference.repository() == repository
    }

    fn blob(&self, repository: &Repository, digest: &Digest) -> Option<&Bytes> {
        let blob = self.blobs.iter().find(|(other, _)| other == digest).filter(|_| self.is_in(repository));
        blob.map(|(_, bytes)| bytes)
    }
}

impl Source for ArtifactSource {
    fn side(&self) -> Side {
        Side::Source
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        let is_it = self.is_in(repository) && self.reference.tag() == Some(tag);
        Ok(is_it.then(|| self.manifest.digest().clone()))
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let is_it = match target {
            Target::Tag(tag) => self.reference.tag() == Some(tag),
            Target::Digest(digest) => self.manifest.digest() == digest,
        };
        Ok((is_it && self.is_in(repository)).then(|| self.manifest.clone()))
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        Ok(self.blob(repository, digest).map(|bytes| bytes.len() as u64))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let Some(bytes) = self.blob(repository, &blob.digest) else {
            let at = format!("{repository}@{}", blob.digest);
            return Err(Error::new(Operation::ReadBlob, Side::Source, at, Cause::NoSuchBlob));
        };
        Ok(stream_of(bytes, offset))
    }

    async fn attachments(&self, _: &Repository, _: &Digest) -> Result<Vec<Attachment>, Error> {
        Ok(Vec::new())
    }
}
