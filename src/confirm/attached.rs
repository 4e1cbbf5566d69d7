//! Reads the attachments of an image at a destination and compares them with the expected ones.
//!
//! Only expected manifests are compared: further signatures at the destination are no difference. A tag of cosign's
//! older format holds all signatures of an image in one manifest, with an entry for each, and the destination may have
//! added its own. Such a tag is compared entry by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::{TryStreamExt, stream::FuturesOrdered};
use serde::Deserialize;

use super::{Coverage, blobs};
use crate::{
    endpoint::{Cause, Error, Source},
    error::hide_repeated,
    graph::{AttachedCounts, AttachedManifest, Graph},
    oci::{
        Attachment, AttachmentKind, Digest, Link, RawManifest, Repository, Target, attachment_kind::describe,
    },
    outcome::KeptTag,
    problem::Problem,
    resolve,
};

/// How many requests about attached manifests of one image run concurrently.
const CONCURRENCY: usize = 16;

/// The state of one attached manifest at a destination.
#[derive(Debug)]
pub(crate) struct AttachedState {
    /// What it is.
    pub(crate) kind: AttachmentKind,
    /// Whether it can be found from its subject.
    pub(crate) found: ListingState,
    /// The manifests that exist: its own and the children.
    pub(crate) manifests: Vec<Digest>,
    /// Everything that is wrong with it.
    pub(crate) problems: Vec<Problem>,
}

/// Whether a subject leads to a manifest that is attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListingState {
    /// The registry lists it, or its tag names it.
    Listed,
    /// Neither lists nor names it.
    Unlisted,
    /// Its tag names this manifest, which has all of its entries and the destination's own signatures.
    Extended {
        /// What the tag names.
        by: Digest,
        /// The number of additional entries.
        entries: usize,
    },
    /// Its tag names this manifest, an earlier state: it has all entries of that.
    Outdated(Digest),
    /// Its tag names this manifest, and each has entries that the other lacks; or they cannot be compared.
    Diverged(Digest),
}

/// How many of the wanted manifests are of each kind.
pub(crate) fn counts(wanted: &[AttachedManifest], states: &[AttachedState]) -> AttachedCounts {
    let digests = wanted.iter().map(|wanted| &wanted.digest);
    AttachedCounts::of_kinds(digests.zip(states.iter().map(|state| state.kind)))
}

/// The tags to which the destination has added entries.
pub(crate) fn kept_tags(wanted: &[AttachedManifest], states: &[AttachedState]) -> Vec<KeptTag> {
    let kept = wanted.iter().zip(states).filter_map(|(wanted, state)| match &state.found {
        ListingState::Extended { by, entries } if *entries > 0 => {
            Some(KeptTag { tag: wanted.tag.clone()?, digest: by.clone(), entries: *entries })
        }
        _ => None,
    });
    kept.collect()
}

impl AttachedState {
    /// Whether it needs no action.
    pub(crate) fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Compares the attachments at a destination with the wanted ones, and returns a state for each wanted manifest.
/// `bytes` has some of these with their bytes. Fails only if the destination cannot be read.
pub(crate) async fn attached<S: Source>(
    destination: &S,
    repository: &Repository,
    wanted: &[AttachedManifest],
    bytes: &HashMap<Digest, RawManifest>,
    coverage: Coverage,
) -> Result<Vec<AttachedState>, Error> {
    let subjects: HashSet<&Digest> = wanted.iter().map(|wanted| &wanted.subject).collect();
    let mut listed = HashMap::with_capacity(subjects.len());
    let mut listings = FuturesOrdered::new();
    for subject in subjects {
        if listings.len() >= CONCURRENCY {
            listed.extend(listings.try_next().await?);
        }
        let listing =
            async move { Ok((subject, Listing::of(destination.attachments(repository, subject).await?))) };
        listings.push_back(listing);
    }
    while let Some(listing) = listings.try_next().await? {
        listed.extend([listing]);
    }
    let comparison = AttachmentCheck { destination, repository, listed: &listed, bytes, coverage };
    let mut states = Vec::with_capacity(wanted.len());
    // Comparisons that have not started take no memory: an image may have thousands of attached manifests.
    let mut comparisons = FuturesOrdered::new();
    for wanted in wanted {
        if comparisons.len() >= CONCURRENCY {
            states.extend(comparisons.try_next().await?);
        }
        comparisons.push_back(comparison.state(wanted));
    }
    while let Some(state) = comparisons.try_next().await? {
        states.push(state);
    }
    Ok(states)
}

/// What a destination lists as attached to a manifest.
#[derive(Debug, Default)]
struct Listing {
    referrers: HashSet<Digest>,
    tags: HashMap<String, Digest>,
}

impl Listing {
    fn of(attachments: Vec<Attachment>) -> Self {
        let mut listing = Self::default();
        for Attachment { descriptor, link, .. } in attachments {
            match link {
                Link::Subject => drop(listing.referrers.insert(descriptor.digest)),
                Link::Tag(tag) => drop(listing.tags.insert(tag, descriptor.digest)),
            }
        }
        listing
    }
}

struct AttachmentCheck<'a, S> {
    destination: &'a S,
    repository: &'a Repository,
    listed: &'a HashMap<&'a Digest, Listing>,
    bytes: &'a HashMap<Digest, RawManifest>,
    coverage: Coverage,
}

