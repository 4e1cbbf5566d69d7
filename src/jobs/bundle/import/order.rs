//! What is imported, under which rules: from the bundle's lock, unless flags say otherwise.

use std::path::Path;

use super::names::{self, Imported};
use crate::{
    cli::{DEFAULT_PLATFORMS, Import},
    confirm::Level,
    endpoint::bundle::Bundle,
    error::{Failure, Kind},
    lock::{Lock, Placement},
    oci::{
        ChartIdentity, Digest, Mapping, Naming, Platform, Reference,
        mapping::{self, Root},
    },
    pipeline::Options,
    request,
    waiver::{Waiver, Waivers},
};

/// How many blobs move at once when nothing else is asked for.
const JOBS: u16 = 16;

/// What is imported.
pub(super) struct Order {
    /// The bundle's id.
    pub(super) id: Digest,
    /// The images, one for each mapping.
    pub(super) images: Vec<Imported>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) placement: Placement,
    pub(super) chart: Option<ChartIdentity>,
    pub(super) options: Options,
    /// Images that the export went on without: they fail, and the lock of the import names them.
    pub(super) left_out: Vec<Mapping>,
}

impl Order {
    /// Decides everything that the head of a bundle decides.
    pub(super) fn new(bundle: &Bundle, args: &Import, root: &Root) -> Result<Self, Failure> {
        let (head, path) = (bundle.head(), bundle.path());
        refuse_other(head.id(), args.expect.as_ref(), path)?;
        head.check_lock().map_err(|error| error.failure())?;
        let images = names::images(head, &args.names, path)?;
        let mut references: Vec<Reference> = images.iter().map(|image| image.reference.clone()).collect();
        let exported = head.lock.as_ref().and_then(Lock::placement);
        let usual = match exported {
            Some(placement) => (placement.naming, placement.source_prefix.clone()),
            None => (Naming::default(), mapping::common_prefix(&references)),
        };
        let placement = request::placement(root, &args.destination.naming, usual);
        let chart = exported.and_then(|placement| placement.chart.clone());
        let placement = Placement { chart, ..placement };
        references.extend(head.left_out().cloned());
        let mut mappings = placement.namer(root.clone()).map_all(&references).map_err(|error| {
            Failure::from_error(Kind::Usage, &error).with_hint("give them different names with --naming full")
        })?;
        let chart = head.lock.as_ref().and_then(|lock| lock.chart.clone());
        let options = options(args, head.lock.as_ref());
        let left_out = mappings.split_off(images.len());
        Ok(Self { id: head.id().clone(), images, mappings, placement, chart, options, left_out })
    }
}

fn refuse_other(id: &Digest, expected: Option<&Digest>, path: &Path) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != id => {
            let message = format!("{} is the bundle {id}, not {expected}", path.display());
            Err(Failure::new(Kind::Integrity, message)
                .with_hint("nothing was copied; see which file is the right one"))
        }
        _ => Ok(()),
    }
}

fn options(args: &Import, lock: Option<&Lock>) -> Options {
    let mut waivers = args.allow_missing_platform.clone();
    for image in lock.iter().flat_map(|lock| &lock.images) {
        let exact = |platform: &Platform| Waiver::exact(&image.source, platform);
        waivers.extend(image.waived.iter().filter_map(exact));
    }
    Options {
        platforms: platforms(args, lock),
        waivers: Waivers::new(waivers),
        check: match args.check {
            crate::cli::Check::Manifests => Level::Platforms,
            crate::cli::Check::Blobs => Level::Blobs,
        },
        overwrite: !args.no_overwrite,
        dry_run: args.dry_run,
        jobs: usize::from(args.jobs.unwrap_or(JOBS)),
        fail_fast: args.fail_fast,
        foreign_layers: lock.is_some_and(|lock| lock.foreign_layers).into(),
    }
}

fn platforms(args: &Import, lock: Option<&Lock>) -> Vec<Platform> {
    match lock {
        _ if !args.platform.is_empty() => args.platform.clone(),
        Some(lock) => lock.platforms.clone(),
        None => DEFAULT_PLATFORMS.iter().filter_map(|platform| platform.parse().ok()).collect(),
    }
}
