//! Notes: what was not mirrored although it may be needed, and what to do about it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::ImageUse;
use crate::error::escape;

/// What a note is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Something that looks like an image was not taken.
    #[default]
    NotTaken,
    /// A container names no image: an operator or a webhook sets it.
    NoImage,
    /// A resource names a chart that was not rendered, so its images are not known.
    ChartNotRendered,
    /// The chart's annotations list other images than its rendering names.
    Annotation,
}

/// Something that may need an image that is not mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Where it was first seen.
    #[serde(rename = "place")]
    pub found_at: ImageUse,
    /// Why nothing was mirrored for it.
    pub reason: String,
    /// What the note is about.
    #[serde(default)]
    pub kind: NoteKind,
    /// What was written there: a reference, or the name of a chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What to do if it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// In how many further places the same was seen.
    #[serde(default)]
    pub more: usize,
}

impl Note {
    /// Something that looks like an image and was not taken.
    pub(super) fn not_taken(found_at: ImageUse, written: &str, reason: &str) -> Self {
        Self {
            remedy: Some(format!("add it with --add {written}")),
            ..Self::new(NoteKind::NotTaken, found_at, Some(written), reason)
        }
    }

    pub(super) fn new(kind: NoteKind, found_at: ImageUse, reference: Option<&str>, reason: &str) -> Self {
        let reference = reference.map(str::to_owned);
        Self { found_at, reason: reason.to_owned(), kind, reference, remedy: None, more: 0 }
    }

    /// The same, for a reference that lacks a tag.
    #[must_use]
    pub(super) fn with_tag_missing(mut self) -> Self {
        self.remedy = self.reference.as_ref().map(|written| format!("add it with --add {written}:TAG"));
        self
    }

    pub(super) fn with_remedy(mut self, remedy: impl Into<Option<String>>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The note as one line, control characters escaped.
    #[must_use]
    pub fn message(&self) -> String {
        let what = match (self.kind, self.reference.as_deref()) {
            (NoteKind::NotTaken | NoteKind::Annotation, Some(written)) => {
                format!("not mirrored: {written} ({}), because ", self.found_at.location())
            }
            (NoteKind::ChartNotRendered, Some(chart)) => {
                format!("chart {chart} not rendered ({}): ", self.found_at.location())
            }
            _ => format!("{}: ", self.found_at.location()),
        };
        let more = match self.more {
            0 => String::new(),
            1 => " (and 1 more place)".to_owned(),
            more => format!(" (and {more} more places)"),
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        escape(&format!("{what}{}{more}{remedy}", self.reason)).replace('\n', "\\n")
    }
}

/// One note for each thing: the same reference, or all containers of one resource.
pub(super) fn deduplicated(notes: Vec<Note>) -> Vec<Note> {
    let mut positions: BTreeMap<(NoteKind, String), usize> = BTreeMap::new();
    let mut kept: Vec<Note> = Vec::new();
    for note in notes {
        let place = &note.found_at;
        let about = note.reference.clone().unwrap_or_else(|| {
            format!("{} {}/{}", place.kind, place.namespace.as_deref().unwrap_or_default(), place.name)
        });
        let position = *positions.entry((note.kind, about)).or_insert(kept.len());
        match kept.get_mut(position) {
            Some(first) => first.more += 1,
            None => kept.push(note),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enumerate::Confidence;

    fn place(name: &str) -> ImageUse {
        ImageUse { confidence: Confidence::Mentioned, ..ImageUse::at("ConfigMap", name, "data.x") }
    }

    #[test]
    fn a_note_is_one_line_and_each_reference_has_one() {
        let notes = deduplicated(vec![
            Note::not_taken(place("a"), "team/x", "it has no tag").with_tag_missing(),
            Note::not_taken(place("b"), "team/x", "it has no tag").with_tag_missing(),
            Note::not_taken(place("b"), "team/y:1\n", "it is\u{1b}a placeholder").with_remedy(None),
        ]);
        let lines: Vec<_> = notes.iter().map(Note::message).collect();
        assert_eq!(
            lines,
            [
                "not mirrored: team/x (ConfigMap a at data.x), because it has no tag (and 1 more place); add it with --add team/x:TAG",
                "not mirrored: team/y:1\\n (ConfigMap b at data.x), because it is\\u{1b}a placeholder",
            ]
        );
    }
}
