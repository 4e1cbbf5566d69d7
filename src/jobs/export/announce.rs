//! The events of an export. Unlike other runs, an export resolves all images first, and a stream copies blob by blob
//! rather than image by image.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    endpoint::{body::OnProgress, bundle::Layout},
    event::{BlobOutcome, Event, EventSink},
    graph::{ForeignLayers, ImageManifests},
    jobs::first_images::FirstImages,
    oci::{Descriptor, Digest, Mapping, Repository},
    pipeline::mirror::warn_of_foreign_layers,
};

/// Forwards the events that matter while images are resolved. The other events follow when they are copied.
pub(super) struct ResolvingEvents(pub(super) Arc<dyn EventSink>);

impl EventSink for ResolvingEvents {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Retrying { .. } | Event::Warning { image: None, .. } | Event::Detail { .. })
        {
            self.0.emit(event);
        }
    }
}

/// The image that each blob of a stream counts for.
pub(super) struct OwnerOfBlobs<'a> {
    images: FirstImages,
    events: &'a Arc<dyn EventSink>,
}

impl<'a> OwnerOfBlobs<'a> {
    /// Announces the images, and how much will be copied for each.
    pub(super) fn announce<'b>(
        images: impl Iterator<Item = (Mapping, &'b ImageManifests)>,
        (layout, foreign_layers): (&Layout, ForeignLayers),
        events: &'a Arc<dyn EventSink>,
    ) -> Self {
        let images: Vec<_> = images.map(|(image, manifests)| (Arc::new(image), manifests)).collect();
        events.emit(Event::Started { images: images.iter().map(|(image, _)| Arc::clone(image)).collect() });
        let mut first_images = FirstImages::default();
        for (image, manifests) in images {
            let all = manifests.blobs();
            let (blobs, left_out): (Vec<&Descriptor>, Vec<_>) =
                all.iter().partition(|blob| foreign_layers.admit(blob));
            let digests = |blobs: &[&'_ Descriptor]| -> HashSet<Digest> {
                blobs.iter().map(|blob| blob.digest.clone()).collect()
            };
            let left_out = digests(&left_out).difference(&digests(&blobs)).count();
            warn_of_foreign_layers(&image, left_out, &**events);
            let blobs = blobs.into_iter().filter(|blob| layout.blob(&blob.digest).is_some());
            first_images.announce(&image, blobs, &**events);
        }
        Self { images: first_images, events }
    }

    /// A repository that has the blob, for every blob.
    pub(super) fn repositories(&self) -> HashMap<Digest, Repository> {
        self.images.iter().map(|(digest, image)| (digest.clone(), image.repository.clone())).collect()
    }

    /// Announces the transfer of a blob, and returns the counter of its bytes.
    pub(super) fn progress(&self, blob: &Descriptor) -> OnProgress {
        let Some((image, _)) = self.images.of(&blob.digest).cloned() else { return Box::new(|_| ()) };
        let (events, blob) = (Arc::clone(self.events), blob.clone());
        events.emit(Event::BlobStarted { image: Arc::clone(&image), blob: blob.clone() });
        let moved = AtomicU64::new(0);
        Box::new(move |bytes| {
            events.emit(Event::BlobProgress { image: Arc::clone(&image), bytes });
            if moved.fetch_add(bytes, Ordering::Relaxed) + bytes == blob.size {
                let (image, blob) = (Arc::clone(&image), blob.clone());
                events.emit(Event::BlobFinished { image, blob, how: BlobOutcome::Copied });
            }
        })
    }
}
