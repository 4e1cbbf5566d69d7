//! `bundle import -`: one pass. Blobs go to the destination as they come; the pipeline finds them there.

use std::{collections::HashMap, io::IsTerminal, os::fd::AsFd, path::Path, sync::Arc};

use super::{Run, names::Imported, order::Order, parts::Affected};
use crate::{
    cli::Import,
    endpoint::{
        Error,
        bundle::{Bundle, BundleError, Incoming, Lack},
        known_blobs::KnownBlobs,
    },
    error::{Failure, Kind},
    event::Event,
    oci::{Digest, Mapping},
    outcome::Mirrored,
    problem::Side,
    transfer::forward::{Forward, Wanted},
};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// Whether the bundle comes from standard input. It cannot be anything else's then.
pub(super) fn is_asked_for(args: &Import) -> Result<bool, Failure> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if !args.files.iter().any(|path| is_stdin(path)) {
        return Ok(false);
    }
    let usage = |message: &str| Err(Failure::new(Kind::Usage, message));
    if args.files.len() > 1 {
        return usage("a bundle comes from standard input or from files, not from both");
    }
    if args.registries.license.as_deref() == Some("-") || args.destination.login.to_password_stdin {
        return usage("standard input can be read only once: it is the bundle already");
    }
    Ok(true)
}

impl Run<'_> {
    /// From standard input.
    pub(super) async fn standard_input(&self) -> Result<(Order, Vec<Mirrored>), Failure> {
        let mut incoming = Incoming::new(input()?);
        let (bundle, kept, next) = incoming.head().await.map_err(|error| error.failure())?;
        let mut order = Order::new(&bundle, self.args, &self.root)?;
        self.say_what_it_is(&bundle, &order);
        let base = self.base(&bundle, &mut order).await?;
        let landed = KnownBlobs::default();
        let wanted = wanted(&bundle, &order, &base.landed);
        let forward = Forward {
            destination: &*self.destination,
            wanted: &wanted,
            known: &landed,
            events: &self.events,
            dry_run: self.args.dry_run,
        };
        let forwarded = forward.all(&mut incoming.blobs(kept, next)).await.map_err(|error| failure(&error));
        if let Err(failure) = forwarded {
            if !self.args.keep_going {
                return Err(failure);
            }
            self.events.emit(Event::Warning { image: None, message: failure.to_string() });
        }
        let missing: HashMap<&Digest, Lack> = if self.args.dry_run {
            HashMap::new()
        } else {
            let lost = wanted.keys().filter(|digest| landed.first(digest).is_none());
            lost.map(|digest| (digest, Lack::Blob(digest.clone()))).collect()
        };
        let affected = self.without(&missing, &bundle, &mut order)?;
        for (digest, repository) in base.landed.all() {
            landed.add(digest, repository);
        }
        let named = order.images.iter().map(|image| (image.reference.clone(), image.root.clone()));
        let bundle = bundle.with_names(named.collect::<Vec<_>>());
        let mut mirrored = self.mirror(bundle, Arc::new(landed), &order).await;
        mirrored.extend(affected.into_iter().chain(base.affected).map(Affected::into_mirrored));
        Ok((order, mirrored))
    }

    /// Takes the images out that what came does not make whole.
    fn without(
        &self,
        missing: &HashMap<&Digest, Lack>,
        bundle: &Bundle,
        order: &mut Order,
    ) -> Result<Vec<Affected>, Failure> {
        let lacks = |image: &Imported| -> Vec<Lack> {
            let head = bundle.head();
            let blobs = head.blobs_below(&image.root.digest);
            let manifests = head.manifest_lacks(&image.root);
            manifests
                .into_iter()
                .chain(blobs.iter().filter_map(|blob| missing.get(&blob.digest).cloned()))
                .collect()
        };
        let affected = order.split(|image| Ok(lacks(image)))?;
        if affected.is_empty() || self.args.keep_going {
            return Ok(affected);
        }
        Err(super::parts::refuse(&affected, bundle.path(), "no image of it was tagged"))
    }
}

/// Standard input without a buffer of its own: pieces are large.
fn input() -> Result<tokio::fs::File, Failure> {
    if std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "standard input is a terminal: no bundle comes from there")
            .with_hint("give it a file or a pipe (`… | thoras-mirror bundle import -`), or name the file"));
    }
    let unreadable =
        |error| BundleError::Unreadable { path: "standard input".into(), source: Arc::new(error) };
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned();
    let mut file = tokio::fs::File::from_std(descriptor.map_err(|error| unreadable(error).failure())?.into());
    file.set_max_buf_size(PIECE);
    Ok(file)
}

/// Each blob that is needed, with the first image that needs it.
fn wanted(bundle: &Bundle, order: &Order, there: &KnownBlobs) -> Wanted {
    let mut wanted = Wanted::new();
    for (image, mapping) in order.images.iter().zip(&order.mappings) {
        let mapping: Arc<Mapping> = Arc::new(mapping.clone());
        for blob in bundle.head().blobs_below(&image.root.digest) {
            if there.first(&blob.digest).is_none() {
                wanted.entry(blob.digest.clone()).or_insert_with(|| (blob, Arc::clone(&mapping)));
            }
        }
    }
    wanted
}

/// Nothing that has passed can be read again.
fn failure(error: &Error) -> Failure {
    let failure = error.failure();
    match error.location.side {
        Side::Destination => {
            let why = "what comes from standard input cannot be sent twice: store the bundle in a file and import the file";
            Failure { kind: Kind::Image, ..failure.with_hint(why) }
        }
        Side::Source => failure,
    }
}
