//! `sync`: copies, confirms, writes the lock.
//!
//! | what | where |
//! |---|---|
//! | the images of a chart, of manifests or of a list, and their names | `selected` |
//! | the images and names of a lock, with `--locked` | `locked` |
//! | the copy to one or several destinations | `copy` |

mod copy;
mod locked;
mod selected;

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::Arc,
    time::Instant,
};

use super::{
    images::warn_of_idle_waivers,
    locked_digests::KeptLock,
    names::warn_of_unused_prefix,
    notation,
    own_source::refuse_shared_repositories,
    record::{Copied, CopiedTo, PendingLock, no_destination},
    sharding::{Division, contents::BlobsByImage},
};
use crate::{
    endpoint::{
        Source,
        packaged_chart::{ChartSource, PackagedChart},
    },
    error::Failure,
    event::{EventSink, warn},
    graph::{AttachedManifest, ForeignLayers},
    lock::{Lock, LockVersion, Placement},
    oci::{ChartIdentity, Mapping, Reference, mapping::Root},
    outcome::{Command, ImageOutcome, RunOutcome},
    pipeline::Options,
    quota::RunRegistries,
    request::{Access, ImagesFrom, ShardSettings, Sync},
    trust::Verifier,
};

pub(crate) async fn run(request: &Sync, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let signatures = notation::verifier(&request.copy.signatures)?;
    let access = open_access(request, &events)?;
    let version = LockVersion::of(request.lock());
    let mut wanted = match &request.images {
        ImagesFrom::Selection(selection) => selected::images(selection, request, &access, &*events).await?,
        ImagesFrom::Lock { chart } => locked::images(chart.as_deref(), request, &access).await?,
    };
    // A shard pushes its lock instead: several shards may share a folder.
    let writes_lock = !request.copy.dry_run && request.shard.is_none();
    let record = PendingLock::prepare(writes_lock.then(|| request.lock()))?.knowing(version);
    let source = access.source()?.with_foreign_layers(wanted.foreign_layers);
    let source = Arc::new(ChartSource::new(source, wanted.packaged.take()));
    let registries = access.destinations(&request.destinations).await?;
    wanted.check_settings(request, &access, &*events)?;
    let division = wanted.keep_shard(request, &*events)?;
    wanted.check_lock(request, &*source).await?;
    let named = std::mem::take(&mut wanted.named).into_iter().zip(request.destinations.iter()).collect();
    let options = wanted.options(request, signatures);
    let copied = copy::to_each(named, &registries, source, options, &events).await;
    warn_of_unused_prefix(&request.destinations.first.naming, &wanted.sources, &*events);
    // Another shard may need them.
    if division.is_none() {
        access.warn_of_unused_hosts(&*events);
    }
    let copied = wanted.copied(copied, request, started)?;
    match (division, registries.into_iter().next()) {
        (Some(division), Some(registry)) => Ok(copied.finish_shard(&division, registry).await),
        _ => Ok(copied.finish(record)),
    }
}

/// Opens access to the registries. Shards share the limits of the registries and those of the user.
fn open_access(request: &Sync, events: &Arc<dyn EventSink>) -> Result<Access, Failure> {
    let machines = request.shard.as_ref().and_then(|shard| NonZeroU32::new(shard.number.count));
    Access::open_shared(&request.registries, machines.unwrap_or(NonZeroU32::MIN), Arc::clone(events))
}

/// The images and their names at one destination.
struct NamedImages {
    placement: Placement,
    mappings: Vec<Mapping>,
    /// With `--locked`, the optional images that the lock's run skipped: it recorded no digest for them.
    skipped: Vec<ImageOutcome>,
}

/// What to copy where.
struct ImagesToCopy {
    sources: Vec<Reference>,
    /// The images and their names, for each destination.
    named: Vec<NamedImages>,
    /// The images that the source need not provide.
    optional: BTreeSet<Reference>,
    chart: Option<ChartIdentity>,
    /// The packaged chart, if it is copied and no registry has it.
    packaged: Option<PackagedChart>,
    foreign_layers: ForeignLayers,
    /// Whether the lock that exists knows none of the destinations.
    new_destination: bool,
    /// The lock that exists, if it is extended rather than replaced.
    extended: Option<Lock>,
    /// With `--locked`, the attachments of each image.
    recorded: Option<HashMap<Reference, Vec<AttachedManifest>>>,
    /// With `--shard`, what is known about the images' sizes.
    contents: BlobsByImage,
}