impl<S: Source> AttachmentCheck<'_, S> {
    async fn state(&self, wanted: &AttachedManifest) -> Result<AttachedState, Error> {
        let (read, mut problems) = self.read(&wanted.digest).await?;
        let manifests = read.iter().flat_map(|graph| &graph.nodes);
        let manifests: Vec<Digest> = manifests.map(|node| node.descriptor.digest.clone()).collect();
        let found = self.found(wanted, read.as_ref()).await?;
        let AttachedManifest { digest, artifact_type, subject, tag, .. } = wanted;
        let (digest, subject) = (digest.clone(), subject.clone());
        match (&found, read.is_some()) {
            (ListingState::Listed | ListingState::Extended { .. }, true) => {}
            (ListingState::Outdated(found) | ListingState::Diverged(found), _) => {
                let tag = tag.clone().unwrap_or_default();
                problems.push(Problem::OtherAttachment { tag, expected: digest, found: found.clone() });
            }
            (ListingState::Unlisted, true) => problems.push(Problem::UnlistedAttachment { digest, subject }),
            (_, false) => {
                // A manifest that cannot be read has a problem already.
                if problems.is_empty() {
                    let artifact_type = hide_repeated(artifact_type);
                    problems.push(Problem::MissingAttachment { digest, artifact_type, subject });
                }
            }
        }
        let link = wanted.link();
        let root = read.as_ref().and_then(Graph::root).and_then(|root| root.manifest.as_ref());
        let kind = root.map(|root| describe(root, &link).1);
        let kind = kind.unwrap_or_else(|| AttachmentKind::of(&wanted.artifact_type, &link));
        Ok(AttachedState { kind, found, manifests, problems })
    }

    /// The manifest with its graph, and their problems. `None` if the manifest is missing or unusable.
    async fn read(&self, digest: &Digest) -> Result<(Option<Graph>, Vec<Problem>), Error> {
        let Self { destination, repository, coverage, .. } = *self;
        let root = match destination.manifest(repository, &Target::Digest(digest.clone())).await {
            Ok(Some(root)) => root,
            Ok(None) => return Ok((None, Vec::new())),
            Err(error) => {
                let Cause::Manifest(reason) = &error.cause else { return Err(error) };
                let (digest, reason) = (digest.clone(), reason.to_string());
                return Ok((None, vec![Problem::BadManifest { digest, reason }]));
            }
        };
        let graph = resolve::survey_manifests(destination, repository, root).await?;
        let graph = graph.with_foreign_layers(coverage.foreign_layers);
        let mut problems = super::manifest_problems(&graph);
        for blob in blobs::check(destination, repository, &graph, coverage.level).await {
            problems.extend(blob.checked?);
        }
        Ok((Some(graph), problems))
    }

    /// `read` is the wanted manifest, if the destination has it.
    async fn found(&self, wanted: &AttachedManifest, read: Option<&Graph>) -> Result<ListingState, Error> {
        let listed = self.listed.get(&wanted.subject);
        let link = wanted.link();
        let Link::Tag(tag) = &link else {
            let is_listed = listed.is_some_and(|listed| listed.referrers.contains(&wanted.digest));
            return Ok(if is_listed { ListingState::Listed } else { ListingState::Unlisted });
        };
        let Some(found) = listed.and_then(|listed| listed.tags.get(tag)) else {
            return Ok(ListingState::Unlisted);
        };
        if *found == wanted.digest {
            return Ok(ListingState::Listed);
        }
        let wanted_bytes = match self.bytes.get(&wanted.digest) {
            Some(manifest) => Some(manifest.clone()),
            None => match read.and_then(Graph::root).and_then(|root| root.manifest.clone()) {
                Some(manifest) => Some(manifest),
                None if read.is_some() => self.manifest(&wanted.digest).await?,
                None => None,
            },
        };
        let found_bytes = self.manifest(found).await?;
        let entries = |manifest: Option<RawManifest>| manifest.as_ref().and_then(entries);
        let (Some(wanted), Some(there)) = (entries(wanted_bytes), entries(found_bytes)) else {
            return Ok(ListingState::Diverged(found.clone()));
        };
        let (lacks, more) = (wanted.difference(&there).count(), there.difference(&wanted).count());
        // An SBOM is replaced, not extended.
        let is_sbom = AttachmentKind::of("", &link) == AttachmentKind::Sbom;
        Ok(match (lacks, more) {
            (0, entries) => ListingState::Extended { by: found.clone(), entries },
            (_, 0) => ListingState::Outdated(found.clone()),
            _ if is_sbom => ListingState::Outdated(found.clone()),
            _ => ListingState::Diverged(found.clone()),
        })
    }

    async fn manifest(&self, digest: &Digest) -> Result<Option<RawManifest>, Error> {
        match self.destination.manifest(self.repository, &Target::Digest(digest.clone())).await {
            Err(Error { cause: Cause::Manifest(_), .. }) => Ok(None),
            read => read,
        }
    }
}

/// An entry of a manifest in cosign's older format. The signature is in the annotations: several may be over the same
/// bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Entry {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The entries of a manifest; `None` if it has no such list.
fn entries(manifest: &RawManifest) -> Option<BTreeSet<Entry>> {
    #[derive(Deserialize)]
    struct Entries {
        layers: BTreeSet<Entry>,
    }
    serde_json::from_slice::<Entries>(manifest.bytes()).ok().map(|entries| entries.layers)
}
