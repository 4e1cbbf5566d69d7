//! Adds a destination to a lock, or replaces what the lock records about a destination.
//!
//! A run knows its own destinations. What the lock records about its other destinations stays true as long as the images
//! have the same digests.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::model::{Lock, LockedCopy, LockedImage};
use crate::{
    error::{Failure, Kind},
    oci::{Digest, Reference, mapping::Root},
};

/// Why two locks cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disagreement {
    /// An image has another digest at the destinations that the lock keeps.
    #[error("{image} is {run} at this destination and {earlier} at the others")]
    Digest {
        /// The image.
        image: Reference,
        /// Its digest at the destinations that the lock keeps.
        earlier: Digest,
        /// Its digest in the run.
        run: Digest,
    },
    /// A blob has another size in the lock.
    #[error("blob {blob} has {run} bytes at this destination and {earlier} at the others")]
    Size {
        /// The blob.
        blob: Digest,
        /// Its size in the lock.
        earlier: u64,
        /// Its size in the run.
        run: u64,
    },
    /// Only some destinations have the foreign layers.
    #[error("foreign layers were copied to only some of the lock's destinations")]
    ForeignLayers,
}

impl Disagreement {
    /// The failure with a hint.
    #[must_use]
    pub(crate) fn failure(&self) -> Failure {
        let hint = "record this destination in another file with --lock FILE";
        Failure::from_error(Kind::Usage, self).with_hint(hint)
    }
}

impl Lock {
    /// Whether a run with or without foreign layers can be recorded together with the destinations other than its own.
    pub(crate) fn check_foreign_layers(
        &self,
        to: &[&Root],
        foreign_layers: bool,
    ) -> Result<(), Disagreement> {
        if self.has_destinations_besides(to) && self.foreign_layers != foreign_layers {
            return Err(Disagreement::ForeignLayers);
        }
        Ok(())
    }

    /// Whether it records destinations other than those of a run, which keeps them.
    pub(crate) fn has_destinations_besides(&self, to: &[&Root]) -> bool {
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        self.destination_names().any(|other| to.iter().all(|to| to != other))
    }

    /// Keeps what `earlier` knows about images that this run could not resolve, because the source was down: their
    /// digests and blobs and, for images that were skipped, that the destination had them.
    pub(crate) fn keep_known(&mut self, earlier: &Self) {
        if self.foreign_layers != earlier.foreign_layers {
            return;
        }
        let known: BTreeMap<&Reference, &LockedImage> =
            earlier.images.iter().map(|image| (&image.source, image)).collect();
        for image in self.images.iter_mut().filter(|image| image.blobs.is_empty() && !image.is_confirmed()) {
            let Some(known) = known.get(&image.source).filter(|known| known.digest.is_some()) else {
                continue;
            };
            if image.digest.is_some() && image.digest != known.digest {
                continue;
            }
            for copy in image.destinations.iter_mut().filter(|_| image.optional) {
                let is_same =
                    |other: &&LockedCopy| (&other.to, &other.reference) == (&copy.to, &copy.reference);
                copy.confirmed = known.destinations.iter().find(is_same).is_some_and(|other| other.confirmed);
            }
            image.take_content_of(known);
            let sizes = known.blobs.iter().filter_map(|blob| Some((blob.clone(), *earlier.blobs.get(blob)?)));
            self.blobs.extend(sizes);
        }
    }

    /// Merges the destination of `run` into this lock. Other registries stay; the entry of a bundle does not, because a
    /// bundle is not a destination.
    ///
    /// Required platforms and waivers are those of the run: the same digest has the same platforms everywhere.
    pub(crate) fn with_destination(self, run: Self) -> Result<Self, Disagreement> {
        let replaced: BTreeSet<&Option<String>> =
            run.destinations.iter().map(|placement| &placement.to).collect();
        let stays = |to: &Option<String>| to.is_some() && !replaced.contains(to);
        let kept: Vec<_> = self.destinations.into_iter().filter(|placement| stays(&placement.to)).collect();
        if !kept.is_empty() && self.foreign_layers != run.foreign_layers {
            return Err(Disagreement::ForeignLayers);
        }
        let mut images: BTreeMap<Reference, LockedImage> = BTreeMap::new();
        for mut image in self.images {
            image.destinations.retain(|copy| stays(&copy.to));
            images.insert(image.source.clone(), image);
        }
        for image in run.images {
            let image = match images.remove(&image.source) {
                Some(earlier) => image.joined_with(earlier)?,
                None => image,
            };
            images.insert(image.source.clone(), image);
        }
        let images: Vec<_> = images.into_values().filter(|image| !image.destinations.is_empty()).collect();
        let used: HashSet<&Digest> = images.iter().flat_map(|image| &image.blobs).collect();
        let mut blobs = self.blobs;
        blobs.retain(|digest, _| used.contains(digest));
        for (blob, run) in run.blobs {
            match blobs.insert(blob.clone(), run) {
                Some(earlier) if earlier != run && !kept.is_empty() => {
                    return Err(Disagreement::Size { blob, earlier, run });
                }
                _ => {}
            }
        }
        blobs.retain(|digest, _| used.contains(digest));
        let mut excluded: BTreeSet<Reference> = self.excluded.into_iter().chain(run.excluded).collect();
        excluded.retain(|source| images.iter().all(|image| image.source != *source));
        let mut destinations = kept;
        destinations.extend(run.destinations);
        destinations.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(Self {
            schema: run.schema,
            chart: run.chart.or(self.chart),
            destinations,
            platforms: run.platforms,
            shard: self.shard,
            excluded: excluded.into_iter().collect(),
            images,
            blobs,
            foreign_layers: run.foreign_layers,
            base: None,
        })
    }
}

impl LockedImage {
    fn take_content_of(&mut self, known: &Self) {
        self.digest = known.digest.clone().or(self.digest.take());
        self.media_type = known.media_type.clone().or(self.media_type.take());
        self.kind = known.kind;
        self.platforms.clone_from(&known.platforms);
        self.waived.clone_from(&known.waived);
        self.blobs.clone_from(&known.blobs);
    }

    /// This image, from a run, with the copies that `earlier` kept.
    fn joined_with(self, earlier: Self) -> Result<Self, Disagreement> {
        if let (Some(digest), Some(known)) = (&self.digest, &earlier.digest)
            && digest != known
        {
            // Without other copies, nothing can disagree.
            if earlier.destinations.is_empty() {
                return Ok(self);
            }
            let (image, earlier, run) = (self.source.clone(), known.clone(), digest.clone());
            return Err(Disagreement::Digest { image, earlier, run });
        }
        let mut joined = self;
        // A run in which the image failed early knows less than the lock.
        if joined.blobs.is_empty() {
            joined.take_content_of(&earlier);
        }
        if joined.attached.is_empty() {
            joined.attached = earlier.attached;
        }
        joined.add_copies(earlier.destinations);
        Ok(joined)
    }
}
