//! Executes plans: all images concurrently, each blob once, children before parents, then their attachments, the
//! tag last.

mod attached;
mod blob;
mod claims;
pub(crate) mod fan_out;
pub(crate) mod forward;
mod manifest_locks;
mod queue;
mod speed;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use futures::{FutureExt, TryStreamExt, future::BoxFuture, stream::FuturesUnordered};

pub(crate) use self::queue::Rank;
use self::{
    blob::BlobTransfer,
    claims::{Claim, Claims},
    manifest_locks::ManifestLocks,
    queue::{Bottleneck, Queue},
};
use crate::{
    endpoint::{Cause, Destination, Error, Meaning, Operation, Source},
    event::{BlobOutcome, Event, EventSink},
    graph::{self, Graph, Node},
    oci::{Descriptor, Digest, Mapping, RawManifest, Repository, Target, attachment::is_attachment_tag},
    outcome::Bytes,
    plan::{Action, BlobStep, Plan},
};

/// How many manifests of one image are pushed concurrently.
const CONCURRENT_MANIFESTS: usize = 8;
/// How many blobs of one image wait for their turn or are transferred. Many more than are transferred concurrently: an
/// image with thousands of attached manifests has as many blobs.
const CONCURRENT_BLOBS: usize = 256;

/// Executes plans between one source and one destination.
pub(crate) struct Transfer<S, D> {
    source: Arc<S>,
    destination: Arc<D>,
    events: Arc<dyn EventSink>,
    queue: Queue,
    claims: Claims,
    manifest_locks: ManifestLocks,
    /// Held while lost content is restored, so that images that lost the same blob transfer it once.
    restoring: tokio::sync::Mutex<()>,
}

/// A plan whose blobs have been claimed.
pub(crate) struct Admitted {
    rank: Rank,
    steps: Vec<(BlobStep, Option<Claim>)>,
    plan: Plan,
}

impl<S: Source, D: Destination> Transfer<S, D> {
    /// Transfers at most `jobs` blobs concurrently.
    #[must_use]
    pub(crate) fn new(source: Arc<S>, destination: Arc<D>, jobs: usize, events: Arc<dyn EventSink>) -> Self {
        Self {
            source,
            destination,
            events,
            queue: Queue::new(jobs),
            claims: Claims::default(),
            manifest_locks: ManifestLocks::default(),
            restoring: tokio::sync::Mutex::default(),
        }
    }

    /// Claims the blobs of a plan. Call it in the order of planning, without awaiting anything in between: a later plan
    /// relies on the blobs that this one transfers. Images with a smaller rank are copied first.
    #[must_use]
    pub(crate) fn admit(&self, image: &Mapping, mut plan: Plan, rank: Rank) -> Admitted {
        let claim = |step: &BlobStep| match step.action {
            Action::Copy | Action::Mount { .. } => {
                self.claims.claim(&(step.blob.digest.clone(), image.repository.clone()))
            }
            Action::Skip | Action::Await => None,
        };
        let mut steps: Vec<_> = std::mem::take(&mut plan.blobs)
            .into_iter()
            .map(|step| {
                let claim = claim(&step);
                (step, claim)
            })
            .collect();
        if steps.len() > CONCURRENT_BLOBS {
            // A large blob that starts last delays the end.
            steps.sort_by_key(|(step, _)| Reverse(step.blob.size));
        }
        Admitted { rank, steps, plan }
    }

    /// Drops what only further images of this repository would need. Returns the blobs that did not arrive there.
    pub(crate) fn forget(&self, repository: &Repository) -> Vec<Digest> {
        self.manifest_locks.forget(repository);
        self.claims.forget(repository)
    }

    /// The number of repositories with claims, and with locks of manifests.
    #[cfg(test)]
    pub(crate) fn repositories(&self) -> (usize, usize) {
        (self.claims.repositories(), self.manifest_locks.repositories())
    }

    /// Transfers one image's blobs, then its manifests, then their attachments, then its tag. If it is dropped
    /// midway, no tag and no manifest references anything missing, and no tag names an image before its signatures.
    /// `bytes` counts the blobs at the destination, even on failure.
    pub(crate) async fn run(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        admitted: Admitted,
        bytes: &mut Bytes,
    ) -> Result<(), Error> {
        let Admitted { rank, steps, plan } = admitted;
        let mut steps = steps.into_iter();
        let mut blobs = FuturesUnordered::new();
        loop {
            // A blob waits only for blobs of images that were admitted before, so this cannot block them.
            let room = CONCURRENT_BLOBS - blobs.len();
            blobs.extend(
                steps.by_ref().take(room).map(|(step, claim)| self.transfer(image, rank, step, claim)),
            );
            let Some(more) = blobs.try_next().await? else { break };
            *bytes = bytes.plus(more);
        }
        self.push_manifests(image, graph, &plan).await
    }

