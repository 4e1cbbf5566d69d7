//! Maps each source reference to a destination reference. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Reference, Repository, Target,
    reference::{ReferenceError, hide_login},
};
use crate::vendor;

/// The path of the packaged chart below the root.
pub(crate) const CHARTS: &str = "charts";

/// How destination repositories are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// The path below the source prefix; images outside it lose their host.
    #[default]
    Relative,
    /// The last path component only.
    Last,
    /// Host and path.
    Full,
}

impl fmt::Display for Naming {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Relative => "relative",
            Self::Last => "last",
            Self::Full => "full",
        })
    }
}

/// `REGISTRY[/PATH]`: the root of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    registry: String,
    path: Option<String>,
}

impl Root {
    /// Stands for a destination that is not known yet: no registry has this name (RFC 2606).
    pub(crate) fn unknown() -> Self {
        Self { registry: "registry.invalid".to_owned(), path: None }
    }

    /// `HOST` or `HOST:PORT`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Whether a repository is below this root.
    #[must_use]
    pub fn contains(&self, repository: &Repository) -> bool {
        let below = |path: &String| {
            repository.path().strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        repository.registry() == self.registry && self.path.as_ref().is_none_or(below)
    }

    /// A repository at the root, or one below it if the root has no path.
    pub(crate) fn any_repository(&self) -> Repository {
        Repository::of_valid(&self.registry, self.path.as_deref().unwrap_or("any"))
    }

    fn repository(&self, below: &str) -> Result<Repository, ReferenceError> {
        match &self.path {
            Some(path) => Repository::new(&self.registry, &format!("{path}/{below}")),
            None => Repository::new(&self.registry, below),
        }
    }
}

impl FromStr for Root {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains("://") {
            return Err(ReferenceError::Url(hide_login(text)));
        }
        if text.contains('@') {
            return Err(ReferenceError::Login(hide_login(text)));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let (registry, path) = match trimmed.split_once('/') {
            Some((registry, path)) => (registry, Some(path)),
            None => (trimmed, None),
        };
        let registry = super::reference::normalize_registry(registry);
        Repository::new(&registry, path.unwrap_or("x"))?;
        Ok(Self { registry, path: path.map(str::to_owned) })
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.registry)?;
        self.path.iter().try_for_each(|path| write!(formatter, "/{path}"))
    }
}

/// One image: its source, its destination repository and its tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mapping {
    /// The reference that was requested.
    pub source: Reference,
    /// The digest to copy, if a lock pins the tag.
    pub pinned: Option<Digest>,
    /// The destination repository.
    pub repository: Repository,
    /// The destination tag.
    pub tag: String,
}

impl Mapping {
    /// Copies `source` to the repository and the tag of `destination`.
    pub(crate) fn to(source: Reference, destination: &Reference) -> Self {
        let (repository, tag) = (destination.repository().clone(), destination.tag_or_latest().to_owned());
        Self { source, pinned: None, repository, tag }
    }

    /// The reference to read from the source.
    #[must_use]
    pub fn pull(&self) -> Reference {
        let source = self.source.clone();
        self.pinned.iter().cloned().fold(source, Reference::with_digest)
    }

    /// The destination as shown to the user.
    #[must_use]
    pub fn destination(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// The destination's tag as a target.
    #[must_use]
    pub fn target(&self) -> Target {
        Target::Tag(self.tag.clone())
    }
}

/// Why images cannot be mapped to destinations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// Two different sources would be pushed to one destination.
    #[error("{} sources would be pushed to {destination}: {}", .sources.len(), join(.sources))]
    Collision {
        /// The destination.
        destination: String,
        /// All sources with this destination.
        sources: Vec<Reference>,
    },
    /// One tag is pinned to several digests.
    #[error("{} images would give {destination} different digests: {}", .sources.len(), join(.sources))]
    SeveralDigests {
        /// The destination.
        destination: String,
        /// All sources with this destination, from one repository.
        sources: Vec<Reference>,
    },
    /// The destination would not be a valid name.
    #[error("{reference} has no valid name below the destination")]
    Name {
        /// The source.
        reference: Reference,
        /// What is wrong with the name.
        source: Box<ReferenceError>,
    },
}

