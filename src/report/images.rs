//! What `images` shows: one reference a line, a table, every place that names each, or JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    grid::{Column, Grid},
    print, stdout_width,
};
use crate::{
    enumerate::{Confidence, Enumeration, Image, ImageUse},
    error::{Failure, escape},
    output::Format,
};

/// The schema of [`ImagesDocument`].
pub const IMAGES_SCHEMA: &str = "thoras-mirror/images/v1";

/// What `images --output json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagesDocument {
    #[schemars(extend("const" = IMAGES_SCHEMA))]
    schema: &'static str,
    /// The images, the chart they come from, and what was passed over.
    #[serde(flatten)]
    found: Enumeration,
}

impl ImagesDocument {
    /// The document about what was found.
    #[must_use]
    pub fn new(found: Enumeration) -> Self {
        Self { schema: IMAGES_SCHEMA, found }
    }
}

/// Writes the images to standard output. `why` adds every place that names each, where the form allows it;
/// JSON always has them.
pub fn present_images(document: &ImagesDocument, output: Format, why: bool) -> Result<(), Failure> {
    let images = &document.found.images;
    match output {
        Format::Json => print::document(document),
        Format::Table => print::result(&table(images, why, stdout_width())),
        Format::List => print::result(&list(images, why)),
    }
}

/// One reference a line and nothing else, for the next program; with `why`, its places indented below it.
fn list(images: &[Image], why: bool) -> String {
    let mut lines = Vec::new();
    for image in images {
        lines.push(image.reference.to_string());
        if why {
            lines.extend(image.uses.iter().map(|place| format!("  {}: {}", sureness(place), place.place())));
        }
    }
    lines.join("\n")
}

fn table(images: &[Image], why: bool, width: Option<usize>) -> String {
    let columns =
        [Column::Left("IMAGE"), Column::Left("FOUND IN"), Column::Right("USES"), Column::Left("FIRST USE")];
    let mut grid = Grid::new(columns, 1);
    for image in images {
        let shown = if why { image.uses.len() } else { 1 };
        let mut uses = image.uses.iter().take(shown);
        let first = uses.next();
        grid.push([
            image.reference.to_string(),
            first.map_or("list", sureness).to_owned(),
            image.uses.len().to_string(),
            first.map(place).unwrap_or_default(),
        ]);
        for other in uses {
            grid.push([String::new(), sureness(other).to_owned(), String::new(), place(other)]);
        }
    }
    grid.lines(width).join("\n")
}

fn place(place: &ImageUse) -> String {
    escape(&format!("{} {} {}", place.kind, place.name, place.path))
}

fn sureness(place: &ImageUse) -> &'static str {
    match place.confidence {
        Confidence::PodSpec => "pod spec",
        Confidence::CustomResource => "custom resource",
        Confidence::Environment => "environment",
        Confidence::Heuristic => "heuristic",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::schema;

    fn found() -> Enumeration {
        let place = |kind: &str, path: &str, confidence| ImageUse {
            kind: kind.to_owned(),
            namespace: None,
            name: "api".to_owned(),
            path: path.to_owned(),
            template: Some("thoras/templates/api.yaml".to_owned()),
            confidence,
        };
        let image = |reference: &str, uses| Image {
            reference: reference.parse().unwrap(),
            written: reference.to_owned(),
            uses,
        };
        Enumeration {
            images: vec![
                image(
                    "quay.io/a/forecast:1",
                    vec![
                        place("Deployment", "spec.template.spec.containers[0].image", Confidence::PodSpec),
                        place(
                            "Deployment",
                            "spec.template.spec.containers[0].env[2].value",
                            Confidence::Environment,
                        ),
                    ],
                ),
                image("quay.io/a/listed:1", Vec::new()),
            ],
            chart: None,
            package: None,
            source_prefix: Some("quay.io/a".to_owned()),
            notes: Vec::new(),
            idle_filters: Vec::new(),
        }
    }

    #[test]
    fn a_list_is_one_reference_a_line_and_nothing_else() {
        assert_eq!(list(&found().images, false), "quay.io/a/forecast:1\nquay.io/a/listed:1");
    }

    #[test]
    fn every_place_can_be_shown() {
        assert_snapshot!(list(&found().images, true));
        assert_snapshot!(table(&found().images, true, None));
    }

    #[test]
    fn the_schema_is_current_and_holds() {
        schema::assert_current("images.v1.json", &schemars::schema_for!(ImagesDocument));
        schema::assert_valid("images.v1.json", &serde_json::to_value(ImagesDocument::new(found())).unwrap());
    }
}
