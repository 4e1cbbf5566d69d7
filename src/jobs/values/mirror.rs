//! Where each image is in the mirror, from the lock or by the naming rule, and what a reference must become.

use std::path::{Path, PathBuf};

use super::{
    super::names::{self, ToName},
    solve::Goal,
};
use crate::{
    enumerate::{Enumeration, WrittenUse},
    error::Failure,
    lock::{Lock, LockedCopy, LockedImage},
    oci::{Digest, Mapping, Reference, Repository, mapping::Root},
    request::NamingRule,
};

/// A lock and its file.
pub(super) struct KnownLock {
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
}

impl KnownLock {
    /// Reads the lock; the default file may be missing.
    pub(super) fn read(path: &Path, is_required: bool) -> Result<Option<Self>, Failure> {
        if !is_required && !path.exists() {
            return Ok(None);
        }
        let lock = Lock::read(path).map_err(|error| error.failure())?;
        Ok(Some(Self { path: path.to_owned(), lock }))
    }

    /// The images and their copies below this root.
    fn copies(&self, to: &str) -> impl Iterator<Item = (&LockedImage, &LockedCopy)> {
        self.lock.copies().filter(move |(_, copy)| copy.to.as_deref() == Some(to))
    }
}

/// What is known about the mirror.
pub(super) struct MirrorNames {
    pub(super) root: Root,
    pub(super) lock: Option<KnownLock>,
    mappings: Vec<Mapping>,
    /// What the user's values take from the mirror already.
    already_there: Vec<Reference>,
}

impl MirrorNames {
    /// Names the images as `sync` does, by the rule in the lock if it has one for this mirror.
    pub(super) fn new(
        root: &Root,
        naming: &NamingRule,
        lock: Option<KnownLock>,
        found: &Enumeration,
    ) -> Result<Self, Failure> {
        let to = root.to_string();
        let named = ToName::found(found);
        let (already_there, references) =
            named.references.iter().cloned().partition(|reference| reference.repository().is_below(&to));
        let named = ToName { references, ..named };
        let earlier = lock.as_ref().map(|known| &known.lock);
        let (_, mappings) = named.below(root, naming, earlier).map_err(|error| names::failure(&error))?;
        Ok(Self { root: root.clone(), lock, mappings, already_there })
    }

    /// The repository of an image in the mirror; `None` if the image is not mirrored.
    fn repository_of(&self, source: &Reference) -> Option<Repository> {
        let mapping = self.mappings.iter().find(|mapping| mapping.source == *source)?;
        let to = self.root.to_string();
        let locked = self.lock.iter().flat_map(|known| known.copies(&to));
        let locked = locked.into_iter().find(|(image, _)| image.source == *source);
        Some(
            locked
                .map_or_else(|| mapping.repository.clone(), |(_, copy)| copy.reference.repository().clone()),
        )
    }

    /// Whether a reference points below the root.
    pub(super) fn is_below(&self, reference: &Reference) -> bool {
        reference.repository().is_below(&self.root.to_string())
    }

    /// Whether a reference is the name that `sync` gives to an image of the chart.
    pub(super) fn is_name_of_an_image(&self, reference: &Reference) -> bool {
        self.source_of(reference).is_some() || self.already_there.contains(reference)
    }

    /// The source of a reference in the mirror, if it is that of an image.
    pub(super) fn source_of(&self, reference: &Reference) -> Option<&Reference> {
        let tag = reference.tag();
        let is_meant = |source: &Reference| {
            self.repository_of(source).as_ref() == Some(reference.repository())
                && match (tag, reference.digest()) {
                    (Some(tag), _) => source.tag() == Some(tag),
                    (None, digest) => source.digest() == digest || source.digest().is_none(),
                }
        };
        self.mappings.iter().map(|mapping| &mapping.source).find(|source| is_meant(source))
    }

    /// What the lock says about a reference in the mirror.
    pub(super) fn locked(&self, reference: &Reference) -> Option<(&LockedImage, &LockedCopy)> {
        let to = self.root.to_string();
        let known = self.lock.as_ref()?;
        let is_meant = |(image, copy): &(&LockedImage, &LockedCopy)| {
            copy.reference.repository() == reference.repository()
                && match reference.tag() {
                    Some(tag) => copy.reference.tag() == Some(tag),
                    None => image.digest.as_ref() == reference.digest(),
                }
        };
        let found: Vec<_> = known.copies(&to).filter(is_meant).collect();
        found.iter().find(|(_, copy)| copy.confirmed).or(found.first()).copied()
    }

    /// The confirmed digest of an image in the mirror.
    pub(super) fn digest_of(&self, reference: &Reference) -> Option<Digest> {
        let (image, copy) = self.locked(reference)?;
        image.digest.clone().filter(|_| copy.confirmed)
    }

    /// What the reference at a place must become. An image that is not mirrored stays.
    pub(super) fn goal(&self, place: &WrittenUse) -> Goal {
        let unchanged = |stays| Goal { texts: vec![place.written.clone()], acceptable: None, stays };
        if self.is_below(&place.reference) {
            return unchanged(false);
        }
        let Some(repository) = self.repository_of(&place.reference) else { return unchanged(true) };
        let (tag, digest) = (place.reference.tag(), place.reference.digest());
        let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        let tagged = tag.map(|tag| format!("{repository}:{tag}{digest}"));
        let bare = format!("{repository}{digest}");
        let is_bare_enough = tag.is_none() || tag == Some("latest") && digest.is_empty();
        let writes_tag = tag.is_some_and(|tag| place.written.contains(&format!(":{tag}")));
        let mut texts: Vec<String> = tagged.into_iter().chain(is_bare_enough.then_some(bare)).collect();
        if !writes_tag {
            texts.reverse();
        }
        Goal { texts, acceptable: None, stays: false }
    }

    /// What a reference in the mirror must become to be pinned. One that cannot be pinned stays.
    pub(super) fn pinned_goal(&self, place: &WrittenUse) -> Goal {
        let reference = &place.reference;
        let digest =
            self.digest_of(reference).filter(|_| self.is_below(reference) && reference.digest().is_none());
        let (Some(digest), Some(tag)) = (digest, reference.tag()) else {
            return Goal { texts: vec![place.written.clone()], acceptable: None, stays: false };
        };
        let repository = reference.repository();
        Goal {
            texts: vec![format!("{repository}:{tag}@{digest}"), format!("{repository}@{digest}")],
            acceptable: Some(reference.clone()),
            stays: false,
        }
    }
}
