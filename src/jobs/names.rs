//! Names images at a destination.
//!
//! Images of pod specs and custom resources decide the prefix that relative names lack; mentions and added images give
//! way to them. A lock that records the same destination keeps its names, so that one more image renames no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    enumerate::Enumeration,
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::{Lock, LockError, Placement, RecordedNames},
    oci::{
        Mapping, Naming, Reference,
        mapping::{MappingError, Namer, Root},
    },
    request::NamingRule,
};

/// Images to name.
pub(super) struct ToName {
    /// The images, the packaged chart included.
    pub(super) references: Vec<Reference>,
    /// Those that give way where two would get one name.
    pub(super) yielding: BTreeSet<Reference>,
    /// The naming rule where neither flags nor a lock decide.
    pub(super) placement: Placement,
}

impl ToName {
    /// The images of a selection, and its packaged chart.
    pub(super) fn found(found: &Enumeration) -> Self {
        let chart = found.package.as_ref().map(|package| package.reference.clone());
        let images = found.images.iter().map(|image| image.reference.clone());
        Self {
            references: images.chain(chart.clone()).collect(),
            yielding: found.yielding_names(),
            placement: Placement {
                to: None,
                naming: Naming::default(),
                source_prefix: found.source_prefix.clone(),
                chart,
                in_full: BTreeSet::new(),
            },
        }
    }

    /// Names all images below `root`. `earlier` is the lock of an earlier run.
    pub(super) fn below(
        self,
        root: &Root,
        rule: &NamingRule,
        earlier: Option<&Lock>,
    ) -> Result<(Placement, Vec<Mapping>), MappingError> {
        let Self { references, yielding, placement } = self;
        let recorded = earlier
            .and_then(|lock| lock.names_at(root))
            .filter(|recorded| rule.agrees_with(recorded.placement) && recorded.know_any_of(&references));
        let (naming, prefix, kept) = match recorded {
            Some(RecordedNames { placement, names }) => {
                (placement.naming, placement.source_prefix.clone(), names)
            }
            None => (placement.naming, placement.source_prefix, BTreeMap::new()),
        };
        let complete = rule.placement(Some(root), naming, prefix, placement.chart);
        let kept = kept.into_iter().filter(|(source, _)| Some(source) != complete.chart.as_ref()).collect();
        let namer = complete.namer(root.clone()).with_names_in_full(placement.in_full);
        let mappings = namer.with_yielding(yielding).with_kept_names(kept).map_all(&references)?;
        Ok((complete, mappings))
    }

    /// The naming rule of a bundle, and the names that its images get where it is imported. `earlier` is the lock of an
    /// earlier export.
    pub(super) fn in_bundle(
        self,
        rule: &NamingRule,
        earlier: Option<&Lock>,
    ) -> (Placement, Result<Vec<Mapping>, MappingError>) {
        let Self { references, yielding, placement } = self;
        let recorded = earlier
            .and_then(Lock::names_in_bundle)
            .filter(|recorded| rule.agrees_with(recorded.placement) && recorded.know_any_of(&references));
        let Placement { naming, source_prefix, in_full, .. } =
            recorded.map_or_else(|| placement.clone(), |recorded| recorded.placement.clone());
        let mut placement = rule.placement(None, naming, source_prefix, placement.chart);
        let namer = placement.namer(Root::unknown()).with_names_in_full(in_full).with_yielding(yielding);
        let mappings = namer.map_all(&references).map_err(without_root);
        if let Ok(mappings) = &mappings {
            placement.in_full = namer.named_in_full(mappings);
        }
        (placement, mappings)
    }
}

/// Warns if the flag `--source-prefix` removes nothing, because no image is below it.
pub(super) fn warn_of_unused_prefix(rule: &NamingRule, references: &[Reference], events: &dyn EventSink) {
    let Some(prefix) = &rule.source_prefix else { return };
    if !references.iter().any(|reference| reference.repository().is_below(prefix)) {
        warn(events, format!("--source-prefix {prefix} has no effect: no image is below {prefix}"));
    }
}

/// The error with the destination's name below the root, which is not known.
fn without_root(error: MappingError) -> MappingError {
    let below = |name: String| {
        let below = name.strip_prefix(&format!("{}/", Root::unknown())).map(str::to_owned);
        below.unwrap_or(name)
    };
    match error {
        MappingError::SeveralDigests { destination, sources } => {
            MappingError::SeveralDigests { destination: below(destination), sources }
        }
        MappingError::Collision { destination, sources } => {
            MappingError::Collision { destination: below(destination), sources }
        }
        name @ MappingError::Name { .. } => name,
    }
}

/// Gives every image a unique name at the destination.
pub(super) fn name_all(namer: &Namer, references: &[Reference]) -> Result<Vec<Mapping>, Failure> {
    namer.map_all(references).map_err(|error| failure(&error))
}

/// The failure with a hint.
pub(super) fn failure(error: &MappingError) -> Failure {
    Failure::from_error(Kind::Usage, error).with_hint(match error {
        MappingError::SeveralDigests { .. } => {
            "a tag can have only one digest: update the pinned digests, or leave images out with --exclude"
        }
        _ => "give them different names with --naming full, or leave an image out with --exclude",
    })
}

/// The lock of an earlier run, for its names. A damaged lock fails the run: without it, images would get other names, and
/// what it records about other destinations would be lost. Any other unusable file counts as none: a run that would
/// replace it refuses to.
pub(super) fn earlier(path: &Path, events: &dyn EventSink) -> Result<Option<Lock>, Failure> {
    match Lock::read(path) {
        Err(error) if error.is_damage() => Err(error.failure_to_replace()),
        read => Ok(usable(read, events)),
    }
}

/// The same for a job that writes no lock: a damaged one counts as none, too.
pub(super) fn earlier_if_usable(path: &Path, events: &dyn EventSink) -> Option<Lock> {
    usable(Lock::read(path), events)
}

fn usable(read: Result<Lock, LockError>, events: &dyn EventSink) -> Option<Lock> {
    match read {
        Ok(lock) => Some(lock),
        Err(LockError::Absent(_)) => None,
        Err(error) => {
            warn(events, format!("{}: its names are not used", error.failure().message));
            None
        }
    }
}
