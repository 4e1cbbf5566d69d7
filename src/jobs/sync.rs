//! `sync`: copies, confirms, writes the lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::Instant,
};

use futures::future::try_join_all;

use super::{
    images::{enumerate, fetch_package, packaged_chart, warn_of_idle_waivers},
    locked_digests::KeptLock,
    names::{self, ToName, earlier, name_all, warn_of_unused_prefix},
    notation,
    own_source::{self, NamedBy, refuse_shared_repositories},
    record::{Copied, CopiedTo, Record},
    sharding::{Division, contents::Contents},
};
use crate::{
    endpoint::{
        packaged_chart::{ChartSource, PackagedChart},
        registry::Registries,
        shared_source::Shared,
    },
    enumerate::{self as enumeration, Selection},
    error::{Failure, Kind},
    event::{Event, EventSink, warn},
    graph::{AttachedManifest, ForeignLayers},
    lock::{Lock, LockError, LockedImage, Placement},
    oci::{ChartIdentity, Digest, Mapping, Namer, Naming, Reference, chart, mapping::Root},
    outcome::{Command, ExtraReads, ImageOutcome, Mirrored, RunOutcome},
    pipeline::{
        self, Options,
        several::{Arrived, Target, mirror_to_each},
    },
    request::{Access, Destination, ImagesFrom, LockedChart, ShardSettings, Sync},
};

pub(crate) async fn run(request: &Sync, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Sync { images, destinations, registries, platforms, copy, .. } = request;
    let signatures = notation::verifier(&copy.signatures)?;
    let machines = request.shard.as_ref().and_then(|shard| NonZeroU32::new(shard.number.count));
    let access = Access::open_shared(registries, machines.unwrap_or(NonZeroU32::MIN), Arc::clone(&events))?;
    let Job {
        sources,
        mut first,
        others,
        optional,
        chart,
        packaged,
        foreign_layers,
        extended,
        recorded,
        contents,
    } = match images {
        ImagesFrom::Selection(selection) => selected(selection, request, &access, &*events).await?,
        ImagesFrom::Lock { chart } => locked(chart.as_deref(), request, &access).await?,
    };
    // A shard pushes its lock: all of them may share a folder.
    let writes = !copy.dry_run && request.shard.is_none();
    let record = Record::prepare(writes.then(|| request.lock()))?;
    let source = access.source()?.with_foreign_layers(foreign_layers);
    let source = Arc::new(ChartSource::new(source, packaged));
    let opened = destinations.iter().map(|destination| access.destination(destination.login.as_ref()));
    let opened: Vec<Arc<Registries>> = try_join_all(opened).await?.into_iter().map(Arc::new).collect();
    let waivers = platforms.waivers();
    warn_of_idle_waivers(&waivers, &sources, &*events);
    let chart_repository = match images {
        ImagesFrom::Selection(selection) => selection.chart_repository(),
        ImagesFrom::Lock { .. } => None,
    };
    access
        .warn_of_unused_license(sources.iter().map(Reference::repository).chain(&chart_repository), &*events);
    let division = match &request.shard {
        Some(shard) => {
            if shard.plan.is_some() && contents.knows_none_of(&sources) {
                warn(&*events, "--plan has no effect: it has none of these images");
            }
            let Named { mappings, skipped, .. } = &mut first;
            Some(Division::of(shard.number, mappings, skipped, &contents)?)
        }
        None => None,
    };
    drop(contents);
    if let (Some(lock), ImagesFrom::Selection(_)) = (&extended, images) {
        let roots: Vec<&Root> = destinations.roots().collect();
        let kept = KeptLock { lock, path: request.lock(), roots: &roots };
        kept.check_source(&*source, &first.mappings).await?;
    }
    let recorded = recorded.map(|recorded| {
        let wanted = |(image, attached): (Reference, Vec<AttachedManifest>)| {
            (image, copy.referrers.selection.of_recorded(&attached))
        };
        recorded.into_iter().map(wanted).collect()
    });
    let jobs = copy
        .jobs
        .and_then(|jobs| request.shard.as_ref().map(|shard| shard.number.part_of(usize::from(jobs))));
    let options = copy.options(platforms.required.clone(), waivers, foreign_layers);
    let options = Options { jobs: jobs.unwrap_or(options.jobs), recorded, optional, signatures, ..options };
    let named = std::iter::once(first).chain(others).zip(destinations.iter());
    let mut copied = copy_to(named.collect(), &opened, source, options, &events).await;
    warn_of_unused_prefix(&destinations.first.naming, &sources, &*events);
    // Another shard may need them.
    if division.is_none() {
        access.warn_of_unused_hosts(&*events);
    }
    let others = copied.split_off(1);
    let Some(first) = copied.pop() else { return Err(Failure::new(Kind::Usage, "--to is empty")) };
    let copied = Copied {
        command: Command::Sync,
        started,
        first,
        others,
        excluded: Vec::new(),
        bundle: None,
        chart,
        platforms: platforms.required.clone(),
        foreign_layers,
        extended,
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
    };
    match (division, opened.into_iter().next()) {
        (Some(division), Some(registry)) => Ok(copied.finish_shard(&division, registry).await),
        _ => Ok(copied.finish(record)),
    }
}

