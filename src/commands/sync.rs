//! `sync`: copy, confirm, write the lock.

use std::{sync::Arc, time::Instant};

use super::{Session, enumerate, name_all, repositories, warn_of_idle_waivers};
use crate::{
    cli::{Check, Sync},
    confirm::Level,
    enumerate::ChartIdentity,
    error::{Failure, Kind},
    lock::{Lock, LockError, LockFile, Placement},
    oci::{Mapping, Naming, Reference, Repository, mapping::Root},
    pipeline::{self, Mirrored, Options},
    report::{Closing, Command, RunDocument, present_run},
    resolve::ForeignLayers,
    settings::{self, Access},
};

/// How many blobs move at once when nothing else is asked for.
const JOBS: u16 = 16;

pub(super) async fn run(args: Sync, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    settings::check_stdin(Some(&args.selection), &args.registries, Some(&args.destination.login))?;
    let root = settings::root(&args.destination.to)?;
    let access = Access::new(&args.registries, session.events())?;
    let Work { sources, mappings, placement, chart, foreign_layers } = work(&args, &root, session).await?;
    // Found out before a byte moves, not after the last.
    let lock_file = if args.dry_run {
        None
    } else {
        Some(LockFile::prepare(&args.lock).map_err(|error| error.failure())?)
    };
    let source = Arc::new(access.source()?.with_foreign_layers(foreign_layers));
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
        waivers: settings::waivers(&args.platforms),
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
    foreign_layers: ForeignLayers,
}

/// From the chart or list, or with `--locked` from the lock.
async fn work(args: &Sync, root: &Root, session: &Session) -> Result<Work, Failure> {
    let mut foreign_layers = args.foreign_layers;
    let (sources, references, usual, chart) = if args.locked {
        let lock = Lock::read(&args.lock).map_err(|error| unreadable(&error))?;
        let references = locked(&lock, args)?;
        foreign_layers |= lock.foreign_layers;
        let sources = lock.images.into_iter().map(|image| image.source).collect();
        (sources, references, (lock.placement.naming, lock.placement.source_prefix), lock.chart)
    } else {
        let found = enumerate(&args.selection, session).await?;
        let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
        (references.clone(), references, (Naming::default(), found.source_prefix), found.chart)
    };
    let placement = settings::placement(root, &args.destination.naming, usual);
    let mappings = name_all(&placement, root, &references)?;
    Ok(Work { sources, mappings, placement, chart, foreign_layers: foreign_layers.into() })
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
