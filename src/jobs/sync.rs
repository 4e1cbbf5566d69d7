//! `sync`: copies, confirms, writes the lock.

use std::{path::Path, sync::Arc, time::Instant};

use super::{
    images::{enumerate, name_all, packaged_chart, warn_of_idle_waivers},
    record::{Copied, Record},
};
use crate::{
    endpoint::packaged_chart::{ChartSource, PackagedChart},
    enumerate::{self as enumeration, Selection},
    error::{Failure, Kind},
    event::EventSink,
    graph::ForeignLayers,
    lock::{Lock, LockError, LockedImage, Placement},
    oci::{ChartIdentity, Mapping, Naming, Reference, chart},
    outcome::{Command, RunOutcome},
    pipeline,
    request::{Access, ImagesFrom, Installation, LockedChart, Sync, chart_of, next_steps},
};

pub(crate) async fn run(request: &Sync, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Sync { images, destination, registries, platforms, copy, .. } = request;
    let access = Access::open(registries, Arc::clone(&events))?;
    let Job { mappings, placement, chart, packaged, foreign_layers, earlier } = match images {
        ImagesFrom::Selection(selection) => selected(selection, request, &*events).await?,
        ImagesFrom::Lock { chart } => locked(chart.as_deref(), request).await?,
    };
    let record = Record::prepare((!copy.dry_run).then(|| request.lock()))?;
    let source = access.source()?.with_foreign_layers(foreign_layers);
    let source = Arc::new(ChartSource::new(source, packaged));
    let registry = Arc::new(access.destination(&destination.root, destination.login.as_ref()).await?);
    let waivers = platforms.waivers();
    let sources: Vec<Reference> = mappings.iter().map(|mapping| mapping.source.clone()).collect();
    warn_of_idle_waivers(&waivers, &sources, &*events);
    let options = copy.options(platforms.required.clone(), waivers, foreign_layers);
    let images = pipeline::mirror(source, registry, mappings, options, events).await;
    let packaged = placement.chart.clone();
    let copied = Copied {
        command: Command::Sync,
        started,
        root: destination.root.clone(),
        placement,
        bundle: None,
        chart,
        platforms: platforms.required.clone(),
        foreign_layers,
        earlier,
        check: copy.check,
        dry_run: copy.dry_run,
        images,
    };
    let mut outcome = copied.finish(record);
    outcome.next_steps = next_steps(
        &outcome,
        &Installation {
            root: &destination.root,
            login: destination.login.as_ref(),
            registries,
            lock: Some(request.lock()),
            packaged: packaged.as_ref(),
            options: match &request.images {
                ImagesFrom::Selection(selection) => chart_of(selection),
                ImagesFrom::Lock { .. } => None,
            },
        },
    );
    Ok(outcome)
}

/// What to copy where.
struct Job {
    mappings: Vec<Mapping>,
    placement: Placement,
    chart: Option<ChartIdentity>,
    /// The packaged chart, if it is copied and no registry has it.
    packaged: Option<PackagedChart>,
    foreign_layers: ForeignLayers,
    /// With `--locked`, the lock: its other destinations are kept.
    earlier: Option<Lock>,
}

/// The images of a chart, manifests or a list.
async fn selected(selection: &Selection, request: &Sync, events: &dyn EventSink) -> Result<Job, Failure> {
    let found = enumerate(selection, events).await?;
    let mut sources: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let chart = found.package.as_ref().map(|package| package.reference.clone());
    sources.extend(chart.clone());
    let destination = &request.destination;
    let root = &destination.root;
    let naming = Naming::default();
    let placement = destination.naming.placement(Some(root), naming, found.source_prefix, chart);
    Ok(Job {
        mappings: name_all(&placement, root, &sources)?,
        placement,
        chart: found.chart,
        packaged: packaged_chart(found.package),
        foreign_layers: request.foreign_layers.into(),
        earlier: None,
    })
}

/// The images of the lock, at its digests and under its names.
async fn locked(chart: Option<&LockedChart>, request: &Sync) -> Result<Job, Failure> {
    let path = request.lock();
    let lock = Lock::read(path).map_err(|error| unreadable(&error))?;
    let sources = lock.images.iter().map(|image| pinned(image, path)).collect::<Result<Vec<_>, _>>()?;
    let packaged = locked_chart(&lock, chart, path).await?;
    let destination = &request.destination;
    let root = &destination.root;
    let to = root.to_string();
    let foreign_layers = request.foreign_layers || lock.foreign_layers;
    lock.check_foreign_layers(&to, foreign_layers).map_err(|error| error.failure())?;
    let (naming, source_prefix, chart) = match lock.placement_for(&to) {
        Some(Placement { naming, source_prefix, chart, .. }) => {
            (*naming, source_prefix.clone(), chart.clone())
        }
        None => (Naming::default(), None, None),
    };
    let placement = destination.naming.placement(Some(root), naming, source_prefix, chart);
    let named = name_all(&placement, root, &sources)?;
    // The new lock keeps the references of the old lock.
    let unpinned = |(mapping, image): (Mapping, &LockedImage)| Mapping {
        pinned: image.digest.clone(),
        source: image.source.clone(),
        ..mapping
    };
    Ok(Job {
        mappings: named.into_iter().zip(&lock.images).map(unpinned).collect(),
        placement,
        chart: lock.chart.clone(),
        packaged,
        foreign_layers: foreign_layers.into(),
        earlier: Some(lock),
    })
}

/// With `--with-chart`, packages the lock's chart again: it must have the same digest.
async fn locked_chart(
    lock: &Lock,
    wanted: Option<&LockedChart>,
    path: &Path,
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
    let package = enumeration::package_chart(&wanted.options_for(identity)).await?;
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
            "--locked repeats what an earlier sync recorded: run sync once without --locked, or name its \
             record with --lock FILE",
        ),
        _ => failure,
    }
}

/// An image of the lock, pinned to its digest.
fn pinned(image: &LockedImage, path: &Path) -> Result<Reference, Failure> {
    let digest = image.digest.clone().ok_or_else(|| {
        Failure::new(Kind::Input, format!("the lock {} has no digest for {}", path.display(), image.source))
            .with_hint("that image failed when the lock was written: run sync without --locked")
    })?;
    Ok(image.source.clone().with_digest(digest))
}