/// Copies the images to every destination. Several destinations share what is read from the source.
async fn copy_to<'a>(
    named: Vec<(Named, &'a Destination)>,
    opened: &[Arc<Registries>],
    source: Arc<ChartSource<Registries>>,
    options: Options,
    events: &Arc<dyn EventSink>,
) -> Vec<CopiedTo<'a>> {
    let mappings = |named: &mut Named| std::mem::take(&mut named.mappings);
    let mut named = named;
    let (arrived, extra): (Vec<Arrived>, Vec<ExtraReads>) = match (named.as_mut_slice(), opened) {
        ([(only, _)], [registry]) => {
            let begun = Instant::now();
            let (registry, events) = (Arc::clone(registry), Arc::clone(events));
            let images = pipeline::mirror(source, registry, mappings(only), options, events).await;
            (vec![Arrived { images, time: begun.elapsed() }], vec![ExtraReads::default()])
        }
        (several, opened) => {
            let own = |_| Arc::new(source.beside(Registries::with_own_connections));
            let readers = opened.iter().map(|registry| Arc::new(registry.with_own_connections())).collect();
            let shared = Shared::new((0..opened.len()).map(own).collect(), opened.to_vec(), readers);
            let targets = several.iter_mut().enumerate().filter_map(|(number, (named, _))| {
                Some(Target {
                    source: shared.source(number)?,
                    destination: shared.destination(number)?,
                    mappings: mappings(named),
                    options: options.clone(),
                })
            });
            let arrived = mirror_to_each(targets.collect(), Arc::clone(events)).await;
            (arrived, (0..opened.len()).map(|number| shared.extra_reads(number)).collect())
        }
    };
    let copied = named.into_iter().zip(arrived).zip(extra);
    let copied = copied.map(|(((named, destination), arrived), extra_reads)| {
        let Arrived { mut images, time } = arrived;
        images.extend(named.skipped.into_iter().map(|outcome| announced(outcome, &**events)));
        CopiedTo { destination, placement: named.placement, images, time, extra_reads }
    });
    copied.collect()
}

/// The names of the images at one destination.
struct Named {
    placement: Placement,
    mappings: Vec<Mapping>,
    /// With `--locked`, the optional images that the lock's run skipped: it recorded no digest for them.
    skipped: Vec<ImageOutcome>,
}

/// What to copy where.
struct Job {
    sources: Vec<Reference>,
    first: Named,
    others: Vec<Named>,
    /// The images that the source need not provide.
    optional: BTreeSet<Reference>,
    chart: Option<ChartIdentity>,
    /// The packaged chart, if it is copied and no registry has it.
    packaged: Option<PackagedChart>,
    foreign_layers: ForeignLayers,
    /// The lock that exists, if it is extended rather than replaced.
    extended: Option<Lock>,
    /// With `--locked`, what is attached to each image.
    recorded: Option<HashMap<Reference, Vec<AttachedManifest>>>,
    /// With `--shard`, what is known about the images' sizes.
    contents: Contents,
}

