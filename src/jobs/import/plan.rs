//! Which images are imported, and how: flags win over the bundle's lock.

use std::collections::BTreeSet;

use super::{
    super::{images::warn_of_idle, locked_digests::KeptLock, names::ToName, notation, trust_files},
    names::{self, Imported},
};
use crate::{
    endpoint::bundle::Bundle,
    enumerate::{EnumerateError, Filter},
    error::{Failure, Kind},
    event::EventSink,
    graph::ForeignLayers,
    lock::{Lock, LockedImage, Placement},
    oci::{
        ChartIdentity, Digest, Mapping, MappingError, Naming, Platform, Reference,
        mapping::{Root, common_prefix},
    },
    outcome::{ImageOutcome, Mirrored, Status},
    pipeline::Options,
    request::{Destination, Import, NamingRule, Platforms},
    waiver::{Waiver, Waivers},
};

/// The plan of an import.
pub(super) struct ImportPlan {
    /// The bundle's id.
    pub(super) id: Digest,
    /// The images, one for each mapping.
    pub(super) images: Vec<Imported>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) placement: Placement,
    pub(super) chart: Option<ChartIdentity>,
    pub(super) options: Options,
    /// Images that are not in the bundle, and whether the export skipped them because they are optional. Images that
    /// failed there also fail here. The lock records them.
    pub(super) left_out: Vec<(Mapping, bool)>,
    /// Images that `--include` and `--exclude` leave out.
    pub(super) excluded: Vec<Reference>,
}

impl ImportPlan {
    /// Makes the plan for one destination, going by the head of the bundle and the lock of an earlier run.
    pub(super) fn new(
        bundle: &Bundle,
        request: &Import,
        (destination, earlier): (&Destination, Option<&Lock>),
        events: &dyn EventSink,
    ) -> Result<Self, Failure> {
        let (head, lock) = (bundle.head(), bundle.head().lock.as_ref());
        let images = names::images(head, &request.names, bundle.path())?;
        let mut references: Vec<Reference> = images.iter().map(|image| image.reference.clone()).collect();
        let Destination { root, naming, .. } = destination;
        references.extend(head.left_out().map(|image| image.source.clone()));
        let (placement, mut mappings) = name_below(lock, references.clone(), root, naming, earlier)?;
        let left_out = mappings.split_off(images.len());
        let mut left_out: Vec<(Mapping, bool)> =
            left_out.into_iter().zip(head.left_out().map(LockedImage::is_skipped)).collect();
        let filter = Filter::new(&request.include, &request.exclude)?;
        for idle in filter.idle(&references) {
            warn_of_idle(&idle, references.first(), events);
        }
        // As in a sync, the filters are for images: the packaged chart is always copied.
        let is_chart = |reference: &Reference| placement.chart.as_ref() == Some(reference);
        let keeps = |reference: &Reference| is_chart(reference) || filter.keeps(reference);
        let (kept, excluded): (Vec<_>, Vec<_>) =
            images.into_iter().zip(mappings).partition(|(image, _)| keeps(&image.reference));
        let mut excluded: Vec<Reference> = excluded.into_iter().map(|(image, _)| image.reference).collect();
        let unwanted = left_out.extract_if(.., |(mapping, _)| !keeps(&mapping.source));
        excluded.extend(unwanted.map(|(mapping, _)| mapping.source));
        excluded.sort();
        let is_image = |(image, _): &(Imported, Mapping)| !is_chart(&image.reference);
        if !excluded.is_empty() && left_out.is_empty() && !kept.iter().any(is_image) {
            let failure = Failure::from(EnumerateError::FilteredOut { found: excluded.len() });
            return Err(failure.with_hint(
                "patterns match the whole normalized reference, for example `--include '*services*'`; `thoras-mirror \
                 bundle inspect FILE` lists the references",
            ));
        }
        let (images, mappings): (Vec<Imported>, Vec<Mapping>) = kept.into_iter().unzip();
        let roots: Vec<&Root> = request.destinations.roots().collect();
        if let Some(lock) = earlier.filter(|lock| lock.has_destinations_besides(&roots)) {
            check_recordable(lock, request, &images, head.foreign_layers())?;
        }
        let (id, chart) = (head.id().clone(), lock.and_then(|lock| lock.chart.clone()));
        let options = options(request, bundle)?;
        Ok(Self { id, images, mappings, placement, chart, options, left_out, excluded })
    }

