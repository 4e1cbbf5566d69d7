//! Images that would share a tag at the destination, such as `app:1` and `app:1@sha256:…`. A tag has one digest, so they
//! must be the same image.

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::{Failure, Kind},
    oci::{Digest, Mapping},
};

/// The images of a run that share a destination.
pub(super) struct SharedTags(HashMap<String, Vec<Arc<Mapping>>>);

impl SharedTags {
    pub(super) fn of(images: &[Arc<Mapping>]) -> Self {
        let mut by_destination: HashMap<String, Vec<Arc<Mapping>>> = HashMap::new();
        for image in images {
            by_destination.entry(image.destination()).or_default().push(Arc::clone(image));
        }
        by_destination.retain(|_, images| images.len() > 1);
        Self(by_destination)
    }

    pub(super) fn others<'a>(&'a self, image: &'a Mapping) -> impl Iterator<Item = &'a Arc<Mapping>> {
        let sharing = self.0.get(&image.destination()).into_iter().flatten();
        sharing.filter(|other| other.source != image.source)
    }
}

/// The failure of an image whose tag, shown as `tag`, another image gives a different digest.
pub(crate) fn two_digests(
    tag: &str,
    (image, digest): (&Mapping, &Digest),
    (other, found): (&Mapping, &Digest),
) -> Failure {
    let is = |image: &Mapping, digest: &Digest| match image.source.digest() {
        Some(_) => format!("{} is pinned to {digest}", image.source),
        None => format!("{} is {digest} at the source", image.source),
    };
    let mut causes = vec![is(image, digest), is(other, found)];
    causes.sort();
    let failure = Failure::new(Kind::Image, format!("{tag} would have two digests")).with_hint(
        "the tag was probably moved after its digest was pinned: update the pinned digest, or leave one of them out \
         with --exclude",
    );
    Failure { causes, ..failure }
}
