//! Which text names an image: the registries that the first pass saw, and the prefixes that were given.

use std::collections::BTreeSet;

use crate::oci::{Reference, mapping::Root};

use super::{EnumerateError, fields};

/// How a piece of text was recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It stands below a prefix: beside an image that was found, or below one that was given.
    BelowPrefix,
    /// It stands on a registry that was seen, elsewhere than the images that were found.
    SameRegistry,
}

/// What is known about where this chart's images live.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// Normalized `HOST[/PATH]`.
    below: BTreeSet<String>,
    /// Registries of images that were found, and of prefixes that were given.
    registries: BTreeSet<String>,
    /// Registries whose other repositories count as well.
    seen: BTreeSet<String>,
    /// Parents as written without a registry: `bitnami` of `bitnami/redis:7`.
    short: BTreeSet<String>,
}

/// Checks and normalizes the prefixes that were given.
pub(in crate::enumerate) fn parse(given: &[String]) -> Result<Vec<String>, EnumerateError> {
    let normalize = |prefix: &String| match prefix.trim().parse::<Root>() {
        Ok(root) => Ok(root.to_string()),
        Err(source) => Err(EnumerateError::Prefix { prefix: prefix.clone(), source }),
    };
    given.iter().map(normalize).collect()
}

impl Prefixes {
    /// `found` are the first pass's images, normalized and as written; `given` come from [`parse`].
    pub(super) fn new<'f>(found: impl Iterator<Item = (&'f Reference, &'f str)>, given: &[String]) -> Self {
        let host = |prefix: &String| prefix.split('/').next().unwrap_or(prefix).to_owned();
        let mut prefixes = Self {
            below: given.iter().cloned().collect(),
            registries: given.iter().map(host).collect(),
            seen: BTreeSet::new(),
            short: BTreeSet::new(),
        };
        for (reference, written) in found {
            let repository = reference.repository();
            let parent = repository.path().rsplit_once('/').map(|(parent, _)| format!("/{parent}"));
            prefixes.below.insert(format!("{}{}", repository.registry(), parent.unwrap_or_default()));
            prefixes.registries.insert(repository.registry().to_owned());
            prefixes.seen.insert(repository.registry().to_owned());
            if !fields::has_registry(written)
                && let Some((parent, _)) = written.rsplit_once('/')
            {
                prefixes.short.insert(parent.to_owned());
            }
        }
        prefixes
    }

    /// Whether a text could hold a mention at all: the cheap question asked before any parsing.
    pub(super) fn occur_in(&self, text: &str) -> bool {
        self.registries.iter().chain(&self.short).any(|needle| text.contains(needle.as_str()))
    }

    /// Judges one reference. It must carry a tag or a digest: without one it is a repository, a prefix or a
    /// module path.
    pub(super) fn judge(&self, written: &str) -> Option<(Reference, Match)> {
        if !fields::has_version(written) {
            return None;
        }
        let is_short = self
            .short
            .iter()
            .any(|parent| written.strip_prefix(parent.as_str()).is_some_and(|rest| rest.starts_with('/')));
        if !is_short && !fields::has_registry(written) {
            return None;
        }
        let reference: Reference = written.parse().ok()?;
        let repository = reference.repository();
        let matched = if self.below.iter().any(|prefix| repository.is_below(prefix)) {
            Match::BelowPrefix
        } else if self.seen.contains(repository.registry()) {
            Match::SameRegistry
        } else {
            return None;
        };
        Some((reference, matched))
    }

    /// Every reference on a known registry within a longer text: a shell line, a comma-separated list.
    /// A URL is none, because a slash stands before its host.
    pub(super) fn search(&self, text: &str) -> Vec<(String, Reference, Match)> {
        let mut starts: Vec<usize> = self
            .registries
            .iter()
            .flat_map(|registry| text.match_indices(registry.as_str()))
            .filter(|&(start, registry)| is_mention(text, start, registry))
            .map(|(start, _)| start)
            .collect();
        starts.sort_unstable();
        starts.dedup();
        starts.into_iter().filter_map(|start| self.search_at(text.get(start..)?)).collect()
    }

    fn search_at(&self, text: &str) -> Option<(String, Reference, Match)> {
        let end = text.find(|character| !is_reference_character(character)).unwrap_or(text.len());
        let written = text.get(..end)?.trim_end_matches(['.', ',', ':', '-', '_', '/', '@']);
        let (reference, matched) = self.judge(written)?;
        Some((written.to_owned(), reference, matched))
    }
}

