//! Events: what happens during a job. Jobs emit events; only [`crate::report`] prints.

use std::{sync::Arc, time::Duration};

use crate::{
    error::hide_logins,
    oci::{Descriptor, Digest, Mapping, Platform, Reference},
    outcome::ImageOutcome,
    problem::Side,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A job starts to work on images.
    Started {
        /// Every image.
        images: Vec<Arc<Mapping>>,
    },
    /// An image's reference was resolved and its graph read.
    Resolved {
        /// Which image.
        image: Arc<Mapping>,
        /// The root's digest.
        digest: Digest,
        /// The platforms that a node can run.
        platforms: Vec<Platform>,
    },
    /// An image's transfers were planned.
    Planned {
        /// Which image.
        image: Arc<Mapping>,
        /// Blobs that will be copied or mounted.
        blobs: usize,
        /// The most bytes that may have to be copied.
        bytes: u64,
    },
    /// The transfer of a blob started.
    BlobStarted {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
    },
    /// Bytes of a blob were copied.
    BlobProgress {
        /// For which image.
        image: Arc<Mapping>,
        /// The number of bytes since the last event.
        bytes: u64,
    },
    /// A blob is at the destination.
    BlobFinished {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
        /// How it reached the destination.
        how: BlobOutcome,
    },
    /// The transfer of a blob failed and starts again from the beginning.
    BlobRestarted {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
        /// Bytes that were reported as progress and no longer count.
        bytes: u64,
    },
    /// An image's manifests are pushed, and the destination is read again.
    Confirming {
        /// Which image.
        image: Arc<Mapping>,
    },
    /// An image is done or has failed.
    Finished {
        /// Its result.
        outcome: Arc<ImageOutcome>,
    },
    /// A request failed and will be retried.
    Retrying {
        /// The side of the failed request.
        side: Side,
        /// Why it failed, in one line.
        reason: String,
        /// The time until the retry.
        pause: Duration,
    },
    /// No blob is being copied because the job is busy with files. Emitted every few seconds as a sign of life.
    Waiting {
        /// The activity, in a few words.
        what: &'static str,
        /// Bytes processed so far.
        bytes: u64,
    },
    /// Something the user should know, although the job continues.
    Warning {
        /// The image that it concerns, if any.
        image: Option<Reference>,
        /// The message, in one line.
        message: String,
    },
    /// Something that may need an image is not mirrored. Each is shown, however similar they are.
    Note {
        /// The message, in one line.
        message: String,
    },
    /// Information that only `-v` shows.
    Detail {
        /// The message, in one line.
        message: String,
    },
    /// A server accepts connections.
    Serving {
        /// What it serves, in a few words.
        what: String,
        /// `http://ADDRESS:PORT` or `https://ADDRESS:PORT`.
        url: String,
        /// What a user can do now, in one line each.
        next_steps: Vec<String>,
    },
    /// A server answered a request.
    Request {
        /// The line for the access log.
        line: String,
    },
}

/// How a blob reached the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOutcome {
    /// Its bytes were copied.
    Copied,
    /// The destination mounted it from another repository.
    Mounted,
    /// It was already present.
    Present,
}

/// A receiver of events.
pub trait EventSink: Send + Sync {
    /// Receives one event. Must not block.
    fn emit(&self, event: Event);
}

/// Emits a warning about no image in particular.
pub(crate) fn warn(events: &dyn EventSink, message: impl AsRef<str>) {
    events.emit(Event::Warning { image: None, message: hide_logins(message.as_ref()) });
}

/// Emits what is said about something that is not mirrored.
pub(crate) fn note(events: &dyn EventSink, message: impl AsRef<str>) {
    events.emit(Event::Note { message: hide_logins(message.as_ref()) });
}

/// Drops every event, for library users who only need the outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: Event) {}
}
