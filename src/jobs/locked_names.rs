//! The names of a lock's images in the mirror.

use std::path::Path;

use super::names::name_all;
use crate::{
    error::{Failure, Kind},
    lock::{Lock, LockError, LockedImage},
    oci::{Reference, mapping::Root},
};

/// Reads the lock that a command takes its names from.
pub(super) fn read_lock(path: &Path) -> Result<Lock, Failure> {
    Lock::read(path).map_err(|error| match error {
        LockError::Absent(_) => error
            .failure()
            .with_hint("`thoras-mirror sync --to REGISTRY/PATH` writes it; pass another with --lock FILE"),
        _ => error.failure(),
    })
}

/// An image of a lock and its name at one destination.
#[derive(Debug, Clone)]
pub(super) struct LockedName<'l> {
    pub(super) image: &'l LockedImage,
    /// `REGISTRY/REPOSITORY:TAG`
    pub(super) mirror: Reference,
    /// Whether the copy was confirmed.
    pub(super) confirmed: bool,
}

/// The container images of a lock, with their names at `root`, or at every destination if `root` is `None`.
///
/// The lock of a bundle names no registry: its naming rule applies to any `root`.
pub(super) fn locked_names<'l>(
    lock: &'l Lock,
    path: &Path,
    root: Option<&Root>,
) -> Result<Vec<LockedName<'l>>, Failure> {
    let images = || lock.images.iter().filter(|image| image.kind.is_image());
    let to = root.map(ToString::to_string);
    let recorded = |root: &Root| lock.placement_at(&root.to_string()).is_some();
    let bundle = lock.destinations.iter().find(|placement| placement.to.is_none());
    match (root, bundle) {
        (Some(root), Some(placement)) if !recorded(root) => {
            let sources: Vec<Reference> = images().map(|image| image.source.clone()).collect();
            let mappings = name_all(&placement.namer(root.clone()), &sources)?;
            let named = images().zip(mappings).filter_map(|(image, mapping)| {
                let mirror = mapping.destination().parse().ok()?;
                Some(LockedName { image, mirror, confirmed: false })
            });
            Ok(named.collect())
        }
        (Some(root), None) if !recorded(root) => Err(unknown(lock, path, root)),
        (None, Some(_)) => {
            let message = format!("the lock {} comes from a bundle and names no registry", path.display());
            Err(Failure::new(Kind::Usage, message).with_hint("name the mirror with --to REGISTRY/PATH"))
        }
        _ => {
            let is_wanted = |copy_to: &Option<String>| copy_to.is_some() && (to.is_none() || *copy_to == to);
            let wanted = lock.copies().filter(|(image, copy)| image.kind.is_image() && is_wanted(&copy.to));
            Ok(wanted
                .map(|(image, copy)| LockedName {
                    image,
                    mirror: copy.reference.clone(),
                    confirmed: copy.confirmed,
                })
                .collect())
        }
    }
}

fn unknown(lock: &Lock, path: &Path, root: &Root) -> Failure {
    let known: Vec<&str> = lock.destination_names().collect();
    let message = format!("the lock {} has no destination {root}", path.display());
    Failure::new(Kind::Usage, message).with_hint(format!(
        "it has {}; to add {root}: thoras-mirror sync --locked --to {root}",
        known.join(", ")
    ))
}
