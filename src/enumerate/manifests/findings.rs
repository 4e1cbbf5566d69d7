//! Collects what the walk finds, and decides about the images that it is not sure of.

use std::collections::BTreeSet;

use crate::{
    enumerate::{
        Note, NoteKind,
        image::{Confidence, ImageSet, ImageUse},
    },
    oci::Reference,
};

use super::{
    flux::{ChartSources, ReferredChart},
    known::KnownPrefixes,
    not_images, objects,
};

/// One place that names an image.
pub(super) struct FoundImage {
    pub(super) reference: Reference,
    pub(super) written: String,
    pub(super) found_at: ImageUse,
    pub(super) condition: Condition,
}

/// When a find counts as an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// Its registry or organization must be one that other images are in. `note` says whether it is worth a note if
    /// it is not.
    IfKnown {
        note: bool,
    },
    /// It has no tag, so it has the default one, unless a tag for it is written elsewhere.
    UnlessTagged {
        stem: Vec<String>,
    },
}

/// What the walk over all resources collects.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) images: Vec<FoundImage>,
    pub(super) notes: Vec<Note>,
    /// The stems of all keys that hold a tag or a version, see [`super::parts::tag_stems`].
    pub(super) tag_stems: BTreeSet<Vec<String>>,
    /// Where the sources of charts are.
    pub(super) chart_sources: ChartSources,
    /// The notes, by position, about charts that another resource locates.
    pub(super) referred_charts: Vec<(usize, ReferredChart)>,
}

impl Findings {
    /// Decides about the finds that are not certain, adds those that count to `images`, and returns the notes.
    pub(super) fn settle(self, given: &[String], images: &mut ImageSet) -> Vec<Note> {
        let Self { images: found, mut notes, tag_stems, chart_sources, referred_charts } = self;
        for (position, referred) in &referred_charts {
            let Some(note) = notes.get_mut(*position) else { continue };
            if let Some(artifact) = chart_sources.artifact(referred) {
                note.reference = None;
                artifact.reason.clone_into(&mut note.reason);
                note.remedy = Some(artifact.remedy);
            } else {
                let chart = chart_sources.locate(referred);
                (note.reference, note.remedy) = (Some(chart.name), chart.remedy);
            }
        }
        let certain = found.iter().filter(|image| image.condition == Condition::Always);
        let known =
            KnownPrefixes::new(certain.map(|image| (&image.reference, image.written.as_str())), given);
        for mut image in found {
            let refused = match &image.condition {
                Condition::IfKnown { note } if !known.includes(&image.reference, &image.written) => {
                    Some(note.then(|| unknown_registry(&image)))
                }
                Condition::UnlessTagged { stem } if !stem.is_empty() && tag_stems.contains(stem) => {
                    Some(Some(tag_elsewhere(&image)))
                }
                _ => None,
            };
            if let Some(note) = refused {
                notes.extend(note);
                continue;
            }
            // A prefix from the user is as good as a key.
            if image.found_at.confidence == Confidence::Mentioned && known.is_given(&image.reference) {
                image.found_at.confidence = Confidence::Named;
            }
            images.add(image.reference, &image.written, Some(image.found_at));
        }
        let is_taken = |note: &Note| note.kind == NoteKind::NotTaken && is_taken(note, images);
        notes.retain(|note| !is_taken(note));
        notes
    }
}

/// Whether an image that a note is about was found elsewhere: the same reference or, for one without a version, any image
/// of its repository. A single word counts as the last component of a repository that is named in full elsewhere.
fn is_taken(note: &Note, images: &ImageSet) -> bool {
    let Some(written) = note.reference.as_deref() else { return false };
    let Ok(reference) = written.parse::<Reference>() else { return false };
    if objects::has_version(written) {
        return images.contains(&reference);
    }
    images.references().map(Reference::repository).any(|repository| {
        let last = repository.path().rsplit('/').next();
        repository == reference.repository() || !written.contains('/') && last == Some(written)
    })
}

fn unknown_registry(image: &FoundImage) -> Note {
    let reason = "neither its key nor a registry marks it as an image";
    Note::not_taken(image.found_at.clone(), &image.written, reason)
}

fn tag_elsewhere(image: &FoundImage) -> Note {
    Note::not_taken(image.found_at.clone(), &image.written, "its tag is set elsewhere").with_tag_missing()
}

/// Whether an organization's image without a registry is worth a note: its tag looks like that of a release. A bare
/// number, as in `acme/web:1`, is enough for a setting of its own, but says nothing in a document (`text/html:1`).
pub(super) fn is_worth_a_note(reference: &Reference, is_embedded: bool) -> bool {
    let is_number = |tag: &str| {
        let digits = tag.strip_prefix('v').unwrap_or(tag);
        !digits.is_empty() && digits.len() < 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    reference.digest().is_some()
        || reference.tag().is_some_and(|tag| {
            tag == "latest" || not_images::is_release(tag) || !is_embedded && is_number(tag)
        })
}
