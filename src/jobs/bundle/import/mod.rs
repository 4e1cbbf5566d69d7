//! `bundle import`: the pipeline of `sync` with a bundle as its source.
//!
//! | what | where |
//! |---|---|
//! | what each image is called | `names` |
//! | which rules hold: the bundle's lock, and flags | `order` |
//! | parts that are missing or damaged | `parts` |
//! | what a delta leaves out | `delta` |
//! | one pass over standard input | `stdin` |

mod delta;
mod names;
mod order;
mod parts;
mod stdin;

use std::{sync::Arc, time::Instant};

use self::order::Order;
use super::{
    super::{Session, repositories, sync::check_name},
    opening::open,
};
use crate::{
    cli::Import,
    endpoint::{
        bundle::Bundle,
        known_blobs::{KnownBlobs, KnownBlobsDestination, KnownBlobsSource},
        registry::Registries,
    },
    error::Failure,
    event::{Event, EventSink},
    lock::{Lock, LockFile},
    oci::mapping::Root,
    outcome::Mirrored,
    pipeline,
    report::{Closing, Command, Format, RunDocument, Verbosity, present_run, print},
    request::{self, Access},
};

pub(super) async fn run(args: Import, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    request::check_stdin(None, &args.registries, Some(&args.destination.login))?;
    let from_stdin = stdin::is_asked_for(&args)?;
    let root = request::root(&args.destination.to)?;
    let access = Access::new(&args.registries, session.events())?;
    // Found out before a byte moves, not after the last.
    let lock_file = if args.dry_run {
        None
    } else {
        Some(LockFile::prepare(&args.lock).map_err(|error| error.failure())?)
    };
    let destination = Arc::new(access.destination(&root, &args.destination.login).await?);
    let run = Run { args: &args, root, destination, events: session.events() };
    let (order, mut mirrored) =
        if from_stdin { Box::pin(run.standard_input()).await? } else { run.files().await? };
    session.reporter.finish();
    mirrored.extend(order.left_out.iter().map(parts::left_out));
    let mut failures = Vec::new();
    if let Some(file) = lock_file {
        let pipeline::Options { platforms, foreign_layers, .. } = &order.options;
        let lock = Lock::new(order.chart.clone(), order.placement, platforms, *foreign_layers, &mirrored);
        failures.extend(file.write(&lock).err().map(|error| error.failure()));
    }
    let missing = mirrored.iter().filter_map(|one| one.missing_repository.clone()).collect();
    failures.extend(repositories::missing(&missing));
    let outcomes = mirrored.into_iter().map(|one: Mirrored| one.outcome).collect();
    let mut document = RunDocument::new(Command::BundleImport, outcomes, failures, begun.elapsed());
    document.destination = Some(run.root.to_string());
    document.bundle = Some(order.id.clone());
    document.level = Some(check_name(args.check).to_owned());
    document.chart = order.chart;
    let closing = if args.dry_run { Closing::Plan } else { Closing::Sync };
    present_run(&document, closing, args.output, session.verbosity)?;
    if args.output == Format::Table && session.verbosity != Verbosity::Quiet {
        print::result(&format!("bundle {}", order.id))?;
    }
    Ok(document.exit_code)
}

/// One import.
struct Run<'a> {
    args: &'a Import,
    root: Root,
    destination: Arc<Registries>,
    events: Arc<dyn EventSink>,
}

impl Run<'_> {
    /// From files that can be read at any place.
    async fn files(&self) -> Result<(Order, Vec<Mirrored>), Failure> {
        let bundle = open(&self.args.files)?;
        let mut order = Order::new(&bundle, self.args, &self.root)?;
        self.say_what_it_is(&bundle, &order);
        let affected = order.split(|image| bundle.lacks(&image.root))?;
        if !affected.is_empty() && !self.args.keep_going {
            return Err(parts::refuse(&affected, bundle.path(), "nothing was copied"));
        }
        parts::check_end(&bundle, self.args.keep_going, &self.events)?;
        let base = self.base(&bundle, &mut order).await?;
        let named = order.images.iter().map(|image| (image.reference.clone(), image.root.clone()));
        let bundle = bundle.with_names(named.collect::<Vec<_>>());
        let mut mirrored = self.mirror(bundle, Arc::new(base.landed), &order).await;
        mirrored.extend(affected.into_iter().chain(base.affected).map(parts::Affected::into_mirrored));
        Ok((order, mirrored))
    }

    fn say_what_it_is(&self, bundle: &Bundle, order: &Order) {
        let message = format!("{} is the bundle {}", bundle.path().display(), order.id);
        self.events.emit(Event::Detail { message });
        if bundle.is_from_docker() {
            let path = bundle.path().display();
            let message = format!(
                "{path} was written by Docker: the digests of its images may differ from those in the registry that \
                 they came from"
            );
            self.events.emit(Event::Warning { image: None, message });
        }
    }

    /// The pipeline. What has `landed` needs no journey.
    async fn mirror(&self, bundle: Bundle, landed: Arc<KnownBlobs>, order: &Order) -> Vec<Mirrored> {
        let (bundle, destination) = (Arc::new(bundle), Arc::clone(&self.destination));
        let source = Arc::new(KnownBlobsSource::new(bundle, Arc::clone(&destination), Arc::clone(&landed)));
        let destination = Arc::new(KnownBlobsDestination::new(destination, landed));
        let (mappings, options) = (order.mappings.clone(), order.options.clone());
        pipeline::mirror(source, destination, mappings, options, Arc::clone(&self.events)).await
    }
}