impl ImagesToCopy {
    /// Warns about waivers and a license that no image needs. Fails if a quota counts no request of the run.
    fn check_settings(&self, request: &Sync, access: &Access, events: &dyn EventSink) -> Result<(), Failure> {
        warn_of_idle_waivers(&request.platforms.waivers(), &self.sources, events);
        let chart_repository = match &request.images {
            ImagesFrom::Selection(selection) => selection.chart_repository(),
            ImagesFrom::Lock { .. } => None,
        };
        let sources = self.sources.iter().map(Reference::repository).chain(&chart_repository);
        let written = request.destinations.roots().map(Root::registry).collect();
        let run = RunRegistries { written, has_dry_run: true, ..RunRegistries::default() };
        access.check_registries(&request.registries, sources, run, events)
    }

    /// With `--shard`, keeps only the images of this shard. It has one destination.
    fn keep_shard(&mut self, request: &Sync, events: &dyn EventSink) -> Result<Option<Division>, Failure> {
        let contents = std::mem::take(&mut self.contents);
        let (Some(shard), Some(images)) = (&request.shard, self.named.first_mut()) else { return Ok(None) };
        if shard.plan.is_some() && contents.knows_none_of(&self.sources) {
            warn(events, "--plan has no effect: it has none of these images");
        }
        Division::of(shard.number, &mut images.mappings, &mut images.skipped, &contents).map(Some)
    }

    /// Fails if the lock that is extended records other digests than the source has now.
    async fn check_lock<S: Source>(&self, request: &Sync, source: &S) -> Result<(), Failure> {
        let (Some(lock), ImagesFrom::Selection(_)) = (&self.extended, &request.images) else { return Ok(()) };
        let Some(images) = self.named.first() else { return Ok(()) };
        let roots: Vec<&Root> = request.destinations.roots().collect();
        let kept = KeptLock { lock, path: request.lock(), roots: &roots };
        kept.check_source(source, &images.mappings).await
    }

    /// How the pipeline copies the images.
    fn options(&mut self, request: &Sync, signatures: Option<Arc<Verifier>>) -> Options {
        let Sync { copy, platforms, shard, .. } = request;
        let options = copy.options(platforms.required.clone(), platforms.waivers(), self.foreign_layers);
        let jobs = copy.jobs.zip(shard.as_ref());
        let jobs = jobs.map(|(jobs, shard)| shard.number.part_of(usize::from(jobs)));
        let recorded = self.recorded.take().map(|recorded| {
            let selected = |(image, attached): (Reference, Vec<AttachedManifest>)| {
                (image, copy.referrers.selection.of_recorded(&attached))
            };
            recorded.into_iter().map(selected).collect()
        });
        let optional = std::mem::take(&mut self.optional);
        let jobs = jobs.unwrap_or(options.jobs);
        Options { jobs, recorded, optional, signatures, new_destination: self.new_destination, ..options }
    }

    /// Everything that is known after the copy.
    fn copied<'a>(
        self,
        copied: Vec<CopiedTo<'a>>,
        request: &'a Sync,
        started: Instant,
    ) -> Result<Copied<'a>, Failure> {
        let Sync { copy, platforms, registries, .. } = request;
        let mut copied = copied.into_iter();
        let first = copied.next().ok_or_else(no_destination)?;
        Ok(Copied {
            command: Command::Sync,
            started,
            first,
            others: copied.collect(),
            excluded: Vec::new(),
            bundle: None,
            chart: self.chart,
            platforms: platforms.required.clone(),
            foreign_layers: self.foreign_layers,
            extended: self.extended,
            check: copy.check,
            dry_run: copy.dry_run,
            receipt: None,
            shard: None,
            failures: Vec::new(),
            registries,
            lock: request.lock(),
            selection: match &request.images {
                ImagesFrom::Selection(selection) => Some(selection),
                ImagesFrom::Lock { .. } => None,
            },
        })
    }
}

/// The sources of the images. Fails if two destinations would share a repository.
fn checked_sources(named: &[NamedImages], request: &Sync) -> Result<Vec<Reference>, Failure> {
    let repositories = request.destinations.roots().zip(named.iter().map(|named| named.mappings.as_slice()));
    refuse_shared_repositories(repositories, &request.registries)?;
    let first = named.first().ok_or_else(no_destination)?;
    Ok(first.mappings.iter().map(|mapping| mapping.source.clone()).collect())
}

/// Whether a lock records no earlier run to any of these destinations.
fn knows_none_of(lock: Option<&Lock>, roots: &[&Root]) -> bool {
    !roots.iter().any(|root| lock.is_some_and(|lock| lock.placement_at(&root.to_string()).is_some()))
}

/// What a shard knows about the images' sizes: from the plan, else from the lock that exists.
fn contents(request: &Sync, lock: Option<&Lock>) -> Result<BlobsByImage, Failure> {
    match &request.shard {
        None => Ok(BlobsByImage::default()),
        Some(ShardSettings { plan: Some(plan), .. }) => BlobsByImage::read(plan),
        Some(_) => Ok(lock.map(BlobsByImage::of_lock).unwrap_or_default()),
    }
}
