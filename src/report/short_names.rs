//! Short names of images, for tables and progress.

use std::collections::HashSet;

use crate::{
    error::escape,
    oci::{Reference, chart::is_local_chart, mapping::common_prefix},
    outcome::ImageOutcome,
};

/// Drops the prefix that all images of a run share, so that `services:4.53.0` fits a table's column.
/// Images outside the shared prefix keep their full name, so no two images get the same short name.
#[derive(Debug, Clone, Default)]
pub(super) struct ShortNames {
    prefix: Option<String>,
    /// Images with several destinations: their names include the destination.
    ambiguous: HashSet<Reference>,
}

impl ShortNames {
    /// Short names for the images of one run. A packaged chart has no registry, so it does not share their prefix.
    pub(super) fn for_images<'a>(sources: impl IntoIterator<Item = &'a Reference>) -> Self {
        let (mut images, mut seen, mut ambiguous) = (Vec::new(), HashSet::new(), HashSet::new());
        for source in sources {
            if !seen.insert(source) {
                ambiguous.insert(source.clone());
            }
            if !is_local_chart(source) {
                images.push(source.clone());
            }
        }
        Self { prefix: common_prefix(&images), ambiguous }
    }

    /// Short names for these results. A chart does not share the prefix of the images.
    pub(super) fn for_outcomes(outcomes: &[ImageOutcome]) -> Self {
        let all = Self::for_images(outcomes.iter().map(|outcome| &outcome.source));
        let images = outcomes.iter().filter(|outcome| outcome.kind.is_image());
        let images: Vec<Reference> = images.map(|outcome| outcome.source.clone()).collect();
        if images.is_empty() { all } else { Self { prefix: Self::for_images(&images).prefix, ..all } }
    }

    /// The name of an image at one of its destinations: with the destination if the run has several.
    pub(super) fn of_copy(&self, source: &Reference, destination: &str) -> String {
        let name = self.of(source);
        if self.ambiguous.contains(source) { format!("{name} at {}", escape(destination)) } else { name }
    }

    /// `services:4.53.0`, or `services:4.53.0@sha256:0123456789ab` for a pinned image.
    pub(super) fn of(&self, source: &Reference) -> String {
        let full = if is_local_chart(source) {
            source.repository().path().to_owned()
        } else {
            source.repository().to_string()
        };
        let below = self.prefix.as_ref().filter(|prefix| source.repository().is_below(prefix));
        let mut name = match below.and_then(|prefix| full.get(prefix.len() + 1..)) {
            Some(rest) => rest.to_owned(),
            None => full,
        };
        if let Some(tag) = source.tag() {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = source.digest() {
            name.push('@');
            name.push_str(digest.short());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_names(texts: &[&str]) -> Vec<String> {
        let sources: Vec<Reference> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let names = ShortNames::for_images(&sources);
        sources.iter().map(|source| names.of(source)).collect()
    }

    #[test]
    fn the_shared_prefix_is_dropped() {
        let vendor = "us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0";
        assert_eq!(short_names(&[vendor, "quay.io/x/y:1"]), ["services:4.53.0", "quay.io/x/y:1"]);
        assert_eq!(short_names(&["quay.io/a/b:1", "ghcr.io/a/b:1"]), ["quay.io/a/b:1", "ghcr.io/a/b:1"]);
    }

    #[test]
    fn a_chart_does_not_break_the_prefix_of_the_images() {
        let names = short_names(&["quay.io/a/b:1", "quay.io/a/c:1", "localhost/charts/shop:1.2.3"]);
        assert_eq!(names, ["b:1", "c:1", "charts/shop:1.2.3"]);
        assert_eq!(short_names(&["localhost/charts/shop:1.2.3"]), ["charts/shop:1.2.3"]);
        let outcome = |source: &str, kind| ImageOutcome {
            source: source.parse().unwrap(),
            kind,
            ..crate::report::samples::copied()
        };
        let chart = outcome("ghcr.io/x/shop:1", crate::oci::ArtifactKind::Chart);
        let image = outcome("quay.io/a/b:1", crate::oci::ArtifactKind::Image);
        let names = ShortNames::for_outcomes(&[image.clone(), chart.clone()]);
        assert_eq!([names.of(&image.source), names.of(&chart.source)], ["b:1", "ghcr.io/x/shop:1"]);
    }

    #[test]
    fn an_image_at_two_destinations_has_two_names() {
        let image: Reference = "quay.io/a/b:1".parse().unwrap();
        let names = ShortNames::for_images([&image, &image]);
        assert_eq!(names.of_copy(&image, "one.example/b:1"), "b:1 at one.example/b:1");
        assert_eq!(ShortNames::for_images([&image]).of_copy(&image, "one.example/b:1"), "b:1");
    }

    #[test]
    fn a_pinned_image_shows_the_head_of_its_digest() {
        let pinned = format!("quay.io/a/b:1@sha256:{}", "ab".repeat(32));
        assert_eq!(short_names(&[&pinned]), ["b:1@sha256:abababababab"]);
        assert_eq!(ShortNames::default().of(&"nginx".parse().unwrap()), "docker.io/library/nginx:latest");
    }
}
