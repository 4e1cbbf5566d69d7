//! The names that the images of a bundle get where it is imported. A bundle itself can hold `app:1` with one digest and
//! `app:1@sha256:…` with another, but an import cannot push both under one tag.

use std::collections::HashMap;

use super::exporter::ready;
use crate::{
    error::Failure,
    event::{Event, EventSink, warn},
    oci::{Digest, Mapping, MappingError, Reference},
    outcome::{ImageOutcome, Mirrored, Status},
    pipeline::shared_tags::two_digests,
};

/// The names of the images below any destination.
#[derive(Debug, Clone)]
pub(super) struct ImportNames {
    names: Vec<Mapping>,
    /// Whether the images were listed rather than found: other programs may read them by their own names.
    is_list: bool,
}

impl ImportNames {
    /// Refuses a tag that is pinned to several digests. A list may have it, with a warning.
    pub(super) fn new(
        names: Result<Vec<Mapping>, MappingError>,
        is_list: bool,
        events: &dyn EventSink,
    ) -> Result<Self, MappingError> {
        let names = match names {
            Ok(names) => names,
            // `bundle import` may be given another rule.
            Err(MappingError::Collision { .. }) => Vec::new(),
            Err(error) if is_list => {
                warn(events, format!("{error}; `bundle import` refuses these images"));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Self { names, is_list })
    }

    /// Fails images that an import would push under one tag although their digests differ; those of a list get a
    /// warning. An optional image never fails one that is not.
    pub(super) fn check(&self, mirrored: &mut [Mirrored], events: &dyn EventSink) {
        let names: HashMap<&Reference, &Mapping> =
            self.names.iter().map(|name| (&name.source, name)).collect();
        let resolved: Vec<Resolved<'_>> =
            ready(mirrored).filter_map(|image| Resolved::new(&image.outcome, &names)).collect();
        let mut by_name: HashMap<String, Vec<&Resolved<'_>>> = HashMap::new();
        for image in &resolved {
            by_name.entry(image.name.destination()).or_default().push(image);
        }
        for Mirrored { outcome, .. } in ready(mirrored) {
            let Some(image) = Resolved::new(outcome, &names) else { continue };
            let mut others = by_name.get(&image.name.destination()).into_iter().flatten();
            let Some(failure) = others.find_map(|other| image.conflict(other)) else { continue };
            if self.is_list {
                let message = format!("{}; `bundle import` fails these images", with_causes(&failure));
                events.emit(Event::Warning { image: Some(outcome.source.clone()), message });
            } else {
                outcome.failure = Some(failure);
                outcome.status = Status::Failed;
            }
        }
    }
}

fn with_causes(failure: &Failure) -> String {
    format!("{} ({})", failure.message, failure.causes.join("; "))
}

/// An image whose digest is known.
struct Resolved<'a> {
    name: &'a Mapping,
    digest: Digest,
    optional: bool,
}

impl<'a> Resolved<'a> {
    fn new(outcome: &ImageOutcome, names: &HashMap<&Reference, &'a Mapping>) -> Option<Self> {
        let name = names.get(&outcome.source)?;
        Some(Self { name, digest: outcome.digest.clone()?, optional: outcome.optional })
    }

    /// The failure of this image if the other has its name and another digest.
    fn conflict(&self, other: &Resolved<'_>) -> Option<Failure> {
        let differs = self.digest != other.digest && (self.optional || !other.optional);
        let tag = format!("{}:{}", self.name.repository.path(), self.name.tag);
        differs.then(|| two_digests(&tag, (self.name, &self.digest), (other.name, &other.digest)))
    }
}
