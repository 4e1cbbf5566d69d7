//! `verify`: the mirror against its lock, or against the source.

use std::{path::Path, sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::{Session, enumerate, name_all, repair, warn_of_idle_waivers};
use crate::{
    cli::Verify,
    confirm::Level,
    endpoint::{Cause, Error, Operation, Source},
    error::{Failure, Kind},
    graph::ForeignLayers,
    lock::{Lock, LockedCopy, LockedImage},
    oci::{ChartIdentity, Digest, Mapping, Naming, Platform, Reference, Target, mapping::Root},
    outcome::{Command, Repair, RunOutcome},
    pipeline::{self, Expectation, verify::Unknown},
    problem::Side,
    report::{Document, Presentation, present},
    request::{self, Access, Yardstick},
    waiver::Waivers,
};

/// How many references are resolved at once at the source.
const AT_ONCE: usize = 16;

/// What is verified, however it became known.
struct Task {
    root: Root,
    expectations: Vec<Expectation>,
    chart: Option<ChartIdentity>,
    /// The command that repairs problems.
    repair: Repair,
    /// The destinations as reports show them.
    destinations: String,
}

pub(super) async fn run(args: Verify, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    request::check_stdin(Some(&args.selection), &args.registries, Some(&args.login))?;
    let access = Access::new(&args.registries, session.events())?;
    let task = match request::yardstick(&args) {
        Yardstick::Source(to) => from_source(&to, &args, &access, session).await?,
        Yardstick::Lock(path) => from_lock(&path, &args, session)?,
    };
    let destination = Arc::new(access.destination(&task.root, &args.login).await?);
    let outcomes = pipeline::verify(destination, task.expectations, args.level, session.events()).await;
    session.reporter.finish();
    let document = Document::from(RunOutcome {
        destination: Some(task.destinations),
        level: Some(level_name(args.level).to_owned()),
        chart: task.chart,
        repair: Some(task.repair),
        ..RunOutcome::new(Command::Verify, outcomes, Vec::new(), begun.elapsed())
    });
    present(&document, Presentation::new(args.output, session.verbosity))?;
    Ok(document.exit_code())
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Platforms => "platforms",
        Level::Blobs => "blobs",
        Level::Bytes => "bytes",
    }
}

/// Everything that the lock recorded.
fn from_lock(path: &Path, args: &Verify, session: &Session) -> Result<Task, Failure> {
    if !args.selection.image.is_empty() {
        return Err(Failure::new(Kind::Usage, "images are named, but no --to").with_hint(
            "verify reads the lock's images; to verify others, say where they are with --to REGISTRY/PATH",
        ));
    }
    let lock = Lock::read(path).map_err(|error| error.failure())?;
    let waivers = request::waivers(&args.platforms);
    let sources: Vec<Reference> = lock.images.iter().map(|image| image.source.clone()).collect();
    warn_of_idle_waivers(&waivers, &sources, session);
    let registries: Vec<&str> =
        lock.destinations.iter().filter_map(|placement| placement.to.as_deref()).collect();
    if registries.len() < lock.destinations.len() {
        let message = format!("the lock {} was taken from a bundle: it names no registry", path.display());
        return Err(Failure::new(Kind::Input, message).with_hint(
            "`thoras-mirror bundle import` writes one that does; `thoras-mirror bundle verify` reads the bundle itself",
        ));
    }
    let roots = roots(&registries, args, path)?;
    let (mut expectations, mut repair) = (Vec::new(), Repair::default());
    for (position, placement) in lock.destinations.iter().enumerate() {
        let here: Vec<Expectation> = lock
            .images
            .iter()
            .flat_map(|image| image.destinations.iter().map(move |copy| (image, copy)))
            .filter(|(_, copy)| copy.to == placement.to)
            .map(|(image, copy)| expectation(&lock, image, copy, &waivers))
            .collect();
        let command = repair::from_lock(args, &lock, placement, path);
        if position == 0 {
            repair = command;
        } else {
            let commands = here.iter().map(|one| (one.image.destination(), command.command.clone()));
            repair.elsewhere.extend(commands);
        }
        expectations.extend(here);
    }
    let Some(root) = roots.into_iter().next().filter(|_| !expectations.is_empty()) else {
        return Err(Failure::new(Kind::Input, format!("the lock {} names no images", path.display())));
    };
    let destinations = registries.join(", ");
    Ok(Task { root, expectations, chart: lock.chart, repair, destinations })
}

/// What one copy of an image must be.
fn expectation(lock: &Lock, image: &LockedImage, copy: &LockedCopy, waivers: &Waivers) -> Expectation {
    let waived =
        |platform: &&Platform| image.waived.contains(platform) || waivers.covers(&image.source, platform);
    let (waived, platforms) = lock.platforms.iter().cloned().partition(|platform| waived(&platform));
    Expectation {
        image: Arc::new(Mapping {
            source: image.source.clone(),
            repository: copy.reference.repository().clone(),
            tag: copy.reference.tag().unwrap_or("latest").to_owned(),
        }),
        digest: image.digest.clone().filter(|_| copy.confirmed).ok_or(Unknown::NeverConfirmed),
        platforms,
        waived,
        foreign_layers: lock.foreign_layers.into(),
    }
}

/// The lock's destinations. One login is for one registry.
fn roots(registries: &[&str], args: &Verify, path: &Path) -> Result<Vec<Root>, Failure> {
    let unusable = |error| {
        let message = format!("the lock {} does not say where its images are: {error}", path.display());
        Failure::new(Kind::Input, message)
    };
    let roots: Vec<Root> =
        registries.iter().map(|to| to.parse().map_err(unusable)).collect::<Result<_, Failure>>()?;
    let is_one_registry = roots.windows(2).all(|pair| match pair {
        [one, other] => one.registry() == other.registry(),
        _ => true,
    });
    if args.login.to_username.is_some() && !is_one_registry {
        let message =
            format!("--to-username is for one registry, and the lock {} names several", path.display());
        return Err(Failure::new(Kind::Usage, message)
            .with_hint("leave --to-username out and pass the logins with --authfile FILE"));
    }
    Ok(roots)
}

/// Everything that the chart or list names, with the digests that the source has now.
async fn from_source(to: &str, args: &Verify, access: &Access, session: &Session) -> Result<Task, Failure> {
    let root = request::root(to)?;
    let found = enumerate(&args.selection, session).await?;
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let placement = request::placement(&root, &args.naming, (Naming::default(), found.source_prefix));
    let mappings = name_all(&placement, &root, &references)?;
    let source = access.source()?;
    let waivers = request::waivers(&args.platforms);
    warn_of_idle_waivers(&waivers, &references, session);
    let expectations = stream::iter(mappings)
        .map(|mapping| async {
            let digest = resolve(&source, &mapping, args.level).await.map_err(Unknown::Source);
            let (waived, platforms) = args
                .platforms
                .platform
                .iter()
                .cloned()
                .partition(|platform| waivers.covers(&mapping.source, platform));
            let (image, foreign_layers) = (Arc::new(mapping), ForeignLayers::Optional);
            Expectation { image, digest, platforms, waived, foreign_layers }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (repair, destinations) = (repair::from_source(args, to), root.to_string());
    Ok(Task { root, expectations, chart: found.chart, repair, destinations })
}

/// The digest that the source has now. Its word (the answer to HEAD, which counts against no quota) is enough but
/// where every byte is to be read.
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
