//! Plans the work for an image: compares its graph with the state of the destination. No I/O.
//!
//! The planner is incremental: images are added as they are resolved, and a blob that an earlier image copies is
//! mounted, not copied, for every later one.

use std::collections::{HashMap, HashSet};

use crate::{
    graph::{Graph, Node},
    oci::{Descriptor, Digest, Repository},
    outcome::{Bytes, PlannedRequests},
};

/// What is known about one repository of the destination before the transfer.
#[derive(Debug, Default)]
pub struct Presence {
    /// The digest that the tag points to.
    pub tag: Option<Digest>,
    /// Manifests that exist.
    pub manifests: HashSet<Digest>,
    /// The blobs that were checked and whether they exist. Other blobs are assumed to exist if an existing manifest
    /// references them; nothing is known about the rest.
    pub blobs: HashMap<Digest, bool>,
    /// What each attached manifest of the graph needs, in their order; everything if this list is shorter.
    pub attached: Vec<AttachedNeed>,
}

/// What an attached manifest needs so that it can be found at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachedNeed {
    /// Nothing.
    Nothing,
    /// To be pushed by digest.
    Digest,
    /// Its tag as well, if it is attached by one.
    Tag,
}

/// One attached manifest of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedStep {
    /// Its position among the attached manifests of the graph.
    pub position: usize,
    /// Whether to push it by digest. Manifests that are attached by a tag alone need only the tag.
    pub by_digest: bool,
    /// Whether to push it under its tag.
    pub by_tag: bool,
}

/// What to do about a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it exists.
    Skip,
    /// Copy it from the source, unless the destination turns out to have it.
    Copy,
    /// Mount it from another repository of the destination, once it exists there.
    Mount {
        /// The repository that has it, or will have it.
        from: Repository,
    },
    /// Wait for it: another image transfers it to the same repository.
    Await,
}

/// One blob of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobStep {
    /// The blob.
    pub blob: Descriptor,
    /// What to do about it.
    pub action: Action,
}

/// The work for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Every blob of the image once.
    pub blobs: Vec<BlobStep>,
    /// Manifests to push by digest: positions in the graph's nodes, children before parents.
    pub manifests: Vec<usize>,
    /// Whether to push the root by digest before its attachments: the tag must come after them.
    pub root_first: bool,
    /// Attached manifests to push, each after its subject.
    pub attached: Vec<AttachedStep>,
    /// Whether to push the root under the tag.
    pub tag: bool,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let has_manifests = self.tag || !self.manifests.is_empty() || !self.attached.is_empty();
        !has_manifests && self.blobs.iter().all(|step| step.action == Action::Skip)
    }

    /// Bytes by action. Copies count in full, although some blobs may turn out to exist.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let nothing = Bytes::default();
        let steps = self.blobs.iter().map(|step| match step.action {
            Action::Copy => Bytes { copied: step.blob.size, ..nothing },
            Action::Mount { .. } => Bytes { mounted: step.blob.size, ..nothing },
            Action::Skip | Action::Await => Bytes { present: step.blob.size, ..nothing },
        });
        steps.fold(nothing, Bytes::plus)
    }

    /// What the plan asks of the registries.
    #[must_use]
    pub(crate) fn requests(&self, graph: &Graph) -> PlannedRequests {
        let count = |action: fn(&Action) -> bool| {
            self.blobs.iter().filter(|step| action(&step.action)).count() as u64
        };
        let uploads = count(|action| *action == Action::Copy);
        let attached =
            self.attached.iter().map(|step| usize::from(step.by_digest) + usize::from(step.by_tag));
        let root = usize::from(self.root_first) + usize::from(self.tag);
        PlannedRequests {
            manifests_read: (graph.nodes.len() + graph.attached.len()) as u64,
            blobs_read: uploads,
            manifests_pushed: (self.manifests.len() + root + attached.sum::<usize>()) as u64,
            uploads,
            mounts: count(|action| matches!(action, Action::Mount { .. })),
        }
    }

    /// How many blobs must be transferred.
    #[must_use]
    pub fn moving(&self) -> usize {
        self.blobs.iter().filter(|step| step.action != Action::Skip).count()
    }
}

