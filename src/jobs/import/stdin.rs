//! `bundle import -`: one pass. Blobs are pushed as they arrive; the pipeline finds them at the destination.

use std::{collections::HashSet, io::IsTerminal, os::fd::AsFd, sync::Arc};

use super::{super::signing, Job, names::Imported, parts::Affected, plan::Plan};
use crate::{
    endpoint::{
        Error,
        bundle::{Bundle, BundleError, Incoming},
        known_blobs::KnownBlobs,
    },
    error::{Failure, Kind},
    event::warn,
    oci::{Digest, Mapping},
    outcome::Mirrored,
    problem::{Problem, Side},
    transfer::forward::{Forward, Wanted},
};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

impl Job<'_> {
    /// Imports from standard input.
    pub(super) async fn standard_input(&self) -> Result<(Plan, Vec<Mirrored>), Failure> {
        let mut incoming =
            Incoming::new(input()?).signed_by(signing::of_bundle(self.request.signed.as_ref(), &[])?);
        let (bundle, kept, next) = incoming.head().await.map_err(|error| error.failure())?;
        let mut plan = Plan::new(&bundle, self.request, &*self.events)?;
        self.check_receipt(&plan)?;
        self.describe(&bundle, &plan);
        let base = self.base(&bundle, &mut plan).await?;
        let pushed = KnownBlobs::default();
        let wanted = wanted(&bundle, &plan, &base.present);
        let forward = Forward {
            destination: &*self.destination,
            wanted: &wanted,
            known: &pushed,
            events: &self.events,
            dry_run: self.request.copy.dry_run,
        };
        let forwarded = forward.all(&mut incoming.blobs(kept, next)).await.map_err(|error| failure(&error));
        if let Err(failure) = forwarded {
            if !self.request.keep_going {
                return Err(failure);
            }
            warn(&*self.events, failure.to_string());
        }
        let missing: HashSet<&Digest> = if self.request.copy.dry_run {
            HashSet::new()
        } else {
            wanted.keys().filter(|digest| pushed.first(digest).is_none()).collect()
        };
        let affected = self.without(&missing, &bundle, &mut plan)?;
        for (digest, repository) in base.present.all() {
            pushed.add(digest, repository);
        }
        let named = plan.images.iter().map(|image| (image.reference.clone(), image.root.clone()));
        let bundle = bundle.with_names(named.collect::<Vec<_>>());
        let mut images = self.mirror(bundle, Arc::new(pushed), &plan).await;
        images.extend(affected.into_iter().chain(base.affected).map(Affected::into_mirrored));
        Ok((plan, images))
    }

    /// Separates the images that are still incomplete at the end of the stream.
    fn without(
        &self,
        missing: &HashSet<&Digest>,
        bundle: &Bundle,
        plan: &mut Plan,
    ) -> Result<Vec<Affected>, Failure> {
        let problems = |image: &Imported| -> Vec<Problem> {
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
fn wanted(bundle: &Bundle, plan: &Plan, there: &KnownBlobs) -> Wanted {
    let mut wanted = Wanted::new();
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