/// Whether the registry at `start` is a whole first component: not the tail of a longer name or of a URL.
fn is_mention(text: &str, start: usize, registry: &str) -> bool {
    let before = text.get(..start).and_then(|before| before.chars().next_back());
    let after = text.get(start + registry.len()..).and_then(|after| after.chars().next());
    let begins = before.is_none_or(|before| before == ':' || !is_reference_character(before));
    begins && after == Some('/')
}

fn is_reference_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '/' | ':' | '@')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes(found: &[&str], given: &[&str]) -> Prefixes {
        let references: Vec<Reference> = found.iter().map(|text| text.parse().unwrap()).collect();
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        Prefixes::new(references.iter().zip(found.iter().copied()), &parse(&given).unwrap())
    }

    fn found_in(text: &str) -> Vec<(String, Match)> {
        let prefixes = prefixes(&["reg.io/vendor/web:1", "bitnami/redis:7"], &["127.0.0.1:5000/other"]);
        prefixes
            .search(text)
            .into_iter()
            .map(|(_, reference, matched)| (reference.to_string(), matched))
            .collect()
    }

    #[test]
    fn mentions_are_found_in_longer_text() {
        use Match::{BelowPrefix, SameRegistry};
        assert_eq!(found_in("reg.io/vendor/forecast:2"), [("reg.io/vendor/forecast:2".into(), BelowPrefix)]);
        assert_eq!(
            found_in("docker run \"reg.io/vendor/a:1\", then reg.io/b/c:2. IMAGE=127.0.0.1:5000/other/d:3;"),
            [
                ("reg.io/vendor/a:1".into(), BelowPrefix),
                ("reg.io/b/c:2".into(), SameRegistry),
                ("127.0.0.1:5000/other/d:3".into(), BelowPrefix)
            ]
        );
    }

    #[test]
    fn urls_prefixes_and_paths_are_not_images() {
        for text in [
            "https://reg.io/vendor/web:1",
            "oci://reg.io/vendor/chart:1",
            "reg.io/vendor",
            "reg.io/vendor/web",
            "reg.io:443",
            "xreg.io/vendor/web:1",
            "user@reg.io/vendor/web:1",
            "github.com/vendor/web@v1.2.3",
            "127.0.0.1:5000/elsewhere/x:1",
            "reg.io/vendor/web:",
            "reg.io/Vendor/web:1",
        ] {
            assert_eq!(found_in(text), [], "{text}");
        }
    }

    #[test]
    fn short_names_count_only_beside_one_that_was_found() {
        let prefixes = prefixes(&["bitnami/redis:7", "nginx:1"], &[]);
        assert!(prefixes.judge("bitnami/redis-exporter:1").is_some());
        assert!(prefixes.judge("postgres:5432").is_none(), "a host and a port");
        assert!(prefixes.judge("other/redis:5432").is_none());
        assert!(prefixes.judge("docker.io/library/redis:7").is_some());
    }

    #[test]
    fn a_prefix_must_be_one() {
        assert!(parse(&["https://x.io".to_owned()]).is_err());
        assert_eq!(parse(&["X.io/a/".to_owned()]).unwrap(), ["x.io/a"]);
    }

    proptest! {
        #[test]
        fn searching_never_panics(text in "(reg\\.io/|[a-z:@/é,. ]){0,40}") {
            found_in(&text);
        }
    }
}
