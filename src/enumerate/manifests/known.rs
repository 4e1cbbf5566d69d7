//! The registries and organizations that are known to hold images: those of the images that the walk is sure of, and
//! the prefixes from the user.

use std::collections::BTreeSet;

use crate::{
    enumerate::EnumerateError,
    oci::{Reference, mapping::Root},
};

use super::objects::has_registry;

/// The registries and organizations that hold the images of a rendering.
#[derive(Debug, Default)]
pub(super) struct KnownPrefixes {
    /// Prefixes from the user: normalized `HOST[/PATH]`.
    given: Vec<String>,
    registries: BTreeSet<String>,
    /// Parents that are written without a registry: `bitnami` of `bitnami/redis:7`.
    short: BTreeSet<String>,
}

/// Checks and normalizes the prefixes from the user.
pub(in crate::enumerate) fn parse_prefixes(given: &[String]) -> Result<Vec<String>, EnumerateError> {
    let normalize = |prefix: &String| match prefix.trim().parse::<Root>() {
        Ok(root) => Ok(root.to_string()),
        Err(source) => Err(EnumerateError::Prefix { prefix: prefix.clone(), source }),
    };
    given.iter().map(normalize).collect()
}

impl KnownPrefixes {
    /// `found` are the images, normalized and as written; `given` come from [`parse_prefixes`].
    pub(super) fn new<'f>(found: impl Iterator<Item = (&'f Reference, &'f str)>, given: &[String]) -> Self {
        let mut known = Self { given: given.to_vec(), ..Self::default() };
        for (reference, written) in found {
            known.registries.insert(reference.repository().registry().to_owned());
            if !has_registry(written)
                && let Some((parent, _)) = written.rsplit_once('/')
            {
                known.short.insert(parent.to_owned());
            }
        }
        known
    }

    /// Whether an image is below a prefix from the user, however it is written.
    pub(super) fn is_given(&self, reference: &Reference) -> bool {
        self.given.iter().any(|prefix| reference.repository().is_below(prefix))
    }

    /// Whether a reference is on the registry, or in the organization, of an image that was found.
    pub(super) fn includes(&self, reference: &Reference, written: &str) -> bool {
        if self.is_given(reference) {
            return true;
        }
        if has_registry(written) {
            return self.registries.contains(reference.repository().registry());
        }
        written.rsplit_once('/').is_some_and(|(parent, _)| self.short.contains(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(found: &[&str], given: &[&str]) -> KnownPrefixes {
        let references: Vec<Reference> = found.iter().map(|text| text.parse().unwrap()).collect();
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        KnownPrefixes::new(references.iter().zip(found.iter().copied()), &parse_prefixes(&given).unwrap())
    }

    #[test]
    fn short_names_count_only_beside_one_that_was_found() {
        let known = known(&["bitnami/redis:7", "nginx:1", "q.io/a:1"], &["docker.io/other"]);
        let includes = |text: &str| known.includes(&text.parse().unwrap(), text);
        assert!(includes("bitnami/redis-exporter:1") && includes("other/web:1") && includes("q.io/x:1"));
        assert!(!includes("postgres:5432") && !includes("third/redis:5432") && !includes("p.io/x:1"));
    }

    #[test]
    fn an_invalid_prefix_is_refused() {
        assert!(parse_prefixes(&["https://x.io".to_owned()]).is_err());
        assert_eq!(parse_prefixes(&["X.io/a/".to_owned()]).unwrap(), ["x.io/a"]);
    }
}
