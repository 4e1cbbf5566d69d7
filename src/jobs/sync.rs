//! `sync`: copy, confirm, write the lock.

use std::{sync::Arc, time::Instant};

use super::{Session, enumerate_with, made_here, name_all, repositories, warn_of_idle_waivers};
use crate::{
    cli::{Check, Sync},
    confirm::Level,
    endpoint::packaged_chart::{ChartSource, PackagedChart},
    enumerate,
    error::{Failure, Kind},
    graph::ForeignLayers,
    lock::{Lock, LockError, LockFile, Placement},
    oci::{ChartIdentity, Mapping, Naming, Reference, Repository, chart, mapping::Root},
    outcome::Mirrored,
    pipeline::{self, Options},
    report::{Closing, Command, RunDocument, present_run},
    request::{self, Access},
};

/// How many blobs move at once when nothing else is asked for.
const JOBS: u16 = 16;

pub(super) async fn run(args: Sync, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    request::check_stdin(Some(&args.selection), &args.registries, Some(&args.destination.login))?;
    let root = request::root(&args.destination.to)?;
    let access = Access::new(&args.registries, session.events())?;
    let Work { sources, mappings, placement, chart, made_here, foreign_layers } =
        work(&args, &root, session).await?;
    // Found out before a byte moves, not after the last.
    let lock_file = if args.dry_run {
        None
    } else {
        Some(LockFile::prepare(&args.lock).map_err(|error| error.failure())?)
    };
    let source = access.source()?.with_foreign_layers(foreign_layers);
    let source = Arc::new(ChartSource::new(source, made_here));
    let destination = Arc::new(access.destination(&root, &args.destination.login).await?);
    let options = options(&args, foreign_layers);
    warn_of_idle_waivers(&options.waivers, &sources, session);
    let platforms = options.platforms.clone();
    let mut mirrored = pipeline::mirror(source, destination, mappings, options, session.events()).await;
    session.reporter.finish();
    // The lock's digests were pinned to its references for this run; they stay in it as they were written.
    mirrored.iter_mut().zip(sources).for_each(|(one, source)| one.outcome.source = source);
    let mut failures = Vec::new();
    if let Some(file) = lock_file {
        let lock = Lock::new(chart.clone(), placement, &platforms, foreign_layers, &mirrored);
        failures.extend(file.write(&lock).err().map(|error| error.failure()));
    }
    let missing = mirrored.iter().filter_map(|one| one.missing_repository.clone()).collect();
    failures.extend(repositories::missing(&missing));
    let outcomes = mirrored.into_iter().map(|one: Mirrored| one.outcome).collect();
    let mut document = RunDocument::new(Command::Sync, outcomes, failures, begun.elapsed());
    document.destination = Some(root.to_string());
    document.level = Some(check_name(args.check).to_owned());
    document.chart = chart;
    let closing = if args.dry_run { Closing::Plan } else { Closing::Sync };
    present_run(&document, closing, args.output, session.verbosity)?;
    Ok(document.exit_code)
}

fn options(args: &Sync, foreign_layers: ForeignLayers) -> Options {
    Options {
        platforms: args.platforms.platform.clone(),
        waivers: request::waivers(&args.platforms),
        check: match args.check {
            Check::Manifests => Level::Platforms,
            Check::Blobs => Level::Blobs,
        },
        foreign_layers,
        overwrite: !args.no_overwrite,
        dry_run: args.dry_run,
        jobs: usize::from(args.jobs.unwrap_or(JOBS)),
        fail_fast: args.fail_fast,
    }
}

pub(super) fn check_name(check: Check) -> &'static str {
    match check {
        Check::Manifests => "manifests",
        Check::Blobs => "blobs",
    }
}

/// What goes where.
struct Work {
    /// The references as they were asked for, one for each mapping.
    sources: Vec<Reference>,
    mappings: Vec<Mapping>,
    placement: Placement,
    chart: Option<ChartIdentity>,
    /// The chart itself, where it goes along and no registry has it.
    made_here: Option<PackagedChart>,
    /// Whether foreign layers are copied: asked for now, or by the lock.
    foreign_layers: ForeignLayers,
}

