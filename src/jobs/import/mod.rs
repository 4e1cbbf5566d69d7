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

use std::{
    collections::HashSet,
    iter,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{parts::Affected, plan::ImportPlan};
use super::{
    names::{earlier, warn_of_unused_prefix},
    open_bundle::{expect_id, open},
    own_source::refuse_shared_repositories,
    receipt::ReceiptFile,
    record::{Copied, CopiedTo, PendingLock, no_destination},
};
use crate::{
    endpoint::{
        bundle::Bundle,
        known_blobs::{KnownBlobs, KnownBlobsDestination, KnownBlobsSource},
        registry::Registries,
        shared_source::Shared,
    },
    error::Failure,
    event::{Event, EventSink, warn},
    lock::Lock,
    oci::{Descriptor, Reference, mapping::Root},
    outcome::{Command, ExtraReads, Mirrored, RunOutcome},
    pipeline::{
        self,
        several::{Arrived, OneRun, Target, mirror_to_each},
    },
    quota::RunRegistries,
    request::{Access, Destination, Import, ImportFrom},
};

pub(crate) async fn run(request: &Import, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Import { from, lock, destinations, registries, copy, .. } = request;
    let written = destinations.roots().map(Root::registry).collect();
    let run = RunRegistries { written, has_dry_run: true, ..RunRegistries::default() };
    let access = Access::open(registries, Arc::clone(&events))?;
    // A bundle needs no license.
    access.check_registries(registries, iter::empty(), run, &*events)?;
    let record = PendingLock::prepare((!copy.dry_run).then_some(lock.as_path()))?;
    let receipt = request.receipt.as_ref().map(ReceiptFile::prepare).transpose()?;
    let opened = destinations.iter().zip(access.destinations(destinations).await?);
    let opened: Vec<OpenDestination<'_>> =
        opened.map(|(settings, registry)| OpenDestination { settings, registry }).collect();
    let job = Job::new(request, receipt, events);
    let imported = match from {
        ImportFrom::Stdin => Box::pin(job.standard_input(&opened)).await?,
        ImportFrom::Files(paths) => Box::pin(job.files(paths, &opened)).await?,
    };
    warn_of_unused_prefix(&destinations.first.naming, &sources(&imported), &*job.events);
    access.warn_of_unused_hosts(&*job.events);
    Ok(job.copied(imported, started)?.finish(record))
}

/// The images of the bundle, whether they were imported or left out.
fn sources(imported: &[Imported]) -> Vec<Reference> {
    let Some(Imported { plan, images, .. }) = imported.first() else { return Vec::new() };
    let images = images.iter().map(|image| &image.outcome.source);
    images.chain(plan.left_out.iter().map(|(mapping, _)| &mapping.source)).cloned().collect()
}

/// One import.
struct Job<'a> {
    request: &'a Import,
    receipt: Option<ReceiptFile>,
    events: Arc<dyn EventSink>,
    /// The same; with several destinations, it says once what concerns the bundle.
    planning: Arc<dyn EventSink>,
}

/// One destination of an import, and its registry.
struct OpenDestination<'a> {
    settings: &'a Destination,
    registry: Arc<Registries>,
}

/// The import to one destination.
struct Imported {
    plan: ImportPlan,
    images: Vec<Mirrored>,
    time: Duration,
    extra_reads: ExtraReads,
}

/// What is to be imported to one destination.
struct Planned {
    plan: ImportPlan,
    /// Blobs that the destination has although the bundle does not.
    present: Arc<KnownBlobs>,
    /// Images that cannot be imported.
    affected: Vec<Affected>,
    /// Why nothing can be imported to this destination.
    failure: Option<Failure>,
}

impl<'a> Job<'a> {
    fn new(request: &'a Import, receipt: Option<ReceiptFile>, events: Arc<dyn EventSink>) -> Self {
        let planning: Arc<dyn EventSink> = if request.destinations.are_several() {
            Arc::new(OneRun::new(Arc::clone(&events)))
        } else {
            Arc::clone(&events)
        };
        Self { request, receipt, events, planning }
    }

