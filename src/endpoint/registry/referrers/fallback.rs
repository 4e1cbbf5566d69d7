//! The fallback index of a registry without the referrers API: an index with the tag `sha256-HEX` lists the referrers of
//! a manifest (distribution specification, "Referrers Tag Schema").
//!
//! In this process, one task at a time writes the index of a subject, and it writes the entries of all waiting tasks.
//! [`IndexWriter`] deals with other clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{
    super::{host::Host, manifests, retry::Attempts},
    index::{Entry, is_index_of},
    index_writer::IndexWriter,
    list::AttachmentList,
    tags::RepositoryTags,
};
use crate::{
    endpoint::{Error, Operation, lock},
    oci::{Attachment, Digest, Repository, attachment::fallback_tag},
};

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
        let written = IndexWriter::new(host, repository, subject).add(&wanted).await;
        // The others try for themselves.
        let is_done = |entry: &Entry| match written {
            Ok(()) => wanted.iter().any(|done| done.digest == entry.digest),
            Err(_) => entry.digest == digest,
        };
        lock(&index.wanted).retain(|entry| !is_done(entry));
        written
    }
}
