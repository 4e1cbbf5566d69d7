//! A minimal endpoint in memory with its own error type: an example of a third kind of endpoint.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use thoras_mirror::{
    endpoint::{
        Begun, BlobSink, BlobStream, Cause, Destination, EndpointError, Error, Location, Meaning, Operation,
        Retry, Source, Start, VerifiedBody,
    },
    error::Kind,
    oci::{Contents, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};

use super::images::SampleImage;

/// What can go wrong in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Transient.
    #[error("the memory is busy")]
    Busy,
    /// Permanent.
    #[error("the memory is worn out")]
    WornOut,
    /// A manifest references missing content.
    #[error("the memory lacks what the manifest names")]
    Incomplete,
}

impl EndpointError for MemoryError {
    fn kind(&self) -> Kind {
        if *self == Self::WornOut { Kind::Usage } else { Kind::Image }
    }

    fn remedy(&self, location: &Location) -> Option<String> {
        (*self == Self::WornOut).then(|| format!("replace the memory of the {}", location.side))
    }

    fn meaning(&self) -> Meaning {
        if *self == Self::Incomplete { Meaning::ContentMissing } else { Meaning::Failed }
    }

    fn retry(&self) -> Option<Retry> {
        (*self == Self::Busy).then_some(Retry::TRANSIENT)
    }
}

#[derive(Debug, Default)]
struct State {
    tags: HashMap<(Repository, String), Digest>,
    manifests: HashMap<(Repository, Digest), RawManifest>,
    blobs: HashMap<(Repository, Digest), Bytes>,
    /// The errors when writing a blob, and how often they occur.
    failures: BTreeMap<Digest, (MemoryError, u32)>,
    /// Blobs that are lost once after they were written.
    forgetful: Option<Digest>,
    written: Vec<String>,
}

/// Repositories in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct Memory {
    side: Side,
    state: Arc<Mutex<State>>,
}

impl Memory {
    /// Creates an empty endpoint.
    pub fn new(side: Side) -> Self {
        Self { side, state: Arc::default() }
    }

    /// Puts an image there.
    pub fn insert(&self, repository: &str, image: &SampleImage) {
        let repository: Repository = repository.parse().unwrap();
        let mut state = self.state();
        for (digest, bytes) in &image.blobs {
            state.blobs.insert((repository.clone(), digest.clone()), bytes.clone());
        }
        for manifest in &image.manifests {
            let read =
                RawManifest::read(Some(&manifest.media_type), manifest.bytes.clone(), Some(&manifest.digest));
            state.manifests.insert((repository.clone(), manifest.digest.clone()), read.unwrap());
        }
        state.tags.insert((repository, image.tag.clone()), image.root().digest.clone());
    }

    /// Makes writing this blob fail this many times.
    pub fn fail(&self, digest: &Digest, error: MemoryError, times: u32) {
        self.state().failures.insert(digest.clone(), (error, times));
    }

    /// Loses this blob once, after it was written.
    pub fn forget(&self, digest: &Digest) {
        self.state().forgetful = Some(digest.clone());
    }

    /// What was written, in order: digests of blobs and manifests, and tags.
    pub fn written(&self) -> Vec<String> {
        self.state().written.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn error(&self, operation: Operation, name: String, cause: impl Into<Cause>) -> Error {
        Location::new(operation, self.side, name).error(cause)
    }
}

impl Source for Memory {
    fn side(&self) -> Side {
        self.side
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        Ok(self.state().tags.get(&(repository.clone(), tag.to_owned())).cloned())
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let state = self.state();
        let digest = match target {
            Target::Digest(digest) => Some(digest),
            Target::Tag(tag) => state.tags.get(&(repository.clone(), tag.clone())),
        };
        Ok(digest.and_then(|digest| state.manifests.get(&(repository.clone(), digest.clone()))).cloned())
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let state = self.state();
        Ok(state.blobs.get(&(repository.clone(), digest.clone())).map(|bytes| bytes.len() as u64))
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let bytes = self.state().blobs.get(&(repository.clone(), blob.digest.clone())).cloned();
        let bytes =
            bytes.ok_or_else(|| self.blob_location(repository, &blob.digest).error(Cause::NoSuchBlob))?;
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        Ok(stream::iter([Ok(rest)]).boxed())
    }
}

impl Destination for Memory {
    type Sink = MemorySink;

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<MemorySink>, Error> {
        let mut state = self.state();
        let key = (repository.clone(), blob.digest.clone());
        if state.blobs.contains_key(&key) {
            return Ok(Begun::Present);
        }
        let mounted = mount.and_then(|from| state.blobs.get(&(from.clone(), blob.digest.clone()))).cloned();
        if let Some(bytes) = mounted {
            state.blobs.insert(key, bytes);
            return Ok(Begun::Mounted);
        }
        Ok(Begun::Wanted(MemorySink { memory: self.clone(), key, start: Start::at_the_beginning(blob) }))
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let key = |digest: &Digest| (repository.clone(), digest.clone());
        let is_complete = match manifest.contents().unwrap() {
            Contents::Image { config, layers, .. } => {
                layers.iter().chain([&config]).all(|blob| state.blobs.contains_key(&key(&blob.digest)))
            }
            Contents::Index { manifests, .. } => {
                manifests.iter().all(|child| state.manifests.contains_key(&key(&child.digest)))
            }
        };
        if !is_complete {
            let name = format!("{repository}:{target}");
            return Err(self.error(Operation::PushManifest, name, MemoryError::Incomplete));
        }
        state.manifests.insert(key(manifest.digest()), manifest.clone());
        if let Target::Tag(tag) = target {
            state.tags.insert((repository.clone(), tag.clone()), manifest.digest().clone());
        }
        state.written.push(target.to_string());
        Ok(())
    }
}

/// An opened upload.
#[derive(Debug)]
pub struct MemorySink {
    memory: Memory,
    key: (Repository, Digest),
    start: Start,
}

impl BlobSink for MemorySink {
    fn start(&self) -> Start {
        self.start.clone()
    }

    async fn write(self, body: VerifiedBody) -> Result<(), Error> {
        let Self { memory, key, .. } = self;
        let whole: Vec<Bytes> = body.try_collect().await?;
        let mut state = memory.state();
        if let Some((error, times)) = state.failures.get_mut(&key.1)
            && *times > 0
        {
            *times -= 1;
            let name = format!("{}@{}", key.0, key.1);
            return Err(memory.error(Operation::UploadBlob, name, *error));
        }
        state.written.push(key.1.to_string());
        if state.forgetful.take_if(|digest| *digest == key.1).is_none() {
            state.blobs.insert(key, whole.concat().into());
        }
        Ok(())
    }
}
