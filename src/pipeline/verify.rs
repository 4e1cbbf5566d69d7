//! Verifies a mirror: reads every image at the destination and compares it with the expectation. Transfers nothing.

use std::{sync::Arc, time::Instant};

use futures::{StreamExt, stream};

use crate::{
    confirm::{self, Expected, Level},
    endpoint::{Error, Source},
    error::Failure,
    event::{Event, EventSink},
    graph::ForeignLayers,
    oci::{Digest, Mapping, Platform},
    outcome::{ImageOutcome, Status},
    problem::Problem,
};

/// How many images are verified concurrently. Each reads several manifests and blobs concurrently.
const AT_ONCE: usize = 8;

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
    let images = expectations.iter().map(|expectation| Arc::clone(&expectation.image)).collect();
    events.emit(Event::Started { images });
    stream::iter(expectations)
        .map(|expectation| {
            let (destination, events) = (Arc::clone(&destination), Arc::clone(&events));
            async move {
                let begun = Instant::now();
                let mut outcome = verify_image(&*destination, expectation, level).await;
                outcome.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                events.emit(Event::Finished { outcome: Arc::new(outcome.clone()) });
                outcome
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn verify_image<D: Source>(destination: &D, expectation: Expectation, level: Level) -> ImageOutcome {
    let image = &expectation.image;
    if let Err(Unknown::Skipped(because)) = expectation.digest {
        return ImageOutcome::skipped(image, because);
    }
    let mut outcome = ImageOutcome::new(image, Status::Failed);
    outcome.optional = expectation.optional;
    outcome.waived.clone_from(&expectation.waived);
    let (repository, target) = (&image.repository, image.target());
    let foreign_layers = expectation.foreign_layers;
    let read = confirm::survey_partially(destination, repository, &target, level, foreign_layers);
    let survey = match read.await {
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
            outcome.problems = confirm::judge(&survey, expected);
            outcome.problems.extend(digest.is_err().then_some(Problem::NeverConfirmed));
        }
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
