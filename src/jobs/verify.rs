//! `verify`: compares the mirror with its lock, or with the source.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::{
    images::{enumerate, warn_of_idle_waivers},
    names::{self, ToName, earlier, warn_of_unused_prefix},
    notation,
    own_source::{self, NamedBy},
    record::no_destination,
};
use crate::{
    confirm::Level,
    endpoint::{Cause, Error, Operation, Source},
    enumerate::{EnumerateError, Filter, Selection},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::{Lock, LockError, LockedCopy, LockedImage, Placement},
    oci::{ChartIdentity, Digest, Mapping, Platform, Reference, Target, mapping::Root},
    outcome::{Command, Repair, RunOutcome},
    pipeline::{self, AttachedAt, Expectation, Unknown, mirror::skip_reason},
    problem::Side,
    request::{
        self, Access, CompareWith, Installation, LockedImages, NamingRule, Origin, Setting, Verify,
        next_steps,
    },
    waiver::Waivers,
};

/// How many references are resolved at once at the source.
const AT_ONCE: usize = 16;

pub(crate) async fn run(request: &Verify, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Verify { with, level, referrers, signatures, login, registries, .. } = request;
    let verifier = notation::verifier(signatures)?;
    let access = Access::open(registries, Arc::clone(&events))?;
    let Comparison { root, destinations, expectations, chart, packaged, excluded, repair } = match with {
        CompareWith::Lock { path, mirrors, only, .. } => {
            with_lock(path, mirrors.as_ref(), only, request, &*events)?
        }
        CompareWith::Source { selection, roots, naming, foreign_layers, lock } => {
            let mirrors = Mirrors { roots, naming, foreign_layers: *foreign_layers, lock };
            with_source(&mirrors, selection, request, &access, &*events).await?
        }
    };
    let destination = Arc::new(access.destination(login.as_ref()).await?);
    let source = match with {
        CompareWith::Source { .. } if !referrers.selection.is_none() => {
            let (source, referrers) = (Arc::new(access.source()?), referrers.selection.clone());
            Some(AttachedAt { source, referrers })
        }
        _ => None,
    };
    let outcomes =
        pipeline::verify_against(destination, source, verifier, expectations, *level, Arc::clone(&events))
            .await;
    access.warn_of_unused_hosts(&*events);
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
            excluded: &excluded,
            selection: match with {
                CompareWith::Lock { .. } => None,
                CompareWith::Source { selection, .. } => Some(selection),
            },
        },
    );
    Ok(outcome)
}

/// What each image must be, and the command that repairs it.
struct Comparison {
    /// The mirror, or the first of several.
    root: Root,
    /// The destinations as reports show them.
    destinations: String,
    expectations: Vec<Expectation>,
    chart: Option<ChartIdentity>,
    /// The name of the packaged chart before it was mirrored.
    packaged: Option<Reference>,
    /// What the filters of `sync` left out, by the lock.
    excluded: Vec<Reference>,
    repair: Option<Repair>,
}

/// Everything that the lock recorded.
fn with_lock(
    path: &Path,
    mirrors: Option<&Setting<Vec<Root>>>,
    only: &LockedImages,
    request: &Verify,
    events: &dyn EventSink,
) -> Result<Comparison, Failure> {
    let lock = Lock::read_with_images(path).map_err(|error| error.failure())?;
    lock.check_copies_are_below(path).map_err(|error| error.failure())?;
    let chosen = chosen(&lock, only, path, events)?;
    let waivers = request.platforms.waivers();
    let sources: Vec<Reference> = lock.images.iter().map(|image| image.source.clone()).collect();
    warn_of_idle_waivers(&waivers, &sources, events);
    let destinations = destinations(&lock, mirrors, path, events)?;
    let roots = roots(&destinations, path)?;
    let required = request::united(&lock.platforms, &request.more_platforms);
    let (mut expectations, mut repair) = (Vec::new(), None::<Repair>);
    for (placement, root) in destinations.iter().zip(&roots) {
        let here: Vec<Expectation> = lock
            .copies()
            .filter(|(image, copy)| copy.to == placement.to && chosen.contains(&image.source))
            .map(|(image, copy)| Expectation {
                attached: request.referrers.selection.of_recorded(&image.attached),
                ..expectation(&lock, image, copy, &required, &waivers, request.strict)
            })
            .collect();
        let sync = request.sync_from_lock(&lock, placement, root);
        repair = with_repair(repair, sync.as_ref().map(request::repair), &here);
        expectations.extend(here);
    }
    let shown = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let Some(root) = roots.into_iter().next().filter(|_| !expectations.is_empty()) else {
        return Err(LockError::NoImages(path.to_owned()).failure());
    };
    let packaged = lock.placement().and_then(|placement| placement.chart.clone());
    let (chart, excluded) = (lock.chart, lock.excluded);
    Ok(Comparison { root, destinations: shown, expectations, chart, packaged, excluded, repair })
}

