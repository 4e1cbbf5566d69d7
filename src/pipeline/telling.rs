//! What a person hears of an export: images are resolved before the bundle is laid out, and a stream brings blobs where other
//! runs bring images.

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

/// What a person hears while images are resolved: the rest is said when they are brought.
pub(super) struct Beforehand(pub(super) Arc<dyn EventSink>);

impl EventSink for Beforehand {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Retrying { .. } | Event::Warning { image: None, .. } | Event::Detail { .. })
        {
            self.0.emit(event);
        }
    }
}

/// Which image brings each blob of a stream, for what is said of it.
pub(super) struct Carriers<'a> {
    images: HashMap<Digest, Arc<Mapping>>,
    events: &'a Arc<dyn EventSink>,
}

impl<'a> Carriers<'a> {
    /// Says which images are about to be brought, and how much each of them brings.
    pub(super) fn announce<'b>(
        images: impl Iterator<Item = (Mapping, &'b Graph)>,
        layout: &Layout,
        events: &'a Arc<dyn EventSink>,
    ) -> Self {
        let images: Vec<_> = images.map(|(image, graph)| (Arc::new(image), graph)).collect();
        events.emit(Event::Started { images: images.iter().map(|(image, _)| Arc::clone(image)).collect() });
        let mut carriers = HashMap::new();
        for (image, graph) in images {
            warn_of_foreign_layers(&image, graph, &**events);
            let (mut blobs, mut bytes) = (0, 0_u64);
            for blob in graph.blobs() {
                if layout.blob(&blob.digest).is_some() && !carriers.contains_key(&blob.digest) {
                    carriers.insert(blob.digest.clone(), Arc::clone(&image));
                    blobs += 1;
                    bytes = bytes.saturating_add(blob.size);
                }
            }
            events.emit(Event::Planned { image, blobs, bytes });
        }
        Self { images: carriers, events }
    }

    /// For every blob a repository that has it.
    pub(super) fn holders(&self) -> HashMap<Digest, Repository> {
        let holder = |(digest, image): (&Digest, &Arc<Mapping>)| (digest.clone(), image.repository.clone());
        self.images.iter().map(holder).collect()
    }

    /// Says that a blob begins to move, and how far it is.
    pub(super) fn progress(&self, blob: &Descriptor) -> OnProgress {
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
