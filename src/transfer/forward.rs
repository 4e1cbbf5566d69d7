//! Blobs from a stream that runs once, each straight to the first repository that needs it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::{
    endpoint::{
        Begun, BlobSequence, BlobSink, BlobStream, Destination, Error, Start, VerifiedBody, body,
        known_blobs::KnownBlobs,
    },
    event::{BlobOutcome, Event, EventSink},
    oci::{
        Descriptor, Digest, Mapping,
        verified::{Mismatch, Verifier},
    },
};

/// How many pieces of a blob may be on their way inside this program.
const PIECES: usize = 2;

/// The blobs that are needed, each with the image that it is transferred for first.
pub type Wanted = HashMap<Digest, (Descriptor, Arc<Mapping>)>;

/// Forwards wanted blobs.
pub struct Forward<'a, D> {
    /// Where they go.
    pub destination: &'a D,
    /// What is needed. Everything else is skipped.
    pub wanted: &'a Wanted,
    /// Records what has been transferred.
    pub known: &'a KnownBlobs,
    /// Hears of every blob.
    pub events: &'a Arc<dyn EventSink>,
    /// Only checks the bytes: nothing is asked of the destination or sent to it.
    pub dry_run: bool,
}

impl<D: Destination> Forward<'_, D> {
    /// Forwards everything that comes, to the end of the stream.
    pub async fn all(&self, blobs: &mut impl BlobSequence) -> Result<(), Error> {
        while let Some((digest, size)) = blobs.next_blob().await? {
            let Some((blob, image)) = self.wanted.get(&digest) else { continue };
            let expected = blob.size;
            if size > expected {
                return Err(blobs.location(&digest).error(Mismatch::TooLong { digest, expected }));
            }
            if size < expected {
                let mismatch = Mismatch::TooShort { digest: digest.clone(), expected, found: size };
                return Err(blobs.location(&digest).error(mismatch));
            }
            self.forward(image, blob, blobs).await?;
        }
        Ok(())
    }

    async fn forward(
        &self,
        image: &Arc<Mapping>,
        blob: &Descriptor,
        blobs: &mut impl BlobSequence,
    ) -> Result<(), Error> {
        if self.dry_run {
            let (sender, body) = self.body(image, blob, Start::at_the_beginning(blob), blobs);
            let (fed, read) = tokio::join!(feed(blobs, sender, 0), body::drain(body));
            return fed.and(read.map(drop));
        }
        let how = self.transfer(image, blob, blobs).await?;
        let (digest, repository) = (blob.digest.clone(), image.repository.clone());
        match how {
            BlobOutcome::Copied => self.known.add_sent(digest, repository),
            BlobOutcome::Mounted | BlobOutcome::Present => self.known.add(digest, repository),
        }
        self.events.emit(Event::BlobFinished { image: Arc::clone(image), blob: blob.clone(), how });
        Ok(())
    }

    async fn transfer(
        &self,
        image: &Arc<Mapping>,
        blob: &Descriptor,
        blobs: &mut impl BlobSequence,
    ) -> Result<BlobOutcome, Error> {
        let repository = &image.repository;
        if self.destination.blob_size(repository, &blob.digest).await? == Some(blob.size) {
            return Ok(BlobOutcome::Present);
        }
        self.events.emit(Event::BlobStarted { image: Arc::clone(image), blob: blob.clone() });
        if blob.size == 0 {
            // A body without bytes is never read, so its digest would never be compared.
            let checked = Verifier::new(blob).finish();
            checked.map_err(|mismatch| blobs.location(&blob.digest).error(mismatch))?;
        }
        let sink = match self.destination.begin_blob(repository, blob, None).await? {
            Begun::Present => return Ok(BlobOutcome::Present),
            Begun::Mounted => return Ok(BlobOutcome::Mounted),
            Begun::Completed => return Ok(BlobOutcome::Copied),
            Begun::Wanted(sink) => sink,
        };
        let start = sink.start();
        let skipped = start.hashed.offset;
        let (sender, body) = self.body(image, blob, start, blobs);
        let watch = body.watch();
        let (fed, written) = tokio::join!(feed(blobs, sender, skipped), sink.write(body));
        fed?;
        // What the destination reports after its source failed is only the consequence.
        written.map_err(|error| watch.failure().cloned().unwrap_or(error))?;
        Ok(BlobOutcome::Copied)
    }

    fn body(
        &self,
        image: &Arc<Mapping>,
        blob: &Descriptor,
        start: Start,
        blobs: &impl BlobSequence,
    ) -> (Sender, VerifiedBody) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let pieces: BlobStream =
            stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
                .boxed();
        let (events, image) = (Arc::clone(self.events), Arc::clone(image));
        let on_progress = move |bytes| {
            events.emit(Event::BlobProgress { image: Arc::clone(&image), bytes });
        };
        let location = blobs.location(&blob.digest);
        (sender, VerifiedBody::starting(pieces, blob, start, location, Box::new(on_progress)))
    }
}

type Sender = mpsc::Sender<Result<Bytes, Error>>;

/// Passes the current blob's bytes on from `skip` on. Ends early, without an error, when the receiver wants no more: it
/// knows why.
async fn feed(blobs: &mut impl BlobSequence, sender: Sender, mut skip: u64) -> Result<(), Error> {
    loop {
        match blobs.piece().await {
            Ok(Some(mut piece)) => {
                let dropped = skip.min(piece.len() as u64);
                skip -= dropped;
                let rest = piece.split_off(usize::try_from(dropped).unwrap_or(piece.len()));
                if sender.send(Ok(rest)).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                drop(sender.send(Err(error.clone())).await);
                return Err(error);
            }
        }
    }
}

impl<D> std::fmt::Debug for Forward<'_, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Forward").finish_non_exhaustive()
    }
}
