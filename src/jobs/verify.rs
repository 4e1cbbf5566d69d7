//! `verify`: compares the mirror with its lock, or with the source.

use std::{path::Path, sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::images::{enumerate, name_all, warn_of_idle_waivers};
use crate::{
    confirm::Level,
    endpoint::{Cause, Error, Operation, Source},
    enumerate::Selection,
    error::{Failure, Kind},
    event::EventSink,
    lock::{Lock, LockedCopy, LockedImage, Placement},
    oci::{ChartIdentity, Digest, Mapping, Naming, Reference, Target, mapping::Root},
    outcome::{Command, Repair, RunOutcome},
    pipeline::{self, Expectation, Unknown},
    problem::Side,
    request::{self, Access, CompareWith, Installation, NamingRule, Verify, chart_of, next_steps},
    waiver::Waivers,
};

/// How many references are resolved at once at the source.
const AT_ONCE: usize = 16;

pub(crate) async fn run(request: &Verify, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Verify { with, level, platforms: _, login, registries } = request;
    let access = Access::open(registries, Arc::clone(&events))?;
    let Comparison { root, destinations, expectations, chart, packaged, repair } = match with {
        CompareWith::Lock { path, .. } => with_lock(path, request, &*events)?,
        CompareWith::Source { selection, root, naming, foreign_layers } => {
            let mirror = Mirror { root, naming, foreign_layers: *foreign_layers };
            with_source(&mirror, selection, request, &access, &*events).await?
        }
    };
    let destination = Arc::new(access.destination(&root, login.as_ref()).await?);
    let outcomes = pipeline::verify(destination, expectations, *level, events).await;
    let mut outcome = RunOutcome {
        destination: Some(destinations),
        level: Some(level.to_string()),
        chart,
        repair,
        ..RunOutcome::new(Command::Verify, outcomes, Vec::new(), started.elapsed())
    };
    outcome.next_steps = next_steps(
        &outcome,
        &Installation {
            root: &root,
            login: login.as_ref(),
            registries,
            lock: match with {
                CompareWith::Lock { path, .. } => Some(path),
                CompareWith::Source { .. } => None,
            },
            packaged: packaged.as_ref(),
            options: match with {
                CompareWith::Lock { .. } => None,
                CompareWith::Source { selection, .. } => chart_of(selection),
            },
        },
    );
    Ok(outcome)
}

/// What each image must be, and the command that repairs it.
struct Comparison {
    /// A root of the mirror, for the credentials.
    root: Root,
    /// The destinations as reports show them.
    destinations: String,
    expectations: Vec<Expectation>,
    chart: Option<ChartIdentity>,
    /// The name of the packaged chart before it was mirrored.
    packaged: Option<Reference>,
    repair: Option<Repair>,
}

/// Everything that the lock recorded.
fn with_lock(path: &Path, request: &Verify, events: &dyn EventSink) -> Result<Comparison, Failure> {
    let lock = Lock::read(path).map_err(|error| error.failure())?;
    let waivers = request.platforms.waivers();
    let sources: Vec<Reference> = lock.images.iter().map(|image| image.source.clone()).collect();
    warn_of_idle_waivers(&waivers, &sources, events);
    let roots = roots(&lock, request, path)?;
    let (mut expectations, mut repair) = (Vec::new(), None::<Repair>);
    for (placement, root) in lock.destinations.iter().zip(&roots) {
        let copies =
            lock.images.iter().flat_map(|image| image.destinations.iter().map(move |copy| (image, copy)));
        let here: Vec<Expectation> = copies
            .filter(|(_, copy)| copy.to == placement.to)
            .map(|(image, copy)| expectation(&lock, image, copy, &waivers))
            .collect();
        if let Some(command) = request.sync_from_lock(&lock, placement, root).as_ref().map(request::repair) {
            match &mut repair {
                None => repair = Some(command),
                Some(repair) => repair.elsewhere.extend(
                    here.iter().map(|expected| (expected.image.destination(), command.command.clone())),
                ),
            }
        }
        expectations.extend(here);
    }
    let destinations = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Some(root) = roots.into_iter().next().filter(|_| !expectations.is_empty()) else {
        return Err(Failure::new(Kind::Input, format!("the lock {} contains no images", path.display())));
    };
    let packaged = lock.placement().and_then(|placement| placement.chart.clone());
    Ok(Comparison { root, destinations, expectations, chart: lock.chart, packaged, repair })
}

/// The expectation for one copy of an image.
fn expectation(lock: &Lock, image: &LockedImage, copy: &LockedCopy, waivers: &Waivers) -> Expectation {
    let (waived, platforms) = waivers.split_locked(&image.source, &image.waived, &lock.platforms);
    Expectation {
        image: Arc::new(Mapping {
            source: image.source.clone(),
            pinned: image.digest.clone(),
            repository: copy.reference.repository().clone(),
            tag: copy.reference.tag().unwrap_or("latest").to_owned(),
        }),
        digest: image.digest.clone().filter(|_| copy.confirmed).ok_or(Unknown::NeverConfirmed),
        platforms,
        waived,
        foreign_layers: lock.foreign_layers.into(),
    }
}

/// The lock's destinations. A login applies to one registry.
fn roots(lock: &Lock, request: &Verify, path: &Path) -> Result<Vec<Root>, Failure> {
    let unusable = |error| {
        let message = format!("the lock {} does not say where its images are: {error}", path.display());
        Failure::new(Kind::Input, message)
    };
    let from_bundle = || {
        let message = format!("the lock {} comes from a bundle and names no registry", path.display());
        Failure::new(Kind::Input, message).with_hint(
            "`thoras-mirror bundle import` writes a lock with a registry; `thoras-mirror bundle verify` reads the \
             bundle itself",
        )
    };
    let root = |placement: &Placement| {
        let to = placement.to.as_ref().ok_or_else(from_bundle)?;
        to.parse().map_err(unusable)
    };
    let roots: Vec<Root> = lock.destinations.iter().map(root).collect::<Result<_, _>>()?;
    let first = roots.first().map(Root::registry);
    if request.login.is_some() && roots.iter().any(|root| Some(root.registry()) != first) {
        let message =
            format!("--to-username applies to one registry, but the lock {} names several", path.display());
        return Err(Failure::new(Kind::Usage, message)
            .with_hint("omit --to-username and pass the logins with --authfile FILE"));
    }
    Ok(roots)
}

/// A mirror that is compared with its source.
struct Mirror<'a> {
    root: &'a Root,
    naming: &'a NamingRule,
    foreign_layers: bool,
}

