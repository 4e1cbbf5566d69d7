//! Short names of images, for tables and progress.

use crate::oci::{Reference, mapping::common_prefix};

/// Drops the prefix that all images of a run share, so that `services:4.53.0` fits a table's column.
/// Images outside the shared prefix keep their full name, so no two images get the same short name.
#[derive(Debug, Clone, Default)]
pub(super) struct ShortNames {
    prefix: Option<String>,
}

impl ShortNames {
    /// Short names for the images of one run.
    pub(super) fn for_images<'a>(sources: impl IntoIterator<Item = &'a Reference>) -> Self {
        let sources: Vec<Reference> = sources.into_iter().cloned().collect();
        Self { prefix: common_prefix(&sources) }
    }

    /// `services:4.53.0`, or `services:4.53.0@sha256:0123456789ab` for a pinned image.
    pub(super) fn of(&self, source: &Reference) -> String {
        let full = source.repository().to_string();
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
    fn a_pinned_image_shows_the_head_of_its_digest() {
        let pinned = format!("quay.io/a/b:1@sha256:{}", "ab".repeat(32));
        assert_eq!(short_names(&[&pinned]), ["b:1@sha256:abababababab"]);
        assert_eq!(ShortNames::default().of(&"nginx".parse().unwrap()), "docker.io/library/nginx:latest");
    }
}
