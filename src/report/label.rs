//! The short names by which a report calls its images.

use crate::oci::{Reference, mapping::common_prefix};

/// Cuts off what all images of a run share, so that `services:4.53.0` fits a table's column.
/// Images outside the shared prefix keep their full name, so no two images get one label.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    prefix: Option<String>,
}

impl Labels {
    /// Labels for the images of one run.
    #[must_use]
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a Reference>) -> Self {
        let sources: Vec<Reference> = sources.into_iter().cloned().collect();
        Self { prefix: common_prefix(&sources) }
    }

    /// `services:4.53.0`, or `services:4.53.0@sha256:0123456789ab` for a pinned one.
    #[must_use]
    pub fn label(&self, source: &Reference) -> String {
        let full = source.repository().to_string();
        let below = self.prefix.as_ref().filter(|prefix| source.repository().is_below(prefix));
        let mut label = match below.and_then(|prefix| full.get(prefix.len() + 1..)) {
            Some(name) => name.to_owned(),
            None => full,
        };
        if let Some(tag) = source.tag() {
            label.push(':');
            label.push_str(tag);
        }
        if let Some(digest) = source.digest() {
            label.push('@');
            label.push_str(digest.short());
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Vec<String> {
        let sources: Vec<Reference> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let labels = Labels::of(&sources);
        sources.iter().map(|source| labels.label(source)).collect()
    }

    #[test]
    fn what_all_share_is_cut_off() {
        let vendor = "us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0";
        assert_eq!(labels(&[vendor, "quay.io/x/y:1"]), ["services:4.53.0", "quay.io/x/y:1"]);
        assert_eq!(labels(&["quay.io/a/b:1", "ghcr.io/a/b:1"]), ["quay.io/a/b:1", "ghcr.io/a/b:1"]);
    }

    #[test]
    fn a_pinned_image_shows_the_head_of_its_digest() {
        let pinned = format!("quay.io/a/b:1@sha256:{}", "ab".repeat(32));
        assert_eq!(labels(&[&pinned]), ["b:1@sha256:abababababab"]);
        assert_eq!(Labels::default().label(&"nginx".parse().unwrap()), "docker.io/library/nginx:latest");
    }
}