    async fn transfer(
        &self,
        image: &Arc<Mapping>,
        rank: Rank,
        step: BlobStep,
        claim: Option<Claim>,
    ) -> Result<Bytes, Error> {
        let BlobStep { blob, action } = step;
        let size = blob.size;
        let claim = match (&action, claim) {
            (Action::Skip, _) => return Ok(Bytes { present: size, ..Bytes::default() }),
            (_, Some(claim)) => claim,
            (_, None) => {
                let key = (blob.digest.clone(), image.repository.clone());
                match self.claims.wait_or_take_over(&key).await {
                    Some(claim) => claim,
                    None => return Ok(Bytes { present: size, ..Bytes::default() }),
                }
            }
        };
        let mount = match action {
            Action::Mount { from } => {
                self.claims.wait(&(blob.digest.clone(), from.clone())).await.then_some(from)
            }
            _ => None,
        };
        if self.destination.is_far(&image.repository) {
            self.queue.limited_by(Bottleneck::Distance);
        }
        // A mount transfers no bytes, so it does not count as large.
        let _slot = self.queue.acquire(rank, if mount.is_some() { 0 } else { size }).await;
        self.events.emit(Event::BlobStarted { image: Arc::clone(image), blob: blob.clone() });
        // Its state has several KiB, which blobs that wait do not need.
        let how = Box::pin(self.blob(image, &blob, mount.as_ref()).run()).await?;
        claim.done();
        self.events.emit(Event::BlobFinished { image: Arc::clone(image), blob: blob.clone(), how });
        Ok(match how {
            BlobOutcome::Copied => Bytes { copied: size, ..Bytes::default() },
            BlobOutcome::Mounted => Bytes { mounted: size, ..Bytes::default() },
            BlobOutcome::Present => Bytes { present: size, ..Bytes::default() },
        })
    }

    /// Height by height: manifests of one height do not reference each other.
    async fn push_manifests(&self, image: &Arc<Mapping>, graph: &Graph, plan: &Plan) -> Result<(), Error> {
        let mut by_height: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
        for node in plan.manifests.iter().filter_map(|position| graph.nodes.get(*position)) {
            by_height.entry(node.height).or_default().push(node);
        }
        for nodes in by_height.into_values() {
            let mut pushes = FuturesUnordered::new();
            for node in nodes {
                start(&mut pushes, self.push_child(image, graph, node), CONCURRENT_MANIFESTS).await?;
            }
            pushes.try_collect::<()>().await?;
        }
        if let Some(root) = graph.root().filter(|_| plan.root_first) {
            self.push_child(image, graph, root).await?;
        }
        self.push_attached(image, graph, &plan.attached).await?;
        match graph.root() {
            Some(root) if plan.tag => self.push_manifest(image, graph, root, &image.target()).await,
            _ => Ok(()),
        }
    }

    async fn push_child(&self, image: &Arc<Mapping>, graph: &Graph, node: &Node) -> Result<(), Error> {
        self.push_manifest(image, graph, node, &Target::Digest(node.descriptor.digest.clone())).await
    }

    /// Pushes a manifest. It is skipped if another image has pushed it to this repository by digest, or under the tag of an
    /// attached manifest. Pushes of one manifest to one repository take turns: some registries (distribution 2.8) refuse
    /// one of two concurrent ones.
    async fn push_manifest(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        node: &Node,
        target: &Target,
    ) -> Result<(), Error> {
        let key = (node.descriptor.digest.clone(), image.repository.clone());
        let mut pushed = self.manifest_locks.lock(&key).await;
        let is_shared = match target {
            Target::Digest(_) => true,
            Target::Tag(tag) => is_attachment_tag(tag),
        };
        if is_shared && pushed.contains(target) {
            return Ok(());
        }
        match self.put(image, node, target).await {
            Err(error) if error.cause.meaning() == Meaning::ContentMissing => {
                self.restore_lost_content(image, graph, node).await?;
                // Retry even if nothing is missing now: another image may have restored it.
                self.put(image, node, target).await?;
            }
            result => result?,
        }
        if is_shared {
            pushed.reserve_exact(1);
            pushed.push(target.clone());
        }
        Ok(())
    }

    async fn put(&self, image: &Mapping, node: &Node, target: &Target) -> Result<(), Error> {
        let manifest = match &node.manifest {
            Some(manifest) => manifest.clone(),
            None => self.read_again(image, &node.descriptor.digest).await?,
        };
        self.destination.put_manifest(&image.repository, target, &manifest).await
    }

    /// A manifest whose bytes were dropped. A source that has the root only under its tag is asked for the tag.
    async fn read_again(&self, image: &Mapping, digest: &Digest) -> Result<RawManifest, Error> {
        let repository = image.source.repository();
        for target in [Target::Digest(digest.clone()), image.pull().target()] {
            let read = self.source.manifest(repository, &target).await?;
            if let Some(manifest) = read.filter(|manifest| manifest.digest() == digest) {
                return Ok(manifest);
            }
        }
        let name = format!("{repository}@{digest}");
        Err(Error::new(Operation::ReadManifest, self.source.side(), name, Cause::NoSuchManifest))
    }

