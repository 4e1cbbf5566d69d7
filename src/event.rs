//! What happens while the work is done. Work emits events; only [`crate::report`] prints.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Failure,
    oci::{Descriptor, Digest, Mapping, Platform, Reference},
    outcome::ImageOutcome,
    problem::Side,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Images are about to be worked on.
    Started {
        /// All of them.
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
    /// An image's transfers are known.
    Planned {
        /// Which image.
        image: Arc<Mapping>,
        /// Blobs that will be copied or mounted.
        blobs: usize,
        /// Bytes that may have to move, at most.
        bytes: u64,
    },
    /// A blob begins to move.
    BlobStarted {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
    },
    /// Bytes of a blob passed from source to destination.
    BlobProgress {
        /// For which image.
        image: Arc<Mapping>,
        /// How many bytes since the last event.
        bytes: u64,
    },
    /// A blob is at the destination.
    BlobFinished {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
        /// How it got there.
        how: Landing,
    },
    /// A transfer of a blob was given up and begins anew; bytes reported for it no longer count.
    BlobRestarted {
        /// For which image.
        image: Arc<Mapping>,
        /// Which blob.
        blob: Descriptor,
        /// Bytes that were reported and must move again.
        bytes: u64,
    },
    /// An image's manifests are pushed, and the destination is read again.
    Confirming {
        /// Which image.
        image: Arc<Mapping>,
    },
    /// An image is done, well or not.
    Finished {
        /// How it ended.
        outcome: Arc<ImageOutcome>,
    },
    /// A request failed and will be tried again.
    Retrying {
        /// On which side.
        side: Side,
        /// What failed, in one line.
        reason: String,
        /// How long the pause is.
        pause: Duration,
    },
    /// No image moves, because files are read, moved or synced. Said every few seconds, so that nobody has to wonder.
    Waiting {
        /// What is being done, in a few words.
        what: &'static str,
        /// How many bytes it has done so far.
        bytes: u64,
    },
    /// Something a person should know, though the work goes on.
    Warning {
        /// Which image it concerns.
        image: Option<Reference>,
        /// In one line.
        message: String,
    },
    /// Something that only `-v` shows.
    Detail {
        /// In one line.
        message: String,
    },
    /// A failure outside any single image.
    Failed {
        /// What failed.
        failure: Failure,
    },
}

/// How a blob came to be at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// Its bytes were copied.
    Copied,
    /// The destination linked it from another of its repositories.
    Mounted,
    /// It was there already.
    Present,
}

/// Where events go.
pub trait EventSink: Send + Sync {
    /// Takes one event; must not block.
    fn emit(&self, event: Event);
}

/// Drops every event: for library users who only want the outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: Event) {}
}
