//! Mirrors images to several destinations concurrently. Each has its own pipeline, so none can delay or fail another one;
//! they share what they read through [`crate::endpoint::shared_source`].

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{Options, mirror};
use crate::{
    endpoint::{Destination, Source},
    event::{Event, EventSink},
    oci::{Mapping, Reference},
    outcome::Mirrored,
};

/// The images for one destination.
pub(crate) struct Target<S, D> {
    /// The source for this destination. It is dropped when the destination is done.
    pub(crate) source: S,
    pub(crate) destination: D,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) options: Options,
}

/// What arrived at one destination, and how long it took.
pub(crate) struct Arrived {
    pub(crate) images: Vec<Mirrored>,
    pub(crate) time: Duration,
}

/// Mirrors images to every target. Returns the results in the order of the targets.
pub(crate) async fn mirror_to_each<S: Source, D: Destination>(
    targets: Vec<Target<S, D>>,
    events: Arc<dyn EventSink>,
) -> Vec<Arrived> {
    let all = targets.iter().flat_map(|target| &target.mappings).cloned().map(Arc::new);
    events.emit(Event::Started { images: all.collect() });
    let events: Arc<dyn EventSink> = Arc::new(OneRun::new(events));
    join_all(targets.into_iter().map(|target| {
        let events = Arc::clone(&events);
        async move {
            let begun = Instant::now();
            let Target { source, destination, mappings, options } = target;
            let images = mirror(Arc::new(source), Arc::new(destination), mappings, options, events).await;
            Arrived { images, time: begun.elapsed() }
        }
    }))
    .await
}

/// Passes on the events of several pipelines as those of one run: it starts once, and repeats no warning.
pub(crate) struct OneRun {
    inner: Arc<dyn EventSink>,
    warned: Mutex<HashSet<(Option<Reference>, String)>>,
}

impl OneRun {
    pub(crate) fn new(inner: Arc<dyn EventSink>) -> Self {
        Self { inner, warned: Mutex::default() }
    }
}

impl EventSink for OneRun {
    fn emit(&self, event: Event) {
        match &event {
            Event::Started { .. } => return,
            Event::Warning { image, message } => {
                let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
                if !warned.insert((image.clone(), message.clone())) {
                    return;
                }
            }
            _ => {}
        }
        self.inner.emit(event);
    }
}
