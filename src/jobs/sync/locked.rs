//! `--locked`: the images of the lock, at its digests and under its names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    super::{
        images::{fetch_package, packaged_chart},
        names::{self, name_all},
        own_source::{self, NamedBy},
    },
    ImagesToCopy, NamedImages, checked_sources, contents, knows_none_of,
};
use crate::{
    endpoint::packaged_chart::PackagedChart,
    enumerate as enumeration,
    error::{Failure, Kind},
    lock::{Lock, LockError, LockedImage, Placement},
    oci::{Digest, Mapping, Namer, Naming, Reference, chart, mapping::Root},
    outcome::ImageOutcome,
    request::{Access, Destination, LockedChart, Sync},
};

/// The images of the lock, at its digests and under its names.
pub(super) async fn images(
    chart: Option<&LockedChart>,
    request: &Sync,
    access: &Access,
) -> Result<ImagesToCopy, Failure> {
    let path = request.lock();
    let lock = Lock::read_with_images(path).map_err(|error| unreadable(&error))?;
    let is_skipped = |image: &&LockedImage| image.optional && image.digest.is_none();
    let (skipped, images): (Vec<&LockedImage>, Vec<&LockedImage>) =
        lock.images.iter().partition(|image| is_skipped(image) && !request.copy.strict);
    let pinned = images.iter().map(|image| pinned(image, path)).collect::<Result<Vec<_>, _>>()?;
    let packaged = locked_chart(&lock, chart, path, access).await?;
    let roots: Vec<&Root> = request.destinations.roots().collect();
    let foreign_layers = request.foreign_layers || lock.foreign_layers;
    lock.check_foreign_layers(&roots, foreign_layers).map_err(|error| error.failure())?;
    let mut destinations = Vec::new();
    for destination in request.destinations.iter() {
        let root = &destination.root;
        let (placement, namer) = locked_names(&lock, destination, &root.to_string());
        let at_destination = name_all(&namer, &pinned)?;
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
        destinations.push(NamedImages { placement, mappings, skipped });
    }
    let sources = checked_sources(&destinations, request)?;
    let recorded = images.iter().map(|image| (image.source.clone(), image.attached.clone())).collect();
    let optional = images.iter().filter(|image| image.optional).map(|image| image.source.clone()).collect();
    let contents = contents(request, Some(&lock))?;
    Ok(ImagesToCopy {
        sources,
        named: destinations,
        optional,
        chart: lock.chart.clone(),
        packaged,
        foreign_layers: foreign_layers.into(),
        new_destination: knows_none_of(Some(&lock), &roots),
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
