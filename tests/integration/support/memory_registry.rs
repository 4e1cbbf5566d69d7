//! A source and destination of images in memory, written against the public traits alone.
//!
//! - [`Memory`] holds blobs, manifests and tags per repository, as a registry does. It does not check the bytes of a
//!   blob, so that a test sees what the program under test would accept.
//! - [`Settings`] decide whether it mounts blobs, resumes uploads and refuses manifests with missing content.
//! - [`History`] records every operation in order, and every violation.
//! - [`faults`] make operations fail, hang or return wrong data, and kill the whole run at a chosen operation.
//!
//! Every operation takes a random time and takes effect at its end. With tokio's clock paused, this reorders concurrent
//! operations at no cost.

mod contents;
pub mod faults;
mod history;
mod reading;
mod upload;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use thoras_mirror::{
    endpoint::{Begun, BlobStream, Destination, Error, Source},
    oci::{Attachment, Descriptor, Digest, RawManifest, Repository, Target},
    problem::Side,
};
use tokio::sync::Notify;

pub use self::{
    contents::Contents,
    history::{Act, Answer, Entry, History},
    upload::Upload,
};
use self::{
    faults::{Death, Effect, Fault},
    reading::Reading,
};
use super::{
    graph::{Child, children},
    images::SampleImage,
};

/// How it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Whether it mounts blobs from other repositories.
    pub mounts: bool,
    /// Whether interrupted uploads can be resumed.
    pub resumes: bool,
    /// Whether it refuses a manifest whose children or blobs are not in the same repository.
    pub strict: bool,
    /// The longest time of an operation, in milliseconds.
    pub latency: u64,
    /// The seed of the random numbers.
    pub seed: u64,
}

/// One side's view of the images in memory.
#[derive(Debug, Clone)]
pub struct Memory {
    side: Side,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    killed: Notify,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    repositories: BTreeMap<Repository, Contents>,
    history: History,
    faults: Vec<Fault>,
    arrived: usize,
    death: Option<(usize, Death)>,
    random: u64,
}

impl Memory {
    pub fn new(side: Side, settings: Settings) -> Self {
        let state = State {
            settings,
            repositories: BTreeMap::new(),
            history: History::default(),
            faults: Vec::new(),
            arrived: 0,
            death: None,
            random: settings.seed | 1,
        };
        Self { side, shared: Arc::new(Shared { state: Mutex::new(state), killed: Notify::new() }) }
    }

    /// Puts an image into a repository.
    pub fn insert(&self, repository: &Repository, image: &SampleImage) {
        self.edit(repository, |contents| {
            contents.blobs.extend(image.blobs.clone());
            for manifest in &image.manifests {
                let content = (Some(manifest.media_type.clone()), manifest.bytes.clone());
                contents.manifests.insert(manifest.digest.clone(), content);
            }
            contents.tags.insert(image.tag.clone(), image.root().digest.clone());
        });
    }

    /// The same images, seen from the other end of a copy.
    pub fn seen_as(&self, side: Side) -> Self {
        Self { side, shared: Arc::clone(&self.shared) }
    }

    /// Reads or changes a repository's content.
    pub fn edit<T>(&self, repository: &Repository, edit: impl FnOnce(&mut Contents) -> T) -> T {
        edit(self.state().repositories.entry(repository.clone()).or_default())
    }

    /// Accepts every manifest from now on, whatever is missing below it.
    pub fn accept_incomplete_manifests(&self) {
        self.state().settings.strict = false;
    }

    /// The content of all repositories.
    pub fn contents(&self) -> BTreeMap<Repository, Contents> {
        self.state().repositories.clone()
    }

    /// The history since the start or since it was last cleared.
    pub fn history(&self) -> History {
        self.state().history.clone()
    }

