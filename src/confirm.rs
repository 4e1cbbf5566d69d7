//! Reads an image at a destination and finds everything that is wrong with it.
//!
//! `sync` uses it before a transfer, to find what exists, and afterwards, to confirm the result. `verify` does nothing
//! else.

pub(crate) mod attached;
mod blobs;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    endpoint::{Cause, Error, Source},
    graph::{ForeignLayers, Graph, KnownManifests},
    oci::{Digest, Platform, RawManifest, Repository, Target, manifest::ManifestError},
    problem::Problem,
    resolve,
};

/// How closely a destination is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The manifest under the tag and every child manifest, their bytes hashed.
    Platforms,
    /// Every blob as well: it is there, with its size.
    Blobs,
    /// Every byte of every blob, hashed.
    Bytes,
}

/// What of an image a check covers.
#[derive(Debug, Clone, Copy)]
pub struct Coverage {
    /// How closely it is read.
    pub level: Level,
    /// Whether its foreign layers must exist as well.
    pub foreign_layers: ForeignLayers,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Platforms => "platforms",
            Self::Blobs => "blobs",
            Self::Bytes => "bytes",
        })
    }
}

/// How thoroughly a copy checks the destination, before and after: `--check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckLevel {
    /// The manifest under the tag and its children.
    Manifests,
    /// Every blob as well.
    Blobs,
}

impl CheckLevel {
    /// The level for [`survey`].
    #[must_use]
    pub(crate) const fn level(self) -> Level {
        match self {
            Self::Manifests => Level::Platforms,
            Self::Blobs => Level::Blobs,
        }
    }
}

impl fmt::Display for CheckLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Manifests => "manifests",
            Self::Blobs => "blobs",
        })
    }
}

/// The state of an image at the destination.
#[derive(Debug, Default)]
pub struct Survey {
    /// Everything that could be read; `None` when the tag does not exist.
    pub graph: Option<Graph>,
    /// Problems that need no comparison with an expectation.
    pub problems: Vec<Problem>,
    /// Why some blobs could not be checked.
    pub unread: Option<Error>,
    /// The total size of the blobs that were checked and found, in bytes. 0 at [`Level::Platforms`], which checks none.
    pub found_bytes: u64,
}

impl Survey {
    /// The digest that the tag points to.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.graph.as_ref().and_then(Graph::root).map(|root| &root.descriptor.digest)
    }

    /// The digests of the manifests that exist.
    pub fn manifests(&self) -> impl Iterator<Item = &Digest> {
        self.graph.iter().flat_map(|graph| &graph.nodes).map(|node| &node.descriptor.digest)
    }

    /// Fails if some blobs could not be checked.
    pub(crate) fn complete(mut self) -> Result<Self, Error> {
        match self.unread.take() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The manifests that exist. They need not be read from the source.
    #[must_use]
    pub fn known(&self) -> KnownManifests {
        let nodes = self.graph.iter().flat_map(|graph| &graph.nodes);
        nodes.map(|node| (node.descriptor.digest.clone(), node.clone())).collect()
    }
}

/// The expected state of an image.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The expected digest; `None` when only completeness is checked.
    pub digest: Option<&'a Digest>,
    /// The required platforms, without waived ones.
    pub platforms: &'a [Platform],
}

/// Reads an image at the destination. Fails only if it cannot be read; anything that is wrong with it becomes a
/// problem.
pub async fn survey<S: Source>(
    destination: &S,
    repository: &Repository,
    target: &Target,
    coverage: Coverage,
) -> Result<Survey, Error> {
    survey_partially(destination, repository, target, coverage).await?.complete()
}

/// Like [`survey`], but keeps the results if some blobs could not be checked.
pub(crate) async fn survey_partially<S: Source>(
    destination: &S,
    repository: &Repository,
    target: &Target,
    coverage: Coverage,
) -> Result<Survey, Error> {
    match read_root(destination, repository, target).await? {
        Ok(root) => survey_root(destination, repository, root, coverage).await,
        Err(survey) => Ok(survey),
    }
}

/// Like [`survey`], for an image that was just pushed. The manifests below the root are read together with the root, so
/// that the survey takes one round trip.
pub(crate) async fn survey_pushed<S: Source>(
    destination: &S,
    repository: &Repository,
    target: &Target,
    pushed: &Graph,
    coverage: Coverage,
) -> Result<Survey, Error> {
    let known = async { Ok(resolve::read_ahead(destination, repository, pushed).await) };
    let (root, known) = tokio::try_join!(read_root(destination, repository, target), known)?;
    let survey = match root {
        Ok(root) => survey_rest(destination, repository, root, &known, coverage).await?,
        Err(survey) => survey,
    };
    survey.complete()
}

/// The manifest that a survey begins with, or the whole survey if that is missing or unusable.
pub(crate) async fn read_root<S: Source>(
    destination: &S,
    repository: &Repository,
    target: &Target,
) -> Result<Result<RawManifest, Survey>, Error> {
    match destination.manifest(repository, target).await {
        Ok(Some(root)) => Ok(Ok(root)),
        Ok(None) => Ok(Err(Survey { problems: vec![Problem::MissingTag], ..Survey::default() })),
        Err(error) => unusable_root(error).map(Err),
    }
}

