//! Mirrors every image in four stages: [`resolve`], [`plan`], transfer, [`confirm`].
//!
//! Images enter a bounded [`window`] in order and leave it when they are done; only what the lock and the report need
//! stays in memory. The destination is read first: a second run needs little more, and manifests that it has are not
//! read from the source.

mod attached;
mod confirm;
mod plan;
mod resolve;
mod window;

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::future::{self, Either};
use tokio::task::JoinSet;

pub(crate) use self::resolve::{skip_reason, warn_of_foreign_layers};
use self::{plan::Planned, resolve::refuse_missing_platforms, window::Window};
use super::{
    shared_tags::{SharedTags, two_digests},
    signatures::{self, Signed},
};
use crate::{
    confirm::{Coverage, Level, Survey},
    endpoint::{Destination, Error, Source},
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::{AttachedManifest, ForeignLayers, Graph, ManifestBytes, ReferrerSelection},
    oci::{Mapping, Platform, RawManifest, Reference, Repository, Sizes},
    outcome::{ImageOutcome, Mirrored, Status},
    plan::Planner,
    problem::Problem,
    resolve::resolve_with_attached,
    transfer::Transfer,
    trust::Verifier,
    waiver::Waivers,
};

/// How images are mirrored.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate setting")]
pub struct Options {
    /// Platforms that every image must have.
    pub platforms: Vec<Platform>,
    /// Which images may lack which of them.
    pub waivers: Waivers,
    /// How thoroughly the destination is checked: only manifests, or every blob as well.
    pub check: Level,
    /// Whether foreign layers are copied as well.
    pub foreign_layers: ForeignLayers,
    /// Which manifests the graphs hold with their bytes.
    pub manifest_bytes: ManifestBytes,
    /// Return the manifests of every image.
    pub keep_manifests: bool,
    /// Which signatures, attestations and other attached manifests are copied with an image.
    pub referrers: ReferrerSelection,
    /// The attached manifests to copy with each image, instead of those that the source lists.
    pub recorded: Option<HashMap<Reference, Vec<AttachedManifest>>>,
    /// Whether a tag that points to another digest may be moved. Tags of attached manifests may gain entries anyway.
    pub overwrite: bool,
    /// Whether the destination probably has none of the images. Then the source is asked for their tags at the same
    /// time, which saves a round trip. Otherwise the source need not send what the destination has.
    pub new_destination: bool,
    /// Only plan.
    pub dry_run: bool,
    /// The maximum number of concurrent blob transfers.
    pub jobs: usize,
    /// Start no further image after the first failure.
    pub fail_fast: bool,
    /// Images that are only mentioned somewhere: each is skipped if the source does not provide it.
    pub optional: BTreeSet<Reference>,
    /// Fail optional images that the source does not provide.
    pub strict: bool,
    /// Whose signatures images need at the source. Images without them fail.
    pub signatures: Option<Arc<Verifier>>,
}

impl Default for Options {
    /// Copies every image as it is with all its attachments, without requiring any platform, and moves tags
    /// that name another digest.
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            waivers: Waivers::default(),
            check: Level::Platforms,
            foreign_layers: ForeignLayers::default(),
            manifest_bytes: ManifestBytes::default(),
            keep_manifests: false,
            referrers: ReferrerSelection::default(),
            recorded: None,
            overwrite: true,
            new_destination: false,
            dry_run: false,
            jobs: 16,
            fail_fast: false,
            optional: BTreeSet::new(),
            strict: false,
            signatures: None,
        }
    }
}

impl Options {
    /// What is checked of each image at the destination.
    fn coverage(&self) -> Coverage {
        Coverage { level: self.check, foreign_layers: self.foreign_layers }
    }
}

/// Mirrors images. Returns one entry for each mapping, in the same order. Dropping the future stops every
/// transfer.
pub async fn mirror<S: Source, D: Destination>(
    source: Arc<S>,
    destination: Arc<D>,
    mappings: Vec<Mapping>,
    options: Options,
    events: Arc<dyn EventSink>,
) -> Vec<Mirrored> {
    let mappings: Vec<Arc<Mapping>> = mappings.into_iter().map(Arc::new).collect();
    events.emit(Event::Started { images: mappings.clone() });
    let run = Arc::new(Run::new(source, destination, &mappings, options, events));
    let mut window = Window::default();
    let mut waiting = mappings.iter().enumerate();
    let mut tasks = JoinSet::new();
    let mut ended: Vec<Option<Mirrored>> = std::iter::repeat_with(|| None).take(mappings.len()).collect();
    loop {
        while window.has_room()
            && let Some((position, image)) = waiting.next()
        {
            let (run, image, slot) = (Arc::clone(&run), Arc::clone(image), window.enter());
            tasks.spawn(async move { (position, run.image(&image, slot).await) });
        }
        match tasks.join_next().await {
            Some(Ok((position, mirrored))) => {
                if let Some(slot) = ended.get_mut(position) {
                    *slot = Some(mirrored);
                }
            }
            Some(Err(_)) => {}
            None => break,
        }
    }
    // In this order, the results stay where they are in memory.
    let images = ended.into_iter().zip(&mappings);
    images.map(|(ended, image)| ended.unwrap_or_else(|| Mirrored::lost(image))).collect()
}

