//! One blob's journey: open the destination, open the source, stream, and begin anew where that helps.

use std::sync::Arc;

use crate::{
    endpoint::{
        Begun, BlobSink, Destination, Error, Operation, Source, VerifiedBody, error::Cause, registry::retry,
    },
    event::{Event, EventSink, Landing},
    oci::{Descriptor, Mapping, Repository, verified::Verifier},
};

/// What a journey needs to know.
pub(super) struct Journey<'a, S, D> {
    pub(super) source: &'a S,
    pub(super) destination: &'a D,
    pub(super) events: &'a Arc<dyn EventSink>,
    pub(super) image: &'a Arc<Mapping>,
    pub(super) blob: &'a Descriptor,
    pub(super) mount: Option<&'a Repository>,
}

impl<S: Source, D: Destination> Journey<'_, S, D> {
    /// Brings the blob. Gives up when a new attempt makes no sense, or after five that brought nothing: an
    /// attempt that found more bytes at the destination than the one before it was not in vain.
    pub(super) async fn run(&self) -> Result<Landing, Error> {
        let mut tries = retry::Tries::new(retry::ATTEMPTS);
        let (mut in_vain, mut furthest) = (0, 0);
        loop {
            tries.begin();
            let mut received = 0;
            let error = match self.attempt(&mut received).await {
                Ok(landing) => return Ok(landing),
                Err(error) => error,
            };
            in_vain = if received > furthest { 1 } else { in_vain + 1 };
            furthest = furthest.max(received);
            // What has been tried so often already is not tried again from here.
            if error.attempts >= retry::ATTEMPTS
                || in_vain >= retry::attempts_for(&error.cause)
                || !retry::is_worth_a_new_upload(&error.cause)
            {
                return Err(Error {
                    attempts: tries.count().max(error.attempts),
                    elapsed: tries.elapsed(),
                    ..error
                });
            }
            let pause = retry::pause(in_vain, &error.cause, retry::random());
            let reason = format!("{error}: {}", error.cause);
            self.events.emit(Event::Retrying { side: error.side, reason, pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// One upload, new or continued. `received` becomes what the destination had at its beginning.
    async fn attempt(&self, received: &mut u64) -> Result<Landing, Error> {
        if self.blob.size == 0 {
            self.check_empty()?;
        }
        let repository = &self.image.repository;
        let sink = match self.destination.begin_blob(repository, self.blob, self.mount).await? {
            Begun::Present => return Ok(Landing::Present),
            Begun::Mounted => return Ok(Landing::Mounted),
            Begun::Completed => return Ok(Landing::Copied),
            Begun::Wanted(sink) => sink,
        };
        let start = sink.start();
        *received = start.received;
        let skipped = start.hashed.offset;
        let source = self.image.source.repository();
        let stream = self.source.open_blob(source, self.blob, skipped).await?;
        let (events, image) = (Arc::clone(self.events), Arc::clone(self.image));
        let on_progress = move |bytes| events.emit(Event::BlobProgress { image: Arc::clone(&image), bytes });
        on_progress(skipped);
        let body =
            VerifiedBody::starting(stream, self.blob, start, self.source_error(), Box::new(on_progress));
        let watch = body.watch();
        match sink.write(body).await {
            Ok(()) => Ok(Landing::Copied),
            Err(error) => {
                self.take_back(skipped + watch.moved());
                // What the destination reports after its source failed is only the consequence.
                Err(watch.failure().cloned().unwrap_or(error))
            }
        }
    }

    fn take_back(&self, bytes: u64) {
        self.events.emit(Event::BlobRestarted {
            image: Arc::clone(self.image),
            blob: self.blob.clone(),
            bytes,
        });
    }

    /// A body without bytes is never read, so nobody would compare its digest.
    fn check_empty(&self) -> Result<(), Error> {
        let checked = Verifier::new(self.blob).finish();
        checked.map(drop).map_err(|mismatch| Error { cause: mismatch.into(), ..self.source_error() })
    }

    fn source_error(&self) -> Error {
        let place = self.source.blob_place(self.image.source.repository(), &self.blob.digest);
        Error::new(Operation::ReadBlob, self.source.side(), place, Cause::NoSuchBlob)
    }
}