/// The rest of the survey of an image whose root has been read. Keeps the results if some blobs could not be checked.
pub(crate) async fn survey_root<S: Source>(
    destination: &S,
    repository: &Repository,
    root: RawManifest,
    coverage: Coverage,
) -> Result<Survey, Error> {
    survey_rest(destination, repository, root, &KnownManifests::new(), coverage).await
}

async fn survey_rest<S: Source>(
    destination: &S,
    repository: &Repository,
    root: RawManifest,
    known: &KnownManifests,
    coverage: Coverage,
) -> Result<Survey, Error> {
    let graph = resolve::survey_rest(destination, repository, root, known).await?;
    let graph = graph.with_foreign_layers(coverage.foreign_layers);
    let mut problems = manifest_problems(&graph);
    let (mut unread, mut found_bytes) = (None, 0_u64);
    for blob in blobs::check(destination, repository, &graph, coverage.level).await {
        match blob.checked {
            Ok(None) => found_bytes = found_bytes.saturating_add(blob.size),
            Ok(Some(problem)) => problems.push(problem),
            Err(error) => drop(unread.get_or_insert(error)),
        }
    }
    Ok(Survey { graph: Some(graph), problems, unread, found_bytes })
}

/// What is wrong with the manifests of a graph.
fn manifest_problems(graph: &Graph) -> Vec<Problem> {
    let missing = graph.missing.iter().map(|child| Problem::MissingManifest {
        digest: child.digest.clone(),
        platform: child.platform.clone(),
    });
    let unusable = graph.unusable.iter().map(|(child, error)| Problem::BadManifest {
        digest: child.digest.clone(),
        reason: error.to_string(),
    });
    missing.chain(unusable).collect()
}

/// A root that does not match its requested digest is a problem; anything else remains an error.
fn unusable_root(error: Error) -> Result<Survey, Error> {
    let (digest, reason) = match &error.cause {
        Cause::Manifest(ManifestError::Digest { expected, found }) => {
            (expected, format!("its bytes have digest {found}"))
        }
        Cause::Manifest(
            error @ (ManifestError::Unstable { named, .. } | ManifestError::Contradicted { named, .. }),
        ) => (named, error.to_string()),
        _ => return Err(error),
    };
    let problems = vec![Problem::BadManifest { digest: digest.clone(), reason }];
    Ok(Survey { problems, ..Survey::default() })
}

/// Compares a survey with the expected state. Returns all problems, those of the survey first.
#[must_use]
pub fn problems_of(survey: &Survey, expected: Expected<'_>) -> Vec<Problem> {
    let mut problems = survey.problems.clone();
    let Some(graph) = &survey.graph else { return problems };
    if let (Some(expected), Some(found)) = (expected.digest, survey.digest())
        && expected != found
    {
        problems.push(Problem::OtherDigest { expected: expected.clone(), found: found.clone() });
    }
    let available = graph.platform_names();
    // A platform whose manifest is missing has already been reported.
    let named_missing = |platform: &Platform| {
        graph
            .missing
            .iter()
            .any(|child| child.platform.as_ref().is_some_and(|other| platform.is_served_by(other)))
    };
    let lacking = graph.lacks(expected.platforms).into_iter().filter(|platform| !named_missing(platform));
    problems
        .extend(lacking.map(|platform| Problem::MissingPlatform { platform, available: available.clone() }));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::Operation, problem::Side};

    fn error(cause: impl Into<Cause>) -> Error {
        Error::new(Operation::ReadManifest, Side::Destination, "registry.example.com/app:1", cause)
    }

    #[test]
    fn a_root_with_other_bytes_than_its_digest_is_a_problem_and_no_failure() {
        let [named, found] = [b"a", b"b"].map(|bytes| Digest::sha256(bytes));
        for cause in [
            ManifestError::Digest { expected: named.clone(), found: found.clone() },
            ManifestError::Unstable {
                named: named.clone(),
                readings: Box::new((found.clone(), found.clone())),
            },
            ManifestError::Contradicted { named: named.clone(), found: found.clone() },
        ] {
            let survey = unusable_root(error(cause)).unwrap();
            let [Problem::BadManifest { digest, reason }] = survey.problems.as_slice() else {
                panic!("{:?}", survey.problems);
            };
            assert_eq!(*digest, named);
            assert!(reason.contains(found.as_str()), "{reason}");
            assert!(survey.graph.is_none());
        }
        let unreadable = ManifestError::Unreadable("not JSON".to_owned());
        assert!(unusable_root(error(unreadable)).is_err(), "nothing is known about the tag");
        assert!(unusable_root(error(Cause::NoSuchManifest)).is_err());
    }

    #[test]
    fn levels_are_named_as_on_the_command_line() {
        let levels = [Level::Platforms, Level::Blobs, Level::Bytes].map(|level| level.to_string());
        assert_eq!(levels, ["platforms", "blobs", "bytes"]);
        let checks = [CheckLevel::Manifests, CheckLevel::Blobs].map(|check| check.to_string());
        assert_eq!(checks, ["manifests", "blobs"]);
    }
}
