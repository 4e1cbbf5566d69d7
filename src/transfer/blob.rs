//! The transfer of one blob: open the destination, open the source, stream, and retry if that helps.

use std::{pin::pin, sync::Arc};

use futures::{
    StreamExt,
    future::{self, Either},
    stream,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    queue::{Bottleneck, Queue},
    speed::Speed,
};
use crate::{
    endpoint::{Begun, BlobSink, BlobStream, Destination, Error, Location, Source, VerifiedBody},
    event::{BlobOutcome, Event, EventSink},
    oci::{Descriptor, Mapping, Repository, verified::DigestVerifier},
};

/// The transfer of one blob.
pub(super) struct BlobTransfer<'a, S, D> {
    pub(super) source: &'a S,
    pub(super) destination: &'a D,
    pub(super) events: &'a Arc<dyn EventSink>,
    pub(super) queue: &'a Queue,
    pub(super) image: &'a Arc<Mapping>,
    pub(super) blob: &'a Descriptor,
    pub(super) mount: Option<&'a Repository>,
}

impl<S: Source, D: Destination> BlobTransfer<'_, S, D> {
    /// Transfers the blob. Fails when another attempt does not help, or when too many attempts in a row made no
    /// progress. An attempt that found more bytes at the destination than the one before it made progress.
    pub(super) async fn run(&self) -> Result<BlobOutcome, Error> {
        let started = Instant::now();
        let mut attempts = 0;
        let (mut without_progress, mut furthest) = (0, 0);
        loop {
            attempts += 1;
            let mut received = 0;
            let error = match self.attempt(&mut received).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            without_progress = if received > furthest { 1 } else { without_progress + 1 };
            furthest = furthest.max(received);
            let Some(retry) = error.retry().filter(|retry| without_progress < retry.attempts) else {
                return Err(Error {
                    attempts: attempts.max(error.attempts),
                    elapsed: started.elapsed(),
                    ..error
                });
            };
            let pause = retry.pause.duration(without_progress);
            let reason = format!("{error}: {}", error.cause);
            self.events.emit(Event::Retrying { side: error.location.side, reason, pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// One upload, new or resumed. `received` becomes what the destination had when it began.
    async fn attempt(&self, received: &mut u64) -> Result<BlobOutcome, Error> {
        check_if_empty(self.blob, || self.source_location())?;
        let (begun, opened) = self.begin().await?;
        let sink = match begun.sink_or_outcome() {
            Ok(sink) => sink,
            Err(outcome) => return Ok(outcome),
        };
        let start = sink.start();
        *received = start.received;
        let skipped = start.hashed.offset;
        let stream = match opened {
            Some(stream) if skipped == 0 => stream,
            _ => self.open(skipped).await?,
        };
        let (events, image) = (Arc::clone(self.events), Arc::clone(self.image));
        let progress = move |bytes| events.emit(Event::BlobProgress { image: Arc::clone(&image), bytes });
        progress(skipped);
        let (queue, speed) = (self.queue.clone(), Speed::new());
        let on_progress = Box::new(move |bytes| {
            if speed.is_slow_after(bytes) {
                queue.limited_by(Bottleneck::Connection);
            }
            progress(bytes);
        });
        let body = VerifiedBody::starting(stream, self.blob, start, self.source_location(), on_progress);
        let watch = body.watch();
        match sink.write(body).await {
            Ok(()) => Ok(BlobOutcome::Copied),
            Err(error) => {
                self.take_back(skipped + watch.moved());
                // If the source failed, the destination's error is only a consequence.
                Err(watch.failure().cloned().unwrap_or(error))
            }
        }
    }

    /// Begins the upload. If the destination probably lacks the blob, opens the source at the same time, which saves a
    /// round trip. What is opened in vain is closed before it is read.
    async fn begin(&self) -> Result<(Begun<D::Sink>, Option<BlobStream>), Error> {
        let (expect, expected) = oneshot::channel();
        let expect_wanted = move || {
            // The receiver is gone only if the transfer is.
            let _ = expect.send(());
        };
        let (repository, blob) = (&self.image.repository, self.blob);
        let begin = self.destination.begin_blob_expecting(repository, blob, self.mount, expect_wanted);
        let open = async {
            match expected.await {
                Ok(()) => self.open(0).await.map(Some),
                Err(_) => Ok(None),
            }
        };
        let (begin, open) = (pin!(begin), pin!(open));
        match future::select(begin, open).await {
            Either::Left((answer, open)) => match answer? {
                wanted @ Begun::Wanted(_) => Ok((wanted, open.await?)),
                other => Ok((other, None)),
            },
            Either::Right((opened, begin)) => match begin.await? {
                wanted @ Begun::Wanted(_) => Ok((wanted, opened?)),
                other => Ok((other, None)),
            },
        }
    }

    /// The blob's bytes from `offset` on: from its descriptor, or else from the source.
    async fn open(&self, offset: u64) -> Result<BlobStream, Error> {
        if let Some(bytes) = self.blob.inline.bytes() {
            let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
            return Ok(stream::iter([Ok(bytes.slice_ref(rest.unwrap_or_default()))]).boxed());
        }
        self.source.open_blob(self.image.source.repository(), self.blob, offset).await
    }

    fn take_back(&self, bytes: u64) {
        self.events.emit(Event::BlobRestarted {
            image: Arc::clone(self.image),
            blob: self.blob.clone(),
            bytes,
        });
    }

    fn source_location(&self) -> Location {
        self.source.blob_location(self.image.source.repository(), &self.blob.digest)
    }
}

/// Verifies the digest of an empty blob: its body is never read, so nothing else would.
pub(super) fn check_if_empty(blob: &Descriptor, location: impl FnOnce() -> Location) -> Result<(), Error> {
    if blob.size > 0 {
        return Ok(());
    }
    DigestVerifier::new(blob).finish().map(drop).map_err(|mismatch| location().error(mismatch))
}
