//! The attachments of manifests in a registry: signatures, attestations, SBOMs.
//!
//! [`Attachments`] reads and keeps it. `api` asks the referrers API, `support` remembers which repositories have it;
//! `fallback` reads and writes the indexes that replace it, `index_writer` against other clients, `index` changes their
//! text; `list` reads the entries of either; `tags` finds the tags of cosign's older format, `problem` defines the
//! errors.
//!
//! For an unsigned manifest, this costs at most one request, and one for each repository. On a host without the API, it
//! costs no request for each manifest. One more for all repositories with the same parent finds out whether the API
//! exists, while the images are being resolved.

mod api;
mod fallback;
mod index;
mod index_writer;
mod list;
mod tags;

use futures::future::{join, try_join};

use self::{fallback::FallbackIndexes, index::Entry, tags::AttachmentTags};
use super::{host::Host, manifests::PutResult, referrers_support::Subject};
use crate::{
    endpoint::Error,
    oci::{Attachment, Digest, RawManifest, Repository, Target},
};

/// What this run knows about attachments in the registries of one side.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    tags: AttachmentTags,
    indexes: FallbackIndexes,
}

impl Attachments {
    /// The attachments of a manifest. The entries are as the registry lists them: the reader of a manifest checks that
    /// its subject is this one, and that it is not too large.
    pub(super) async fn of(
        &self,
        host: &Host,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Attachment>, Error> {
        let tags = self.tags.of(repository);
        let by_subject = async {
            match api::list(host, repository, subject).await? {
                Some(referrers) => Ok(referrers),
                None => fallback::list(host, &tags, repository, subject).await,
            }
        };
        let by_tag = tags.attached(host, repository, subject);
        let (mut found, tagged) = try_join(by_subject, by_tag).await?;
        found.extend(tagged);
        Ok(found)
    }

    /// Makes the requests that need no digest: lists the tags of the repository, and finds out whether it has the
    /// referrers API.
    pub(super) async fn expect(&self, host: &Host, repository: &Repository) {
        let tags = self.tags.of(repository);
        join(tags.list(host, repository), api::expect(host, repository)).await;
    }

    /// Completes the push of a manifest: one with a subject can be found from it afterwards.
    pub(super) async fn pushed(
        &self,
        host: &Host,
        repository: &Repository,
        (target, manifest): (&Target, &RawManifest),
        put: PutResult,
    ) -> Result<(), Error> {
        let tags = self.tags.of(repository);
        if let Target::Tag(tag) = target {
            tags.wrote(tag);
        }
        let Some((subject, entry)) = Entry::of(manifest) else { return Ok(()) };
        if put == (PutResult::Stored { lists_subject: true }) {
            host.capabilities.referrers.answered(repository);
            return Ok(());
        }
        // Not every registry with the API confirms it in its response.
        if api::is_supported(host, repository, &subject, Subject::HasReferrers).await? == Some(true) {
            return Ok(());
        }
        self.indexes.add(host, repository, &subject, entry).await?;
        tags.wrote(&crate::oci::attachment::fallback_tag(&subject));
        Ok(())
    }
}

/// Whether a repository has the referrers API; `None` if its answer about a manifest that does not exist does not tell.
pub(super) async fn is_supported(host: &Host, repository: &Repository) -> Result<Option<bool>, Error> {
    api::is_supported(host, repository, &Digest::sha256(b""), Subject::Unknown).await
}
