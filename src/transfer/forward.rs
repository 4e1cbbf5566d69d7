//! Forwards blobs from a stream that can be read only once to the first repository that needs each.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use super::blob::check_if_empty;
use crate::{
    endpoint::{
        BlobSequence, BlobSink, BlobStream, Destination, Error, Start, VerifiedBody, body,
        known_blobs::KnownBlobs,
    },
    event::{BlobOutcome, Event, EventSink},
    oci::{Descriptor, Digest, Mapping, verified::Mismatch},
};

/// How many pieces of a blob may be buffered.
const PIECES: usize = 2;

/// The required blobs, each with the first image that needs it.
pub(crate) type WantedBlobs = HashMap<Digest, (Descriptor, Arc<Mapping>)>;

/// Forwards wanted blobs.
pub(crate) struct Forward<'a, D> {
    /// The destination.
    pub destination: &'a D,
    /// The required blobs. All others are skipped.
    pub wanted: &'a WantedBlobs,
    /// Records the transferred blobs.
    pub known: &'a KnownBlobs,
    /// Receives the events.
    pub events: &'a Arc<dyn EventSink>,
    /// Only verifies the bytes; does not contact the destination.
    pub dry_run: bool,
}

impl<D: Destination> Forward<'_, D> {
    /// Forwards all blobs up to the end of the stream.
    pub(crate) async fn all(&self, blobs: &mut impl BlobSequence) -> Result<(), Error> {
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
        check_if_empty(blob, || blobs.location(&blob.digest))?;
        let sink = match self.destination.begin_blob(repository, blob, None).await?.sink_or_outcome() {
            Ok(sink) => sink,
            Err(outcome) => return Ok(outcome),
        };
        let start = sink.start();
        let skipped = start.hashed.offset;
        let (sender, body) = self.body(image, blob, start, blobs);
        let watch = body.watch();
        let (fed, written) = tokio::join!(feed(blobs, sender, skipped), sink.write(body));
        fed?;
        // If the source failed, the destination's error is only a consequence.
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

/// Sends the current blob's bytes from `skip` on. Returns early without an error if the receiver is gone: the receiver
/// reports why.
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        endpoint::{Cause, Location, Operation, empty::EmptyDestination},
        oci::Digest,
        problem::Side,
    };

    /// The pieces of one blob.
    struct Pieces(Vec<&'static str>);

    impl BlobSequence for Pieces {
        async fn next_blob(&mut self) -> Result<Option<(Digest, u64)>, Error> {
            Ok(None)
        }

        async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
            Ok((!self.0.is_empty()).then(|| Bytes::from_static(self.0.remove(0).as_bytes())))
        }

        fn location(&self, digest: &Digest) -> Location {
            Location::new(Operation::ReadBlob, Side::Source, digest.to_string())
        }
    }

    #[tokio::test]
    async fn bytes_that_the_destination_has_are_left_out_across_pieces() {
        for (skip, expected) in [(0, "abcdefgh"), (2, "cdefgh"), (3, "defgh"), (5, "fgh"), (8, "")] {
            let (sender, mut receiver) = mpsc::channel(8);
            feed(&mut Pieces(vec!["abc", "def", "gh"]), sender, skip).await.unwrap();
            let mut fed = Vec::new();
            while let Some(piece) = receiver.recv().await {
                fed.extend(piece.unwrap());
            }
            assert_eq!(String::from_utf8(fed).unwrap(), expected, "{skip}");
        }
    }

    /// A stream of one blob with this digest and size in its header.
    struct OneBlob {
        header: Option<(Digest, u64)>,
        pieces: Pieces,
    }

    impl BlobSequence for OneBlob {
        async fn next_blob(&mut self) -> Result<Option<(Digest, u64)>, Error> {
            Ok(self.header.take())
        }

        async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
            self.pieces.piece().await
        }

        fn location(&self, digest: &Digest) -> Location {
            self.pieces.location(digest)
        }
    }

    /// What a destination reported about blobs.
    #[derive(Debug, Default)]
    struct Reported(Mutex<Vec<String>>);

    impl EventSink for Reported {
        fn emit(&self, event: Event) {
            let line = match event {
                Event::BlobStarted { .. } => "started".to_owned(),
                Event::BlobFinished { how, .. } => format!("{how:?}"),
                _ => return,
            };
            self.0.lock().unwrap().push(line);
        }
    }

    /// Forwards a stream of one blob to a destination that wants `abc`. Returns the events, and whether it is known to be
    /// at the destination.
    async fn forward(
        dry_run: bool,
        size: u64,
        pieces: &[&'static str],
    ) -> Result<(Vec<String>, bool), Error> {
        let digest = Digest::sha256(b"abc");
        let image = Arc::new(Mapping::to(
            "source.example.com/app:1".parse().unwrap(),
            &"mirror.example.com/app:1".parse().unwrap(),
        ));
        let blob = Descriptor::new("application/octet-stream".into(), digest.clone(), 3);
        let wanted = WantedBlobs::from([(digest.clone(), (blob, Arc::clone(&image)))]);
        let (known, reported) = (KnownBlobs::default(), Arc::new(Reported::default()));
        let events: Arc<dyn EventSink> = Arc::clone(&reported) as _;
        let forward = Forward {
            destination: &EmptyDestination,
            wanted: &wanted,
            known: &known,
            events: &events,
            dry_run,
        };
        let mut blobs = OneBlob { header: Some((digest.clone(), size)), pieces: Pieces(pieces.to_vec()) };
        forward.all(&mut blobs).await?;
        let lines = reported.0.lock().unwrap().clone();
        Ok((lines, known.is_in(&digest, &image.repository)))
    }

    #[tokio::test]
    async fn a_blob_of_another_size_or_with_other_bytes_is_refused() {
        forward(true, 3, &["ab", "c"]).await.unwrap();
        for (dry_run, size, pieces, refused) in [
            (true, 4, &["abc", "d"][..], "longer than the 3 bytes"),
            (true, 2, &["ab"], "ended after 2 of 3 bytes"),
            (true, 3, &["abd"], "its bytes have digest"),
            // Otherwise the sizes are compared before the destination is asked.
            (false, 4, &["abc", "d"], "longer than the 3 bytes"),
            (false, 2, &["ab"], "ended after 2 of 3 bytes"),
        ] {
            let cause = forward(dry_run, size, pieces).await.unwrap_err().cause;
            assert!(matches!(cause, Cause::Mismatch(_)) && cause.to_string().contains(refused), "{cause}");
        }
    }

    #[tokio::test]
    async fn a_blob_that_the_destination_lacks_is_started_and_known_afterwards() {
        let (events, is_known) = forward(false, 3, &["abc"]).await.unwrap();
        assert_eq!((events, is_known), (vec!["started".to_owned(), "Present".to_owned()], true));
    }
}
