//! Missing and damaged parts of a bundle, found before any transfer: an error, or with `--keep-going` images that fail.

use super::{super::open_bundle::skipped_by_the_export, names::Imported, plan::ImportPlan};
use crate::{
    endpoint::bundle::{Bundle, BundleError},
    error::{Failure, Kind},
    event::{Event, EventSink, warn},
    oci::Mapping,
    outcome::{ImageOutcome, Mirrored, Status},
    problem::{
        FoundBy, Problem, Remedy,
        absent_volumes::{absent_volumes, say_absent},
    },
};

/// How many problems of one image are shown.
const MAX_SHOWN: usize = 3;

/// The hint that imports only the images without problems.
const WITHOUT_THEM: &str = "import the complete images with --keep-going";

/// An image that cannot be imported completely.
pub(super) struct Affected {
    mapping: Mapping,
    image: Imported,
    problems: Vec<Problem>,
}

impl ImportPlan {
    /// Separates the images that have problems.
    pub(super) fn split(
        &mut self,
        problems: impl Fn(&Imported) -> Result<Vec<Problem>, BundleError>,
    ) -> Result<Vec<Affected>, Failure> {
        let mut affected = Vec::new();
        let (images, mappings) = (std::mem::take(&mut self.images), std::mem::take(&mut self.mappings));
        self.images.reserve_exact(images.len());
        self.mappings.reserve_exact(mappings.len());
        for (image, mapping) in images.into_iter().zip(mappings) {
            let problems = problems(&image).map_err(|error| error.failure())?;
            if problems.is_empty() {
                self.images.push(image);
                self.mappings.push(mapping);
            } else {
                affected.push(Affected { mapping, image, problems });
            }
        }
        Ok(affected)
    }
}

/// Refuses the bundle because of its images' problems. `done` says what has been done so far.
pub(super) fn refuse(affected: &[Affected], bundle: &Bundle, done: &str) -> Failure {
    // The end of the file explains every missing blob.
    if let Some(error) = bundle.truncation() {
        let remedy = Remedy::CopyBundleAgain.hint();
        return error.failure().with_hint(format!("{done}; {remedy}, or {WITHOUT_THEM}"));
    }
    let problems: Vec<&Problem> = affected.iter().flat_map(|image| &image.problems).collect();
    let kind = Problem::failure_kind_of(problems.iter().copied(), FoundBy::BundleImport);
    // The problem that decides the exit code also decides the hint.
    let decisive = problems.iter().find(|problem| problem.failure_kind(FoundBy::BundleImport) == kind);
    let remedy = decisive.map_or(Remedy::CopyBundleAgain, |problem| problem.remedy(FoundBy::BundleImport));
    let images =
        if affected.len() == 1 { "an image".to_owned() } else { format!("{} images", affected.len()) };
    let mut failure =
        Failure::new(kind, format!("{} is incomplete: {images} cannot be imported", bundle.path().display()));
    // An error at the end of the archive would hide the known problems.
    failure.causes = bundle.end_damage().ok().flatten().iter().map(ToString::to_string).collect();
    failure
        .causes
        .extend(affected.iter().map(|image| format!("{}: {}", image.image.reference, image.summary())));
    failure.with_hint(format!("{done}; {}, or {WITHOUT_THEM}", remedy.hint()))
}

/// Refuses an archive with a damaged end, or continues with a warning under `--keep-going`.
pub(super) fn check_end(bundle: &Bundle, keep_going: bool, events: &dyn EventSink) -> Result<(), Failure> {
    let Some(problem) = bundle.end_damage().map_err(|error| error.failure())? else { return Ok(()) };
    let message = format!("{}: {problem}", bundle.path().display());
    if keep_going {
        warn(events, message);
        return Ok(());
    }
    let remedy = problem.remedy(FoundBy::BundleImport).hint();
    Err(Failure::new(problem.failure_kind(FoundBy::BundleImport), message)
        .with_hint(format!("nothing was copied; {remedy}, or {WITHOUT_THEM}")))
}

/// The outcome of an image that the export skipped or failed to copy. It stays unconfirmed in the lock, so that
/// `verify` reports it.
pub(super) fn left_out(
    mapping: &Mapping,
    is_skipped: bool,
    strict: bool,
    events: &dyn EventSink,
) -> Mirrored {
    if is_skipped {
        let outcome = ImageOutcome::skipped(mapping, skipped_by_the_export());
        if strict {
            let outcome = outcome.into_failed();
            return Mirrored::from(outcome);
        }
        let (image, message) = (Some(mapping.source.clone()), outcome.skip_message().unwrap_or_default());
        events.emit(Event::Warning { image, message });
        return Mirrored::from(outcome);
    }
    let problem = Problem::LeftOut { image: mapping.source.clone() };
    let outcome = ImageOutcome {
        failure: Some(problem.failure(FoundBy::BundleImport)),
        ..ImageOutcome::new(mapping, Status::Failed)
    };
    Mirrored::from(outcome)
}

impl Affected {
    fn summary(&self) -> String {
        if let Some(volumes) = absent_volumes(&self.problems) {
            return say_absent(volumes);
        }
        let shown: Vec<String> = self.problems.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
        let more = self.problems.len().saturating_sub(MAX_SHOWN);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join("; "))
    }

    /// Its outcome in a run that continues without it.
    pub(super) fn into_mirrored(self) -> Mirrored {
        let summary = self.summary();
        let (message, remedy) = if absent_volumes(&self.problems).is_some() {
            (summary, Remedy::AddVolumes.hint())
        } else {
            (format!("missing or damaged in the bundle: {summary}"), "copy the bundle again")
        };
        let failure = Failure::new(Kind::Image, message)
            .with_hint(format!("{remedy}, then repeat the command: it resumes"));
        let outcome = ImageOutcome {
            digest: Some(self.image.root.digest),
            failure: Some(failure),
            ..ImageOutcome::new(&self.mapping, Status::Failed)
        };
        Mirrored::from(outcome)
    }
}
