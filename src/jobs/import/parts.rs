//! Parts of a bundle that are missing or damaged, found before any transfer: the bundle is refused, or with
//! `--keep-going` the affected images are left out by name.

use std::path::Path;

use super::{names::Imported, plan::Plan};
use crate::{
    endpoint::bundle::{Bundle, BundleError, Lack},
    error::{Failure, Kind},
    event::{EventSink, warn},
    jobs::check,
    oci::Mapping,
    outcome::{ImageOutcome, Mirrored, Status},
};

/// How many missing parts of one image a message lists.
const LISTED: usize = 3;

/// An image that cannot be imported completely.
pub(super) struct Affected {
    mapping: Mapping,
    image: Imported,
    /// What is missing, in one line each.
    lacks: Vec<String>,
    is_missing_volumes: bool,
}

impl Plan {
    /// Takes out the images that lack something.
    pub(super) fn split(
        &mut self,
        lacks: impl Fn(&Imported) -> Result<Vec<Lack>, BundleError>,
    ) -> Result<Vec<Affected>, Failure> {
        let mut affected = Vec::new();
        let images = std::mem::take(&mut self.images).into_iter().zip(std::mem::take(&mut self.mappings));
        for (image, mapping) in images {
            let lacks = lacks(&image).map_err(|error| error.failure())?;
            if lacks.is_empty() {
                self.images.push(image);
                self.mappings.push(mapping);
            } else {
                affected.push(Affected::new(image, mapping, &lacks));
            }
        }
        Ok(affected)
    }
}

/// Refuses the bundle for what its images lack. `done` says what has been done so far.
pub(super) fn refuse(affected: &[Affected], path: &Path, done: &str) -> Failure {
    let missing_volumes = affected.iter().all(|image| image.is_missing_volumes);
    let kind = if missing_volumes { Kind::Input } else { Kind::Integrity };
    let images =
        if affected.len() == 1 { "an image".to_owned() } else { format!("{} images", affected.len()) };
    let mut failure =
        Failure::new(kind, format!("{} is not whole: {images} cannot be imported", path.display()));
    failure.causes =
        affected.iter().map(|lost| format!("{}: {}", lost.image.reference, lost.summary())).collect();
    let help = if missing_volumes {
        "name the missing volumes or put them beside the others"
    } else {
        "copy the bundle again from where it was written"
    };
    failure.with_hint(format!("{done}; {help}, or import what is whole with --keep-going"))
}

/// Refuses an archive of ours whose end is missing, or continues with a warning.
pub(super) fn check_end(bundle: &Bundle, keep_going: bool, events: &dyn EventSink) -> Result<(), Failure> {
    if bundle.has_end().map_err(|error| error.failure())? {
        return Ok(());
    }
    let path = bundle.path().display();
    let message = format!("{path} does not end as it was written to end: it is cut off or damaged");
    if keep_going {
        warn(events, message);
        return Ok(());
    }
    Err(Failure::new(Kind::Integrity, message).with_hint(
        "nothing was copied; copy the bundle again from where it was written, or import what is whole with --keep-going",
    ))
}

/// The result of an image that the export left out because it failed. In the lock it stays unconfirmed, so that
/// `verify` reports it.
pub(super) fn left_out(mapping: &Mapping) -> Mirrored {
    let outcome = ImageOutcome {
        failure: Some(check::left_out(&mapping.source)),
        ..ImageOutcome::new(mapping, Status::Failed)
    };
    Mirrored { outcome, graph: None, missing_repository: None }
}

impl Affected {
    fn new(image: Imported, mapping: Mapping, lacks: &[Lack]) -> Self {
        let is_missing_volumes = lacks.iter().all(|lack| matches!(lack, Lack::Volumes { .. }));
        Self { mapping, image, lacks: lacks.iter().map(ToString::to_string).collect(), is_missing_volumes }
    }

    fn summary(&self) -> String {
        let listed: Vec<&str> = self.lacks.iter().take(LISTED).map(String::as_str).collect();
        let more = self.lacks.len().saturating_sub(LISTED);
        let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{rest}", listed.join("; "))
    }

    /// Its result in a run that continues without it.
    pub(super) fn into_mirrored(self) -> Mirrored {
        let failure =
            Failure::new(Kind::Image, format!("the bundle does not hold all of it: {}", self.summary()))
                .with_hint(
                    "copy the bundle again, and run the same command again: what is there already is kept",
                );
        let outcome = ImageOutcome {
            digest: Some(self.image.root.digest),
            failure: Some(failure),
            ..ImageOutcome::new(&self.mapping, Status::Failed)
        };
        Mirrored { outcome, graph: None, missing_repository: None }
    }
}
