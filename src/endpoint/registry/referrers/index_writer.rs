//! Adds entries to a fallback index, against other clients that do the same.
//!
//! Every client that attaches something reads the index, adds an entry and writes it again. Few registries can refuse a
//! write because the tag has changed since, so a client can undo what another one has written. An [`IndexWriter`]
//! therefore reads the index again after a pause, and repeats until its entries stay. The pause is several times longer
//! than its own reading and writing takes: another client that read the index earlier has written it by then. Entries of
//! others that it has read must stay as well, unless their manifests were deleted.
//!
//! Without `If-Match`, one loss cannot be noticed: another client adds an entry after this one has read the index and
//! before the registry stores what this one writes. That takes one round trip, because the index is read directly before
//! each write (a HEAD request between the two would take as long). The other client notices if it reads the index again,
//! as this one does; oras and cosign do not.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::future::try_join_all;
use http::HeaderValue;
use tokio::time::Instant;

use super::{
    super::{
        error::RegistryError,
        host::Host,
        manifests::{self, PutResult},
        referrers_problem::ReferrersProblem,
        retry::Attempts,
    },
    index::{self, Entry, is_index_of},
    list::AttachmentList,
};
use crate::{
    endpoint::{Cause, Error, Meaning, Operation, retry::Pause},
    event::Event,
    oci::{
        Digest, RawManifest, Repository, Target, attachment::fallback_tag, manifest::MAX_MANIFEST_SIZE,
        media_type::OCI_INDEX,
    },
    units,
};

/// How often an index is written before its writer gives up.
const MAX_WRITES: u32 = 12;
/// The shortest pause between writing an index and reading it again.
const MIN_PAUSE: Duration = Duration::from_millis(200);
/// How many times longer the pause is than reading and writing the index took.
const PAUSE_FACTOR: u32 = 4;
/// The pause stops growing after this many writes, because each of the other writers needs only a moment.
const MAX_BACKOFF: u32 = 3;

/// Writes the index of one subject.
pub(super) struct IndexWriter<'a> {
    host: &'a Host,
    repository: &'a Repository,
    subject: &'a Digest,
    tag: String,
    precondition: Precondition,
    /// Entries that the registry refuses because their manifests do not exist.
    absent: HashSet<Digest>,
    /// The entries of others that the index had when it was read.
    seen: HashMap<Digest, Entry>,
}

/// An index to write.
struct Draft {
    index: RawManifest,
    /// The one that it replaces.
    replaced: Option<RawManifest>,
    etag: Option<HeaderValue>,
}

impl<'a> IndexWriter<'a> {
    pub(super) fn new(host: &'a Host, repository: &'a Repository, subject: &'a Digest) -> Self {
        let (precondition, absent, seen) = (Precondition::default(), HashSet::new(), HashMap::new());
        Self { host, repository, subject, tag: fallback_tag(subject), precondition, absent, seen }
    }

    /// Adds entries until the index has them.
    pub(super) async fn add(mut self, entries: &[Entry]) -> Result<(), Error> {
        for writes in 1..=MAX_WRITES {
            let begun = Instant::now();
            let Some(draft) = self.draft(entries).await? else { return Ok(()) };
            let jitter = Pause::Backoff.duration(writes.min(MAX_BACKOFF));
            match self.put(draft, entries).await? {
                Some(PutResult::Stored { .. }) => {
                    let pause = MIN_PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
                    tokio::time::sleep(pause + jitter / 4).await;
                }
                Some(PutResult::Conflict) => {
                    self.precondition.failed();
                    tokio::time::sleep(jitter).await;
                }
                None => (),
            }
        }
        match self.draft(entries).await? {
            None => Ok(()),
            Some(_) => Err(self.problem(ReferrersProblem::Contested(MAX_WRITES))),
        }
    }

    /// Reads the index and adds the entries, and those that others have undone; `None` if it has them.
    async fn draft(&mut self, entries: &[Entry]) -> Result<Option<Draft>, Error> {
        let found = manifests::get_to_change(self.host, self.repository, &self.tag).await?;
        // GitLab resolves the tag of no index to the subject.
        let (replaced, etag) = match found {
            Some((found, etag)) if found.digest() != self.subject => (Some(found), etag),
            _ => (None, None),
        };
        if let Some(other) = replaced.as_ref().filter(|found| !is_index_of(found, self.subject)) {
            return Err(self.problem(ReferrersProblem::TagTaken(other.media_type().clone())));
        }
        let mut wanted = self.undone(replaced.as_ref(), entries).await?;
        wanted.extend_from_slice(entries);
        let bytes = index::merged(replaced.as_ref(), &wanted, &self.absent);
        let Some(bytes) = bytes.map_err(|error| self.failed(error))? else { return Ok(None) };
        if bytes.len() > MAX_MANIFEST_SIZE {
            return Err(self.problem(ReferrersProblem::IndexTooLarge(bytes.len())));
        }
        let index = RawManifest::read(Some(OCI_INDEX), bytes, None).map_err(|error| self.failed(error))?;
        Ok(Some(Draft { index, replaced, etag }))
    }

