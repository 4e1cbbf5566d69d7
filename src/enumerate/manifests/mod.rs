//! Finds images in rendered Kubernetes manifests.
//!
//! - [`documents`] splits a rendering and reads each document as YAML;
//! - [`resource`] says what a document is, and what is never looked into: Secrets and CRD schemas;
//! - [`structure`] is the first pass: images by position, in pod specs and custom resources, with
//!   [`fields`] knowing the shapes in which custom resources write them;
//! - [`mentions`] is the second pass: text that names an image on a registry that the first pass saw, with
//!   [`prefixes`] deciding what counts as one.

mod documents;
mod fields;
mod mentions;
mod path;
mod prefixes;
mod resource;
mod structure;

pub(super) use prefixes::parse as parse_prefixes;

use std::collections::BTreeSet;

use crate::oci::Reference;

use super::{
    EnumerateError, Note,
    image::{Confidence, ImageSet, ImageUse},
};
use path::Path;
use prefixes::Prefixes;
use resource::Resource;

/// One place that names an image, as the passes report it.
struct Find {
    reference: Reference,
    written: String,
    place: ImageUse,
}

/// Scans a rendering. `input` names it in errors; `given` are normalized prefixes (`HOST[/PATH]`).
pub(super) fn scan(
    input: &str,
    text: &str,
    given: &[String],
    images: &mut ImageSet,
) -> Result<Vec<Note>, EnumerateError> {
    let mut parsed = Vec::new();
    for document in documents::split(text) {
        let value = documents::parse(document.text).map_err(|error| EnumerateError::Yaml {
            input: input.to_owned(),
            line: document.first_line + error.line.saturating_sub(1),
            reason: error.reason,
        })?;
        parsed.push((value, document.template));
    }
    let resources: Vec<Resource<'_>> =
        parsed.iter().flat_map(|(value, template)| resource::unfold(value, *template)).collect();

    let mut notes = Vec::new();
    let mut taken = Vec::new();
    for resource in &resources {
        let found = structure::walk(resource)?;
        taken.push(found.finds.iter().map(|find| find.place.path.clone()).collect::<BTreeSet<_>>());
        for find in found.finds {
            images.add(find.reference, &find.written, Some(find.place));
        }
        notes.extend(found.notes);
    }
    let prefixes = Prefixes::new(images.references(), given);
    for (resource, taken) in resources.iter().zip(taken) {
        for find in mentions::walk(resource, &prefixes) {
            if !taken.contains(&find.place.path) {
                images.add(find.reference, &find.written, Some(find.place));
            }
        }
    }
    Ok(notes)
}

impl Resource<'_> {
    fn place(&self, path: &Path, confidence: Confidence) -> ImageUse {
        ImageUse {
            kind: self.kind.to_owned(),
            namespace: self.namespace.map(str::to_owned),
            name: self.name.to_owned(),
            path: path.to_string(),
            template: self.template.map(str::to_owned),
            confidence,
        }
    }
}

#[cfg(test)]
mod tests;
