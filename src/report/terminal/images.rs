//! `images`: one reference per line, or a table; with `--why`, every use of each image.

use super::{
    Column,
    fitted::{FittedColumn, Measure, fit},
};
use crate::{
    enumerate::{Confidence, Image, ImageUse},
    error::escape,
    report::style::Symbols,
};

/// One reference per line and nothing else, for other programs; with `why`, the uses indented below it.
pub(super) fn list(images: &[Image], why: bool) -> String {
    let mut lines = Vec::new();
    for image in images {
        lines.push(image.reference.to_string());
        if why {
            lines
                .extend(image.uses.iter().map(|used| format!("  {}: {}", confidence(used), used.location())));
        }
    }
    lines.join("\n")
}

/// A row of the table: an image with its first use, or a further use of the image above.
struct Row<'a> {
    image: Option<&'a Image>,
    used: Option<&'a ImageUse>,
}

pub(super) fn table(images: &[Image], why: bool, width: Option<usize>) -> String {
    let mut rows = Vec::new();
    for image in images {
        rows.push(Row { image: Some(image), used: image.uses.first() });
        let further = image.uses.iter().skip(1).filter(|_| why);
        rows.extend(further.map(|used| Row { image: None, used: Some(used) }));
    }
    let columns = columns().into_iter().map(|(column, measure)| FittedColumn { column, measure }).collect();
    let width = width.unwrap_or(usize::MAX);
    let table = fit(columns, &rows, |_| None, width, Symbols::of_locale().ellipsis);
    table.into_lines(None, width, |_| String::new()).join("\n")
}

fn columns<'a>() -> [(Column<Row<'a>>, Measure); 4] {
    let image = |row: &Row<'a>| row.image.map(|image| image.reference.to_string()).unwrap_or_default();
    let uses = |row: &Row<'a>| row.image.map(|image| image.uses.len().to_string()).unwrap_or_default();
    [
        (Column::left("IMAGE", image), Measure::LiftPath),
        (Column::left("FOUND IN", |row| row.used.map_or("list", confidence).to_owned()), Measure::Keep),
        (Column::right("USES", uses), Measure::Keep),
        (Column::left("FIRST USE", |row| row.used.map(location).unwrap_or_default()), Measure::Shorten),
    ]
}

fn location(used: &ImageUse) -> String {
    escape(&format!("{} {} {}", used.kind, used.name, used.path))
}

fn confidence(used: &ImageUse) -> &'static str {
    match used.confidence {
        Confidence::PodSpec if used.test_hook => "test hook",
        Confidence::PodSpec => "pod spec",
        Confidence::CustomResource => "custom resource",
        Confidence::Named => "named",
        Confidence::Mentioned => "mentioned",
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::samples;

    #[test]
    fn a_list_is_one_reference_per_line_and_nothing_else() {
        assert_eq!(list(&samples::enumeration().images, false), "quay.io/a/forecast:1\nquay.io/a/listed:1");
    }

    #[test]
    fn every_use_can_be_shown() {
        let images = samples::enumeration().images;
        assert_snapshot!(list(&images, true), @r#"
        quay.io/a/forecast:1
          pod spec: Deployment api at spec.template.spec.containers[0].image (thoras/templates/api.yaml)
          named: Deployment api at spec.template.spec.containers[0].env[2].value (thoras/templates/api.yaml)
        quay.io/a/listed:1
        "#);
        assert_snapshot!(table(&images, true, None), @r#"
        IMAGE                 FOUND IN  USES  FIRST USE
        quay.io/a/forecast:1  pod spec     2  Deployment api spec.template.spec.containers[0].image
                              named           Deployment api spec.template.spec.containers[0].env[2].value
        quay.io/a/listed:1    list         0
        "#);
    }

    #[test]
    fn an_image_is_one_line_at_eighty_columns() {
        let text = table(&samples::enumeration().images, false, Some(80));
        // The line above the table names the registry and the path.
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.lines().all(|line| console::measure_text_width(line) <= 80), "{text}");
    }

    #[test]
    fn a_table_shows_the_first_use_only_without_why() {
        assert_snapshot!(table(&samples::enumeration().images, false, None), @r#"
        IMAGE                 FOUND IN  USES  FIRST USE
        quay.io/a/forecast:1  pod spec     2  Deployment api spec.template.spec.containers[0].image
        quay.io/a/listed:1    list         0
        "#);
    }
}
