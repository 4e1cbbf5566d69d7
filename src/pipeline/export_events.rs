//! The events of an export. It differs from other runs in two ways: images are resolved before the bundle is laid out, and a
//! stream is written blob by blob, not image by image.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::mirror::warn_of_foreign_layers;
use crate::{
    endpoint::{body::OnProgress, bundle::Layout},
    event::{Event, EventSink, Landing},
    graph::Graph,
    oci::{Descriptor, Digest, Mapping, Repository},
};

/// Passes on what a person should see while images are resolved. The other events follow when they are transferred.
pub(super) struct ResolveEvents(pub(super) Arc<dyn EventSink>);

impl EventSink for ResolveEvents {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Retrying { .. } | Event::Warning { image: None, .. } | Event::Detail { .. })
        {
            self.0.emit(event);
        }
    }
}

/// Which image each blob of a stream is written for, to report its progress.
pub(super) struct StreamProgress<'a> {
    images: HashMap<Digest, Arc<Mapping>>,
    events: &'a Arc<dyn EventSink>,
}

impl<'a> StreamProgress<'a> {
    /// Announces the images and how much is written for each of them.
    pub(super) fn announce<'b>(
        images: impl Iterator<Item = (Mapping, &'b Graph)>,
        layout: &Layout,
        events: &'a Arc<dyn EventSink>,
    ) -> Self {
        let images: Vec<_> = images.map(|(image, graph)| (Arc::new(image), graph)).collect();
        events.emit(Event::Started { images: images.iter().map(|(image, _)| Arc::clone(image)).collect() });
        let mut first_images = HashMap::new();
        for (image, graph) in images {
            warn_of_foreign_layers(&image, graph, &**events);
            let (mut blobs, mut bytes) = (0, 0_u64);
            for blob in graph.blobs() {
                if layout.blob(&blob.digest).is_some() && !first_images.contains_key(&blob.digest) {
                    first_images.insert(blob.digest.clone(), Arc::clone(&image));
                    blobs += 1;
                    bytes = bytes.saturating_add(blob.size);
                }
            }
            events.emit(Event::Planned { image, blobs, bytes });
        }
        Self { images: first_images, events }
    }

    /// A repository that has it, for every blob.
    pub(super) fn holders(&self) -> HashMap<Digest, Repository> {
        let holder = |(digest, image): (&Digest, &Arc<Mapping>)| (digest.clone(), image.repository.clone());
        self.images.iter().map(holder).collect()
    }

    /// Reports that a blob begins to move, and how far it is.
    pub(super) fn of_blob(&self, blob: &Descriptor) -> OnProgress {
        let Some(image) = self.images.get(&blob.digest).cloned() else { return Box::new(|_| ()) };
        let (events, blob) = (Arc::clone(self.events), blob.clone());
        events.emit(Event::BlobStarted { image: Arc::clone(&image), blob: blob.clone() });
        let moved = AtomicU64::new(0);
        Box::new(move |bytes| {
            events.emit(Event::BlobProgress { image: Arc::clone(&image), bytes });
            if moved.fetch_add(bytes, Ordering::Relaxed) + bytes == blob.size {
                let (image, blob) = (Arc::clone(&image), blob.clone());
                events.emit(Event::BlobFinished { image, blob, how: Landing::Copied });
            }
        })
    }
}
