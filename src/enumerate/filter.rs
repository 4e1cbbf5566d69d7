//! `--include` and `--exclude`: globs on normalized references.

use std::collections::HashSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::oci::Reference;

use super::EnumerateError;

/// Which images to keep. `*` crosses slashes, because patterns such as `*services*` are meant to.
pub(crate) struct Filter {
    include: Patterns,
    exclude: Patterns,
}

impl Filter {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, EnumerateError> {
        Ok(Self {
            include: Patterns::new("--include", include)?,
            exclude: Patterns::new("--exclude", exclude)?,
        })
    }

    pub(crate) fn keeps(&self, reference: &Reference) -> bool {
        let included = self.include.written.is_empty() || !self.include.matching(reference).is_empty();
        included && self.exclude.matching(reference).is_empty()
    }

    /// The patterns that match no reference, as a user would type them.
    pub(crate) fn idle(&self, references: &[Reference]) -> Vec<String> {
        let typed = |flag: &'static str| move |pattern| format!("{flag} {pattern}");
        let include = self.include.idle(references).map(typed("--include"));
        include.chain(self.exclude.idle(references).map(typed("--exclude"))).collect()
    }
}

/// The patterns of one flag.
struct Patterns {
    written: Vec<String>,
    compiled: GlobSet,
}

impl Patterns {
    fn new(flag: &'static str, written: &[String]) -> Result<Self, EnumerateError> {
        Ok(Self { written: written.to_vec(), compiled: compile(flag, written)? })
    }

    /// The indices of the patterns that match the whole reference or the repository alone, so that a pattern
    /// need not end in `*`.
    fn matching(&self, reference: &Reference) -> Vec<usize> {
        let mut matching = self.compiled.matches(reference.to_string());
        matching.extend(self.compiled.matches(reference.repository().to_string()));
        matching
    }

    fn idle(&self, references: &[Reference]) -> impl Iterator<Item = &String> {
        let busy: HashSet<usize> = references.iter().flat_map(|reference| self.matching(reference)).collect();
        self.written.iter().enumerate().filter(move |(at, _)| !busy.contains(at)).map(|(_, text)| text)
    }
}

fn compile(flag: &'static str, patterns: &[String]) -> Result<GlobSet, EnumerateError> {
    let mut set = GlobSetBuilder::new();
    let refused =
        |pattern: &str, source| EnumerateError::Pattern { flag, pattern: pattern.to_owned(), source };
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
    fn patterns_that_match_nothing_are_known() {
        let filter = Filter::new(&["*/web".into(), "*wbe*".into()], &["quay.io/**".into(), "nginx".into()]);
        let references = ["quay.io/a/web:2".parse().unwrap()];
        assert_eq!(filter.unwrap().idle(&references), ["--include *wbe*", "--exclude nginx"]);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Filter::new(&[], &["a[".to_owned()]).err().unwrap();
        assert_eq!(error.to_string(), "--exclude a[ is not a pattern");
    }

    #[test]
    fn one_image_is_not_plural() {
        let message = |found| EnumerateError::FilteredOut { found }.to_string();
        assert_eq!(message(1), "--include/--exclude leave out the only image");
        assert_eq!(message(6), "--include/--exclude leave out all 6 images");
    }
}
