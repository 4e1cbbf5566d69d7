//! A source whose images have been resolved: manifests and small configs are in memory, and every tag is pinned to its
//! digest.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::{BlobStream, Error, Location, Source};
use crate::{
    graph::Graph,
    oci::{Descriptor, Digest, RawManifest, Reference, Repository, Target},
    problem::Side,
};

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PinnedSource<S> {
    inner: Arc<S>,
    roots: HashMap<(Repository, Target), Digest>,
    manifests: HashMap<Digest, RawManifest>,
    configs: HashMap<Digest, Bytes>,
}

impl<S: Source> PinnedSource<S> {
    /// `images` are all images that will be read.
    pub(crate) fn new<'a>(
        inner: Arc<S>,
        images: impl IntoIterator<Item = (&'a Reference, &'a Graph)>,
    ) -> Self {
        let (mut roots, mut manifests, mut configs) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (reference, graph) in images {
            let key = (reference.repository().clone(), reference.target());
            roots.extend(graph.root().map(|root| (key, root.descriptor.digest.clone())));
            let read = graph.nodes.iter().filter_map(|node| node.manifest.as_ref());
            manifests.extend(read.map(|manifest| (manifest.digest().clone(), manifest.clone())));
            configs.extend(graph.configs.clone());
        }
        Self { inner, roots, manifests, configs }
    }
}

impl<S: Source> Source for PinnedSource<S> {
    fn side(&self) -> Side {
        self.inner.side()
    }

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

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        self.inner.blob_size(repository, digest).await
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

    fn blob_location(&self, repository: &Repository, digest: &Digest) -> Location {
        self.inner.blob_location(repository, digest)
    }
}
