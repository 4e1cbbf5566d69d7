//! `running`: the images of a cluster, each with its origin and how it compares with the lock.

use super::{Column, one_line, table_lines};
use crate::{
    enumerate::ImageUse,
    jobs::running::{LockMatch, Origin, RunningImage},
    units,
};

/// How many columns stay on the first line of a row that does not fit.
const HEAD: usize = 3;

pub(super) fn text(images: &[RunningImage], width: Option<usize>) -> String {
    let columns = [
        Column::left("IMAGE", |image: &&RunningImage| one_line(&image.image)),
        Column::left("FROM", |image| origin(image.origin).to_owned()),
        Column::left("LOCK", |image| content(image.content).to_owned()),
        Column::left("DIGEST", |image| image.digest.as_ref().map_or("-", |digest| digest.short()).to_owned()),
        Column::left("LOCKED DIGEST", |image| {
            image.locked_digest.as_ref().map_or("-", |digest| digest.short()).to_owned()
        }),
        Column::left("USED BY", |image| used_by(&image.uses)),
    ];
    let rows: Vec<&RunningImage> = images.iter().collect();
    let mut lines = table_lines(&columns, &rows, HEAD..columns.len(), width);
    lines.push(String::new());
    lines.push(summary(images));
    lines.extend(hints(images));
    lines.join("\n")
}

/// One word for `awk` and `cut`.
fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Mirror => "mirror",
        Origin::Outside => "outside",
        Origin::Unknown => "unknown",
    }
}

fn content(content: LockMatch) -> &'static str {
    match content {
        LockMatch::Same => "same",
        LockMatch::Different => "different",
        LockMatch::NotLocked => "not-locked",
        LockMatch::Unknown => "unknown",
    }
}

fn used_by(uses: &[ImageUse]) -> String {
    let name = |used_at: &ImageUse| {
        let namespace = used_at.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        one_line(&format!("{} {namespace}{}", used_at.kind, used_at.name))
    };
    match uses {
        [] => "-".to_owned(),
        [only] => name(only),
        [first, others @ ..] => format!("{} and {} more", name(first), others.len()),
    }
}

fn summary(images: &[RunningImage]) -> String {
    let of_origin = |origin| images.iter().filter(|image| image.origin == origin).count();
    let of_content = |content| images.iter().filter(|image| image.content == content).count();
    let origins = counts(&[
        (of_origin(Origin::Mirror), "from the mirror"),
        (of_origin(Origin::Outside), "from elsewhere"),
        (of_origin(Origin::Unknown), "of unknown origin"),
    ]);
    let contents = counts(&[
        (of_content(LockMatch::Same), "the same"),
        (of_content(LockMatch::Different), "different"),
        (of_content(LockMatch::NotLocked), "not in it"),
        (of_content(LockMatch::Unknown), "unknown"),
    ]);
    format!("{}: {origins}; compared with the lock: {contents}", units::counted(images.len(), "image"))
}

/// `1 from the mirror, 2 from elsewhere`, without what does not occur.
fn counts(parts: &[(usize, &str)]) -> String {
    let parts =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn hints(images: &[RunningImage]) -> Vec<String> {
    let has = |is: &dyn Fn(&RunningImage) -> bool| images.iter().any(is);
    let mut hints = Vec::new();
    if has(&|image| image.origin == Origin::Outside) {
        hints.push("to mirror what runs from elsewhere: thoras-mirror sync … --add-running FILE".to_owned());
    }
    if has(&|image| image.content == LockMatch::Different) {
        hints.push(
            "to run what the lock has: restart pods that still run an earlier digest, or run thoras-mirror sync again"
                .to_owned(),
        );
    }
    if has(&|image| image.origin == Origin::Unknown) {
        hints.push(
            "unknown origin: the name is that of the source, which redirected nodes pull from the mirror; without \
             redirection, pass --no-redirect"
                .to_owned(),
        );
    }
    hints
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::report::samples;

    #[test]
    fn every_image_has_a_row_and_the_rest_is_counted() {
        assert_snapshot!(text(&samples::running().images, None), @r#"
        IMAGE                                        FROM     LOCK        DIGEST               LOCKED DIGEST        USED BY
        registry.example.com/thoras/services:4.53.0  mirror   same        sha256:0ee1866be96d  sha256:916d2876cd08  Pod thoras/a and 1 more
        registry.example.com/thoras/forecast:4.53.0  mirror   different   sha256:30c245f4ab72  sha256:916d2876cd08  Pod thoras/c
        quay.io/operator/agent:1                     outside  not-locked  sha256:711b9ee50c44  -                    Pod thoras/d
        docker.io/library/nginx:1                    unknown  unknown     sha256:7f9d479148d5  sha256:916d2876cd08  Pod thoras/e

        4 images: 2 from the mirror, 1 from elsewhere, 1 of unknown origin; compared with the lock: 1 the same, 1 different, 1 not in it, 1 unknown
        to mirror what runs from elsewhere: thoras-mirror sync … --add-running FILE
        to run what the lock has: restart pods that still run an earlier digest, or run thoras-mirror sync again
        unknown origin: the name is that of the source, which redirected nodes pull from the mirror; without redirection, pass --no-redirect
        "#);
    }

    #[test]
    fn names_from_the_cluster_cannot_imitate_a_row() {
        let mut images = samples::running().images;
        images[0].image = "evil\u{1b}[2J\nquay.io/x".to_owned();
        let text = text(&images, None);
        assert!(text.contains("evil\\u{1b}[2J quay.io/x"), "{text}");
    }
}