    /// The results of the images if none can be imported, for this reason.
    pub(super) fn all_failed<'a>(&'a self, failure: &'a Failure) -> impl Iterator<Item = Mirrored> + 'a {
        self.images.iter().zip(&self.mappings).map(|(image, mapping)| {
            let (digest, failure) = (Some(image.root.digest.clone()), Some(failure.clone()));
            let outcome = ImageOutcome { digest, failure, ..ImageOutcome::new(mapping, Status::Failed) };
            Mirrored::from(outcome)
        })
    }
}

/// Fails if the lock that exists cannot record this import in addition to its other destinations.
fn check_recordable(
    lock: &Lock,
    request: &Import,
    images: &[Imported],
    foreign_layers: ForeignLayers,
) -> Result<(), Failure> {
    let roots: Vec<&Root> = request.destinations.roots().collect();
    let has_foreign_layers = foreign_layers == ForeignLayers::Required;
    lock.check_foreign_layers(&roots, has_foreign_layers).map_err(|error| error.failure())?;
    let kept = KeptLock { lock, path: &request.lock, roots: &roots };
    let images = images.iter().map(|image| (image.reference.clone(), image.root.digest.clone()));
    let roots: Vec<String> = roots.iter().map(ToString::to_string).collect();
    let hint = format!("record {} in another file with --lock FILE", roots.join(" and "));
    kept.check(images).map_err(|failure| failure.with_hint(hint))
}

/// Names the images of a bundle below `root`: by the flags, else by the lock of an earlier run, else as the bundle was
/// exported. `lock` is the bundle's.
pub(in crate::jobs) fn name_below(
    lock: Option<&Lock>,
    references: Vec<Reference>,
    root: &Root,
    naming: &NamingRule,
    earlier: Option<&Lock>,
) -> Result<(Placement, Vec<Mapping>), Failure> {
    let mut rule = lock.and_then(Lock::placement).cloned().unwrap_or_else(|| Placement {
        to: None,
        naming: Naming::default(),
        source_prefix: common_prefix(&references),
        chart: None,
        in_full: BTreeSet::new(),
    });
    if !naming.agrees_with(&rule) {
        rule.in_full.clear();
    }
    let to_name = ToName { references, yielding: optional(lock), placement: rule };
    to_name.below(root, naming, earlier).map_err(|error| refused(&error))
}

/// Two images would get one name.
fn refused(error: &MappingError) -> Failure {
    Failure::from_error(Kind::Usage, error).with_hint(match error {
        MappingError::SeveralDigests { .. } => {
            "a tag can have only one digest: export the bundle without the others"
        }
        _ => "give them different names with --naming full",
    })
}

/// The images that were only mentioned.
fn optional(lock: Option<&Lock>) -> BTreeSet<Reference> {
    let images = lock.iter().flat_map(|lock| &lock.images);
    images.filter(|image| image.optional).map(|image| image.source.clone()).collect()
}

fn options(request: &Import, bundle: &Bundle) -> Result<Options, Failure> {
    let lock = bundle.head().lock.as_ref();
    let mut waivers = request.waivers.clone();
    for image in lock.iter().flat_map(|lock| &lock.images) {
        let exact = |platform: &Platform| Waiver::exact(&image.source, platform);
        waivers.extend(image.waived.iter().filter_map(exact));
    }
    let platforms = request.platforms.clone().or_else(|| lock.map(|lock| lock.platforms.clone()));
    let platforms = platforms.unwrap_or_else(Platforms::default_required);
    let foreign_layers = lock.is_some_and(|lock| lock.foreign_layers).into();
    let options = request.copy.options(platforms, Waivers::new(waivers), foreign_layers);
    let signatures = if request.trust_bundle {
        Some(notation::verifier_with(&request.copy.signatures, trust_files::of_bundle(bundle)?)?)
    } else {
        notation::verifier(&request.copy.signatures)?
    };
    Ok(Options { optional: optional(lock), signatures, ..options })
}