/// Adds the command that repairs these images. The first command is for all images that no other one is for.
fn with_repair(
    repair: Option<Repair>,
    command: Option<Repair>,
    expectations: &[Expectation],
) -> Option<Repair> {
    let (Some(mut repair), Some(command)) = (repair.clone(), command.clone()) else {
        return repair.or(command);
    };
    let names = expectations.iter().map(|expected| expected.image.destination());
    repair.elsewhere.extend(names.map(|name| (name, command.command.clone())));
    Some(repair)
}

/// The images of the lock that were asked for.
fn chosen(
    lock: &Lock,
    only: &LockedImages,
    path: &Path,
    events: &dyn EventSink,
) -> Result<BTreeSet<Reference>, Failure> {
    let LockedImages { references, include, exclude } = only;
    let mut chosen: BTreeSet<Reference> = lock.images.iter().map(|image| image.source.clone()).collect();
    if !references.is_empty() {
        let mut named = BTreeSet::new();
        for written in references {
            let reference: Reference =
                written.trim().parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
            if !chosen.contains(&reference) {
                let message = format!("{reference} is not in the lock {}", path.display());
                return Err(Failure::new(Kind::Usage, message)
                    .with_hint("--against source compares the mirror with the source instead of the lock"));
            }
            named.insert(reference);
        }
        chosen = named;
    }
    let filter = Filter::new(include, exclude)?;
    let found: Vec<Reference> = chosen.iter().cloned().collect();
    for idle in filter.idle(&found) {
        warn(events, format!("`{idle}` matches no image: check its spelling"));
    }
    chosen.retain(|reference| filter.keeps(reference));
    if chosen.is_empty() {
        return Err(EnumerateError::FilteredOut { found: found.len() }.into());
    }
    Ok(chosen)
}

/// The expectation for one copy of an image.
fn expectation(
    lock: &Lock,
    image: &LockedImage,
    copy: &LockedCopy,
    required: &[Platform],
    waivers: &Waivers,
    strict: bool,
) -> Expectation {
    let (waived, platforms) = waivers.split_locked(&image.source, &image.waived, required);
    Expectation {
        image: Arc::new(Mapping {
            source: image.source.clone(),
            pinned: image.digest.clone(),
            repository: copy.reference.repository().clone(),
            tag: copy.reference.tag().unwrap_or("latest").to_owned(),
        }),
        digest: image.digest.clone().filter(|_| copy.confirmed).ok_or_else(|| {
            let is_skipped = image.optional && !copy.confirmed && !strict;
            if is_skipped { Unknown::Skipped(skipped_by_the_lock()) } else { Unknown::NeverConfirmed }
        }),
        platforms,
        waived,
        foreign_layers: lock.foreign_layers.into(),
        attached: Vec::new(),
        optional: image.optional,
    }
}

/// Why an optional image is not at the destination.
fn skipped_by_the_lock() -> Failure {
    Failure::new(Kind::Image, "the run that wrote the lock skipped it")
        .with_hint("if it is needed, run sync again; --strict makes this an error")
}

/// The lock's destinations; with `--to`, only those.
fn destinations<'a>(
    lock: &'a Lock,
    mirrors: Option<&Setting<Vec<Root>>>,
    path: &Path,
    events: &dyn EventSink,
) -> Result<Vec<&'a Placement>, Failure> {
    let Some(Setting { value: mirrors, origin }) = mirrors else {
        return Ok(lock.destinations.iter().collect());
    };
    let mut named = Vec::new();
    for mirror in mirrors {
        let is_named = |placement: &&Placement| {
            let to = placement.to.as_ref().and_then(|to| to.parse::<Root>().ok());
            to.as_ref() == Some(mirror)
        };
        let found: Vec<&Placement> = lock.destinations.iter().filter(is_named).collect();
        if found.is_empty() {
            unknown_destination(lock, mirror, (path, origin), events)?;
        }
        named.extend(found);
    }
    // Only the variable names none of them.
    Ok(if named.is_empty() { lock.destinations.iter().collect() } else { named })
}

