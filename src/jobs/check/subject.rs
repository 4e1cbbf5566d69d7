//! One image of a bundle while it is checked.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Required, blobs::Examined};
use crate::{
    confirm::{self, Expected, Level, Survey},
    endpoint::{
        Error,
        bundle::{Bundle, index::Named},
    },
    error::{Failure, Kind},
    graph::Graph,
    lock::LockedImage,
    oci::{ArtifactKind, Descriptor, Digest, Mapping, Platform, Reference, Target},
    outcome::{ImageOutcome, Status},
    problem::Problem,
};

/// One image, and what it has to be.
pub(super) struct Subject {
    pub(super) image: Arc<Mapping>,
    pub(super) root: Descriptor,
    required: Vec<Platform>,
    waived: Vec<Platform>,
}

impl Subject {
    /// All images.
    pub(super) fn all(bundle: &Bundle, required: &Required) -> Vec<Self> {
        let head = bundle.head();
        let lock = head.lock.as_ref();
        let locked: HashMap<&Reference, &LockedImage> =
            lock.iter().flat_map(|lock| &lock.images).map(|image| (&image.source, image)).collect();
        let platforms = required.platforms.as_ref().or_else(|| lock.map(|lock| &lock.platforms));
        let subject = |named: &Named| {
            let source = named.handle.clone();
            let is_waived = |platform: &Platform| {
                locked.get(&source).is_some_and(|image| image.waived.contains(platform))
                    || required.waivers.covers(&source, platform)
            };
            let (waived, required) = platforms.into_iter().flatten().cloned().partition(is_waived);
            let repository = source.repository().clone();
            let tag = source.tag().unwrap_or("latest").to_owned();
            let image = Arc::new(Mapping { pinned: None, source, repository, tag });
            Self { image, root: named.root.clone(), required, waived }
        };
        head.index.images.iter().map(subject).collect()
    }

    /// Reads its manifests. What many images share is held once for each, so only one is read at a time.
    pub(super) async fn survey(&self, bundle: &Bundle) -> Surveyed<'_> {
        let target = Target::Digest(self.root.digest.clone());
        let repository = &self.image.repository;
        let foreign_layers = bundle.head().foreign_layers();
        let survey =
            confirm::survey_what_answers(bundle, repository, &target, Level::Platforms, foreign_layers);
        Surveyed { subject: self, survey: survey.await }
    }
}

/// An image, and what its manifests say.
pub(super) struct Surveyed<'a> {
    pub(super) subject: &'a Subject,
    survey: Result<Survey, Error>,
}

impl Surveyed<'_> {
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

    /// How it is, once all blobs have been read.
    pub(super) fn outcome(
        &self,
        place: String,
        examined: &Examined,
        absent: &HashSet<Digest>,
    ) -> ImageOutcome {
        let mut outcome = ImageOutcome::new(&self.subject.image, Status::Verified);
        outcome.destination = place;
        outcome.digest = Some(self.subject.root.digest.clone());
        if let Some(graph) = self.graph() {
            outcome.kind = graph.kind();
            outcome.platforms.clone_from(&graph.platforms);
            outcome.attestations = graph.attestations();
            outcome.media_type = graph.root().map(|root| root.manifest.media_type().clone());
            outcome.bytes.present = graph.blobs().iter().map(|blob| blob.size).fold(0, u64::saturating_add);
            outcome.waived = graph.lacks(&self.subject.waived);
        }
        outcome.problems = self.problems(examined, absent);
        outcome.failure = match &self.survey {
            Err(error) => Some(Failure { kind: Kind::Integrity, ..error.failure() }),
            Ok(_) => (!outcome.problems.is_empty()).then(|| {
                Failure::new(Kind::Integrity, "the bundle does not hold it as it should").with_hint(
                    "copy the bundle again from where it was written; `bundle verify` there shows whether it was whole",
                )
            }),
        };
        if outcome.failure.is_some() {
            outcome.status = Status::Failed;
        }
        outcome
    }

    fn problems(&self, examined: &Examined, absent: &HashSet<Digest>) -> Vec<Problem> {
        let Ok(survey) = &self.survey else { return Vec::new() };
        let expected = Expected { digest: None, platforms: &self.subject.required };
        let mut problems = confirm::judge(survey, expected);
        for problem in &mut problems {
            // Nothing stands under the root's digest: there are no tags here.
            if *problem == Problem::MissingTag {
                *problem =
                    Problem::MissingManifest { digest: self.subject.root.digest.clone(), platform: None };
            }
        }
        let Some(graph) = &survey.graph else { return problems };
        problems.extend(graph.root().and_then(|root| {
            let manifest = &root.manifest;
            let reason = if *manifest.media_type() == self.subject.root.media_type {
                manifest.check_size(&self.subject.root).err()?.to_string()
            } else {
                format!("index.json says that it is a `{}`", self.subject.root.media_type)
            };
            Some(Problem::BadManifest { digest: self.subject.root.digest.clone(), reason })
        }));
        let mut seen = HashSet::new();
        let blobs = graph.nodes.iter().flat_map(|node| graph.blobs_of(node));
        let needed = blobs.filter(|blob| !absent.contains(&blob.digest));
        let distinct = needed.filter(|blob| seen.insert((&blob.digest, blob.size)));
        problems.extend(distinct.filter_map(|blob| examined.problem(blob)));
        problems
    }
}
