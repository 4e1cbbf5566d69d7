//! One machine's part of a `sync` that several machines share, and what it leaves for `lock merge`.
//!
//! Every machine has the whole list of images and divides it in the same way. The machines share nothing but the
//! registry: each shard pushes its lock there ([`artifact`]). [`contents`] reads what is known about the images' sizes.

pub(super) mod artifact;
pub(super) mod contents;

use std::sync::Arc;

use self::{artifact::LockArtifact, contents::BlobsByImage};
use crate::{
    endpoint::{Source, registry::Registries},
    error::{Failure, Kind},
    event::Silent,
    graph::ReferrerSelection,
    lock::{Lock, Shard},
    oci::{Digest, Mapping, Reference, Repository, mapping::Root},
    outcome::{ImageOutcome, ShardOutcome},
    pipeline::{self, Options},
    shard::{Assignment, ImageList, ListedImage, ShardNumber, ToAssign, assign, lock_tag},
};

/// One shard of a list of images.
pub(super) struct Division {
    number: ShardNumber,
    list: ImageList,
    assignment: Assignment,
    /// Whether the contents of at least one image are known.
    has_sizes: bool,
}

/// An image of the list, copied or not.
struct Listed<'a> {
    source: &'a Reference,
    repository: Repository,
    tag: String,
    pinned: Option<&'a Digest>,
}

impl Division {
    /// Divides the images, and keeps those of this shard. `skipped` are images of the list that are not copied.
    pub(super) fn of(
        number: ShardNumber,
        mappings: &mut Vec<Mapping>,
        skipped: &mut Vec<ImageOutcome>,
        contents: &BlobsByImage,
    ) -> Result<Self, Failure> {
        let mut listed: Vec<Listed<'_>> = mappings.iter().map(Listed::from).collect();
        for outcome in &*skipped {
            let destination: Reference = outcome
                .destination
                .parse()
                .map_err(|error: crate::oci::ReferenceError| Failure::from_error(Kind::Input, &error))?;
            let (repository, tag) = (destination.repository().clone(), destination.tag_or_latest());
            listed.push(Listed { source: &outcome.source, repository, tag: tag.to_owned(), pinned: None });
        }
        let to_assign: Vec<ToAssign<'_>> = listed.iter().map(|image| image.to_assign(contents)).collect();
        let has_sizes = to_assign.iter().any(|image| image.known.is_some());
        let assignment = assign(&to_assign, number.count);
        let list = listed.iter().map(Listed::listed).collect::<Result<Vec<_>, _>>()?;
        let list = ImageList::new(list);
        let mut own = assignment.shards.iter().map(|shard| *shard == number.index);
        mappings.retain(|_| own.next().unwrap_or(false));
        skipped.retain(|_| own.next().unwrap_or(false));
        Ok(Self { number, list, assignment, has_sizes })
    }

    /// What a lock records about this shard.
    pub(super) fn recorded(&self) -> Shard {
        let ShardNumber { index, count } = self.number;
        Shard { index, count, list: self.list.digest() }
    }

    /// What the report says about this shard. `lock` is the reference of its lock.
    pub(super) fn outcome(&self, lock: Option<Reference>) -> ShardOutcome {
        ShardOutcome {
            number: self.number,
            list: self.list.digest(),
            listed: self.list.len(),
            repeated: self.has_sizes.then_some(self.assignment.repeated),
            split: self.assignment.split.iter().map(ToString::to_string).collect(),
            lock,
        }
    }

    /// The reference of this shard's lock.
    fn reference(&self, root: &Root) -> Result<Reference, Failure> {
        let tag = lock_tag(&self.list.digest(), self.number);
        Reference::tagged(artifact::repository(root)?, &tag)
            .map_err(|error| Failure::from_error(Kind::Usage, &error))
    }

    /// The lock that an earlier run of this shard pushed, if it can be read.
    pub(super) async fn earlier_lock<S: Source>(&self, registry: &S, root: &Root) -> Option<Lock> {
        let reference = self.reference(root).ok()?;
        let found = artifact::read(registry, reference.repository(), reference.tag()?).await;
        found.ok().flatten().map(|found| found.lock)
    }

    /// Pushes this shard's lock to the destination, unless it is already there.
    pub(super) async fn push(
        &self,
        lock: &Lock,
        registry: Arc<Registries>,
        root: &Root,
    ) -> Result<Reference, Failure> {
        let reference = self.reference(root)?;
        let artifact = LockArtifact::new(lock, &self.list)?;
        let (source, mapping) = artifact.for_copy(&reference)?;
        let options = Options { referrers: ReferrerSelection::none(), ..Options::default() };
        let pushed =
            pipeline::mirror(Arc::new(source), registry, vec![mapping], options, Arc::new(Silent)).await;
        let failure = pushed.into_iter().find_map(|image| image.outcome.failure);
        match failure {
            None => Ok(reference),
            Some(failure) => {
                let message = format!("cannot push the lock of this shard to {reference}");
                let causes = std::iter::once(failure.message).chain(failure.causes).collect();
                let hint = failure.hint.unwrap_or_else(|| "run this shard again".to_owned());
                Err(Failure { causes, ..Failure::new(failure.kind, message) }.with_hint(hint))
            }
        }
    }
}

impl<'a> From<&'a Mapping> for Listed<'a> {
    fn from(mapping: &'a Mapping) -> Self {
        Self {
            source: &mapping.source,
            repository: mapping.repository.clone(),
            tag: mapping.tag.clone(),
            pinned: mapping.pinned.as_ref(),
        }
    }
}

impl Listed<'_> {
    fn to_assign<'s>(&'s self, contents: &'s BlobsByImage) -> ToAssign<'s> {
        let Self { source, repository, tag, .. } = self;
        ToAssign { source, repository, tag, known: contents.of(source) }
    }

    fn listed(&self) -> Result<ListedImage, Failure> {
        let destination = Reference::tagged(self.repository.clone(), &self.tag)
            .map_err(|error| Failure::from_error(Kind::Usage, &error))?;
        Ok(ListedImage { source: self.source.clone(), destination, pinned: self.pinned.cloned() })
    }
}
