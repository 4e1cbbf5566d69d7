//! `--include` and `--exclude`: globs on normalised references.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::oci::Reference;

use super::EnumerateError;

/// Which images to keep. `*` crosses slashes, because patterns such as `*services*` are meant to.
pub(super) struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, EnumerateError> {
        let include = if include.is_empty() { None } else { Some(compile(include)?) };
        Ok(Self { include, exclude: compile(exclude)? })
    }

    /// Matches the whole reference and the repository alone, so that a pattern need not end in `*`.
    pub(super) fn keeps(&self, reference: &Reference) -> bool {
        let full = reference.to_string();
        let repository = reference.repository().to_string();
        let matches = |set: &GlobSet| set.is_match(&full) || set.is_match(&repository);
        self.include.as_ref().is_none_or(matches) && !matches(&self.exclude)
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, EnumerateError> {
    let mut set = GlobSetBuilder::new();
    let refused = |pattern: &str, source| EnumerateError::Pattern { pattern: pattern.to_owned(), source };
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(false).build();
        set.add(glob.map_err(|source| refused(pattern, source))?);
    }
    set.build().map_err(|source| refused(&patterns.join(" "), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(include: &[&str], exclude: &[&str]) -> Vec<&'static str> {
        let owned = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filter = Filter::new(&owned(include), &owned(exclude)).unwrap();
        ["quay.io/a/services:1", "quay.io/a/web:2", "docker.io/library/nginx:1.29"]
            .into_iter()
            .filter(|text| filter.keeps(&text.parse().unwrap()))
            .collect()
    }

    #[test]
    fn patterns_match_with_and_without_the_tag() {
        assert_eq!(kept(&["*services*"], &[]), ["quay.io/a/services:1"]);
        assert_eq!(kept(&["*/web"], &[]), ["quay.io/a/web:2"]);
        assert_eq!(kept(&["*/web:2", "*:1.29"], &[]), ["quay.io/a/web:2", "docker.io/library/nginx:1.29"]);
        assert_eq!(kept(&[], &["quay.io/**"]), ["docker.io/library/nginx:1.29"]);
        assert_eq!(kept(&["quay.io/*"], &["*{web,nginx}*"]), ["quay.io/a/services:1"]);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Filter::new(&[], &["a[".to_owned()]).err().unwrap();
        assert_eq!(error.to_string(), "`a[` is not a pattern");
    }
}