/// Remembers which repository of the destination has, or will have, which blob.
#[derive(Debug, Default)]
pub struct Planner {
    /// For every blob of the run, the first repository that has it.
    first_holders: HashMap<Digest, Repository>,
    /// The blobs of the repositories that may get further images.
    contents: HashMap<Repository, HashSet<Digest>>,
}

impl Planner {
    /// Plans one image for `repository`. `source` is its source repository if that is on the destination's registry:
    /// then blobs can be mounted instead of copied.
    pub fn add(
        &mut self,
        graph: &Graph,
        repository: &Repository,
        source: Option<&Repository>,
        presence: &Presence,
    ) -> Plan {
        let is_there = |node: &Node| presence.manifests.contains(&node.descriptor.digest);
        let below_present: HashSet<&Digest> = graph
            .manifests()
            .filter(|node| is_there(node))
            .flat_map(|node| graph.blobs_of(node))
            .map(|blob| &blob.digest)
            .collect();
        let blobs = graph
            .blobs()
            .into_iter()
            .map(|blob| {
                let known = presence.blobs.get(&blob.digest).copied();
                let there = known.unwrap_or_else(|| below_present.contains(&blob.digest));
                let action =
                    if there { Action::Skip } else { self.action_for(&blob.digest, repository, source) };
                self.remember(&blob.digest, repository);
                BlobStep { blob: blob.clone(), action }
            })
            .collect();
        let root = graph.nodes.len().saturating_sub(1);
        let manifests = graph
            .nodes
            .iter()
            .enumerate()
            .filter(|(position, node)| *position != root && !is_there(node))
            .map(|(position, _)| position)
            .collect();
        let tag = graph.root().map(|root| &root.descriptor.digest) != presence.tag.as_ref();
        let attached = attached_steps(graph, &presence.attached);
        let root_first = tag && !attached.is_empty() && graph.root().is_some_and(|root| !is_there(root));
        Plan { blobs, manifests, root_first, attached, tag }
    }

    /// How many repositories may get further images.
    #[cfg(test)]
    pub(crate) fn repositories(&self) -> usize {
        self.contents.len()
    }

    fn action_for(&self, digest: &Digest, repository: &Repository, source: Option<&Repository>) -> Action {
        if self.contents.get(repository).is_some_and(|blobs| blobs.contains(digest)) {
            return Action::Await;
        }
        match self.first_holders.get(digest).or(source).filter(|from| *from != repository) {
            Some(from) => Action::Mount { from: from.clone() },
            None => Action::Copy,
        }
    }

    fn remember(&mut self, digest: &Digest, repository: &Repository) {
        if !self.first_holders.contains_key(digest) {
            self.first_holders.insert(digest.clone(), repository.clone());
        }
        let Some(blobs) = self.contents.get_mut(repository) else {
            self.contents.insert(repository.clone(), HashSet::from([digest.clone()]));
            return;
        };
        blobs.insert(digest.clone());
    }

    /// Drops what only further images of this repository would need. Its blobs can still be mounted, except for the lost
    /// ones, which did not arrive.
    pub fn forget(&mut self, repository: &Repository, lost: &[Digest]) {
        self.contents.remove(repository);
        for digest in lost {
            if self.first_holders.get(digest) == Some(repository) {
                self.first_holders.remove(digest);
            }
        }
    }
}

/// A manifest that is attached by a tag is pushed by digest first if it has attachments of its own: then its tag comes
/// after them.
fn attached_steps(graph: &Graph, needs: &[AttachedNeed]) -> Vec<AttachedStep> {
    let subjects: HashSet<&Digest> = graph.attached.iter().map(|attached| &attached.subject).collect();
    let steps = graph.attached.iter().enumerate().filter_map(|(position, attached)| {
        let has_tag = attached.tag().is_some();
        let is_subject = attached.manifests().any(|node| subjects.contains(&node.descriptor.digest));
        match needs.get(position).copied().unwrap_or(AttachedNeed::Tag) {
            AttachedNeed::Nothing => None,
            AttachedNeed::Digest => Some(AttachedStep { position, by_digest: true, by_tag: false }),
            AttachedNeed::Tag => {
                Some(AttachedStep { position, by_digest: !has_tag || is_subject, by_tag: has_tag })
            }
        }
    });
    steps.collect()
}
