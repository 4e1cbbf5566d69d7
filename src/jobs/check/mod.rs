//! Reading a bundle whole: everything that is wrong with it, by image where an image is affected.
//!
//! Every blob is hashed once, whichever images share it, in the order of the file. What stands around the blobs is held
//! against what would be written for the same head, so that no byte of a bundle of ours can change unnoticed. Nothing is
//! written, and memory does not grow with the size of blobs.

mod agreement;
mod blobs;
mod fault;
mod structure;
mod subject;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

pub use self::fault::{Fault, Place, left_out};
use self::{
    blobs::{Examined, Owners},
    subject::Subject,
};
use crate::endpoint::bundle::{Bundle, BundleError};
use crate::{
    event::{Event, EventSink},
    oci::Platform,
    outcome::ImageOutcome,
    waiver::Waivers,
};

/// What every image must have.
#[derive(Debug, Default)]
pub struct Required {
    /// The platforms; `None` for those that the lock names.
    pub platforms: Option<Vec<Platform>>,
    /// What may be missing, beside what the lock waives.
    pub waivers: Waivers,
}

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// Every image of the index, in its order. Those that are not whole have problems, or a failure.
    pub images: Vec<ImageOutcome>,
    /// What is wrong beside the images.
    pub faults: Vec<Fault>,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.images.iter().all(|image| image.failure_kind().is_none())
    }
}

/// Reads all of a bundle.
pub async fn check(bundle: &Arc<Bundle>, required: &Required, events: Arc<dyn EventSink>) -> Checked {
    let begun = Instant::now();
    let head = bundle.head();
    let subjects = Subject::all(bundle, required);
    let owners = announce(&subjects, bundle, &*events).await;
    let (read, sink) = (Arc::clone(bundle), Arc::clone(&events));
    let reading = tokio::task::spawn_blocking(move || {
        (structure::faults(&read), Examined::read(&read, &owners, &*sink))
    });
    let (mut faults, mut examined) = match reading.await {
        Ok(read) => read,
        Err(error) => (vec![BundleError::Internal(error.to_string()).into()], Examined::default()),
    };
    faults.append(&mut examined.faults);
    faults.extend(agreement::faults(head, &subjects));
    let absent = head.absent();
    let lock = head.lock.as_ref().map(|lock| (lock, agreement::by_name(lock)));
    let kind = if bundle.storage().archive().is_some() { "oci-archive" } else { "oci" };
    let mut images = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        let surveyed = subject.survey(bundle).await;
        // As skopeo would name it.
        let place = format!("{kind}:{}:{}", bundle.path().display(), subject.image.source);
        let mut outcome = surveyed.outcome(place, &examined, &absent);
        faults.extend(
            lock.as_ref().and_then(|(lock, by_name)| agreement::image_fault(lock, by_name, &surveyed)),
        );
        outcome.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        events.emit(Event::Finished { outcome: Arc::new(outcome.clone()) });
        images.push(outcome);
    }
    Checked { images, faults }
}

/// Tells how much there is to read. A blob counts for the first image that needs it.
async fn announce(subjects: &[Subject], bundle: &Bundle, events: &dyn EventSink) -> Owners {
    let images = subjects.iter().map(|subject| Arc::clone(&subject.image)).collect();
    events.emit(Event::Started { images });
    let mut owners = Owners::new();
    for subject in subjects {
        let (mut blobs, mut bytes) = (0, 0_u64);
        for blob in subject.survey(bundle).await.blobs() {
            if !owners.contains_key(&blob.digest) {
                owners.insert(blob.digest.clone(), (Arc::clone(&subject.image), blob.clone()));
                blobs += 1;
                bytes = bytes.saturating_add(blob.size);
            }
        }
        events.emit(Event::Planned { image: Arc::clone(&subject.image), blobs, bytes });
    }
    owners
}
