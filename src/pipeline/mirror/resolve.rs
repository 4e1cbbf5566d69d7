//! The first stage: what the destination has, what the source has, and whether the image may be copied at all.

use std::sync::{Arc, PoisonError};

use futures::future;

use super::{Run, Stopped, attached, two_digests};
use crate::{
    confirm::{self, Survey},
    endpoint::{Cause, Destination, Error, Operation, Source},
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::{Graph, ImageManifests},
    oci::{Digest, Mapping, Platform, RawManifest, Target},
    outcome::{ImageContent, Mirrored, Status},
    problem::Problem,
    quota, units,
};

impl<S: Source, D: Destination> Run<S, D> {
    /// Reads the image at the destination again, after its push.
    pub(super) async fn survey_pushed(&self, image: &Mapping, graph: &Graph) -> Result<Survey, Error> {
        let (repository, target) = (&image.repository, image.target());
        confirm::survey_pushed(&*self.destination, repository, &target, graph, self.options.coverage()).await
    }

    /// Reads the image at the destination and, as soon as its root there is known, the root at the source. The inner
    /// error is that of the source.
    pub(super) async fn survey_and_root(
        &self,
        image: &Mapping,
    ) -> Result<(Survey, Result<RawManifest, Error>), Error> {
        let (destination, repository) = (&*self.destination, &image.repository);
        let target = image.target();
        let read_root = confirm::read_root(destination, repository, &target);
        if self.asks_both_at_once(image) {
            let (there, root) = future::join(read_root, self.root(image, None)).await;
            return match there? {
                Ok(there) => {
                    let survey =
                        confirm::survey_root(destination, repository, there, self.options.coverage()).await?;
                    Ok((survey.complete()?, root))
                }
                Err(survey) => Ok((survey, root)),
            };
        }
        match read_root.await? {
            Ok(there) => {
                let survey =
                    confirm::survey_root(destination, repository, there.clone(), self.options.coverage());
                let (survey, root) = future::join(survey, self.root(image, Some(&there))).await;
                Ok((survey?.complete()?, root))
            }
            Err(survey) => Ok((survey, self.root(image, None).await)),
        }
    }

    /// Whether the source is asked for the root before the destination has answered. A root that is requested by digest
    /// need not be read at all if the destination has it.
    fn asks_both_at_once(&self, image: &Mapping) -> bool {
        self.options.new_destination
            && image.pull().digest().is_none()
            && !quota::counts_manifests(image.source.repository().registry())
    }

    /// The root manifest. If the destination has the image, a tag is first resolved with HEAD, which may show that
    /// nothing must be read from the source.
    async fn root(&self, image: &Mapping, there: Option<&RawManifest>) -> Result<RawManifest, Error> {
        let source = image.source.repository();
        let written = image.pull().target();
        let target = match (&written, there.is_some()) {
            (Target::Tag(tag), true) => match self.source.digest(source, tag).await? {
                Some(digest) => Target::Digest(digest),
                None => return Err(self.no_such_image(image)),
            },
            (target, _) => target.clone(),
        };
        if let Target::Digest(digest) = &target
            && let Some(root) = there.filter(|root| root.digest() == digest && root.contents().is_ok())
        {
            return Ok(root.clone());
        }
        let read = match self.source.manifest(source, &target).await? {
            // The digest from HEAD does not exist: its header is wrong, or the tag has been moved since.
            None if target != written => self.source.manifest(source, &written).await?,
            read => read,
        };
        read.ok_or_else(|| self.no_such_image(image))
    }

    /// Skips an optional image that the source does not provide. Every other error fails the image.
    pub(super) fn skip(&self, mirrored: &mut Mirrored, error: Error) -> Result<(), Stopped> {
        let skipped = skip_reason(&error).filter(|_| mirrored.outcome.optional && !self.options.strict);
        let Some(because) = skipped else { return Err(error.into()) };
        mirrored.outcome.status = Status::SkippedOptional;
        mirrored.outcome.skipped_because = Some(Box::new(because));
        Ok(())
    }

    /// Refuses an image if another image of the run puts a different digest under the same tag. An optional image
    /// never fails one that is not.
    pub(super) async fn refuse_other_digests(&self, image: &Mapping, digest: &Digest) -> Result<(), Stopped> {
        let is_optional = |image: &Mapping| self.options.optional.contains(&image.source);
        for other in self.shared_tags.others(image) {
            if is_optional(other) && !is_optional(image) {
                continue;
            }
            let found = if let Some(digest) = other.pull().digest() {
                Some(digest.clone())
            } else {
                self.source.digest(other.source.repository(), other.source.tag_or_latest()).await?
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
    pub(super) fn describe(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        mirrored: &mut Mirrored,
    ) -> Result<(), Failure> {
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
        mirrored.content = ImageContent::of(graph);
        if self.options.keep_manifests {
            mirrored.manifests = ImageManifests::of(graph).map(Box::new);
        }
        self.events.emit(Event::Resolved {
            image: Arc::clone(image),
            digest: root.descriptor.digest.clone(),
            platforms: graph.platform_names(),
        });
        warn_of_foreign_layers(image, graph.left_out(), &*self.events);
        attached::warn_of_ignored(image, graph, &*self.events);
        Ok(())
    }

    /// Refuses an image that gives something another size than an earlier image of the run. Afterwards, the digests of
    /// blobs that images have in common share memory.
    pub(super) fn refuse_other_sizes(
        &self,
        graph: &Graph,
        content: &mut ImageContent,
    ) -> Result<(), Failure> {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.add(graph.descriptors()).map_err(|error| {
            let message = "its manifests contradict those of another image of this run";
            Failure { causes: vec![error.to_string()], ..Failure::new(Kind::Integrity, message) }
        })?;
        content.blobs.iter_mut().for_each(|(digest, _)| *digest = sizes.shared(digest));
        Ok(())
    }

    pub(super) fn refuse_overwrite(
        &self,
        image: &Mapping,
        moved_from: Option<&Digest>,
    ) -> Result<(), Failure> {
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

pub(super) fn refuse_missing_platforms(graph: &Graph, required: &[Platform]) -> Result<(), Stopped> {
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

/// Warns that `left_out` foreign layers of an image are skipped.
pub(crate) fn warn_of_foreign_layers(image: &Mapping, left_out: usize, events: &dyn EventSink) {
    if left_out > 0 {
        let message = format!(
            "{} skipped: nodes fetch foreign layers from the URLs in the manifest, because they may not be redistributed; \
             sync and bundle export copy them with --foreign-layers",
            units::counted(left_out, "foreign layer")
        );
        events.emit(Event::Warning { image: Some(image.source.clone()), message });
    }
}