struct Run<S, D> {
    shared_tags: SharedTags,
    /// The unfinished images of each destination repository. What is remembered about a repository is dropped with its
    /// last image.
    unfinished: HashMap<Repository, AtomicUsize>,
    source: Arc<S>,
    destination: Arc<D>,
    transfer: Transfer<S, D>,
    planner: Mutex<Planner>,
    /// The sizes of the blobs of all images, which share blobs.
    sizes: Mutex<Sizes>,
    options: Options,
    events: Arc<dyn EventSink>,
    failed: AtomicBool,
}

/// Why an image could not be mirrored.
struct Stopped {
    failure: Failure,
    problems: Vec<Problem>,
    lacks_repository: bool,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        let lacks_repository = error.lacks_repository();
        Self { lacks_repository, ..error.failure().into() }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self { failure, problems: Vec::new(), lacks_repository: false }
    }
}

impl<S: Source, D: Destination> Run<S, D> {
    fn new(
        source: Arc<S>,
        destination: Arc<D>,
        mappings: &[Arc<Mapping>],
        options: Options,
        events: Arc<dyn EventSink>,
    ) -> Self {
        let transfer =
            Transfer::new(Arc::clone(&source), Arc::clone(&destination), options.jobs, Arc::clone(&events));
        Self {
            shared_tags: SharedTags::of(mappings),
            unfinished: unfinished(mappings),
            source,
            destination,
            transfer,
            planner: Mutex::default(),
            sizes: Mutex::default(),
            options,
            events,
            failed: AtomicBool::new(false),
        }
    }

    async fn image(&self, image: &Arc<Mapping>, mut slot: window::WindowSlot) -> Mirrored {
        let begun = Instant::now();
        let optional = self.options.optional.contains(&image.source);
        let outcome = ImageOutcome { optional, ..ImageOutcome::new(image, Status::Failed) };
        let mut mirrored = Mirrored::from(outcome);
        // An image that is requested by digest keeps the digest even if it fails: the lock must not lose it.
        mirrored.outcome.digest = image.pull().digest().cloned();
        if self.stops() {
            mirrored.outcome.status = Status::Skipped;
        } else if let Err(stopped) = self.mirror_expecting_attachments(image, &mut slot, &mut mirrored).await
        {
            self.failed.store(true, Ordering::Relaxed);
            mirrored.outcome.status = Status::Failed;
            mirrored.outcome.failure = Some(stopped.failure);
            mirrored.outcome.problems = stopped.problems;
            mirrored.missing_repository = stopped.lacks_repository.then(|| image.repository.clone());
        }
        let elapsed = begun.elapsed().as_millis();
        mirrored.outcome.milliseconds = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.forget_if_last(&image.repository);
        self.events.emit(Event::Finished { outcome: Arc::new(mirrored.outcome.clone()) });
        mirrored
    }

    fn stops(&self) -> bool {
        self.options.fail_fast && self.failed.load(Ordering::Relaxed)
    }