    /// Clears the history and all planned faults, not the content.
    pub fn clear_history(&self) {
        let mut state = self.state();
        state.history = History::default();
        state.faults.clear();
        (state.arrived, state.death) = (0, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits for the time of one operation, then applies the planned fault, if any.
    async fn arrive(&self, act: Act, repository: &Repository, what: &str) -> Result<Option<Effect>, Error> {
        let (pause, effect) = match self.admit(act, repository, what) {
            Ok(admitted) => admitted,
            Err(Death::Killed) => {
                self.shared.killed.notify_one();
                return std::future::pending().await;
            }
            Err(Death::Denied) => return Err(faults::denied(self.side, act, repository, what)),
        };
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
        match effect {
            Some(Effect::Refuse) => {
                self.note(act, repository, what, Answer::Failed);
                Err(faults::denied(self.side, act, repository, what))
            }
            Some(Effect::WearOut) => {
                self.note(act, repository, what, Answer::Failed);
                Err(faults::worn_out(self.side, act, repository, what))
            }
            Some(Effect::Break) => {
                self.note(act, repository, what, Answer::Failed);
                Err(faults::broken(self.side, act, repository, what))
            }
            Some(Effect::Hold(gate)) => {
                gate.pass().await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// The duration of the next operation, and its fault.
    fn admit(
        &self,
        act: Act,
        repository: &Repository,
        what: &str,
    ) -> Result<(Duration, Option<Effect>), Death> {
        let mut state = self.state();
        if self.side == Side::Destination {
            if let Some((_, death)) = state.death.filter(|(at, _)| state.arrived >= *at) {
                return Err(death);
            }
            state.arrived += 1;
        }
        Ok((state.pause(), state.fault(self.side, act, repository, what)))
    }

    fn note(&self, act: Act, repository: &Repository, what: &str, answer: Answer) {
        let (side, repository, what) = (self.side, repository.clone(), what.to_owned());
        self.state().history.entries.push(Entry { side, act, repository, what, answer });
    }
}

impl State {
    /// A random number (xorshift64*, Vigna 2016) below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    fn pause(&mut self) -> Duration {
        let latency = self.settings.latency;
        Duration::from_millis(self.below(latency + 1))
    }

    fn blob(&self, repository: &Repository, digest: &Digest) -> Option<&Bytes> {
        self.repositories.get(repository)?.blobs.get(digest)
    }
}

impl Source for Memory {
    fn side(&self) -> Side {
        self.side
    }

    async fn digest(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Error> {
        self.arrive(Act::ReadTag, repository, tag).await?;
        let found = self.edit(repository, |contents| contents.tags.get(tag).cloned());
        self.note(Act::ReadTag, repository, tag, Answer::found(found.is_some()));
        Ok(found)
    }

    async fn manifest(&self, repository: &Repository, target: &Target) -> Result<Option<RawManifest>, Error> {
        let what = target.to_string();
        self.arrive(Act::ReadManifest, repository, &what).await?;
        let found = self.edit(repository, |contents| {
            let digest = match target {
                Target::Tag(tag) => contents.tags.get(tag)?.clone(),
                Target::Digest(digest) => digest.clone(),
            };
            contents.manifests.get(&digest).cloned().map(|(media_type, bytes)| (media_type, bytes, digest))
        });
        self.note(Act::ReadManifest, repository, &what, Answer::found(found.is_some()));
        let read = found.map(|(media_type, bytes, digest)| {
            RawManifest::read(media_type.as_deref(), bytes, Some(&digest))
        });
        read.transpose()
            .map_err(|error| faults::error(self.side, Act::ReadManifest, repository, &what, error.into()))
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>, Error> {
        let what = digest.as_str();
        self.arrive(Act::LookForBlob, repository, what).await?;
        let size = self.state().blob(repository, digest).map(|bytes| bytes.len() as u64);
        self.note(Act::LookForBlob, repository, what, Answer::found(size.is_some()));
        Ok(size)
    }

    async fn open_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BlobStream, Error> {
        let what = blob.digest.as_str();
        let effect = self.arrive(Act::OpenBlob, repository, what).await?;
        let found = self.state().blob(repository, &blob.digest).cloned();
        self.note(Act::OpenBlob, repository, what, Answer::found(found.is_some()));
        let Some(bytes) = found else { return Err(faults::no_such_blob(self.side, repository, what)) };
        let (bytes, breaks_at) = match effect {
            Some(Effect::WrongBytes(wrong_bytes)) => (wrong_bytes.about(&bytes), None),
            Some(Effect::BreakAfter(at)) => (bytes, Some(at)),
            _ => (bytes, None),
        };
        let reading = Reading {
            memory: self.clone(),
            repository: repository.clone(),
            digest: blob.digest.clone(),
            bytes,
        };
        Ok(reading.from(usize::try_from(offset).unwrap(), breaks_at).boxed())
    }

    async fn expect_attachments(&self, repository: &Repository) {
        self.note(Act::ExpectAttachments, repository, "", Answer::Found);
    }

    async fn attachments(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Attachment>, Error> {
        let what = subject.as_str();
        self.arrive(Act::ListAttachments, repository, what).await?;
        let found = self.edit(repository, |contents| contents.attachments(subject));
        self.note(Act::ListAttachments, repository, what, Answer::found(!found.is_empty()));
        Ok(found)
    }
}

impl Destination for Memory {
    type Sink = Upload;

    async fn begin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        mount: Option<&Repository>,
    ) -> Result<Begun<Upload>, Error> {
        let what = blob.digest.as_str();
        let effect = self.arrive(Act::BeginBlob, repository, what).await?;
        let mut state = self.state();
        let has = |state: &State, repository: &Repository| {
            state.blob(repository, &blob.digest).is_some_and(|bytes| bytes.len() as u64 == blob.size)
        };
        let mounted = mount.filter(|from| state.settings.mounts && has(&state, from));
        let answer = if has(&state, repository) {
            Answer::Present
        } else if let Some(from) = mounted {
            let bytes = state.blob(from, &blob.digest).cloned().unwrap();
            state.history.mounts.push((repository.clone(), blob.digest.clone(), blob.size));
            if !matches!(effect, Some(Effect::Forget)) {
                let contents = state.repositories.entry(repository.clone()).or_default();
                contents.blobs.insert(blob.digest.clone(), bytes);
            }
            Answer::Mounted
        } else {
            Answer::Wanted
        };
        let random = state.below(u64::MAX);
        let prefix =
            state.repositories.get(repository).and_then(|contents| contents.uploads.get(&blob.digest));
        let prefix = prefix.cloned().unwrap_or_default();
        drop(state);
        self.note(Act::BeginBlob, repository, what, answer);
        Ok(match answer {
            Answer::Present => Begun::Present,
            Answer::Mounted => Begun::Mounted,
            _ => Begun::Wanted(Upload::new(self.clone(), repository.clone(), blob.clone(), prefix, random)),
        })
    }

    async fn put_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        manifest: &RawManifest,
    ) -> Result<(), Error> {
        let what = target.to_string();
        let effect = self.arrive(Act::PutManifest, repository, &what).await?;
        let (digest, bytes) = (manifest.digest().clone(), manifest.bytes().clone());
        let mut state = self.state();
        if !digest.matches(&bytes) || matches!(target, Target::Digest(named) if *named != digest) {
            state.history.violations.push(format!("{what} was pushed with other bytes"));
        }
        let strict = state.settings.strict;
        let contents = state.repositories.entry(repository.clone()).or_default();
        let absent = children(&bytes).into_iter().find(|child| match child {
            Child::Manifest(digest) => !contents.manifests.contains_key(digest),
            Child::Blob(digest) => !contents.blobs.contains_key(digest),
        });
        if let Some(child) = absent
            && strict
        {
            state.history.refused.push(format!("{repository}@{what} before {child:?}"));
            drop(state);
            self.note(Act::PutManifest, repository, &what, Answer::Failed);
            return Err(faults::missing_content(self.side, repository, &what));
        }
        if !matches!(effect, Some(Effect::Forget)) {
            let media_type = manifest.media_type().to_string();
            contents.manifests.insert(digest.clone(), (Some(media_type), bytes));
            if let Target::Tag(tag) = target {
                contents.tags.insert(tag.clone(), digest.clone());
                let missing = contents.missing_below(&digest);
                if !missing.is_empty() {
                    state.history.incomplete_tags.push(format!("{repository}:{tag} without {missing:?}"));
                }
            }
        }
        drop(state);
        self.note(Act::PutManifest, repository, &what, Answer::Stored);
        Ok(())
    }
}
