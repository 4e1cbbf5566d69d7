//! Finds the locked image that a running image's name means.

use std::collections::HashMap;

use super::Origin;
use crate::{
    jobs::locked_names::LockedName,
    lock::{Lock, LockedImage},
    oci::{Digest, Reference, Repository, mapping::Root},
};

/// The images of a lock by their names.
pub(super) struct Index<'l> {
    mirror: HashMap<Repository, Vec<(Reference, &'l LockedImage)>>,
    sources: HashMap<Repository, Vec<&'l LockedImage>>,
    /// The roots of the mirror.
    roots: Vec<String>,
    may_redirect: bool,
}

/// What a name means.
pub(super) enum Meaning<'l> {
    /// This image of the lock.
    Locked(&'l LockedImage),
    /// No image of the lock.
    Unlisted,
}

impl<'l> Index<'l> {
    /// `root` is the mirror; every destination of the lock if `None`. Nodes may pull images from the mirror under the
    /// names of their sources if `may_redirect`.
    pub(super) fn new(
        lock: &'l Lock,
        names: &[LockedName<'l>],
        root: Option<&Root>,
        may_redirect: bool,
    ) -> Self {
        let mut mirror: HashMap<Repository, Vec<(Reference, &LockedImage)>> = HashMap::new();
        let mut sources: HashMap<Repository, Vec<&LockedImage>> = HashMap::new();
        for LockedName { image, mirror: name, .. } in names {
            mirror.entry(name.repository().clone()).or_default().push((name.clone(), image));
        }
        for image in lock.images.iter().filter(|image| image.kind.is_image()) {
            sources.entry(image.source.repository().clone()).or_default().push(image);
        }
        let roots = match root {
            Some(root) => vec![root.to_string()],
            None => lock.destination_names().map(str::to_owned).collect(),
        };
        Self { mirror, sources, roots, may_redirect }
    }

    /// Where a running image comes from, and which image of the lock it is.
    pub(super) fn meaning(&self, reference: &Reference, digest: Option<&Digest>) -> (Origin, Meaning<'l>) {
        let repository = reference.repository();
        let is_below = || self.roots.iter().any(|root| repository.is_below(root));
        let copies = self.mirror.get(repository);
        if copies.is_some() || is_below() {
            let candidates = copies.into_iter().flatten().map(|(name, image)| (name, *image));
            return (Origin::Mirror, find(&candidates, reference, digest));
        }
        let Some(images) = self.sources.get(repository) else { return (Origin::Outside, Meaning::Unlisted) };
        let origin = if self.may_redirect { Origin::Unknown } else { Origin::Outside };
        (origin, find(&images.iter().map(|image| (&image.source, *image)), reference, digest))
    }

    /// The image with this source.
    pub(super) fn locked(&self, source: &Reference) -> Option<&'l LockedImage> {
        self.sources.get(source.repository())?.iter().find(|image| image.source == *source).copied()
    }

    /// The name of a copy of the image with this source.
    pub(super) fn copy_of(&self, source: &Reference) -> Option<&Reference> {
        let mut copies = self.mirror.values().flatten();
        copies.find(|(_, image)| image.source == *source).map(|(name, _)| name)
    }
}

/// The image of this repository that a reference means: a reference by digest by what it pulls, any other by its tag.
fn find<'c, 'l: 'c>(
    images: &(impl Iterator<Item = (&'c Reference, &'l LockedImage)> + Clone),
    reference: &Reference,
    running: Option<&Digest>,
) -> Meaning<'l> {
    let has = |image: &LockedImage, digest: &Digest| {
        image.digest.as_ref() == Some(digest)
            || image.platforms.iter().any(|platform| platform.digest == *digest)
    };
    let by_tag = |tag: &str| images.clone().find(|(name, _)| name.tag() == Some(tag)).map(|(_, image)| image);
    let by_digest =
        |digest: &Digest| images.clone().find(|(_, image)| has(image, digest)).map(|(_, image)| image);
    let pinned = reference.digest();
    let found = match (pinned, reference.tag()) {
        // A pinned tag that moved: the lock has the tag with another digest, which is a difference.
        (Some(digest), Some(tag)) => by_digest(digest).or_else(|| by_tag(tag)),
        (Some(digest), None) => by_digest(digest).or_else(|| running.and_then(by_digest)),
        (None, Some(tag)) => by_tag(tag),
        (None, None) => None,
    };
    found.map_or(Meaning::Unlisted, Meaning::Locked)
}