/// The images of a chart, manifests or a list.
async fn selected(
    selection: &Selection,
    request: &Sync,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Job, Failure> {
    let found = enumerate(selection, request.copy.strict, access, events).await?;
    let earlier = earlier(request.lock(), events);
    let mut all = Vec::new();
    for Destination { root, naming, .. } in request.destinations.iter() {
        let (placement, mappings) = ToName::found(&found)
            .below(root, naming, earlier.as_ref())
            .map_err(|error| names::failure(&error))?;
        own_source::refuse(&mappings, root, &request.registries, NamedBy::Selection(selection)).await?;
        all.push(Named { placement, mappings, skipped: Vec::new() });
    }
    let (sources, first, others) = checked(all, request)?;
    let contents = contents(request, earlier.as_ref())?;
    let roots: Vec<&Root> = request.destinations.roots().collect();
    let extended = earlier.filter(|lock| lock.has_destinations_besides(&roots));
    if let Some(lock) = &extended {
        let checked = lock.check_foreign_layers(&roots, request.foreign_layers);
        checked.map_err(|error| error.failure())?;
    }
    Ok(Job {
        sources,
        first,
        others,
        optional: found.optional(),
        chart: found.chart,
        packaged: packaged_chart(found.package),
        foreign_layers: request.foreign_layers.into(),
        extended,
        recorded: None,
        contents,
    })
}

/// The images, and their names at each destination. Fails if two destinations would share a repository.
fn checked(all: Vec<Named>, request: &Sync) -> Result<(Vec<Reference>, Named, Vec<Named>), Failure> {
    let places = request.destinations.roots().zip(all.iter().map(|named| named.mappings.as_slice()));
    refuse_shared_repositories(places, &request.registries)?;
    let mut all = all.into_iter();
    let first = all.next().ok_or_else(|| Failure::new(Kind::Usage, "--to is empty"))?;
    let sources = first.mappings.iter().map(|mapping| mapping.source.clone()).collect();
    Ok((sources, first, all.collect()))
}

/// What a shard knows about the images' sizes: from the plan, else from the lock that exists.
fn contents(request: &Sync, lock: Option<&Lock>) -> Result<Contents, Failure> {
    match &request.shard {
        None => Ok(Contents::default()),
        Some(ShardSettings { plan: Some(plan), .. }) => Contents::read(plan),
        Some(_) => Ok(lock.map(Contents::of_lock).unwrap_or_default()),
    }
}

/// The images of the lock, at its digests and under its names.
async fn locked(chart: Option<&LockedChart>, request: &Sync, access: &Access) -> Result<Job, Failure> {
    let path = request.lock();
    let lock = Lock::read_with_images(path).map_err(|error| unreadable(&error))?;
    let is_skipped = |image: &&LockedImage| image.optional && image.digest.is_none();
    let (skipped, images): (Vec<&LockedImage>, Vec<&LockedImage>) =
        lock.images.iter().partition(|image| is_skipped(image) && !request.copy.strict);
    let sources = images.iter().map(|image| pinned(image, path)).collect::<Result<Vec<_>, _>>()?;
    let packaged = locked_chart(&lock, chart, path, access).await?;
    let roots: Vec<&Root> = request.destinations.roots().collect();
    let foreign_layers = request.foreign_layers || lock.foreign_layers;
    lock.check_foreign_layers(&roots, foreign_layers).map_err(|error| error.failure())?;
    let mut all = Vec::new();
    for destination in request.destinations.iter() {
        let root = &destination.root;
        let (placement, namer) = locked_names(&lock, destination, &root.to_string());
        let at_destination = name_all(&namer, &sources)?;
        own_source::refuse(&at_destination, root, &request.registries, NamedBy::Lock(path)).await?;
        // The new lock keeps the references of the old lock.
        let unpinned = |(mapping, image): (Mapping, &&LockedImage)| Mapping {
            pinned: image.digest.clone(),
            source: image.source.clone(),
            ..mapping
        };
        let mappings = at_destination.into_iter().zip(&images).map(unpinned).collect();
        let skipped = skipped.iter().map(|image| skipped_by_the_lock(image, &namer));
        let skipped = skipped.collect::<Result<Vec<_>, _>>()?;
        all.push(Named { placement, mappings, skipped });
    }
    let (sources, first, others) = checked(all, request)?;
    let recorded = images.iter().map(|image| (image.source.clone(), image.attached.clone())).collect();
    let optional = images.iter().filter(|image| image.optional).map(|image| image.source.clone()).collect();
    let contents = contents(request, Some(&lock))?;
    Ok(Job {
        sources,
        first,
        others,
        optional,
        chart: lock.chart.clone(),
        packaged,
        foreign_layers: foreign_layers.into(),
        extended: Some(lock),
        recorded: Some(recorded),
        contents,
    })
}

/// Whether a text can only be looked up in the chart repository: a lock must not choose a file or a URL.
fn is_chart_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(is_allowed)
        && Path::new(name).extension().is_none_or(|extension| extension != "tgz" && extension != "gz")
}

