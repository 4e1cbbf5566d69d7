//! `verify`: the mirror against its lock, or against the source.

use std::{path::Path, sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::{Session, enumerate, format};
use crate::{
    cli::Verify,
    confirm::Level,
    endpoint::{Cause, Error, Operation, Side, Source},
    enumerate::ChartIdentity,
    error::{Failure, Kind},
    lock::{Lock, LockedImage},
    oci::{Mapping, Platform, Reference, Target, mapping::Root},
    pipeline::{self, Expectation, verify::Unknown},
    report::{Closing, Command, RunDocument, present_run},
    settings::{self, Access},
};

/// The lock that is read when none is named.
const DEFAULT_LOCK: &str = "thoras-mirror.lock";
/// How many references are resolved at once at the source.
const AT_ONCE: usize = 16;

/// What is verified, however it became known.
struct Task {
    root: Root,
    expectations: Vec<Expectation>,
    chart: Option<ChartIdentity>,
}

pub(super) async fn run(args: Verify, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    settings::check_stdin(Some(&args.selection), &args.registries, Some(&args.login))?;
    let access = Access::new(&args.registries, session.events())?;
    let task = match &args.to {
        Some(to) => from_source(to, &args, &access, session).await?,
        None => from_lock(&args)?,
    };
    let destination = Arc::new(access.destination(&task.root, &args.login).await?);
    let outcomes = pipeline::verify(destination, task.expectations, args.level, session.events()).await;
    session.reporter.finish();
    let mut document = RunDocument::new(Command::Verify, outcomes, Vec::new(), begun.elapsed());
    document.destination = Some(task.root.to_string());
    document.level = Some(level_name(args.level).to_owned());
    document.chart = task.chart;
    // Which selection was mirrored is not known here, so the command names the lock, which knows it.
    let repair = match &args.to {
        Some(_) => format!("thoras-mirror sync --to {}", task.root),
        None => {
            format!("thoras-mirror sync --locked --lock {} --to {}", lock_path(&args).display(), task.root)
        }
    };
    let closing = Closing::Verify { level: level_name(args.level) };
    present_run(&document, closing, format(args.output), session.verbosity, &repair)?;
    Ok(document.exit_code)
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Platforms => "platforms",
        Level::Blobs => "blobs",
        Level::Bytes => "bytes",
    }
}

fn lock_path(args: &Verify) -> &Path {
    args.lock.as_deref().unwrap_or(Path::new(DEFAULT_LOCK))
}

/// Everything that the lock recorded.
fn from_lock(args: &Verify) -> Result<Task, Failure> {
    let path = lock_path(args);
    if !args.selection.image.is_empty() {
        return Err(Failure::new(Kind::Usage, "images are named, but no --to").with_hint(
            "verify reads the lock's images; to verify others, say where they are with --to REGISTRY/PATH",
        ));
    }
    let lock = Lock::read(path).map_err(|error| error.failure())?;
    let waivers = settings::waivers(&args.platforms);
    let expectation = |image: &LockedImage, destination: &Reference| {
        let waived =
            |platform: &&Platform| image.waived.contains(platform) || waivers.covers(&image.source, platform);
        let (waived, platforms) = lock.platforms.iter().cloned().partition(|platform| waived(&platform));
        Expectation {
            image: Arc::new(Mapping {
                source: image.source.clone(),
                repository: destination.repository().clone(),
                tag: destination.tag().unwrap_or("latest").to_owned(),
            }),
            digest: image.digest.clone().filter(|_| image.confirmed).ok_or(Unknown::NeverConfirmed),
            platforms,
            waived,
        }
    };
    let expectations: Vec<Expectation> = lock
        .images
        .iter()
        .flat_map(|image| image.destinations.iter().map(move |destination| (image, destination)))
        .map(|(image, destination)| expectation(image, destination))
        .collect();
    let first = expectations
        .first()
        .ok_or_else(|| Failure::new(Kind::Input, format!("the lock {} names no images", path.display())))?;
    let root = settings::root(first.image.repository.registry())?;
    Ok(Task { root, expectations, chart: lock.chart })
}

/// Everything that the chart or list names, with the digests that the source has now.
async fn from_source(to: &str, args: &Verify, access: &Access, session: &Session) -> Result<Task, Failure> {
    let root = settings::root(to)?;
    let found = enumerate(&args.selection, session).await?;
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let namer = settings::namer(root.clone(), &args.naming, found.source_prefix);
    let mappings = namer.map_all(&references).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let source = access.source()?;
    let waivers = settings::waivers(&args.platforms);
    let expectations = stream::iter(mappings)
        .map(|mapping| async {
            let digest = resolve(&source, &mapping).await.map_err(Unknown::Source);
            let (waived, platforms) = args
                .platforms
                .platform
                .iter()
                .cloned()
                .partition(|platform| waivers.covers(&mapping.source, platform));
            Expectation { image: Arc::new(mapping), digest, platforms, waived }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(Task { root, expectations, chart: found.chart })
}

async fn resolve<S: Source>(source: &S, mapping: &Mapping) -> Result<crate::oci::Digest, Error> {
    let repository = mapping.source.repository();
    let found = match mapping.source.target() {
        Target::Digest(digest) => Some(digest),
        Target::Tag(tag) => source.digest(repository, &tag).await?,
    };
    found.ok_or_else(|| {
        Error::new(Operation::ReadManifest, Side::Source, mapping.source.to_string(), Cause::NoSuchManifest)
    })
}
