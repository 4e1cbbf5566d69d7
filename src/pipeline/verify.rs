//! Verifies a mirror: reads every image at the destination and compares it with the expectation. Transfers nothing.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use super::signatures::{self, Signed};
use crate::{
    confirm::{
        self, Coverage, Expected, Level, Survey,
        attached::{attached, counts, kept_tags},
    },
    endpoint::{Error, Source},
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::{Attached, AttachedManifest, ForeignLayers, ManifestBytes, ReferrerSelection},
    oci::{Digest, Mapping, Platform},
    outcome::{ImageOutcome, Status},
    problem::Problem,
    resolve::{self, AttachedToRead},
    trust::Verifier,
};

/// How many images are verified concurrently. Each reads several manifests and blobs concurrently.
const CONCURRENCY: usize = 8;

/// The expected state of an image at the destination.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The image and its destination.
    pub image: Arc<Mapping>,
    /// The expected digest, or why it is not known.
    pub digest: Result<Digest, Unknown>,
    /// The required platforms, without waived ones.
    pub platforms: Vec<Platform>,
    /// Required platforms that may be missing.
    pub waived: Vec<Platform>,
    /// Whether its foreign layers are required.
    pub foreign_layers: ForeignLayers,
    /// The attachments that it must have. Further ones are no difference.
    pub attached: Vec<AttachedManifest>,
    /// Whether it was found only in settings.
    pub optional: bool,
}

impl Expectation {
    /// Expects this digest at the mapping's destination, with everything that it references except foreign layers.
    #[must_use]
    pub fn new(image: impl Into<Arc<Mapping>>, digest: Digest) -> Self {
        Self {
            image: image.into(),
            digest: Ok(digest),
            platforms: Vec::new(),
            waived: Vec::new(),
            foreign_layers: ForeignLayers::default(),
            attached: Vec::new(),
            optional: false,
        }
    }
}

/// Why the expected digest of an image is not known.
#[derive(Debug, Clone)]
pub enum Unknown {
    /// The run that wrote the lock never confirmed it.
    NeverConfirmed,
    /// The source could not be read.
    Source(Error),
    /// It is optional and was not mirrored, for this reason.
    Skipped(Failure),
}

/// Verifies images. Returns one outcome for each, in the same order.
pub async fn verify<D: Source>(
    destination: Arc<D>,
    expectations: Vec<Expectation>,
    level: Level,
    events: Arc<dyn EventSink>,
) -> Vec<ImageOutcome> {
    verify_against(destination, None::<AttachedAt<D>>, None, expectations, level, events).await
}

/// A source that decides what must be attached to the images.
#[derive(Debug)]
pub(crate) struct AttachedAt<S> {
    /// The source.
    pub(crate) source: Arc<S>,
    /// What of that is wanted.
    pub(crate) referrers: ReferrerSelection,
}

/// Like [`verify()`]. An attachment of an image at the source must be attached to it at the destination, and the
/// signatures there must satisfy the policy of the verifier.
pub(crate) async fn verify_against<D: Source, S: Source>(
    destination: Arc<D>,
    source: Option<AttachedAt<S>>,
    verifier: Option<Arc<Verifier>>,
    expectations: Vec<Expectation>,
    level: Level,
    events: Arc<dyn EventSink>,
) -> Vec<ImageOutcome> {
    let source = source.map(Arc::new);
    let images = expectations.iter().map(|expectation| Arc::clone(&expectation.image)).collect();
    events.emit(Event::Started { images });
    stream::iter(expectations)
        .map(|expectation| {
            let (destination, events) = (Arc::clone(&destination), Arc::clone(&events));
            let (source, verifier) = (source.clone(), verifier.clone());
            async move {
                let begun = Instant::now();
                let image = Arc::clone(&expectation.image);
                let mut outcome = verify_image(&*destination, source.as_deref(), expectation, level).await;
                if let Some(verifier) = &verifier {
                    verify_signatures(&*destination, &image, verifier, &mut outcome).await;
                }
                outcome.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                events.emit(Event::Finished { outcome: Arc::new(outcome.clone()) });
                outcome
            }
        })
        .buffered(CONCURRENCY)
        .collect()
        .await
}

