//! The fallback index of a registry without the referrers API: an index with the tag `sha256-HEX` lists the referrers of
//! a manifest (distribution specification, "Referrers Tag Schema").
//!
//! Every client that attaches something reads the index, adds an entry and writes it again. Few registries can refuse a
//! write because the tag has changed since, so a client can undo what another one has written. [`write`] therefore reads
//! the index again after a pause, and repeats until its entries stay. The pause is several times longer than its own
//! reading and writing takes: another client that read the index earlier has written it by then.
//!
//! In this process, one task at a time writes the index of a subject, and it writes the entries of all waiting tasks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::Instant;

use super::{
    super::{
        error::RegistryError,
        host::Host,
        manifests::{self, Put},
        retry::Attempts,
    },
    index::{self, Entry},
    list::AttachmentList,
    problem::ReferrersProblem,
    tags::RepositoryTags,
};
use crate::{
    endpoint::{Cause, Error, Operation, retry::Pause},
    event::Event,
    oci::{
        Attachment, Digest, RawManifest, Repository, Target, attachment::fallback_tag,
        manifest::LARGEST_MANIFEST, media_type::OCI_INDEX,
    },
};

/// How often an index is written before its writer gives up.
const MOST_WRITES: u32 = 12;
/// The shortest pause between writing an index and reading it again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
/// How many times longer the pause is than reading and writing the index took.
const PAUSE_FACTOR: u32 = 4;
/// Other writers need one moment each: backoff grows no further than after so many writes.
const LONGEST_BACKOFF: u32 = 3;

/// The referrers in the fallback index of a manifest. None if the tag points to anything else: GitLab resolves it to the
/// manifest itself (oras-project/oras-go#1396).
pub(super) async fn list(
    host: &Host,
    tags: &RepositoryTags,
    repository: &Repository,
    subject: &Digest,
) -> Result<Vec<Attachment>, Error> {
    let tag = fallback_tag(subject);
    if !tags.may_have(host, repository, &tag).await {
        return Ok(Vec::new());
    }
    let mut found = AttachmentList::default();
    match manifests::get_to_change(host, repository, &tag).await? {
        Some((index, _)) if is_index_of(&index, subject) => {
            let name = format!("{repository}:{tag}");
            let failed = |cause| host.error(Operation::ListReferrers, &name, &Attempts::new(1), cause);
            found.add(index.bytes()).map_err(failed)?;
        }
        _ => (),
    }
    Ok(found.into_attachments())
}

fn is_index_of(found: &RawManifest, subject: &Digest) -> bool {
    found.media_type().as_str() == OCI_INDEX && found.digest() != subject
}

/// The indexes that this process writes, by repository and subject.
#[derive(Debug, Default)]
pub(super) struct FallbackIndexes(Mutex<HashMap<(Repository, Digest), Arc<FallbackIndex>>>);

#[derive(Debug, Default)]
struct FallbackIndex {
    writer: tokio::sync::Mutex<()>,
    /// The entries that tasks wait for.
    wanted: Mutex<Vec<Entry>>,
}

impl FallbackIndexes {
    /// Makes sure that the index of a subject has an entry.
    pub(super) async fn add(
        &self,
        host: &Host,
        repository: &Repository,
        subject: &Digest,
        entry: Entry,
    ) -> Result<(), Error> {
        let index = {
            let mut indexes = lock(&self.0);
            Arc::clone(indexes.entry((repository.clone(), subject.clone())).or_default())
        };
        let digest = entry.digest.clone();
        lock(&index.wanted).push(entry);
        let _turn = index.writer.lock().await;
        let wanted = lock(&index.wanted).clone();
        if !wanted.iter().any(|entry| entry.digest == digest) {
            // The previous writer has written it.
            return Ok(());
        }
        let written = write(host, repository, subject, &wanted).await;
        // The others try for themselves.
        let is_done = |entry: &Entry| match written {
            Ok(()) => wanted.iter().any(|done| done.digest == entry.digest),
            Err(_) => entry.digest == digest,
        };
        lock(&index.wanted).retain(|entry| !is_done(entry));
        written
    }
}

/// Adds entries to the index of a subject until it has them.
async fn write(
    host: &Host,
    repository: &Repository,
    subject: &Digest,
    entries: &[Entry],
) -> Result<(), Error> {
    let tag = fallback_tag(subject);
    let name = format!("{repository}:{tag}");
    let failed = |cause: Cause| host.error(Operation::PushManifest, &name, &Attempts::new(1), cause);
    let mut precondition = Precondition::default();
    for writes in 0..=MOST_WRITES {
        let begun = Instant::now();
        let found = manifests::get_to_change(host, repository, &tag).await?;
        let found = found.filter(|(found, _)| found.digest() != subject);
        if let Some((other, _)) = found.as_ref().filter(|(found, _)| !is_index_of(found, subject)) {
            let problem = ReferrersProblem::TagTaken(other.media_type().clone());
            return Err(failed(RegistryError::Referrers(problem).into()));
        }
        let (existing, etag) = found.map_or((None, None), |(index, etag)| (Some(index), etag));
        let merged = index::merged(existing.as_ref(), entries).map_err(|error| failed(error.into()))?;
        let Some(bytes) = merged else { return Ok(()) };
        if writes == MOST_WRITES {
            break;
        }
        if writes > 0 {
            let message =
                format!("{name}: another client replaced the index of referrers; adding the entries again");
            host.events().emit(Event::Detail { message });
        }
        if bytes.len() > LARGEST_MANIFEST {
            let problem = ReferrersProblem::IndexTooLarge(bytes.len());
            return Err(failed(RegistryError::Referrers(problem).into()));
        }
        let merged = RawManifest::read(Some(OCI_INDEX), bytes, None).map_err(|error| failed(error.into()))?;
        let target = Target::Tag(tag.clone());
        let etag = precondition.of(existing.as_ref(), etag);
        drop(existing);
        let put = manifests::put_if_unchanged(host, repository, &target, &merged, etag.as_ref()).await?;
        let jitter = Pause::Backoff.duration((writes + 1).min(LONGEST_BACKOFF));
        match put {
            Put::Conflict => {
                precondition.failed();
                tokio::time::sleep(jitter).await;
            }
            Put::Stored { .. } => {
                let pause = SHORTEST_PAUSE.max(begun.elapsed() * PAUSE_FACTOR);
                tokio::time::sleep(pause + jitter / 4).await;
            }
        }
    }
    Err(failed(RegistryError::Referrers(ReferrersProblem::Contested(MOST_WRITES)).into()))
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