fn join(references: &[Reference]) -> String {
    references.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The rule that names destinations.
#[derive(Debug, Clone)]
pub struct Namer {
    naming: Naming,
    prefix: Option<String>,
    chart: Option<Reference>,
    yielding: BTreeSet<Reference>,
    in_full: BTreeSet<Reference>,
    kept: BTreeMap<Reference, Reference>,
    root: Root,
}

impl Namer {
    /// `prefix` is what `relative` strips: `HOST[/PATH]`, see [`common_prefix`].
    #[must_use]
    pub fn new(root: Root, naming: Naming, prefix: Option<String>) -> Self {
        Self {
            naming,
            prefix,
            chart: None,
            yielding: BTreeSet::new(),
            in_full: BTreeSet::new(),
            kept: BTreeMap::new(),
            root,
        }
    }

    /// Names this chart `charts/NAME`, as `helm` users expect, regardless of the rule for images.
    #[must_use]
    pub(crate) fn with_chart(self, chart: Option<Reference>) -> Self {
        Self { chart, ..self }
    }

    /// These give way where two images would get one name: they get host and path, and the other keeps its name.
    #[must_use]
    pub fn with_yielding(self, yielding: BTreeSet<Reference>) -> Self {
        Self { yielding, ..self }
    }

    /// These get host and path regardless of the rule.
    #[must_use]
    pub(crate) fn with_names_in_full(self, in_full: BTreeSet<Reference>) -> Self {
        Self { in_full, ..self }
    }

    /// These sources keep the destinations that they had, regardless of the rule. Others give way to them.
    #[must_use]
    pub(crate) fn with_kept_names(self, kept: BTreeMap<Reference, Reference>) -> Self {
        Self { kept, ..self }
    }

    /// Names one image's destination.
    pub fn map(&self, source: &Reference) -> Result<Mapping, MappingError> {
        if let Some(destination) = self.kept.get(source) {
            return Ok(Mapping::to(source.clone(), destination));
        }
        if self.in_full.contains(source) { self.in_full(source) } else { self.by_rule(source) }
    }

    fn in_full(&self, source: &Reference) -> Result<Mapping, MappingError> {
        let rule = Self { naming: Naming::Full, ..self.clone() };
        rule.by_rule(source)
    }

    fn by_rule(&self, source: &Reference) -> Result<Mapping, MappingError> {
        let refused = |error| MappingError::Name { reference: source.clone(), source: Box::new(error) };
        let repository = self.root.repository(&self.below(source)).map_err(refused)?;
        let tag = match (source.tag(), source.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => tag_for_digest(digest),
            (None, None) => "latest".to_owned(),
        };
        Ok(Mapping { source: source.clone(), pinned: None, repository, tag })
    }

    /// Names all images and refuses two sources for one destination. References with the same digest are one source, and
    /// so are those to one tag of a repository, with and without its digest.
    pub fn map_all(&self, sources: &[Reference]) -> Result<Vec<Mapping>, MappingError> {
        let mut mappings = sources.iter().map(|source| self.map(source)).collect::<Result<Vec<_>, _>>()?;
        let colliding = collisions(&mappings);
        for mapping in &mut mappings {
            let Some(sources) = colliding.get(&mapping.destination()) else { continue };
            let is_taken = sources.iter().any(|source| self.kept.contains_key(source));
            let yields = self.yielding.contains(&mapping.source) || is_taken;
            if yields && !self.kept.contains_key(&mapping.source) {
                *mapping = self.in_full(&mapping.source)?;
            }
        }
        match collisions(&mappings).into_iter().next() {
            Some((destination, sources)) if have_one_repository(&sources) => {
                Err(MappingError::SeveralDigests { destination, sources })
            }
            Some((destination, sources)) => Err(MappingError::Collision { destination, sources }),
            None => Ok(mappings),
        }
    }

    /// The images that gave way to others: those that the rule would name differently.
    pub(crate) fn named_in_full(&self, mappings: &[Mapping]) -> BTreeSet<Reference> {
        let by_rule = |mapping: &Mapping| self.by_rule(&mapping.source).map(|mapping| mapping.repository);
        let differs = |mapping: &&Mapping| by_rule(mapping).as_ref() != Ok(&mapping.repository);
        mappings.iter().filter(differs).map(|mapping| mapping.source.clone()).collect()
    }

    /// Whether it is the chart, with or without its digest.
    fn is_chart(&self, source: &Reference) -> bool {
        let is_same =
            |chart: &Reference| (chart.repository(), chart.tag()) == (source.repository(), source.tag());
        self.chart.as_ref().is_some_and(is_same)
    }

    fn below(&self, source: &Reference) -> String {
        let repository = source.repository();
        if self.is_chart(source) {
            return format!("{CHARTS}/{}", last_component(repository.path()));
        }
        match self.naming {
            Naming::Last => last_component(repository.path()).to_owned(),
            // A repository name cannot contain a port's colon or an IPv6 address's brackets.
            Naming::Full => {
                let host = repository.registry().replace(['[', ']'], "").replace(':', "-");
                format!("{host}/{}", repository.path())
            }
            Naming::Relative => match &self.prefix {
                Some(prefix) if repository.is_below(prefix) => {
                    let full = repository.to_string();
                    full.get(prefix.trim_end_matches('/').len() + 1..).unwrap_or(repository.path()).to_owned()
                }
                _ => repository.path().to_owned(),
            },
        }
    }
}

/// The destinations that several sources would be pushed to.
fn collisions(mappings: &[Mapping]) -> BTreeMap<String, Vec<Reference>> {
    let mut by_destination: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for mapping in mappings {
        by_destination.entry(mapping.destination()).or_default().push(mapping.source.clone());
    }
    by_destination.retain(|_, sources| {
        let digests: BTreeSet<&Digest> = sources.iter().filter_map(Reference::digest).collect();
        let all_pinned = sources.iter().all(|source| source.digest().is_some());
        // A tag of the same repository is probably what the digest pins. The run compares them.
        let is_one_image = digests.len() <= 1 && (all_pinned || have_one_repository(sources));
        sources.len() > 1 && !is_one_image
    });
    by_destination
}

fn have_one_repository(sources: &[Reference]) -> bool {
    sources.windows(2).all(|pair| match pair {
        [one, other] => one.repository() == other.repository(),
        _ => true,
    })
}

/// `mirror-` and 16 digits. Not `sha256-…`, which is the fallback tag of the referrers API.
fn tag_for_digest(digest: &Digest) -> String {
    format!("mirror-{}", digest.hex().get(..16).unwrap_or_default())
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The default prefix that `relative` strips: the vendor's prefix if any image is below it, else the longest
/// `HOST[/PATH]` that all images share, else nothing.
#[must_use]
pub(crate) fn common_prefix(references: &[Reference]) -> Option<String> {
    if references.iter().any(|reference| reference.repository().is_below(vendor::IMAGE_PREFIX)) {
        return Some(vendor::IMAGE_PREFIX.to_owned());
    }
    let parents: Vec<String> = references
        .iter()
        .map(|reference| {
            let full = reference.repository().to_string();
            full.rsplit_once('/').map_or(full.clone(), |(parent, _)| parent.to_owned())
        })
        .collect();
    let (first, rest) = parents.split_first()?;
    let shared = first
        .split('/')
        .enumerate()
        .take_while(|(position, component)| {
            rest.iter().all(|other| other.split('/').nth(*position) == Some(component))
        })
        .map(|(_, component)| component)
        .collect::<Vec<_>>()
        .join("/");
    (!shared.is_empty()).then_some(shared)
}

#[cfg(test)]
mod tests;
