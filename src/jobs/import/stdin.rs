//! `bundle import -`: one pass. Blobs are pushed to every destination as they arrive; the pipeline finds them there.

use std::{collections::HashSet, io::IsTerminal, os::fd::AsFd, sync::Arc};

use futures::future::{join, join_all};

use super::{
    super::signing, Imported, Job, OpenDestination, Planned, names::Imported as ImportedImage,
    names_in_bundle, only_here, parts::Affected, plan::ImportPlan,
};
use crate::{
    endpoint::{
        BlobSequence, Error,
        bundle::{Bundle, BundleError, Incoming},
        known_blobs::KnownBlobs,
        registry::Registries,
    },
    error::{Failure, Kind},
    event::warn,
    oci::{Digest, Mapping},
    problem::{Problem, Side},
    transfer::{
        fan_out::{DESTINATION_TIMEOUT, FanOut},
        forward::{Forward, WantedBlobs},
    },
};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

impl Job<'_> {
    /// Imports from standard input.
    pub(super) async fn standard_input(
        &self,
        destinations: &[OpenDestination<'_>],
    ) -> Result<Vec<Imported>, Failure> {
        let earlier = self.earlier_lock()?;
        let mut incoming =
            Incoming::new(input()?).signed_by(signing::of_bundle(self.request.signed.as_ref(), &[])?);
        let (mut bundle, kept, next) = incoming.head().await.map_err(|error| error.failure())?;
        let plans = self.plans(&mut bundle, earlier, destinations)?;
        let mut receivers = Vec::new();
        for (mut plan, destination) in plans.into_iter().zip(destinations) {
            let (base, failure) =
                only_here(self.base(&bundle, &mut plan, destination).await, destinations.len())?;
            let wanted =
                if failure.is_none() { wanted(&bundle, &plan, &base.present) } else { WantedBlobs::new() };
            let (present, pushed) = (base.present, KnownBlobs::default());
            receivers.push(Receiver {
                destination,
                plan,
                affected: base.affected,
                failure,
                present,
                pushed,
                wanted,
            });
        }
        self.receive(&mut receivers, &mut incoming.blobs(kept, next)).await?;
        let received = receivers.into_iter().map(|receiver| self.received(receiver, &bundle));
        let planned = received.collect::<Result<Vec<_>, _>>()?;
        let bundle = bundle.into_source(names_in_bundle(&planned));
        Ok(self.mirror(Arc::new(bundle), planned, destinations).await)
    }

    /// Pushes the blobs to every destination as they arrive.
    async fn receive(
        &self,
        receivers: &mut [Receiver<'_>],
        blobs: &mut impl BlobSequence,
    ) -> Result<(), Failure> {
        let count = receivers.len();
        let forwarded = match &*receivers {
            [only] => vec![self.forward(only).all(blobs).await],
            several => {
                let (fan_out, feeds) = FanOut::new(several.len(), DESTINATION_TIMEOUT);
                let forwards = several
                    .iter()
                    .zip(feeds)
                    .map(|(receiver, mut feed)| async move { self.forward(receiver).all(&mut feed).await });
                join(fan_out.pass_on(blobs), join_all(forwards)).await.1
            }
        };
        for (receiver, forwarded) in receivers.iter_mut().zip(forwarded) {
            let Err(error) = forwarded else { continue };
            let failure = failure(&error);
            if self.request.keep_going {
                warn(&*self.planning, failure.to_string());
            } else if count == 1 || error.location.side == Side::Source {
                return Err(failure);
            } else {
                receiver.failure.get_or_insert(failure);
            }
        }
        Ok(())
    }

    fn forward<'a>(&'a self, receiver: &'a Receiver<'_>) -> Forward<'a, Registries> {
        Forward {
            destination: &receiver.destination.registry,
            wanted: &receiver.wanted,
            known: &receiver.pushed,
            events: &self.events,
            dry_run: self.request.copy.dry_run,
        }
    }

    /// What one destination has at the end of the stream.
    fn received(&self, receiver: Receiver<'_>, bundle: &Bundle) -> Result<Planned, Failure> {
        let Receiver { destination: _, mut plan, mut affected, failure, present, pushed, wanted } = receiver;
        if failure.is_none() {
            let missing: HashSet<&Digest> = if self.request.copy.dry_run {
                HashSet::new()
            } else {
                wanted.keys().filter(|digest| pushed.first(digest).is_none()).collect()
            };
            affected.splice(0..0, self.without(&missing, bundle, &mut plan)?);
        }
        for (digest, repository) in present.all() {
            pushed.add(digest, repository);
        }
        Ok(Planned { plan, present: Arc::new(pushed), affected, failure })
    }

    /// Separates the images that are still incomplete at the end of the stream.
    fn without(
        &self,
        missing: &HashSet<&Digest>,
        bundle: &Bundle,
        plan: &mut ImportPlan,
    ) -> Result<Vec<Affected>, Failure> {
        let problems = |image: &ImportedImage| -> Vec<Problem> {
            let head = bundle.head();
            let blobs = head.blobs_below(&image.root).into_iter();
            let blobs = blobs.filter(|blob| missing.contains(&blob.digest));
            let blobs = blobs.map(|blob| Problem::MissingBlob { digest: blob.digest, size: blob.size });
            head.manifest_problems(&image.root).into_iter().chain(blobs).collect()
        };
        let affected = plan.split(|image| Ok(problems(image)))?;
        if affected.is_empty() || self.request.keep_going {
            return Ok(affected);
        }
        Err(super::parts::refuse(&affected, bundle, "no image was tagged"))
    }
}

/// One destination that receives the stream.
struct Receiver<'a> {
    destination: &'a OpenDestination<'a>,
    plan: ImportPlan,
    affected: Vec<Affected>,
    /// Why nothing can be imported there.
    failure: Option<Failure>,
    /// Blobs of the base.
    present: KnownBlobs,
    /// Blobs that came from the stream.
    pushed: KnownBlobs,
    wanted: WantedBlobs,
}

/// Standard input without an additional buffer, because pieces are large.
fn input() -> Result<tokio::fs::File, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "standard input is a terminal, not a bundle")
            .with_hint("pipe the bundle in (`… | thoras-mirror bundle import -`), or pass its file name"));
    }
    let unreadable =
        |error| BundleError::Unreadable { path: "standard input".into(), source: Arc::new(error) };
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned();
    let mut file = tokio::fs::File::from_std(descriptor.map_err(|error| unreadable(error).failure())?.into());
    file.set_max_buf_size(PIECE);
    Ok(file)
}

/// Each blob that is needed, with the first image that needs it.
fn wanted(bundle: &Bundle, plan: &ImportPlan, there: &KnownBlobs) -> WantedBlobs {
    let mut wanted = WantedBlobs::new();
    for (image, mapping) in plan.images.iter().zip(&plan.mappings) {
        let mapping: Arc<Mapping> = Arc::new(mapping.clone());
        for blob in bundle.head().blobs_below(&image.root) {
            if there.first(&blob.digest).is_none() {
                wanted.entry(blob.digest.clone()).or_insert_with(|| (blob, Arc::clone(&mapping)));
            }
        }
    }
    wanted
}

/// The failure of a blob that would have to be read from standard input again.
fn failure(error: &Error) -> Failure {
    let failure = error.failure();
    match error.location.side {
        Side::Destination => {
            let why = "standard input cannot be read twice: save the bundle to a file and import that file";
            Failure { kind: Kind::Image, ..failure.with_hint(why) }
        }
        Side::Source => failure,
    }
}
