//! `bundle verify`: reads a whole bundle and reports every problem, by image where an image is affected.
//!
//! Every blob is hashed once, however many images share it, in file order. The bytes around the blobs are compared with
//! what this program would write for the same head, so no changed byte goes unnoticed in a bundle of this program.
//! Nothing is written, and memory does not grow with the size of blobs.

mod blobs;
mod image;
mod lock;
mod structure;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use self::{blobs::BlobResults, image::Image};
use super::open_bundle::{expect_id, failure, open};
use crate::{
    endpoint::bundle::{Bundle, BundleError},
    error::{Failure, exit_code_of},
    event::{Event, EventSink},
    jobs::first_images::FirstImages,
    oci::Platform,
    outcome::{Command, ImageOutcome, RunOutcome},
    problem::{FoundBy, Problem},
    request::BundleVerify,
    waiver::Waivers,
};

pub(crate) async fn run(request: &BundleVerify, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let BundleVerify { paths, signed, expect, platforms, waivers, strict } = request;
    let bundle = Arc::new(open(paths, signed.as_ref(), &*events)?);
    expect_id(&bundle, expect.as_ref())?;
    // The end of the file explains every missing blob, so the images are not listed.
    if let Some(error) = bundle.truncation() {
        return Err(failure(&error, paths));
    }
    let required = Required { platforms: platforms.clone(), waivers: Waivers::new(waivers.clone()) };
    let mut checked = check(&bundle, &required, events).await;
    if *strict {
        checked.images = checked.images.into_iter().map(ImageOutcome::into_failed).collect();
    }
    // Images that the export left out decide the exit code only if nothing is damaged.
    let damage = checked.problems.iter().filter(|problem| !matches!(problem, Problem::LeftOut { .. }));
    let damage = damage.map(|problem| problem.failure_kind(FoundBy::BundleVerify));
    let damage = damage.chain(checked.images.iter().filter_map(ImageOutcome::failure_kind));
    let empty = bundle.check_has_images().err().map(|error| error.failure());
    // Damage may be the reason why there are no images.
    let code = match (exit_code_of(damage), &empty) {
        (0, Some(empty)) => empty.kind.exit_code(),
        (code, _) => code,
    };
    let failures = checked.problems.iter().map(|problem| problem.failure(FoundBy::BundleVerify));
    let failures = failures.chain(empty).collect();
    Ok(RunOutcome {
        destination: Some(bundle.path().display().to_string()),
        bundle: Some(bundle.head().id().clone()),
        level: Some("bytes".to_owned()),
        chart: bundle.head().lock.as_ref().and_then(|lock| lock.chart.clone()),
        exit_code: (code != 0).then_some(code),
        ..RunOutcome::new(Command::BundleVerify, checked.images, failures, started.elapsed())
    })
}

/// The requirements for every image.
#[derive(Debug, Default)]
pub struct Required {
    /// The required platforms; `None` for those of the bundle's lock.
    pub platforms: Option<Vec<Platform>>,
    /// Permitted missing platforms, in addition to those in the lock.
    pub waivers: Waivers,
}

/// The results.
#[derive(Debug)]
pub struct Checked {
    /// Every image, in the order of the index. Incomplete and damaged images have problems or a failure.
    pub images: Vec<ImageOutcome>,
    /// Problems outside the images.
    pub problems: Vec<Problem>,
}

/// Reads a whole bundle.
pub async fn check(bundle: &Arc<Bundle>, required: &Required, events: Arc<dyn EventSink>) -> Checked {
    let begun = Instant::now();
    let head = bundle.head();
    let images = Image::all(bundle, required);
    let first_images = announce(&images, bundle, &*events).await;
    let (read, sink) = (Arc::clone(bundle), Arc::clone(&events));
    let reading = tokio::task::spawn_blocking(move || {
        (structure::problems(&read), BlobResults::read(&read, &first_images, &*sink))
    });
    let (mut problems, mut blobs) = match reading.await {
        Ok(read) => read,
        Err(error) => {
            let error = BundleError::Internal(error.to_string());
            (vec![structure::unreadable(&error)], BlobResults::default())
        }
    };
    problems.append(&mut blobs.problems);
    problems.extend(lock::problems(head, &images));
    let absent = head.absent();
    let lock = head.lock.as_ref().map(|lock| (lock, lock::by_name(lock)));
    let transport = if bundle.slices().is_some() { "oci-archive" } else { "oci" };
    let mut outcomes = Vec::with_capacity(images.len());
    for image in &images {
        let survey = image.survey(bundle).await;
        // The form that skopeo takes.
        let destination = format!("{transport}:{}:{}", bundle.path().display(), image.mapping.source);
        let mut outcome = survey.outcome(destination, &blobs, &absent);
        problems.extend(lock.as_ref().and_then(|(lock, locked)| lock::image_problem(lock, locked, &survey)));
        outcome.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        events.emit(Event::Finished { outcome: Arc::new(outcome.clone()) });
        outcomes.push(outcome);
    }
    let skipped = head.left_out().filter(|image| image.is_skipped());
    outcomes.extend(skipped.map(|image| image::skipped(&image.source, bundle, &*events)));
    Checked { images: outcomes, problems }
}

/// Emits how many bytes will be read.
async fn announce(images: &[Image], bundle: &Bundle, events: &dyn EventSink) -> FirstImages {
    let mappings = images.iter().map(|image| Arc::clone(&image.mapping)).collect();
    events.emit(Event::Started { images: mappings });
    let mut first_images = FirstImages::default();
    for image in images {
        first_images.announce(&image.mapping, image.survey(bundle).await.blobs().into_iter(), events);
    }
    first_images
}