/// Every image of the chart or list, with its current digest at the source.
async fn with_source(
    mirror: &Mirror<'_>,
    selection: &Selection,
    request: &Verify,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Comparison, Failure> {
    let Mirror { root, naming, foreign_layers } = *mirror;
    let found = enumerate(selection, events).await?;
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let placement = naming.placement(Some(root), Naming::default(), found.source_prefix, None);
    let mappings = name_all(&placement, root, &references)?;
    let source = access.source()?;
    let (waivers, required) = (request.platforms.waivers(), &request.platforms.required);
    warn_of_idle_waivers(&waivers, &references, events);
    let expectations = stream::iter(mappings)
        .map(|mapping| async {
            let digest = resolve(&source, &mapping, request.level).await.map_err(Unknown::Source);
            let (waived, platforms) = waivers.split(&mapping.source, required);
            let (image, foreign_layers) = (Arc::new(mapping), foreign_layers.into());
            Expectation { image, digest, platforms, waived, foreign_layers }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let repair = request.sync_from_source().as_ref().map(request::repair);
    let destinations = root.to_string();
    let (root, packaged) = (root.clone(), None);
    Ok(Comparison { root, destinations, expectations, chart: found.chart, packaged, repair })
}

/// The current digest at the source. A HEAD request, which does not count against pull quotas, is enough unless every
/// byte is verified.
async fn resolve<S: Source>(source: &S, mapping: &Mapping, level: Level) -> Result<Digest, Error> {
    let repository = mapping.source.repository();
    let found = match mapping.source.target() {
        Target::Digest(digest) => Some(digest),
        tag @ Target::Tag(_) if level == Level::Bytes => {
            source.manifest(repository, &tag).await?.map(|manifest| manifest.digest().clone())
        }
        Target::Tag(tag) => source.digest(repository, &tag).await?,
    };
    found.ok_or_else(|| {
        Error::new(Operation::ReadManifest, Side::Source, mapping.source.to_string(), Cause::NoSuchManifest)
    })
}