    /// Everything that is known after the import.
    fn copied(self, imported: Vec<Imported>, started: Instant) -> Result<Copied<'a>, Failure> {
        let Import { lock, destinations, registries, copy, strict, .. } = self.request;
        let first = imported.first().ok_or_else(no_destination)?;
        let ImportPlan { id, excluded, chart, options, .. } = &first.plan;
        let (id, excluded, chart) = (id.clone(), excluded.clone(), chart.clone());
        let (platforms, foreign_layers) = (options.platforms.clone(), options.foreign_layers);
        let mut copied =
            imported.into_iter().zip(destinations.iter()).map(|(imported, destination)| {
                let Imported { plan, mut images, time, extra_reads } = imported;
                let left_out = plan.left_out.iter();
                images.extend(left_out.map(|(mapping, is_skipped)| {
                    parts::left_out(mapping, *is_skipped, *strict, &*self.events)
                }));
                CopiedTo { destination, placement: plan.placement, images, time, extra_reads }
            });
        let first = copied.next().ok_or_else(no_destination)?;
        Ok(Copied {
            command: Command::BundleImport,
            started,
            first,
            others: copied.collect(),
            excluded,
            bundle: Some(id),
            chart,
            platforms,
            foreign_layers,
            // Read when the lock is written.
            extended: None,
            check: copy.check,
            dry_run: copy.dry_run,
            shard: None,
            failures: Vec::new(),
            receipt: self.receipt,
            registries,
            lock,
            selection: None,
        })
    }

    /// Imports from files, which can be read at any offset.
    async fn files(
        &self,
        paths: &[PathBuf],
        destinations: &[OpenDestination<'_>],
    ) -> Result<Vec<Imported>, Failure> {
        let keep_going = self.request.keep_going;
        // Before the bundle is in memory: that of 10,000 images and the lock take much of it.
        let earlier = self.earlier_lock()?;
        let mut bundle = open(paths, self.request.signed.as_ref(), &*self.events)?;
        let mut plans = self.plans(&mut bundle, earlier, destinations)?;
        let mut affected = Vec::new();
        for plan in &mut plans {
            affected.push(plan.split(|image| bundle.problems(&image.root))?);
        }
        if let Some(affected) = affected.first().filter(|affected| !affected.is_empty() && !keep_going) {
            return Err(parts::refuse(affected, &bundle, "nothing was copied"));
        }
        parts::check_end(&bundle, keep_going, &*self.events)?;
        let mut planned = Vec::new();
        for ((mut plan, mut affected), destination) in plans.into_iter().zip(affected).zip(destinations) {
            let (base, failure) =
                only_here(self.base(&bundle, &mut plan, destination).await, destinations.len())?;
            affected.extend(base.affected);
            planned.push(Planned { plan, present: Arc::new(base.present), affected, failure });
        }
        let bundle = bundle.into_source(names_in_bundle(&planned));
        Ok(self.mirror(Arc::new(bundle), planned, destinations).await)
    }

    /// The lock of an earlier run, without the contents of its images if only their names are needed.
    fn earlier_lock(&self) -> Result<Option<Lock>, Failure> {
        let Some(mut lock) = earlier(&self.request.lock, &*self.planning)? else { return Ok(None) };
        let roots: Vec<&Root> = self.request.destinations.roots().collect();
        if !lock.has_destinations_besides(&roots) {
            lock.forget_contents();
        }
        Ok(Some(lock))
    }

    /// The plan for each destination.
    fn plans(
        &self,
        bundle: &mut Bundle,
        earlier: Option<Lock>,
        destinations: &[OpenDestination<'_>],
    ) -> Result<Vec<ImportPlan>, Failure> {
        expect_id(bundle, self.request.expect.as_ref())?;
        bundle.check_and_slim_lock().map_err(|error| error.failure())?;
        let bundle = &*bundle;
        let plan = |destination: &OpenDestination<'_>| {
            ImportPlan::new(bundle, self.request, (destination.settings, earlier.as_ref()), &*self.planning)
        };
        let plans = destinations.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
        drop(earlier);
        let roots = destinations.iter().map(|destination| &destination.settings.root);
        let named = roots.zip(plans.iter().map(|plan| plan.mappings.as_slice()));
        refuse_shared_repositories(named, &self.request.registries)?;
        if let Some(plan) = plans.first() {
            self.check_receipt(plan)?;
            self.describe(bundle, plan);
        }
        Ok(plans)
    }

    /// A receipt of another bundle is not replaced.
    fn check_receipt(&self, plan: &ImportPlan) -> Result<(), Failure> {
        self.receipt.as_ref().map_or(Ok(()), |receipt| receipt.check_replaces(&plan.id))
    }

    fn describe(&self, bundle: &Bundle, plan: &ImportPlan) {
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

    /// Runs the pipeline for each destination. Blobs that are known to be present are not copied from the bundle; the others
    /// are read once for all destinations.
    async fn mirror(
        &self,
        bundle: Arc<Bundle>,
        planned: Vec<Planned>,
        destinations: &[OpenDestination<'_>],
    ) -> Vec<Imported> {
        let arrived = match (planned.as_slice(), destinations) {
            ([Planned { plan, present, failure: None, .. }], [OpenDestination { registry, .. }]) => {
                let begun = Instant::now();
                let known = Arc::clone(present);
                let source = KnownBlobsSource::new(bundle, Arc::clone(registry), Arc::clone(&known));
                let destination = KnownBlobsDestination::new(Arc::clone(registry), known);
                let (source, destination) = (Arc::new(source), Arc::new(destination));
                let (mappings, options) = (plan.mappings.clone(), plan.options.clone());
                let events = Arc::clone(&self.events);
                let images = pipeline::mirror(source, destination, mappings, options, events).await;
                vec![(Arrived { images, time: begun.elapsed() }, ExtraReads::default())]
            }
            (planned, destinations) => self.mirror_to_all(&bundle, planned, destinations).await,
        };
        let imported = planned.into_iter().zip(arrived);
        let imported = imported.map(|(planned, (arrived, extra_reads))| {
            let Planned { plan, affected, failure, .. } = planned;
            let Arrived { mut images, time } = arrived;
            images.extend(failure.iter().flat_map(|failure| plan.all_failed(failure)));
            images.extend(affected.into_iter().map(Affected::into_mirrored));
            Imported { plan, images, time, extra_reads }
        });
        imported.collect()
    }

    async fn mirror_to_all(
        &self,
        bundle: &Arc<Bundle>,
        planned: &[Planned],
        destinations: &[OpenDestination<'_>],
    ) -> Vec<(Arrived, ExtraReads)> {
        let registries: Vec<Arc<Registries>> =
            destinations.iter().map(|destination| Arc::clone(&destination.registry)).collect();
        let read_connections = registries.iter().map(|registry| Arc::new(registry.with_own_connections()));
        let read_connections = read_connections.collect();
        let shared = Shared::new(vec![Arc::clone(bundle); registries.len()], registries, read_connections);
        let target = |number: usize, Planned { plan, present, failure, .. }: &Planned| {
            let registry = &destinations.get(number)?.registry;
            let (known, also_known) = (Arc::clone(present), Arc::clone(present));
            let source = Arc::new(shared.source(number)?);
            let has_failed = failure.is_some();
            Some(Target {
                source: KnownBlobsSource::new(source, Arc::clone(registry), known),
                destination: KnownBlobsDestination::new(Arc::new(shared.destination(number)?), also_known),
                mappings: if has_failed { Vec::new() } else { plan.mappings.clone() },
                options: plan.options.clone(),
            })
        };
        let targets = planned.iter().enumerate().filter_map(|(number, planned)| target(number, planned));
        let arrived = mirror_to_each(targets.collect(), Arc::clone(&self.events)).await;
        let extra = (0..planned.len()).map(|number| shared.extra_reads(number));
        arrived.into_iter().zip(extra).collect()
    }
}

/// A failure at one of several destinations: nothing is imported there.
fn only_here<T: Default>(
    result: Result<T, Failure>,
    destinations: usize,
) -> Result<(T, Option<Failure>), Failure> {
    match result {
        Ok(value) => Ok((value, None)),
        Err(failure) if destinations > 1 => Ok((T::default(), Some(failure))),
        Err(failure) => Err(failure),
    }
}

/// The images of all destinations with their names in the bundle.
fn names_in_bundle(planned: &[Planned]) -> Vec<(Reference, Descriptor)> {
    let images = planned.iter().flat_map(|planned| &planned.plan.images);
    let mut seen = HashSet::new();
    let named = images.filter(|image| seen.insert((image.reference.clone(), image.root.digest.clone())));
    named.map(|image| (image.reference.clone(), image.root.clone())).collect()
}
