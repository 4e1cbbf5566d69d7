//! The tags of a repository that belong to other manifests: fallback indexes, and cosign's older format.
//!
//! One list of tags answers for all manifests of a repository: an image has three such tags that may exist, and an index
//! has many manifests. The list counts only if it is certainly complete. Otherwise each tag is requested.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::try_join_all;
use tokio::sync::OnceCell;

use super::super::{host::Host, manifests};
use crate::{
    endpoint::{Error, Meaning, lock},
    event::Event,
    oci::{
        Attachment, Digest, Link, Repository,
        attachment::{cosign_tags, is_attachment_tag},
    },
    problem::Side,
};

/// The list of a repository with more pages is not read to its end: requesting the tags is faster.
const MAX_PAGES: usize = 2;
/// Some registries read all of a large repository for each page.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A list whose length is a multiple of this may have been cut by a registry that links no next page.
const ROUND_NUMBER: usize = 50;

/// The tags of all repositories.
#[derive(Debug, Default)]
pub(super) struct AttachmentTags(Mutex<HashMap<Repository, Arc<RepositoryTags>>>);

impl AttachmentTags {
    pub(super) fn of(&self, repository: &Repository) -> Arc<RepositoryTags> {
        Arc::clone(lock(&self.0).entry(repository.clone()).or_default())
    }
}

/// The tags of one repository.
#[derive(Debug, Default)]
pub(super) struct RepositoryTags {
    /// The tags in the list; `None` if the list does not tell.
    listed: OnceCell<Option<BTreeSet<String>>>,
    /// The tags that were written since. The list may be older.
    written: Mutex<BTreeSet<String>>,
}

impl RepositoryTags {
    /// Records that a tag exists.
    pub(super) fn wrote(&self, tag: &str) {
        if is_attachment_tag(tag) {
            lock(&self.written).insert(tag.to_owned());
        }
    }

    /// Lists the tags, at most once. `None` if the list does not tell.
    pub(super) async fn list(&self, host: &Host, repository: &Repository) -> Option<&BTreeSet<String>> {
        self.listed.get_or_init(|| list(host, repository)).await.as_ref()
    }

    /// Whether a tag may exist.
    pub(super) async fn may_have(&self, host: &Host, repository: &Repository, tag: &str) -> bool {
        let listed = self.list(host, repository).await;
        listed.is_none_or(|tags| tags.contains(tag)) || lock(&self.written).contains(tag)
    }

    /// The attachments of a manifest by tag.
    pub(super) async fn attached(
        &self,
        host: &Host,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Attachment>, Error> {
        let found = cosign_tags(subject).map(|tag| async {
            if !self.may_have(host, repository, &tag).await {
                return Ok(None);
            }
            let descriptor = manifests::descriptor(host, repository, &tag).await?;
            Ok(descriptor.map(|descriptor| Attachment {
                descriptor,
                artifact_type: None,
                link: Link::Tag(tag),
            }))
        });
        Ok(try_join_all(found).await?.into_iter().flatten().collect())
    }
}

/// The attachment tags of a repository; `None` if the registry does not list them, or not all of them.
async fn list(host: &Host, repository: &Repository) -> Option<BTreeSet<String>> {
    let request = manifests::tags_within(host, repository, MAX_PAGES, is_attachment_tag);
    let reason = match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(Some((tags, count)))) if count == 0 || !count.is_multiple_of(ROUND_NUMBER) => {
            return Some(tags.into_iter().collect());
        }
        Ok(Ok(Some(_))) => "it may be incomplete".to_owned(),
        Ok(Ok(None)) => "it is too long".to_owned(),
        // A repository that the first push creates.
        Ok(Err(error)) if host.side == Side::Destination && is_missing(&error) => {
            return Some(BTreeSet::new());
        }
        Ok(Err(error)) => error.cause.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    let message = format!("not using the list of tags of {repository} to find signatures: {reason}");
    host.events().emit(Event::Detail { message });
    None
}

fn is_missing(error: &Error) -> bool {
    error.cause.meaning() == Meaning::RepositoryMissing
}