async fn verify_image<D: Source, S: Source>(
    destination: &D,
    source: Option<&AttachedAt<S>>,
    expectation: Expectation,
    level: Level,
) -> ImageOutcome {
    let image = &expectation.image;
    if let Err(Unknown::Skipped(because)) = expectation.digest {
        return ImageOutcome::skipped(image, because);
    }
    let mut outcome = ImageOutcome::new(image, Status::Failed);
    outcome.optional = expectation.optional;
    outcome.waived.clone_from(&expectation.waived);
    let (repository, target) = (&image.repository, image.target());
    let coverage = Coverage { level, foreign_layers: expectation.foreign_layers };
    let survey = match confirm::survey_partially(destination, repository, &target, coverage).await {
        Ok(survey) => survey,
        Err(error) => {
            outcome.failure = Some(error.failure());
            return outcome;
        }
    };
    outcome.failure = survey.unread.as_ref().map(Error::failure);
    if let Some(graph) = &survey.graph {
        outcome.kind = graph.kind();
        outcome.platforms.clone_from(&graph.platforms);
        outcome.attestations = graph.attestations();
        outcome.digest = survey.digest().cloned();
        outcome.media_type = graph.root().map(|root| root.media_type.clone());
        outcome.bytes.present = survey.found_bytes;
    }
    match &expectation.digest {
        Err(Unknown::Source(error)) => {
            outcome.failure = Some(error.failure());
            outcome.problems.clone_from(&survey.problems);
        }
        digest => {
            let expected = Expected { digest: digest.as_ref().ok(), platforms: &expectation.platforms };
            outcome.problems = confirm::problems_of(&survey, expected);
            outcome.problems.extend(digest.is_err().then_some(Problem::NeverConfirmed));
        }
    }
    if survey.digest().is_some_and(|found| expectation.digest.as_ref().ok() == Some(found)) {
        verify_attached(destination, source, (&expectation, &survey), coverage, &mut outcome).await;
    }
    if let Some(graph) = &survey.graph {
        // Report only waived platforms that are missing.
        outcome.waived = graph.lacks(&outcome.waived);
    }
    outcome.status = match (outcome.problems.is_empty(), &outcome.failure) {
        (false, _) => Status::Different,
        (true, Some(_)) => Status::Failed,
        (true, None) => Status::Verified,
    };
    outcome
}

/// Compares the attachments of the image with those recorded or, with a source, with those at the source.
async fn verify_attached<D: Source, S: Source>(
    destination: &D,
    source: Option<&AttachedAt<S>>,
    (expectation, survey): (&Expectation, &Survey),
    coverage: Coverage,
    outcome: &mut ImageOutcome,
) {
    let image = &expectation.image;
    let read = async {
        let mut wanted = expectation.attached.clone();
        if let (Some(AttachedAt { source, referrers }), Some(graph)) = (source, &survey.graph) {
            let mut graph = graph.clone();
            let selected =
                AttachedToRead::selected(referrers).mirrored_in(Some((destination, &image.repository)));
            let (repository, keep) = (image.source.repository(), ManifestBytes::Small);
            resolve::attached_to(&**source, repository, &mut graph, keep, selected).await?;
            wanted = graph.attached.iter().map(Attached::record).collect();
        }
        let states = attached(destination, &image.repository, &wanted, &HashMap::new(), coverage).await?;
        Ok::<_, Error>((wanted, states))
    };
    match read.await {
        Ok((wanted, states)) => {
            outcome.attached = counts(&wanted, &states);
            outcome.kept_tags = kept_tags(&wanted, &states);
            outcome.problems.extend(states.into_iter().flat_map(|state| state.problems));
        }
        Err(error) => drop(outcome.failure.get_or_insert(error.failure())),
    }
}

/// Verifies the signatures in the mirror. A problem that was found before stays the result.
async fn verify_signatures<D: Source>(
    destination: &D,
    image: &Mapping,
    verifier: &Verifier,
    outcome: &mut ImageOutcome,
) {
    let Some(digest) = outcome.digest.as_ref().filter(|_| outcome.status == Status::Verified) else { return };
    let signed = Signed { image: &image.source, repository: &image.repository, digest };
    let checked = signatures::check(destination, signed, verifier, Kind::Difference).await;
    match checked.map_err(|error| error.failure()).and_then(|check| check.result) {
        Ok(signature) => outcome.signature = signature,
        Err(failure) => {
            outcome.status = Status::Failed;
            outcome.failure = Some(failure);
        }
    }
}
