//! The expectations of `verify` from the lock.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::{
    super::images::{warn_of_idle, warn_of_idle_waivers},
    Expectations, with_repair,
};
use crate::{
    enumerate::{EnumerateError, Filter},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::{Lock, LockError, LockedCopy, LockedImage, Placement},
    oci::{Mapping, Platform, Reference, mapping::Root},
    outcome::Repair,
    pipeline::{Expectation, Unknown},
    quota::RunRegistries,
    request::{self, LockedImages, Setting, SettingOrigin, Verify},
    waiver::Waivers,
};

/// Everything that the lock recorded.
pub(super) fn comparison(
    path: &Path,
    mirrors: Option<&Setting<Vec<Root>>>,
    only: &LockedImages,
    request: &Verify,
    events: &dyn EventSink,
) -> Result<Expectations, Failure> {
    let lock = Lock::read_with_images(path).map_err(|error| error.failure())?;
    lock.check_copies_are_below(path).map_err(|error| error.failure())?;
    let chosen = chosen(&lock, only, path, events)?;
    let waivers = request.platforms.waivers();
    let sources: Vec<Reference> = lock.images.iter().map(|image| image.source.clone()).collect();
    warn_of_idle_waivers(&waivers, &sources, events);
    let destinations = destinations(&lock, mirrors, path, events)?;
    let roots = roots(&destinations, path)?;
    let read = roots.iter().map(Root::registry).collect();
    request.registries.check_quotas(&RunRegistries { read, ..RunRegistries::default() })?;
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
    Ok(Expectations { root, destinations: shown, images: expectations, chart, packaged, excluded, repair })
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
        warn_of_idle(&idle, found.first(), events);
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
            pinned: image.digest.clone(),
            ..Mapping::to(image.source.clone(), &copy.reference)
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
    (path, origin): (&Path, &SettingOrigin),
    events: &dyn EventSink,
) -> Result<(), Failure> {
    let known: Vec<&str> = lock.destination_names().collect();
    let message = format!(
        "the lock {} has no destination {mirror}, only {}",
        path.display(),
        if known.is_empty() { "a bundle".to_owned() } else { known.join(", ") }
    );
    match origin {
        SettingOrigin::Flag => Err(Failure::new(Kind::Usage, message).with_hint(format!(
            "`thoras-mirror sync --locked --to {mirror}` copies the images there and adds it; --against source compares \
             {mirror} with the source"
        ))),
        // The variable may be meant for other commands.
        SettingOrigin::Variable(name) => {
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