    /// Drops what only the images of one repository need, after the last of them.
    fn forget_if_last(&self, repository: &Repository) {
        let left = self.unfinished.get(repository);
        if left.is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) == 1) {
            let lost = self.transfer.forget(repository);
            let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
            planner.forget(repository, &lost);
        }
    }

    /// Lists the tags of attached manifests at the source while the destination is read.
    async fn mirror_expecting_attachments(
        &self,
        image: &Arc<Mapping>,
        slot: &mut window::WindowSlot,
        mirrored: &mut Mirrored,
    ) -> Result<(), Stopped> {
        let expect = async {
            if self.options.recorded.is_none() && !self.options.referrers.is_none() {
                self.source.expect_attachments(image.source.repository()).await;
            }
        };
        let (expect, mirror) = (pin!(expect), pin!(self.mirror(image, slot, mirrored)));
        match future::select(mirror, expect).await {
            Either::Left((mirrored, _)) => mirrored,
            Either::Right(((), mirror)) => mirror.await,
        }
    }

    /// resolve -> plan -> transfer -> confirm.
    async fn mirror(
        &self,
        image: &Arc<Mapping>,
        slot: &mut window::WindowSlot,
        mirrored: &mut Mirrored,
    ) -> Result<(), Stopped> {
        let required = self.required(image);
        let (there, root) = self.survey_and_root(image).await?;
        let root = match root {
            Ok(root) => root,
            Err(error) => return self.skip(mirrored, error),
        };
        let graph = self.signed_graph(image, root, &there, mirrored).await?;
        slot.holds(&graph);
        self.describe(image, &graph, mirrored)?;
        let digest = mirrored.outcome.digest.clone();
        refuse_missing_platforms(&graph, &required)?;
        self.refuse_other_sizes(&graph, &mut mirrored.content)?;
        let moved_from = there.digest().filter(|old| Some(*old) != digest.as_ref()).cloned();
        self.refuse_overwrite(image, moved_from.as_ref())?;
        if self.stops() {
            mirrored.outcome.status = Status::Skipped;
            return Ok(());
        }
        let attached = self.attached(image, &graph).await?;
        attached::refuse_loss(&graph, &attached)?;
        attached::describe(&graph, &attached, &mut mirrored.outcome);
        let presence = self.presence(image, &graph, (&there, &attached)).await?;
        let Planned { admitted, idle, bytes, requests } = self.plan(image, slot, (&graph, &presence));
        drop(presence);
        let was_there = moved_from.is_none() && there.digest().is_some();
        if idle || self.options.dry_run {
            mirrored.outcome.bytes = bytes;
            mirrored.outcome.requests = requests;
        }
        let Some(admitted) = admitted else {
            mirrored.outcome.moved_from = moved_from;
            mirrored.outcome.status = if idle { Status::UpToDate } else { Status::Planned };
            return Ok(());
        };
        let (after, attached) = if idle {
            (there, attached)
        } else {
            // Both are read again. An image may have thousands of attached manifests.
            drop((there, attached));
            self.transfer.run(image, &graph, admitted, &mut mirrored.outcome.bytes).await?;
            mirrored.outcome.moved_from = moved_from;
            self.events.emit(Event::Confirming { image: Arc::clone(image) });
            tokio::try_join!(self.survey_pushed(image, &graph), self.attached(image, &graph))?
        };
        confirm::confirm(&after, &attached, &required, &mut mirrored.outcome)?;
        mirrored.outcome.status = match (idle, was_there) {
            (true, _) => Status::UpToDate,
            (false, true) => Status::Repaired,
            (false, false) => Status::Copied,
        };
        Ok(())
    }

    /// Verifies the signatures of an image, if some are required, and reads its graph.
    async fn signed_graph(
        &self,
        image: &Mapping,
        root: RawManifest,
        there: &Survey,
        mirrored: &mut Mirrored,
    ) -> Result<Graph, Stopped> {
        let digest = root.digest().clone();
        self.refuse_other_digests(image, &digest).await?;
        let (source, repository) = (&image.source, image.source.repository());
        let mut listed = None;
        if let Some(verifier) = &self.options.signatures {
            let signed = Signed { image: source, repository, digest: &digest };
            let checked = signatures::check(&*self.source, signed, verifier, Kind::Integrity).await?;
            mirrored.outcome.signature = checked.result?;
            listed = checked.listed;
        }
        let (known, keep) = (there.known(), self.options.manifest_bytes);
        let wanted = self.wanted(image, there.graph.is_some()).listed(&digest, listed);
        let graph = resolve_with_attached(&*self.source, repository, root, &known, keep, wanted).await?;
        Ok(graph.with_foreign_layers(self.options.foreign_layers))
    }

    /// The platforms that an image must have.
    fn required(&self, image: &Mapping) -> Vec<Platform> {
        self.options.waivers.split(&image.source, &self.options.platforms).1
    }
}

/// How many images each destination repository gets.
fn unfinished(images: &[Arc<Mapping>]) -> HashMap<Repository, AtomicUsize> {
    let mut unfinished: HashMap<Repository, AtomicUsize> = HashMap::new();
    for image in images {
        *unfinished.entry(image.repository.clone()).or_default().get_mut() += 1;
    }
    unfinished
}

#[cfg(test)]
mod tests;
