//! Which images are imported, and how: flags win over the bundle's lock.

use super::{
    super::open_bundle::expect_id,
    names::{self, Imported},
};
use crate::{
    endpoint::bundle::Bundle,
    enumerate::{EnumerateError, Filter},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::{Lock, Placement},
    oci::{
        ChartIdentity, Digest, Mapping, Naming, Platform, Reference,
        mapping::{Root, common_prefix},
    },
    pipeline::Options,
    request::{Import, NamingRule, Platforms},
    waiver::{Waiver, Waivers},
};

/// The plan of an import.
pub(super) struct Plan {
    /// The bundle's id.
    pub(super) id: Digest,
    /// The images, one for each mapping.
    pub(super) images: Vec<Imported>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) placement: Placement,
    pub(super) chart: Option<ChartIdentity>,
    pub(super) options: Options,
    /// Images that the export left out because they failed. They also fail here, and the lock records them.
    pub(super) left_out: Vec<Mapping>,
    /// Images that `--include` and `--exclude` leave out.
    pub(super) excluded: Vec<Reference>,
}

impl Plan {
    /// Makes the plan, going by the head of the bundle.
    pub(super) fn new(bundle: &Bundle, request: &Import, events: &dyn EventSink) -> Result<Self, Failure> {
        expect_id(bundle, request.expect.as_ref())?;
        let (head, lock) = (bundle.head(), bundle.head().lock.as_ref());
        head.check_lock().map_err(|error| error.failure())?;
        let images = names::images(head, &request.names, bundle.path())?;
        let mut references: Vec<Reference> = images.iter().map(|image| image.reference.clone()).collect();
        let root = &request.destination.root;
        let placement = placement(lock, &references, &request.destination.naming, root);
        references.extend(head.left_out().cloned());
        let mut mappings = placement.namer(root.clone()).map_all(&references).map_err(|error| {
            Failure::from_error(Kind::Usage, &error).with_hint("give them different names with --naming full")
        })?;
        let mut left_out = mappings.split_off(images.len());
        let filter = Filter::new(&request.include, &request.exclude)?;
        for idle in filter.idle(&references) {
            warn(events, format!("`{idle}` matches no image: check its spelling"));
        }
        // As in a sync, the filters are for images: the packaged chart is always copied.
        let is_chart = |reference: &Reference| placement.chart.as_ref() == Some(reference);
        let keeps = |reference: &Reference| is_chart(reference) || filter.keeps(reference);
        let (kept, excluded): (Vec<_>, Vec<_>) =
            images.into_iter().zip(mappings).partition(|(image, _)| keeps(&image.reference));
        let mut excluded: Vec<Reference> = excluded.into_iter().map(|(image, _)| image.reference).collect();
        excluded
            .extend(left_out.extract_if(.., |mapping| !keeps(&mapping.source)).map(|mapping| mapping.source));
        excluded.sort();
        let is_image = |(image, _): &(Imported, Mapping)| !is_chart(&image.reference);
        if !excluded.is_empty() && left_out.is_empty() && !kept.iter().any(is_image) {
            let failure = Failure::from(EnumerateError::FilteredOut { found: excluded.len() });
            return Err(failure.with_hint(
                "patterns match the whole normalized reference, for example `--include '*services*'`; `thoras-mirror \
                 bundle inspect FILE` lists the references",
            ));
        }
        let (images, mappings) = kept.into_iter().unzip();
        let (id, chart) = (head.id().clone(), lock.and_then(|lock| lock.chart.clone()));
        let options = options(request, lock);
        Ok(Self { id, images, mappings, placement, chart, options, left_out, excluded })
    }
}

/// How an import names the images of a bundle: by the flags, else as the bundle was exported.
pub(in crate::jobs) fn placement(
    lock: Option<&Lock>,
    references: &[Reference],
    rule: &NamingRule,
    root: &Root,
) -> Placement {
    let exported = lock.and_then(Lock::placement);
    let (naming, source_prefix) = match exported {
        Some(placement) => (placement.naming, placement.source_prefix.clone()),
        None => (Naming::default(), common_prefix(references)),
    };
    let chart = exported.and_then(|placement| placement.chart.clone());
    rule.placement(Some(root), naming, source_prefix, chart)
}

fn options(request: &Import, lock: Option<&Lock>) -> Options {
    let mut waivers = request.waivers.clone();
    for image in lock.iter().flat_map(|lock| &lock.images) {
        let exact = |platform: &Platform| Waiver::exact(&image.source, platform);
        waivers.extend(image.waived.iter().filter_map(exact));
    }
    let platforms = request.platforms.clone().or_else(|| lock.map(|lock| lock.platforms.clone()));
    let platforms = platforms.unwrap_or_else(Platforms::default_required);
    let foreign_layers = lock.is_some_and(|lock| lock.foreign_layers).into();
    request.copy.options(platforms, Waivers::new(waivers), foreign_layers)
}
