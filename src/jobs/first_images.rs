//! Decides which image a shared blob counts for.

use std::{collections::HashMap, sync::Arc};

use crate::{
    event::{Event, EventSink},
    oci::{Descriptor, Digest, Mapping},
};

/// The first image that needs each blob. Progress counts a blob once, for that image.
#[derive(Debug, Default)]
pub(super) struct FirstImages(HashMap<Digest, (Arc<Mapping>, Descriptor)>);

impl FirstImages {
    /// Emits how much will be read for an image, without the blobs that count for an earlier one.
    pub(super) fn announce<'a>(
        &mut self,
        image: &Arc<Mapping>,
        needed: impl Iterator<Item = &'a Descriptor>,
        events: &dyn EventSink,
    ) {
        let (mut blobs, mut bytes) = (0, 0_u64);
        for blob in needed {
            if !self.0.contains_key(&blob.digest) {
                self.0.insert(blob.digest.clone(), (Arc::clone(image), blob.clone()));
                blobs += 1;
                bytes = bytes.saturating_add(blob.size);
            }
        }
        events.emit(Event::Planned { image: Arc::clone(image), blobs, bytes });
    }

    /// The image that a blob counts for, and the blob's descriptor there.
    pub(super) fn of(&self, digest: &Digest) -> Option<&(Arc<Mapping>, Descriptor)> {
        self.0.get(digest)
    }

    /// Every blob with its image.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Digest, &Arc<Mapping>)> {
        self.0.iter().map(|(digest, (image, _))| (digest, image))
    }
}
