//! Mirrors every image: resolve, plan, transfer, confirm.
//!
//! All images run concurrently. The destination is read first: a second run needs little more, and manifests that it
//! has are not read from the source.

mod attached;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::{StreamExt, stream};
use tokio::task::JoinSet;

use super::{
    shared_tags::{SharedTags, two_digests},
    signatures::{self, Signed},
};
use crate::{
    confirm::{self, Expected, Level, Survey, attached::AttachedState},
    endpoint::{Cause, Destination, Error, Operation, Source},
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::{AttachedManifest, ForeignLayers, Graph, ManifestBytes, ReferrerSelection},
    oci::{Descriptor, Digest, Mapping, Platform, Reference, Sizes, Target},
    outcome::{Bytes, ImageOutcome, Mirrored, Status},
    plan::{Planner, Presence},
    problem::{FoundBy, Problem},
    resolve::{self, RootManifest},
    transfer::{Admitted, Transfer},
    trust::Verifier,
    units,
    waiver::Waivers,
};

/// How many blobs of an image are checked concurrently.
const CHECKED_AT_ONCE: usize = 16;

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
    /// Which manifests the returned graphs hold with their bytes.
    pub manifest_bytes: ManifestBytes,
    /// Which signatures, attestations and other attached manifests are copied with an image.
    pub referrers: ReferrerSelection,
    /// Exactly the attached manifests to copy with each image, instead of those that the source lists.
    pub recorded: Option<HashMap<Reference, Vec<AttachedManifest>>>,
    /// Whether a tag that points to another digest may be moved. Tags of attached manifests may gain entries anyway.
    pub overwrite: bool,
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
    /// Copies every image as it is with everything that is attached to it, without requiring any platform, and moves tags
    /// that name another digest.
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            waivers: Waivers::default(),
            check: Level::Platforms,
            foreign_layers: ForeignLayers::default(),
            manifest_bytes: ManifestBytes::default(),
            referrers: ReferrerSelection::default(),
            recorded: None,
            overwrite: true,
            dry_run: false,
            jobs: 16,
            fail_fast: false,
            optional: BTreeSet::new(),
            strict: false,
            signatures: None,
        }
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
    let transfer =
        Transfer::new(Arc::clone(&source), Arc::clone(&destination), options.jobs, Arc::clone(&events));
    let run = Arc::new(Run {
        shared_tags: SharedTags::of(&mappings),
        source,
        destination,
        transfer,
        planner: Mutex::default(),
        sizes: Mutex::default(),
        options,
        events,
        failed: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    for (position, image) in mappings.iter().enumerate() {
        let (run, image) = (Arc::clone(&run), Arc::clone(image));
        tasks.spawn(async move { (position, run.image(&image).await) });
    }
    let mut ended: HashMap<usize, Mirrored> = HashMap::new();
    while let Some(joined) = tasks.join_next().await {
        if let Ok((position, mirrored)) = joined {
            ended.insert(position, mirrored);
        }
    }
    let lost = |image: &Mapping| Mirrored {
        outcome: ImageOutcome {
            failure: Some(Failure::new(
                Kind::Image,
                "internal error while mirroring this image; please report it",
            )),
            ..ImageOutcome::new(image, Status::Failed)
        },
        graph: None,
        missing_repository: None,
    };
    mappings.iter().enumerate().map(|(at, image)| ended.remove(&at).unwrap_or_else(|| lost(image))).collect()
}

struct Run<S, D> {
    shared_tags: SharedTags,
    source: Arc<S>,
    destination: Arc<D>,
    transfer: Transfer<S, D>,
    planner: Mutex<Planner>,
    /// The sizes in all images: they share blobs.
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
    async fn image(&self, image: &Arc<Mapping>) -> Mirrored {
        let begun = Instant::now();
        let optional = self.options.optional.contains(&image.source);
        let outcome = ImageOutcome { optional, ..ImageOutcome::new(image, Status::Failed) };
        let mut mirrored = Mirrored { outcome, graph: None, missing_repository: None };
        // An image that is requested by digest keeps it even if it fails: the lock must not lose it.
        mirrored.outcome.digest = image.pull().digest().cloned();
        if self.stops() {
            mirrored.outcome.status = Status::Skipped;
        } else if let Err(stopped) = self.mirror(image, &mut mirrored).await {
            self.failed.store(true, Ordering::Relaxed);
            mirrored.outcome.status = Status::Failed;
            mirrored.outcome.failure = Some(stopped.failure);
            mirrored.outcome.problems = stopped.problems;
            mirrored.missing_repository = stopped.lacks_repository.then(|| image.repository.clone());
        }
        let elapsed = begun.elapsed().as_millis();
        mirrored.outcome.milliseconds = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.events.emit(Event::Finished { outcome: Arc::new(mirrored.outcome.clone()) });
        mirrored
    }

    fn stops(&self) -> bool {
        self.options.fail_fast && self.failed.load(Ordering::Relaxed)
    }

    /// resolve -> plan -> transfer -> confirm.
    async fn mirror(&self, image: &Arc<Mapping>, mirrored: &mut Mirrored) -> Result<(), Stopped> {
        let required = self.required(image);
        let there = self.survey(image).await?;
        let root = match self.root(image, &there).await {
            Ok(root) => root,
            Err(error) => return self.skip(mirrored, error),
        };
        self.refuse_other_digests(image, &root.descriptor().digest).await?;
        let root_digest = root.descriptor().digest;
        let mut listed = None;
        if let Some(verifier) = &self.options.signatures {
            let image = &image.source;
            let signed = Signed { image, repository: image.repository(), digest: &root_digest };
            let judged = signatures::judge(&*self.source, signed, verifier, Kind::Integrity).await?;
            mirrored.outcome.signature = judged.result?;
            listed = judged.listed;
        }
        let (repository, keep) = (image.source.repository(), self.options.manifest_bytes);
        let wanted = self.wanted(image, there.graph.is_some()).listed(&root_digest, listed);
        let known = there.known();
        let graph =
            resolve::resolve_with_attached(&*self.source, repository, root, &known, keep, wanted).await?;
        let graph = graph.with_foreign_layers(self.options.foreign_layers);
        self.describe(image, &graph, mirrored)?;
        let digest = mirrored.outcome.digest.clone();
        refuse_missing_platforms(&graph, &required)?;
        self.refuse_other_sizes(&graph)?;
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
        let (admitted, idle, planned) = self.plan(image, &graph, &presence);
        let was_there = moved_from.is_none() && there.digest().is_some();
        if idle || self.options.dry_run {
            mirrored.outcome.bytes = planned;
        }
        if self.options.dry_run {
            mirrored.outcome.moved_from = moved_from;
            mirrored.outcome.status = if idle { Status::UpToDate } else { Status::Planned };
            return Ok(());
        }
        let (after, attached) = if idle {
            (there, attached)
        } else {
            self.transfer.run(image, &graph, admitted, &mut mirrored.outcome.bytes).await?;
            mirrored.outcome.moved_from = moved_from;
            self.events.emit(Event::Confirming { image: Arc::clone(image) });
            tokio::try_join!(self.survey(image), self.attached(image, &graph))?
        };
        let expected = Expected { digest: digest.as_ref(), platforms: &required };
        let mut problems = confirm::judge(&after, expected);
        problems.extend(attached::problems(&attached));
        if !problems.is_empty() {
            return Err(unconfirmed(problems));
        }
        if let Some(graph) = &after.graph {
            mirrored.outcome.platforms.clone_from(&graph.platforms);
        }
        mirrored.outcome.status = match (idle, was_there) {
            (true, _) => Status::UpToDate,
            (false, true) => Status::Repaired,
            (false, false) => Status::Copied,
        };
        Ok(())
    }

    /// Reads the image at the destination.
    async fn survey(&self, image: &Mapping) -> Result<Survey, Error> {
        let Options { check, foreign_layers, .. } = self.options;
        let target = image.target();
        confirm::survey(&*self.destination, &image.repository, &target, check, foreign_layers).await
    }

    fn required(&self, image: &Mapping) -> Vec<Platform> {
        self.options.waivers.split(&image.source, &self.options.platforms).1
    }

    /// The root manifest. If the destination has the image, a tag is first resolved with HEAD, which may show that
    /// nothing must be read from the source.
    async fn root(&self, image: &Mapping, there: &Survey) -> Result<RootManifest, Error> {
        let source = image.source.repository();
        let written = image.pull().target();
        let target = match (&written, there.graph.is_some()) {
            (Target::Tag(tag), true) => match self.source.digest(source, tag).await? {
                Some(digest) => Target::Digest(digest),
                None => return Err(self.no_such_image(image)),
            },
            (target, _) => target.clone(),
        };
        if let Target::Digest(digest) = &target
            && let Some(root) = there.graph.as_ref().and_then(Graph::root)
            && root.descriptor.digest == *digest
        {
            return Ok(RootManifest::Known(Box::new(root.clone())));
        }
        let read = match self.source.manifest(source, &target).await? {
            // The digest from HEAD does not exist: its header is wrong, or the tag has been moved since.
            None if target != written => self.source.manifest(source, &written).await?,
            read => read,
        };
        read.map(RootManifest::Read).ok_or_else(|| self.no_such_image(image))
    }

    /// Skips an optional image that the source does not provide. Every other error fails the image.
    fn skip(&self, mirrored: &mut Mirrored, error: Error) -> Result<(), Stopped> {
        let skipped = skip_reason(&error).filter(|_| mirrored.outcome.optional && !self.options.strict);
        let Some(because) = skipped else { return Err(error.into()) };
        mirrored.outcome.status = Status::SkippedOptional;
        mirrored.outcome.skipped_because = Some(because);
        Ok(())
    }

    /// Refuses an image if another image of the run puts a different digest under the same tag. An optional image
    /// never fails one that is not.
    async fn refuse_other_digests(&self, image: &Mapping, digest: &Digest) -> Result<(), Stopped> {
        let is_optional = |image: &Mapping| self.options.optional.contains(&image.source);
        for other in self.shared_tags.others(image) {
            if is_optional(other) && !is_optional(image) {
                continue;
            }
            let found = match (other.pull().digest(), other.source.tag()) {
                (Some(digest), _) => Some(digest.clone()),
                (None, tag) => {
                    let repository = other.source.repository();
                    self.source.digest(repository, tag.unwrap_or("latest")).await?
                }
            };
            if let Some(found) = found.filter(|found| found != digest) {
                return Err(two_digests(&image.destination(), (image, digest), (other, &found)).into());
            }
        }
        Ok(())
    }

    fn no_such_image(&self, image: &Mapping) -> Error {
        Error::new(
            Operation::ReadManifest,
            self.source.side(),
            image.pull().to_string(),
            Cause::NoSuchManifest,
        )
    }

    /// Records the properties of the image and emits events about them.
    fn describe(&self, image: &Arc<Mapping>, graph: &Graph, mirrored: &mut Mirrored) -> Result<(), Failure> {
        let Some(root) = graph.root() else {
            return Err(Failure::new(Kind::Image, format!("{} has no manifest", image.source)));
        };
        mirrored.outcome.digest = Some(root.descriptor.digest.clone());
        mirrored.outcome.media_type = Some(root.media_type.clone());
        mirrored.outcome.kind = graph.kind();
        mirrored.outcome.platforms.clone_from(&graph.platforms);
        mirrored.outcome.attestations = graph.attestations();
        let lacking = graph.lacks(&self.options.platforms);
        mirrored.outcome.waived = self.options.waivers.split(&image.source, &lacking).0;
        mirrored.graph = Some(graph.clone());
        self.events.emit(Event::Resolved {
            image: Arc::clone(image),
            digest: root.descriptor.digest.clone(),
            platforms: graph.platform_names(),
        });
        warn_of_foreign_layers(image, graph, &*self.events);
        attached::warn_of_ignored(image, graph, &*self.events);
        Ok(())
    }

    /// Refuses an image that gives something another size than an earlier image of the run.
    fn refuse_other_sizes(&self, graph: &Graph) -> Result<(), Failure> {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.add(graph.descriptors()).map_err(|error| {
            let message = "its manifests contradict those of another image of this run";
            Failure { causes: vec![error.to_string()], ..Failure::new(Kind::Integrity, message) }
        })
    }

    fn refuse_overwrite(&self, image: &Mapping, moved_from: Option<&Digest>) -> Result<(), Failure> {
        match moved_from {
            Some(old) if !self.options.overwrite => Err(Failure::new(
                Kind::Image,
                format!(
                    "{} already points to {old}, and --no-overwrite prevents moving it",
                    image.destination()
                ),
            )
            .with_hint("omit --no-overwrite, or delete the tag at the destination")),
            _ => Ok(()),
        }
    }

    async fn presence(
        &self,
        image: &Mapping,
        graph: &Graph,
        (there, attached): (&Survey, &[AttachedState]),
    ) -> Result<Presence, Error> {
        let of_attached = attached.iter().flat_map(|state| &state.manifests);
        let mut presence = Presence {
            tag: there.digest().cloned(),
            manifests: there.manifests().chain(of_attached).cloned().collect::<HashSet<_>>(),
            blobs: HashMap::new(),
            attached: attached::needs(graph, attached),
        };
        for problem in there.problems.iter().chain(attached.iter().flat_map(|state| &state.problems)) {
            if let Problem::MissingBlob { digest, .. } | Problem::WrongSize { digest, .. } = problem {
                presence.blobs.insert(digest.clone(), false);
            }
        }
        let looked: Vec<Result<_, Error>> = stream::iter(self.blobs_to_check(graph, there))
            .map(|blob| async move {
                let size = self.destination.blob_size(&image.repository, &blob.digest).await?;
                Ok((blob.digest, size == Some(blob.size)))
            })
            .buffer_unordered(CHECKED_AT_ONCE)
            .collect()
            .await;
        presence.blobs.extend(looked.into_iter().collect::<Result<Vec<_>, _>>()?);
        Ok(presence)
    }

    /// The blobs to check one by one. A dry run checks all, because it starts no upload that would tell. Otherwise an
    /// existing manifest implies its blobs, except for foreign layers, which an earlier run may have skipped.
    fn blobs_to_check(&self, graph: &Graph, there: &Survey) -> Vec<Descriptor> {
        let is_unproven = |blob: &Descriptor| {
            there.graph.is_some()
                && self.options.check == Level::Platforms
                && blob.media_type.is_foreign_layer()
        };
        let blobs = graph.blobs().into_iter();
        blobs.filter(|blob| self.options.dry_run || is_unproven(blob)).cloned().collect()
    }

    /// Plans the image and claims its blobs without awaiting anything in between, as [`Transfer::admit`] requires.
    fn plan(&self, image: &Arc<Mapping>, graph: &Graph, presence: &Presence) -> (Admitted, bool, Bytes) {
        let source = image.source.repository();
        let same_registry = source.registry() == image.repository.registry();
        let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = planner.add(graph, &image.repository, same_registry.then_some(source), presence);
        let (idle, bytes) = (plan.is_idle(), plan.bytes());
        // A dry run transfers nothing, so do not announce it.
        if !self.options.dry_run {
            self.events.emit(Event::Planned {
                image: Arc::clone(image),
                blobs: plan.moving(),
                bytes: bytes.copied + bytes.mounted,
            });
        }
        (self.transfer.admit(image, plan), idle, bytes)
    }
}

/// Why an optional image may be skipped after this error; `None` if the error says nothing about whether the source
/// provides it.
pub(crate) fn skip_reason(error: &Error) -> Option<Failure> {
    let unavailable = error.cause.unavailable()?;
    let Failure { kind, message, mut causes, .. } = error.failure();
    causes.insert(0, message);
    let reason = Failure { causes, ..Failure::new(kind, unavailable.to_string()) };
    Some(reason.with_hint("if it is needed, check its name and the login; --strict makes this an error"))
}

fn refuse_missing_platforms(graph: &Graph, required: &[Platform]) -> Result<(), Stopped> {
    let available = graph.platform_names();
    let problems: Vec<Problem> = graph
        .lacks(required)
        .into_iter()
        .map(|platform| Problem::MissingPlatform { platform, available: available.clone() })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    let lacking: Vec<String> = graph.lacks(required).iter().map(ToString::to_string).collect();
    let failure = Failure::new(Kind::Image, format!("the source has no {}", lacking.join(" and no ")))
        .with_hint(
            "if this is expected, pass --allow-missing-platform IMAGE[=PLATFORM], or pass the platforms of your nodes \
             with --platform",
        );
    Err(Stopped { problems, ..failure.into() })
}

fn unconfirmed(problems: Vec<Problem>) -> Stopped {
    let kind = Problem::failure_kind_of(&problems, FoundBy::Confirmation);
    let failure = Failure::new(kind, "the destination does not have what was pushed")
        .with_hint("another client may be writing to it, or it may be losing data: run the command again");
    Stopped { problems, ..failure.into() }
}

/// Warns that an image's foreign layers are skipped.
pub(crate) fn warn_of_foreign_layers(image: &Mapping, graph: &Graph, events: &dyn EventSink) {
    let left_out = graph.left_out();
    if left_out > 0 {
        let message = format!(
            "{} skipped: nodes fetch foreign layers from the URLs in the manifest, because they may not be redistributed; \
             sync and bundle export copy them with --foreign-layers",
            units::counted(left_out, "foreign layer")
        );
        events.emit(Event::Warning { image: Some(image.source.clone()), message });
    }
}