/// `--to` names a destination that the lock does not have.
fn unknown_destination(
    lock: &Lock,
    mirror: &Root,
    (path, origin): (&Path, &Origin),
    events: &dyn EventSink,
) -> Result<(), Failure> {
    let known: Vec<&str> = lock.destination_names().collect();
    let message = format!(
        "the lock {} has no destination {mirror}, only {}",
        path.display(),
        if known.is_empty() { "a bundle".to_owned() } else { known.join(", ") }
    );
    match origin {
        Origin::Flag => Err(Failure::new(Kind::Usage, message).with_hint(format!(
            "`thoras-mirror sync --locked --to {mirror}` copies the images there and adds it; --against source compares \
             {mirror} with the source"
        ))),
        // The variable may be meant for other commands.
        Origin::Variable(name) => {
            warn(events, format!("{message}; ignoring {name}"));
            Ok(())
        }
    }
}

/// Where the placements are.
fn roots(placements: &[&Placement], path: &Path) -> Result<Vec<Root>, Failure> {
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
    let root = |placement: &&Placement| {
        let to = placement.to.as_ref().ok_or_else(from_bundle)?;
        to.parse().map_err(unusable)
    };
    placements.iter().map(root).collect()
}

/// Mirrors that are compared with their source.
struct Mirrors<'a> {
    roots: &'a [Root],
    naming: &'a NamingRule,
    foreign_layers: bool,
    /// The lock whose names `sync` keeps.
    lock: &'a Path,
}

/// Every image of the chart or list, with its current digest at the source.
async fn with_source(
    mirrors: &Mirrors<'_>,
    selection: &Selection,
    request: &Verify,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Comparison, Failure> {
    let Mirrors { roots, naming, foreign_layers, lock } = *mirrors;
    let found = enumerate(selection, request.strict, access, events).await?;
    let references = ToName::found(&found).references;
    let earlier = earlier(lock, events);
    let mut named: Vec<(&Root, Vec<Mapping>)> = Vec::new();
    for root in roots {
        let (_, mappings) = ToName::found(&found)
            .below(root, naming, earlier.as_ref())
            .map_err(|error| names::failure(&error))?;
        own_source::refuse(&mappings, root, &request.registries, NamedBy::Selection(selection)).await?;
        named.push((root, mappings));
    }
    drop(earlier);
    let optional = found.optional();
    let source = access.source()?;
    let (waivers, required) = (request.platforms.waivers(), &request.platforms.required);
    warn_of_idle_waivers(&waivers, &references, events);
    warn_of_unused_prefix(naming, &references, events);
    let chart = selection.chart_repository();
    access.warn_of_unused_license(references.iter().map(Reference::repository).chain(&chart), events);
    // The mirrors have the same images, in the same order.
    let first = named.first().map_or(&[][..], |(_, mappings)| mappings);
    let digests: Vec<Result<Digest, Unknown>> = stream::iter(first)
        .map(|mapping| async {
            let optional = optional.contains(&mapping.source);
            let resolved = resolve(&source, mapping, request.level, optional).await;
            resolved.map_err(|error| match skip_reason(&error) {
                Some(because) if optional && !request.strict => Unknown::Skipped(because),
                _ => Unknown::Source(error),
            })
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (mut expectations, mut repair) = (Vec::new(), None::<Repair>);
    for (root, mappings) in named {
        let here = mappings.into_iter().zip(&digests).map(|(mapping, digest)| {
            let optional = optional.contains(&mapping.source);
            let (waived, platforms) = waivers.split(&mapping.source, required);
            let (image, foreign_layers) = (Arc::new(mapping), foreign_layers.into());
            // The source says what must be attached.
            let attached = Vec::new();
            Expectation {
                image,
                digest: digest.clone(),
                platforms,
                waived,
                foreign_layers,
                attached,
                optional,
            }
        });
        let here: Vec<Expectation> = here.collect();
        repair = with_repair(repair, request.sync_from_source(root).as_ref().map(request::repair), &here);
        expectations.extend(here);
    }
    let destinations = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let root = roots.first().cloned().ok_or_else(no_destination)?;
    let (packaged, chart, excluded) = (None, found.chart, Vec::new());
    Ok(Comparison { root, destinations, expectations, chart, packaged, excluded, repair })
}

/// The current digest at the source. A HEAD request, which does not count against pull quotas, is enough unless every
/// byte is verified. A digest needs no request, unless the source may not provide it.
async fn resolve<S: Source>(
    source: &S,
    mapping: &Mapping,
    level: Level,
    optional: bool,
) -> Result<Digest, Error> {
    let repository = mapping.source.repository();
    let found = match mapping.source.target() {
        pinned @ Target::Digest(_) if optional => {
            source.manifest(repository, &pinned).await?.map(|manifest| manifest.digest().clone())
        }
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