/// From the chart or list, or with `--locked` from the lock.
async fn work(args: &Sync, root: &Root, session: &Session) -> Result<Work, Failure> {
    let naming = &args.destination.naming;
    if args.locked {
        let lock = Lock::read(&args.lock).map_err(|error| unreadable(&error))?;
        let references = locked(&lock, args)?;
        let made_here = locked_chart(&lock, args).await?;
        let foreign_layers = (args.foreign_layers || lock.foreign_layers).into();
        let Placement { naming: usual, source_prefix, chart, .. } = lock.placement;
        let placement = request::placement(root, naming, (usual, source_prefix));
        let placement = Placement { chart, ..placement };
        let mappings = name_all(&placement, root, &references)?;
        let sources = lock.images.into_iter().map(|image| image.source).collect();
        return Ok(Work { sources, mappings, placement, chart: lock.chart, made_here, foreign_layers });
    }
    let found = enumerate_with(&args.selection, args.with_chart, session).await?;
    let mut sources: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let chart = found.package.as_ref().map(|package| package.reference.clone());
    sources.extend(chart.clone());
    let placement = request::placement(root, naming, (Naming::default(), found.source_prefix));
    let placement = Placement { chart, ..placement };
    let mappings = name_all(&placement, root, &sources)?;
    let (chart, made_here) = (found.chart, made_here(found.package));
    let foreign_layers = args.foreign_layers.into();
    Ok(Work { sources, mappings, placement, chart, made_here, foreign_layers })
}

/// The lock's chart, packaged again if that was asked for: it must turn out to be the same.
async fn locked_chart(lock: &Lock, args: &Sync) -> Result<Option<PackagedChart>, Failure> {
    if !args.with_chart && args.selection.chart.is_some() {
        return Err(Failure::new(Kind::Usage, "--locked cannot be used with --chart").with_hint(
            "the lock names the images; --chart is only where --with-chart finds the chart itself",
        ));
    }
    let (reference, identity) = match (&lock.placement.chart, &lock.chart) {
        (Some(reference), Some(identity)) => (reference, identity),
        _ if args.with_chart => {
            let message = format!("the lock {} has no packaged chart", args.lock.display());
            return Err(Failure::new(Kind::Usage, message)
                .with_hint("run sync with --with-chart and without --locked: it writes one that has"));
        }
        _ => return Ok(None),
    };
    if !chart::is_made_here(reference) {
        return Ok(None);
    }
    if !args.with_chart {
        return Ok(Some(PackagedChart { reference: reference.clone(), artifact: None }));
    }
    let package = enumerate::package_chart(&request::locked_chart(&args.selection, identity)).await?;
    let locked = lock.images.iter().find(|image| image.source == *reference);
    let locked = locked.and_then(|image| image.digest.as_ref());
    let found = package.artifact.as_ref().map(|artifact| artifact.manifest().digest());
    if found != locked || package.reference != *reference {
        let message = format!("the chart {} is not the one that the lock names", package.reference);
        return Err(Failure::new(Kind::Input, message)
            .with_hint("name the chart of that run with --chart and --repo, or run sync without --locked"));
    }
    Ok(made_here(Some(package)))
}

/// Without a lock there is nothing that `--locked` could repeat.
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

/// The lock's images, pinned to its digests.
fn locked(lock: &Lock, args: &Sync) -> Result<Vec<Reference>, Failure> {
    let pinned = lock.images.iter().map(|image| {
        let digest = image.digest.as_ref().ok_or_else(|| {
            Failure::new(
                Kind::Input,
                format!("the lock {} has no digest for {}", args.lock.display(), image.source),
            )
            .with_hint("that image failed when the lock was written: run sync without --locked")
        })?;
        let source: &Reference = &image.source;
        let repository: Repository = source.repository().clone();
        Ok(match source.tag() {
            Some(tag) => Reference::tagged(repository, tag)
                .map_err(|error| Failure::from_error(Kind::Input, &error))?
                .with_digest(digest.clone()),
            None => Reference::pinned(repository, digest.clone()),
        })
    });
    pinned.collect()
}