/// The names of `--locked`: those in the lock, unless flags ask for others.
fn locked_names(lock: &Lock, destination: &Destination, to: &str) -> (Placement, Namer) {
    let Destination { root, naming: rule, .. } = destination;
    let (naming, source_prefix, chart, in_full) = match lock.placement_for(to) {
        Some(Placement { naming, source_prefix, chart, in_full, .. }) => {
            (*naming, source_prefix.clone(), chart.clone(), in_full.clone())
        }
        None => (Naming::default(), None, None, BTreeSet::new()),
    };
    let recorded = lock.names_for(root).filter(|recorded| rule.agrees_with(recorded.placement));
    let recorded = recorded.map(|recorded| recorded.names).unwrap_or_default();
    // Images are named with their digests here.
    let digests: BTreeMap<&Reference, &Digest> =
        lock.images.iter().filter_map(|image| Some((&image.source, image.digest.as_ref()?))).collect();
    let with_digest = |(source, name): (Reference, Reference)| match digests.get(&source) {
        Some(digest) => (source.with_digest((*digest).clone()), name),
        None => (source, name),
    };
    let kept = recorded.into_iter().map(with_digest).collect();
    let placement = rule.placement(Some(root), naming, source_prefix, chart);
    let namer = placement.namer(root.clone()).with_names_in_full(in_full).with_kept_names(kept);
    (placement, namer)
}

/// The outcome of an optional image for which the lock has no digest.
fn skipped_by_the_lock(image: &LockedImage, namer: &Namer) -> Result<ImageOutcome, Failure> {
    let mapping = namer.map(&image.source).map_err(|error| names::failure(&error))?;
    let reason = Failure::new(Kind::Image, "the run that wrote the lock skipped it")
        .with_hint("run sync without --locked to look for it again");
    Ok(ImageOutcome::skipped(&mapping, reason))
}

/// Emits the events of an image that is skipped from the start.
fn announced(outcome: ImageOutcome, events: &dyn EventSink) -> Mirrored {
    let (image, message) = (Some(outcome.source.clone()), outcome.skip_message().unwrap_or_default());
    events.emit(Event::Warning { image, message });
    Mirrored::from(outcome)
}

/// With `--with-chart`, packages the lock's chart again: it must have the same digest.
async fn locked_chart(
    lock: &Lock,
    wanted: Option<&LockedChart>,
    path: &Path,
    access: &Access,
) -> Result<Option<PackagedChart>, Failure> {
    let packaged = lock.placement().and_then(|placement| placement.chart.as_ref());
    let (reference, identity) = match (packaged, &lock.chart) {
        (Some(reference), Some(identity)) => (reference, identity),
        _ if wanted.is_some() => {
            let message = format!("the lock {} contains no packaged chart", path.display());
            return Err(Failure::new(Kind::Usage, message)
                .with_hint("run sync once with --with-chart and without --locked"));
        }
        _ => return Ok(None),
    };
    if !chart::is_local_chart(reference) {
        return Ok(None);
    }
    let Some(wanted) = wanted else {
        return Ok(Some(PackagedChart { reference: reference.clone(), artifact: None }));
    };
    if wanted.name.is_none() && !is_chart_name(&identity.name) {
        let message = format!(
            "the lock {} names the chart `{}`, which is not a valid chart name",
            path.display(),
            identity.name
        );
        return Err(Failure::new(Kind::Input, message).with_hint("name the chart with --chart"));
    }
    let options = wanted.options_for(identity);
    let fetched = fetch_package(&options, access).await?;
    let package = enumeration::package_chart(fetched.as_deref().unwrap_or(&options)).await?;
    let locked = lock.images.iter().find(|image| image.source == *reference);
    let locked = locked.and_then(|image| image.digest.as_ref());
    let found = package.artifact.as_ref().map(|artifact| artifact.manifest().digest());
    if found != locked || package.reference != *reference {
        let message = format!("the chart {} differs from the chart in the lock", package.reference);
        return Err(Failure::new(Kind::Input, message)
            .with_hint("pass the same chart with --chart and --repo, or run sync without --locked"));
    }
    Ok(packaged_chart(Some(package)))
}

/// The failure of `--locked` without a lock.
fn unreadable(error: &LockError) -> Failure {
    let failure = error.failure();
    match error {
        LockError::Absent(_) => failure.with_hint(
            "--locked repeats an earlier sync: run sync once without --locked, or pass that run's lock with --lock FILE",
        ),
        _ => failure,
    }
}

/// An image of the lock, pinned to its digest.
fn pinned(image: &LockedImage, path: &Path) -> Result<Reference, Failure> {
    let digest = image.digest.clone().ok_or_else(|| {
        Failure::new(Kind::Input, format!("the lock {} has no digest for {}", path.display(), image.source))
            .with_hint(if image.optional {
                "the run that wrote the lock skipped this optional image: omit --strict, or run sync without --locked to look for it again"
            } else {
                "that image failed when the lock was written: run sync without --locked"
            })
    })?;
    Ok(image.source.clone().with_digest(digest))
}
