//! Finds the blobs that a delta leaves out: first in the repository that needs them, then in those that the base was
//! copied to or from. If any is missing, the bundle is refused before any transfer.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{Job, OpenDestination, parts::Affected, plan::ImportPlan};
use crate::{
    endpoint::{Error, Meaning, Source, bundle::Bundle, known_blobs::KnownBlobs},
    error::{Failure, Kind},
    oci::{Descriptor, Digest, Mapping, Reference, Repository},
    problem::Problem,
};

/// How many blobs are looked up at once.
const CONCURRENCY: usize = 16;

/// The blobs of the base that were found.
#[derive(Default)]
pub(super) struct BaseBlobs {
    /// Where each blob is.
    pub(super) present: KnownBlobs,
    /// Images that need a missing blob.
    pub(super) affected: Vec<Affected>,
}

impl Job<'_> {
    /// Looks for every blob that the bundle leaves out at one destination.
    pub(super) async fn base(
        &self,
        bundle: &Bundle,
        plan: &mut ImportPlan,
        destination: &OpenDestination<'_>,
    ) -> Result<BaseBlobs, Failure> {
        let Some(base) = bundle.head().lock.as_ref().and_then(|lock| lock.base.as_ref()) else {
            return Ok(BaseBlobs::default());
        };
        let present = KnownBlobs::default();
        let needed: BTreeSet<(Digest, u64, Repository)> = needed(bundle, plan);
        let missing: Vec<Option<(Digest, Repository)>> = stream::iter(needed)
            .map(|(digest, size, repository)| {
                let repositories = base.blobs.get(&digest).map_or([].as_slice(), Vec::as_slice);
                let candidates = destination.candidates(repositories, &repository, plan);
                let present = &present;
                async move {
                    for candidate in candidates {
                        if destination.holds(&candidate, &digest, size, &repository).await? {
                            present.add(digest, candidate);
                            return Ok::<_, Error>(None);
                        }
                    }
                    Ok(Some((digest, repository)))
                }
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await
            .map_err(|error| error.failure())?;
        // A blob found in another repository can be mounted from there.
        let missing: Vec<Digest> = missing
            .into_iter()
            .flatten()
            .map(|(digest, _)| digest)
            .filter(|digest| present.first(digest).is_none())
            .collect();
        let affected = plan.split(|image| {
            let blobs = bundle.head().blobs_below(&image.root);
            let lost = blobs.into_iter().filter(|blob| missing.contains(&blob.digest));
            Ok(lost.map(|blob| Problem::MissingBlob { digest: blob.digest, size: blob.size }).collect())
        })?;
        if affected.is_empty() || self.request.keep_going {
            return Ok(BaseBlobs { present, affected });
        }
        Err(refuse(&missing, &base.id, bundle))
    }
}

impl OpenDestination<'_> {
    /// The repository itself, and those that the base names: unchanged if they are below the destination, else under
    /// their mirrored names. The bundle names the base's repositories, so it must not choose among everything that the
    /// importer may read.
    fn candidates(
        &self,
        repositories: &[String],
        repository: &Repository,
        plan: &ImportPlan,
    ) -> Vec<Repository> {
        let root = &self.settings.root;
        let namer = plan.placement.namer(root.clone());
        let mut candidates = vec![repository.clone()];
        // Images of an earlier run keep their names, regardless of the rule.
        let is_source = |mapping: &&Mapping| repositories.contains(&mapping.source.repository().to_string());
        let renamed = plan.mappings.iter().filter(is_source).map(|mapping| mapping.repository.clone());
        candidates.extend(renamed);
        for other in repositories.iter().filter_map(|other| other.parse::<Repository>().ok()) {
            let candidate = if root.contains(&other) {
                Some(other)
            } else {
                let reference = Reference::tagged(other, "latest").ok();
                reference.and_then(|reference| namer.map(&reference).ok()).map(|mapping| mapping.repository)
            };
            candidates.extend(candidate);
        }
        let mut seen = BTreeSet::new();
        candidates.retain(|candidate| seen.insert(candidate.clone()));
        candidates
    }

    /// Whether a repository has a blob. Access to other repositories may be denied.
    async fn holds(
        &self,
        other: &Repository,
        digest: &Digest,
        size: u64,
        own: &Repository,
    ) -> Result<bool, Error> {
        match self.registry.blob_size(other, digest).await {
            Ok(found) => Ok(found == Some(size)),
            Err(error) if other != own && error.cause.meaning() != Meaning::Failed => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Every left-out blob with each repository that needs it.
fn needed(bundle: &Bundle, plan: &ImportPlan) -> BTreeSet<(Digest, u64, Repository)> {
    let left_out = bundle.head().absent();
    let mut needed = BTreeSet::new();
    for (image, mapping) in plan.images.iter().zip(&plan.mappings) {
        let blobs = bundle.head().blobs_below(&image.root).into_iter();
        for Descriptor { digest, size, .. } in blobs.filter(|blob| left_out.contains(&blob.digest)) {
            needed.insert((digest, size, mapping.repository.clone()));
        }
    }
    needed
}

fn refuse(missing: &[Digest], base: &Digest, bundle: &Bundle) -> Failure {
    let unique: BTreeSet<&Digest> = missing.iter().collect();
    let count = if unique.len() == 1 { "a blob".to_owned() } else { format!("{} blobs", unique.len()) };
    let path = bundle.path().display();
    let message = format!("{path} builds on {base}, but {count} of it cannot be found at the destination");
    let mut failure = Failure::new(Kind::Image, message);
    failure.causes = unique.into_iter().map(|digest| format!("{digest} is missing")).collect();
    failure.with_hint(format!(
        "nothing was copied; import the bundle {base} there first, or export again without --base"
    ))
}