    /// Transfers again what the destination has lost of a manifest's content: blobs, and child manifests with everything
    /// below them.
    async fn restore_lost_content(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        node: &Node,
    ) -> Result<(), Error> {
        let _restoring = self.restoring.lock().await;
        self.restore_below(image, graph, node).await
    }

    fn restore_below<'a>(
        &'a self,
        image: &'a Arc<Mapping>,
        graph: &'a Graph,
        node: &'a Node,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            for blob in graph.blobs_of(node) {
                self.restore_blob(image, blob).await?;
            }
            for child in graph::children(&node.contents).filter_map(|child| graph.node(&child.digest)) {
                let target = Target::Digest(child.descriptor.digest.clone());
                if self.destination.manifest(&image.repository, &target).await?.is_some() {
                    continue;
                }
                self.warn_of_loss(image, "manifest", &child.descriptor.digest);
                self.restore_below(image, graph, child).await?;
                self.put(image, child, &target).await?;
            }
            Ok(())
        }
        .boxed()
    }

    async fn restore_blob(&self, image: &Arc<Mapping>, blob: &Descriptor) -> Result<(), Error> {
        if self.destination.blob_size(&image.repository, &blob.digest).await? == Some(blob.size) {
            return Ok(());
        }
        self.warn_of_loss(image, "blob", &blob.digest);
        let _slot = self.queue.acquire(Rank::default(), blob.size).await;
        self.blob(image, blob, None).run().await?;
        Ok(())
    }

    fn warn_of_loss(&self, image: &Mapping, what: &str, digest: &Digest) {
        let message =
            format!("{} lost {what} {digest} after its upload; uploading it again", image.repository);
        self.events.emit(Event::Warning { image: Some(image.source.clone()), message });
    }

    fn blob<'a>(
        &'a self,
        image: &'a Arc<Mapping>,
        blob: &'a Descriptor,
        mount: Option<&'a Repository>,
    ) -> BlobTransfer<'a, S, D> {
        let Self { source, destination, events, queue, .. } = self;
        BlobTransfer { source, destination, events, queue, image, blob, mount }
    }
}

/// Adds work to what is in progress, after waiting until fewer than `most` are. Work that has not started takes no memory:
/// an image may have thousands of manifests, and the state of a push has several KiB.
async fn start<F: Future<Output = Result<(), Error>>>(
    running: &mut FuturesUnordered<F>,
    work: F,
    most: usize,
) -> Result<(), Error> {
    while running.len() >= most {
        running.try_next().await?;
    }
    running.push(work);
    Ok(())
}

impl<S, D> std::fmt::Debug for Transfer<S, D> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Transfer").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admitted").field("plan", &self.plan).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{endpoint::empty::EmptyDestination, event::Silent};

    fn transfer() -> Transfer<EmptyDestination, EmptyDestination> {
        let endpoint = Arc::new(EmptyDestination);
        Transfer::new(endpoint.clone(), endpoint, 1, Arc::new(Silent))
    }

    fn image() -> Mapping {
        Mapping {
            source: "source.example.com/a:1".parse().unwrap(),
            pinned: None,
            repository: "mirror.example.com/a".parse().unwrap(),
            tag: "1".to_owned(),
        }
    }

    /// Copies a blob of each of these sizes, and nothing else.
    fn plan(sizes: impl Iterator<Item = u64>) -> Plan {
        let step = |size: u64| {
            let digest = Digest::sha256(size.to_string().as_bytes());
            let blob = Descriptor::new("application/octet-stream".into(), digest, size);
            BlobStep { blob, action: Action::Copy }
        };
        Plan {
            blobs: sizes.map(step).collect(),
            manifests: Vec::new(),
            root_first: false,
            attached: Vec::new(),
            tag: false,
        }
    }

    #[test]
    fn a_blob_that_did_not_arrive_in_a_forgotten_repository_is_lost() {
        let (transfer, image, plan) = (transfer(), image(), plan([1].into_iter()));
        let blob = plan.blobs[0].blob.digest.clone();
        drop(transfer.admit(&image, plan, Rank::default()));
        assert_eq!(transfer.repositories(), (1, 0));
        assert_eq!(transfer.forget(&image.repository), [blob]);
        assert_eq!(transfer.repositories(), (0, 0));
    }

    #[test]
    fn of_more_blobs_than_an_image_starts_at_once_the_largest_come_first() {
        let sizes = 1..=CONCURRENT_BLOBS as u64 + 1;
        let admitted = transfer().admit(&image(), plan(sizes.clone()), Rank::default());
        let order: Vec<u64> = admitted.steps.iter().map(|(step, _)| step.blob.size).collect();
        assert_eq!(order, sizes.rev().collect::<Vec<_>>());
    }
}
