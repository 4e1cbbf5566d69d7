//! A source whose images have been resolved: manifests and small configs are in memory, every tag is pinned to its digest,
//! and an image has the attachments that it had when it was resolved.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::{BlobStream, Error, Source, bundle::Draft, forward};
use crate::oci::{Attachment, Descriptor, Digest, RawManifest, Reference, Repository, Target};

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PinnedSource<S> {
    inner: Arc<S>,
    roots: HashMap<(Repository, Target), Digest>,
    manifests: Arc<BTreeMap<Digest, RawManifest>>,
    configs: Arc<HashMap<Digest, Bytes>>,
    attached: Arc<HashMap<(Repository, Digest), Vec<Attachment>>>,
}

impl<S: Source> PinnedSource<S> {
    /// Reads the images of this draft.
    pub(crate) fn new(inner: Arc<S>, draft: &Draft) -> Self {
        let root = |(reference, root): &(Reference, Digest)| {
            ((reference.repository().clone(), reference.target()), root.clone())
        };
        let roots = draft.images().iter().map(root).collect();
        let (manifests, attached) = (Arc::clone(&draft.manifests), Arc::clone(&draft.attached));
        Self { inner, roots, manifests, configs: Arc::clone(&draft.configs), attached }
    }
}

impl<S: Source> Source for PinnedSource<S> {
    forward!(inner: side, blob_size, blob_location);

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        Ok(self.roots.get(&(repository.clone(), Target::Tag(tag.to_owned()))).cloned())
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let digest = match target {
            Target::Digest(digest) => Some(digest),
            Target::Tag(_) => self.roots.get(&(repository.clone(), target.clone())),
        };
        Ok(digest.and_then(|digest| self.manifests.get(digest)).cloned())
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let config = self.configs.get(&blob.digest);
        match usize::try_from(offset).ok().zip(config).filter(|(offset, config)| *offset <= config.len()) {
            Some((offset, config)) => Ok(stream::iter([Ok(config.slice(offset..))]).boxed()),
            None => self.inner.open_blob(repository, blob, offset).await,
        }
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        Ok(self.attached.get(&(repository.clone(), subject.clone())).cloned().unwrap_or_default())
    }
}
