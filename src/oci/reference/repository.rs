//! The name of a repository.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use super::{
    ReferenceError,
    grammar::{check_path, check_registry},
};

/// A repository of a registry. Copies share its name: a run keeps it for every image and every blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository {
    /// `REGISTRY/PATH`
    name: Arc<str>,
    /// The position of the slash between them.
    slash: usize,
}

impl Repository {
    /// Validates both parts.
    pub fn new(registry: &str, path: &str) -> Result<Self, ReferenceError> {
        check_registry(registry)?;
        check_path(path)?;
        Ok(Self::of_valid(registry, path))
    }

    /// From parts that were validated before.
    pub(in crate::oci) fn of_valid(registry: &str, path: &str) -> Self {
        Self { name: format!("{registry}/{path}").into(), slash: registry.len() }
    }

    /// `HOST` or `HOST:PORT`, Docker Hub always as `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.name.get(..self.slash).unwrap_or_default()
    }

    /// The name below the registry, without a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.name.get(self.slash + 1..).unwrap_or_default()
    }

    /// Whether it is below `prefix`, a normalized `HOST[/PATH]`, at a component boundary.
    #[must_use]
    pub(crate) fn is_below(&self, prefix: &str) -> bool {
        self.name.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// By registry, then by path.
impl Ord for Repository {
    fn cmp(&self, other: &Self) -> Ordering {
        self.registry().cmp(other.registry()).then_with(|| self.path().cmp(other.path()))
    }
}

impl PartialOrd for Repository {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    /// Parses `REGISTRY/PATH`; the registry is required.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (registry, path) =
            text.split_once('/').ok_or_else(|| ReferenceError::Repository(text.to_owned()))?;
        Self::new(registry, path)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    #[test]
    fn below_stops_at_component_boundaries() {
        let repository: Repository = "host/platform/services".parse().unwrap();
        assert!(repository.is_below("host/platform"));
        assert!(repository.is_below("host"));
        assert!(!repository.is_below("host/plat"));
        assert!(!repository.is_below("host/platform/services"));
    }

    #[test]
    fn copies_share_their_name() {
        let reference: Reference = "reg.example.com/team/app:1".parse().unwrap();
        let copy = reference.clone();
        assert!(Arc::ptr_eq(&reference.repository().name, &copy.repository().name));
        assert_eq!((copy.repository().registry(), copy.repository().path()), ("reg.example.com", "team/app"));
        assert!(size_of::<Reference>() <= 56, "{}", size_of::<Reference>());
    }

    #[test]
    fn repositories_are_sorted_by_registry_then_by_path() {
        let mut sorted: Vec<Repository> = ["a.io/z", "a.io:80/b", "a.io/b/c", "a.io/b-c"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        sorted.sort();
        let sorted: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["a.io/b-c", "a.io/b/c", "a.io/z", "a.io:80/b"]);
    }
}
