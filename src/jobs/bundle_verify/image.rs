//! Checks one image of a bundle.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Required, blobs::BlobResults};
use crate::{
    confirm::{self, Coverage, Expected, Level, Survey},
    endpoint::{
        Error,
        bundle::{Bundle, BundleError, index::IndexEntry},
    },
    error::{Failure, Kind, Reason},
    event::{Event, EventSink},
    graph::Graph,
    jobs::open_bundle::skipped_by_the_export,
    lock::LockedImage,
    oci::{ArtifactKind, Descriptor, Digest, ManifestError, Mapping, Platform, Reference, Target},
    outcome::{ImageOutcome, Status},
    problem::{
        FoundBy, Problem, Remedy,
        absent_volumes::{absent_volumes, say_absent},
    },
    resolve,
};

/// An image and its requirements.
pub(super) struct Image {
    pub(super) mapping: Arc<Mapping>,
    pub(super) root: Descriptor,
    required: Vec<Platform>,
    waived: Vec<Platform>,
}

impl Image {
    /// All images.
    pub(super) fn all(bundle: &Bundle, required: &Required) -> Vec<Self> {
        let head = bundle.head();
        let lock = head.lock.as_ref();
        let locked: HashMap<&Reference, &LockedImage> =
            lock.iter().flat_map(|lock| &lock.images).map(|image| (&image.source, image)).collect();
        let platforms = required.platforms.as_ref().or_else(|| lock.map(|lock| &lock.platforms));
        let image = |entry: &IndexEntry| {
            let source = entry.handle.clone();
            let waived_before = locked.get(&source).map_or(&[][..], |image| &image.waived);
            let platforms = platforms.map_or(&[][..], Vec::as_slice);
            let (waived, required) = required.waivers.split_locked(&source, waived_before, platforms);
            let mapping = Arc::new(Mapping::to(source.clone(), &source));
            Self { mapping, root: entry.root.clone(), required, waived }
        };
        head.top_images().map(image).collect()
    }

    /// Reads its manifests. Shared manifests are copied for each image, so images are read one after another.
    pub(super) async fn survey(&self, bundle: &Bundle) -> ImageSurvey<'_> {
        let target = Target::Digest(self.root.digest.clone());
        let repository = &self.mapping.repository;
        let coverage = Coverage { level: Level::Platforms, foreign_layers: bundle.head().foreign_layers() };
        let mut survey = confirm::survey_partially(bundle, repository, &target, coverage).await;
        if let Ok(Survey { graph: Some(graph), problems, .. }) = &mut survey {
            match resolve::add_everything_attached(bundle, repository, graph).await {
                Ok(()) => problems.extend(bundle.head().attached_problems(&self.root)),
                Err(error) => survey = Err(error),
            }
        }
        ImageSurvey { image: self, survey }
    }
}

/// The outcome of an optional image that the export skipped.
pub(super) fn skipped(source: &Reference, bundle: &Bundle, events: &dyn EventSink) -> ImageOutcome {
    let mapping = Mapping::to(source.clone(), source);
    let outcome = ImageOutcome {
        destination: bundle.path().display().to_string(),
        ..ImageOutcome::skipped(&mapping, skipped_by_the_export())
    };
    let (image, message) = (Some(source.clone()), outcome.skip_message().unwrap_or_default());
    events.emit(Event::Warning { image, message });
    outcome
}

/// The failure of an image of which only volumes are missing.
fn without_volumes(names: impl IntoIterator<Item = String>) -> Failure {
    Failure::new(Kind::Integrity, say_absent(names))
        .with_hint(Remedy::AddVolumes.hint())
        .with_reason(Some(Reason::AbsentVolumes))
}

/// An image and the content of its manifests.
pub(super) struct ImageSurvey<'a> {
    pub(super) image: &'a Image,
    survey: Result<Survey, Error>,
}

impl ImageSurvey<'_> {
    pub(super) fn graph(&self) -> Option<&Graph> {
        self.survey.as_ref().ok()?.graph.as_ref()
    }

    /// Every blob once.
    pub(super) fn blobs(&self) -> Vec<&Descriptor> {
        self.graph().map(Graph::blobs).unwrap_or_default()
    }

    pub(super) fn is_chart(&self) -> bool {
        self.graph().is_some_and(|graph| graph.kind() == ArtifactKind::Chart)
    }

    /// The result, once all blobs have been read. `destination` names the image in reports.
    pub(super) fn outcome(
        &self,
        destination: String,
        blobs: &BlobResults,
        absent: &HashSet<Digest>,
    ) -> ImageOutcome {
        let mut outcome = ImageOutcome::new(&self.image.mapping, Status::Verified);
        outcome.destination = destination;
        outcome.digest = Some(self.image.root.digest.clone());
        if let Some(graph) = self.graph() {
            outcome.kind = graph.kind();
            outcome.platforms.clone_from(&graph.platforms);
            outcome.attestations = graph.attestations();
            outcome.attached = graph.attached_counts();
            outcome.media_type = graph.root().map(|root| root.media_type.clone());
            outcome.bytes.present = graph.blob_bytes();
            outcome.waived = graph.lacks(&self.image.waived);
        }
        outcome.problems = self.problems(blobs, absent);
        outcome.failure = match &self.survey {
            Err(error) => Some(match error.cause.downcast_ref() {
                Some(BundleError::Absent { names }) => without_volumes(names.iter().cloned()),
                _ => Failure { kind: Kind::Integrity, ..error.failure() },
            }),
            Ok(_) => (!outcome.problems.is_empty()).then(|| {
                if let Some(volumes) = absent_volumes(&outcome.problems) {
                    return without_volumes(volumes);
                }
                let kind = Problem::failure_kind_of(&outcome.problems, FoundBy::BundleVerify);
                Failure::new(kind, "missing or damaged in the bundle")
                    .with_hint(Remedy::CopyBundleAgain.hint())
            }),
        };
        if outcome.failure.is_some() {
            outcome.status = Status::Failed;
        }
        outcome
    }

    fn problems(&self, blobs: &BlobResults, absent: &HashSet<Digest>) -> Vec<Problem> {
        let Ok(survey) = &self.survey else { return Vec::new() };
        let expected = Expected { digest: None, platforms: &self.image.required };
        let mut problems = confirm::problems_of(survey, expected);
        for problem in &mut problems {
            // A bundle has no tags: the manifest with the root's digest is missing.
            if *problem == Problem::MissingTag {
                *problem =
                    Problem::MissingManifest { digest: self.image.root.digest.clone(), platform: None };
            }
        }
        let Some(graph) = &survey.graph else { return problems };
        problems.extend(graph.root().and_then(|root| {
            let (found, named) = (root.descriptor.size, self.image.root.size);
            let reason = if root.media_type == self.image.root.media_type {
                let digest = self.image.root.digest.clone();
                let wrong =
                    (found != named).then_some(ManifestError::Size { digest, expected: named, found });
                wrong?.to_string()
            } else {
                format!("index.json gives it the media type `{}`", self.image.root.media_type)
            };
            Some(Problem::BadManifest { digest: self.image.root.digest.clone(), reason })
        }));
        let mut seen = HashSet::new();
        let needed = graph.manifests().flat_map(|node| graph.blobs_of(node));
        let needed = needed.filter(|blob| !absent.contains(&blob.digest));
        let distinct = needed.filter(|blob| seen.insert((&blob.digest, blob.size)));
        problems.extend(distinct.filter_map(|blob| blobs.problem(blob)));
        problems
    }
}