    /// The entries of others that were in the index and are no longer, although their manifests exist: a client that had
    /// read the index before they were added has replaced it.
    async fn undone(&mut self, index: Option<&RawManifest>, ours: &[Entry]) -> Result<Vec<Entry>, Error> {
        let listed = index.map(index::entries).unwrap_or_default();
        let listed: HashMap<Digest, Entry> =
            listed.into_iter().map(|entry| (entry.digest.clone(), entry)).collect();
        let is_gone = |digest: &Digest| {
            !listed.contains_key(digest)
                && !self.absent.contains(digest)
                && ours.iter().all(|entry| entry.digest != *digest)
        };
        let gone: Vec<Entry> = self.seen.values().filter(|entry| is_gone(&entry.digest)).cloned().collect();
        let digests = gone.iter().map(|entry| entry.digest.clone()).collect();
        let deleted = self.deleted(digests).await?;
        let mut undone: Vec<Entry> =
            gone.into_iter().filter(|entry| !deleted.contains(&entry.digest)).collect();
        undone.sort_by(|left, right| left.digest.cmp(&right.digest));
        if !undone.is_empty() {
            let (count, repository, tag) = (undone.len(), self.repository, &self.tag);
            let message = format!(
                "another client replaced {repository}:{tag}, an index of referrers, and left out {} that it had: \
                 adding again",
                units::counted(count, "referrer")
            );
            self.host.events().emit(Event::Detail { message });
        }
        self.seen.retain(|digest, _| !deleted.contains(digest));
        self.seen.extend(listed);
        Ok(undone)
    }

    /// Writes an index; `None` if the registry refuses it because of entries that are now known to be absent.
    async fn put(&mut self, draft: Draft, entries: &[Entry]) -> Result<Option<PutResult>, Error> {
        let Draft { index, replaced, etag } = draft;
        let etag = self.precondition.of(replaced.as_ref(), etag);
        let target = Target::Tag(self.tag.clone());
        let put = manifests::put_if_unchanged(self.host, self.repository, &target, &index, etag.as_ref());
        match (put.await, replaced) {
            (Err(error), Some(replaced))
                if self.absent.is_empty() && error.cause.meaning() == Meaning::ContentMissing =>
            {
                self.absent = self.absent_entries(&replaced, entries).await?;
                if self.absent.is_empty() { Err(error) } else { Ok(None) }
            }
            (put, _) => put.map(Some),
        }
    }

    /// The entries of others whose manifests were deleted. Some registries refuse an index that has such entries.
    async fn absent_entries(&self, index: &RawManifest, ours: &[Entry]) -> Result<HashSet<Digest>, Error> {
        let mut listed = AttachmentList::default();
        // Without its digest, an entry cannot be requested.
        if listed.add(index.bytes()).is_err() {
            return Ok(HashSet::new());
        }
        let listed = listed.into_attachments().into_iter().map(|attachment| attachment.descriptor.digest);
        let others = listed.filter(|digest| ours.iter().all(|entry| entry.digest != *digest));
        let absent = self.deleted(others.collect()).await?;
        for digest in &absent {
            let repository = self.repository;
            let message =
                format!("removing {repository}@{digest} from the index of referrers: it does not exist");
            self.host.events().emit(Event::Warning { image: None, message });
        }
        Ok(absent)
    }

    /// Those of these manifests that do not exist.
    async fn deleted(&self, digests: Vec<Digest>) -> Result<HashSet<Digest>, Error> {
        let deleted = digests.into_iter().map(|digest| async {
            let exists = manifests::exists(self.host, self.repository, &digest).await?;
            Ok((!exists).then_some(digest))
        });
        Ok(try_join_all(deleted).await?.into_iter().flatten().collect())
    }

    fn problem(&self, problem: ReferrersProblem) -> Error {
        self.failed(RegistryError::Referrers(problem))
    }

    fn failed(&self, cause: impl Into<Cause>) -> Error {
        let name = format!("{}:{}", self.repository, self.tag);
        self.host.error(Operation::PushManifest, &name, &Attempts::new(1), cause)
    }
}

/// Decides whether a write may require that the index has not changed.
#[derive(Debug, Default)]
struct Precondition {
    /// The index that the current write replaces.
    replaced: Option<Digest>,
    /// The index that a write could not replace because of the condition.
    kept: Option<Digest>,
}

impl Precondition {
    /// The `ETag` to require; none if the registry has refused it for this very index, which then had not changed.
    fn of(&mut self, existing: Option<&RawManifest>, etag: Option<HeaderValue>) -> Option<HeaderValue> {
        self.replaced = existing.map(|index| index.digest().clone());
        etag.filter(|_| self.kept.is_none() || self.kept != self.replaced)
    }

    fn failed(&mut self) {
        self.kept = self.replaced.take();
    }
}
