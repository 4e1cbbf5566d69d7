//! `bundle import`: the pipeline of `sync` with a bundle as its source.
//!
//! | what | where |
//! |---|---|
//! | the name of each image | `names` |
//! | which images are imported, going by the bundle's lock and the flags | `plan` |
//! | missing and damaged parts | `parts` |
//! | the blobs that a delta leaves out | `delta` |
//! | one pass over standard input | `stdin` |

mod delta;
mod names;
mod parts;
pub(super) mod plan;
mod stdin;

use std::{path::PathBuf, sync::Arc, time::Instant};

use self::plan::Plan;
use super::{
    names::warn_of_unused_prefix,
    open_bundle::open,
    receipt::ReceiptFile,
    record::{Copied, Record},
};
use crate::{
    endpoint::{
        bundle::Bundle,
        known_blobs::{KnownBlobs, KnownBlobsDestination, KnownBlobsSource},
        registry::Registries,
    },
    error::Failure,
    event::{Event, EventSink, warn},
    lock::Lock,
    oci::Reference,
    outcome::{Command, Mirrored, RunOutcome},
    pipeline,
    request::{Access, Import, ImportFrom},
};

pub(crate) async fn run(request: &Import, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Import { from, lock, destination, registries, copy, .. } = request;
    let access = Access::open(registries, Arc::clone(&events))?;
    // A bundle is no registry.
    access.warn_of_unused_license([], &*events);
    let record = Record::prepare((!copy.dry_run).then_some(lock.as_path()))?;
    let receipt = request.receipt.as_ref().map(ReceiptFile::prepare).transpose()?;
    let registry = access.destination(destination.login.as_ref()).await?;
    let job = Job { request, destination: Arc::new(registry), receipt, events };
    let (plan, mut images) = match from {
        ImportFrom::Stdin => Box::pin(job.standard_input()).await?,
        ImportFrom::Files(paths) => job.files(paths).await?,
    };
    let sources: Vec<Reference> = images
        .iter()
        .map(|image| image.outcome.source.clone())
        .chain(plan.left_out.iter().map(|(mapping, _)| mapping.source.clone()))
        .collect();
    warn_of_unused_prefix(&destination.naming, &sources, &*job.events);
    access.warn_of_unused_hosts(&*job.events);
    // It is read again, because another run may have added a destination meanwhile. A damaged lock cannot be kept.
    let to = destination.root.to_string();
    let extended = Lock::read(lock).ok().filter(|lock| lock.has_destinations_besides(&to));
    let left_out = plan.left_out.iter();
    images
        .extend(left_out.map(|(mapping, is_skipped)| {
            parts::left_out(mapping, *is_skipped, request.strict, &*job.events)
        }));
    let copied = Copied {
        command: Command::BundleImport,
        started,
        root: destination.root.clone(),
        placement: plan.placement,
        excluded: plan.excluded,
        bundle: Some(plan.id),
        chart: plan.chart,
        platforms: plan.options.platforms,
        foreign_layers: plan.options.foreign_layers,
        extended,
        check: copy.check,
        dry_run: copy.dry_run,
        images,
        shard: None,
        failures: Vec::new(),
        receipt: job.receipt,
        login: destination.login.as_ref(),
        registries,
        lock,
        selection: None,
    };
    Ok(copied.finish(record))
}

/// One import.
struct Job<'a> {
    request: &'a Import,
    destination: Arc<Registries>,
    receipt: Option<ReceiptFile>,
    events: Arc<dyn EventSink>,
}

impl Job<'_> {
    /// Imports from files, which can be read at any offset.
    async fn files(&self, paths: &[PathBuf]) -> Result<(Plan, Vec<Mirrored>), Failure> {
        let keep_going = self.request.keep_going;
        let bundle = open(paths, self.request.signed.as_ref(), &*self.events)?;
        let mut plan = Plan::new(&bundle, self.request, &*self.events)?;
        self.check_receipt(&plan)?;
        self.describe(&bundle, &plan);
        let affected = plan.split(|image| bundle.problems(&image.root))?;
        if !affected.is_empty() && !keep_going {
            return Err(parts::refuse(&affected, &bundle, "nothing was copied"));
        }
        parts::check_end(&bundle, keep_going, &*self.events)?;
        let base = self.base(&bundle, &mut plan).await?;
        let named = plan.images.iter().map(|image| (image.reference.clone(), image.root.clone()));
        let bundle = bundle.with_names(named.collect::<Vec<_>>());
        let mut images = self.mirror(bundle, Arc::new(base.present), &plan).await;
        images.extend(affected.into_iter().chain(base.affected).map(parts::Affected::into_mirrored));
        Ok((plan, images))
    }

    /// A receipt of another bundle is not replaced.
    fn check_receipt(&self, plan: &Plan) -> Result<(), Failure> {
        self.receipt.as_ref().map_or(Ok(()), |receipt| receipt.check_replaces(&plan.id))
    }

    fn describe(&self, bundle: &Bundle, plan: &Plan) {
        let path = bundle.path().display();
        self.events.emit(Event::Detail { message: format!("{path} is bundle {}", plan.id) });
        if bundle.is_from_docker() {
            let message = format!(
                "{path} was written by Docker: the digests of its images may differ from those in the registry that \
                 they came from"
            );
            warn(&*self.events, message);
        }
    }

    /// Runs the pipeline. Blobs in `present` are not copied from the bundle.
    async fn mirror(&self, bundle: Bundle, present: Arc<KnownBlobs>, plan: &Plan) -> Vec<Mirrored> {
        let (bundle, destination) = (Arc::new(bundle), Arc::clone(&self.destination));
        let source = Arc::new(KnownBlobsSource::new(bundle, Arc::clone(&destination), Arc::clone(&present)));
        let destination = Arc::new(KnownBlobsDestination::new(destination, present));
        let (mappings, options) = (plan.mappings.clone(), plan.options.clone());
        pipeline::mirror(source, destination, mappings, options, Arc::clone(&self.events)).await
    }
}
