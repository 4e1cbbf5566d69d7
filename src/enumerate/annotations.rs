//! The images that a chart's annotations list: a cross-check of what its rendering names.
//!
//! `artifacthub.io/images`, `helm.sh/images` and Bitnami's `images` hold a YAML list of objects with an `image`. They
//! are written by hand or at release time, for every feature of the chart, so they are not taken by default.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{oci::Reference, units};

use super::{ImageUse, Note, NoteKind, image::ImageSet};

const KEYS: [&str; 3] = ["artifacthub.io/images", "helm.sh/images", "images"];

/// At most this many references are listed in one note.
const MAX_LISTED: usize = 5;

/// An image that an annotation lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AnnotatedImage {
    pub(super) reference: Reference,
    pub(super) written: String,
    /// The annotation's key.
    key: &'static str,
}

/// Reads the annotations of a `Chart.yaml`. What cannot be read as an image is left out.
pub(super) fn read(chart_yaml: &Value) -> Vec<AnnotatedImage> {
    let mut found = BTreeMap::new();
    for key in KEYS {
        let Some(text) = chart_yaml.get("annotations").and_then(|annotations| annotations.get(key)?.as_str())
        else {
            continue;
        };
        let Ok(Value::Array(items)) = serde_saphyr::from_str::<Value>(text) else { continue };
        for item in items {
            let written =
                item.as_str().or_else(|| item.get("image")?.as_str()).unwrap_or_default().trim().to_owned();
            if let Ok(reference) = written.parse::<Reference>() {
                found.entry(reference.clone()).or_insert(AnnotatedImage { reference, written, key });
            }
        }
    }
    found.into_values().collect()
}

/// Compares the annotations with what was found, in both directions.
pub(super) fn compare(chart: &str, annotated: &[AnnotatedImage], images: &ImageSet) -> Vec<Note> {
    let place = |key: &str| ImageUse::at("Chart", chart, &format!("annotations[{key:?}]"));
    let mut notes: Vec<Note> = annotated
        .iter()
        .filter(|image| !images.contains(&image.reference))
        .map(|image| {
            let note =
                Note::not_taken(place(image.key), &image.written, "only an annotation of the chart lists it");
            let remedy = format!("add it with --add {}, or all of them with --annotated", image.written);
            Note { kind: NoteKind::Annotation, ..note.with_remedy(remedy) }
        })
        .collect();
    let unlisted: Vec<String> = images
        .found()
        .filter(|reference| !annotated.iter().any(|image| image.reference == **reference))
        .map(ToString::to_string)
        .collect();
    if let (Some(first), false) = (annotated.first(), unlisted.is_empty()) {
        let shown = units::named(&unlisted, MAX_LISTED);
        let count = match unlisted.len() {
            1 => "1 of the images found is".to_owned(),
            count => format!("{count} of the images found are"),
        };
        let reason = format!("{count} not listed: {shown}");
        notes.push(Note::new(NoteKind::Annotation, place(first.key), None, &reason));
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_are_noted_in_both_directions() {
        let list = "- {name: web, image: 'q.io/a/web:1'}\n- image: q.io/a/gone:1\n- image: 'not an image'\n";
        let annotated =
            read(&json!({"annotations": {"artifacthub.io/images": list, "images": "- image: q.io/a/web:1"}}));
        assert_eq!(annotated.len(), 2);
        let mut images = ImageSet::default();
        for text in ["q.io/a/web:1", "q.io/a/extra:1"] {
            images.add(text.parse().unwrap(), text, None);
        }
        let notes: Vec<_> = compare("web", &annotated, &images).iter().map(Note::message).collect();
        assert_eq!(
            notes,
            [
                "not mirrored: q.io/a/gone:1 (Chart web at annotations[\"artifacthub.io/images\"]), because only an annotation of the chart lists it; add it with --add q.io/a/gone:1, or all of them with --annotated",
                "Chart web at annotations[\"artifacthub.io/images\"]: 1 of the images found is not listed: q.io/a/extra:1",
            ]
        );
        assert_eq!(compare("web", &read(&json!({})), &images), []);
    }
}
