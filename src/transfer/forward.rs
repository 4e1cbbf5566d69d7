//! Blobs from a stream that runs once, straight to the first repository that needs each.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::{io::AsyncRead, sync::mpsc};

use crate::{
    endpoint::{
        Begun, BlobSink, BlobStream, Cause, Destination, Error, Operation, Start, VerifiedBody,
        bundle::{Incoming, Kept, Next},
        landed::Landed,
    },
    event::{Event, EventSink, Landing},
    oci::{
        Descriptor, Digest, Mapping,
        verified::{Mismatch, Verifier},
    },
    problem::Side,
};

/// How many pieces of a blob may be on their way inside this program.
const PIECES: usize = 2;

/// A blob that is wanted, and the image that it is brought for first.
pub type Wanted = HashMap<Digest, (Descriptor, Arc<Mapping>)>;

/// Forwards wanted blobs.
pub struct Forward<'a, D> {
    /// Where to.
    pub destination: &'a D,
    /// What is wanted. Everything else is passed over.
    pub wanted: &'a Wanted,
    /// Learns what has come.
    pub landed: &'a Landed,
    /// Hears of every blob.
    pub events: &'a Arc<dyn EventSink>,
    /// Only looks at the bytes: nothing is asked of the destination or sent to it.
    pub dry_run: bool,
}

impl<D: Destination> Forward<'_, D> {
    /// Forwards what was kept, then `next` and everything behind it, to the end of the stream.
    pub async fn all<R: AsyncRead + Unpin + Send>(
        &self,
        incoming: &mut Incoming<R>,
        kept: Kept,
        mut next: Option<Next>,
    ) -> Result<(), Error> {
        for (digest, bytes) in kept {
            let Some((blob, image)) = self.wanted.get(&digest) else { continue };
            self.one(image, blob, Origin::<R>::Memory(bytes)).await?;
        }
        while let Some((digest, size)) = next {
            if let Some((blob, image)) = self.wanted.get(&digest) {
                if size != blob.size {
                    let expected = blob.size;
                    let mismatch = if size > expected {
                        Mismatch::TooLong { digest, expected }
                    } else {
                        Mismatch::TooShort { digest, expected, found: size }
                    };
                    return Err(place(blob, mismatch.into()));
                }
                self.one(image, blob, Origin::Stream(incoming)).await?;
            }
            next = incoming.next_blob().await.map_err(|error| broken(error.into()))?;
        }
        Ok(())
    }

    async fn one<R: AsyncRead + Unpin + Send>(
        &self,
        image: &Arc<Mapping>,
        blob: &Descriptor,
        origin: Origin<'_, R>,
    ) -> Result<(), Error> {
        if self.dry_run {
            let (sender, body) = self.body(image, blob, Start::at_the_beginning(blob));
            let (fed, read) = tokio::join!(feed(origin, sender, 0), crate::endpoint::body::drain(body));
            return fed.and(read.map(drop));
        }
        let how = self.bring(image, blob, origin).await?;
        let (digest, repository) = (blob.digest.clone(), image.repository.clone());
        match how {
            Landing::Copied => self.landed.add_sent(digest, repository),
            Landing::Mounted | Landing::Present => self.landed.add(digest, repository),
        }
        self.events.emit(Event::BlobFinished { image: Arc::clone(image), blob: blob.clone(), how });
        Ok(())
    }

    async fn bring<R: AsyncRead + Unpin + Send>(
        &self,
        image: &Arc<Mapping>,
        blob: &Descriptor,
        origin: Origin<'_, R>,
    ) -> Result<Landing, Error> {
        let repository = &image.repository;
        if self.destination.blob_size(repository, &blob.digest).await? == Some(blob.size) {
            return Ok(Landing::Present);
        }
        self.events.emit(Event::BlobStarted { image: Arc::clone(image), blob: blob.clone() });
        if blob.size == 0 {
            // A body without bytes is never read, so nobody would compare its digest.
            Verifier::new(blob).finish().map_err(|mismatch| place(blob, mismatch.into()))?;
        }
        let sink = match self.destination.begin_blob(repository, blob, None).await? {
            Begun::Present => return Ok(Landing::Present),
            Begun::Mounted => return Ok(Landing::Mounted),
            Begun::Completed => return Ok(Landing::Copied),
            Begun::Wanted(sink) => sink,
        };
        let start = sink.start();
        let skipped = start.hashed.offset;
        let (sender, body) = self.body(image, blob, start);
        let watch = body.watch();
        let (fed, written) = tokio::join!(feed(origin, sender, skipped), sink.write(body));
        fed?;
        // What the destination reports after its source failed is only the consequence.
        written.map_err(|error| watch.failure().cloned().unwrap_or(error))?;
        Ok(Landing::Copied)
    }

    fn body(&self, image: &Arc<Mapping>, blob: &Descriptor, start: Start) -> (Sender, VerifiedBody) {
        let (sender, receiver) = mpsc::channel(PIECES);
        let pieces: BlobStream =
            stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
                .boxed();
        let (events, image_of_events) = (Arc::clone(self.events), Arc::clone(image));
        let on_progress = move |bytes| {
            events.emit(Event::BlobProgress { image: Arc::clone(&image_of_events), bytes });
        };
        let failed = place(blob, Cause::NoSuchBlob);
        (sender, VerifiedBody::starting(pieces, blob, start, failed, Box::new(on_progress)))
    }
}

type Sender = mpsc::Sender<Result<Bytes, Error>>;

/// Where a blob's bytes come from.
enum Origin<'a, R> {
    Memory(Bytes),
    Stream(&'a mut Incoming<R>),
}

/// Passes a blob's bytes on from `skip` on. Ends early, in peace, when nobody wants more: the receiver knows why.
async fn feed<R: AsyncRead + Unpin + Send>(
    origin: Origin<'_, R>,
    sender: Sender,
    mut skip: u64,
) -> Result<(), Error> {
    let mut after_skipped = move |mut piece: Bytes| {
        let dropped = skip.min(piece.len() as u64);
        skip -= dropped;
        piece.split_off(usize::try_from(dropped).unwrap_or(piece.len()))
    };
    let incoming = match origin {
        Origin::Memory(bytes) => {
            drop(sender.send(Ok(after_skipped(bytes))).await);
            return Ok(());
        }
        Origin::Stream(incoming) => incoming,
    };
    loop {
        match incoming.piece().await {
            Ok(Some(piece)) => {
                if sender.send(Ok(after_skipped(piece))).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let error = broken(Cause::Bundle(error));
                drop(sender.send(Err(error.clone())).await);
                return Err(error);
            }
        }
    }
}

fn place(blob: &Descriptor, cause: Cause) -> Error {
    Error::new(Operation::ReadBlob, Side::Source, format!("{} in standard input", blob.digest), cause)
}

/// The stream itself failed.
fn broken(cause: Cause) -> Error {
    Error::new(Operation::ReadBundle, Side::Source, "standard input", cause)
}

impl<D> std::fmt::Debug for Forward<'_, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Forward").finish_non_exhaustive()
    }
}
