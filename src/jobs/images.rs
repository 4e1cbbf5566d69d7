//! `images`, and the first step of every job on images: finds the images.

use std::sync::Arc;

use crate::{
    endpoint::packaged_chart::PackagedChart,
    enumerate::{self, ChartOptions, ChartPackage, Enumeration, Note, NoteKind, SelectedFrom, Selection},
    error::{Failure, Kind},
    event::{self, EventSink, warn},
    oci::{Reference, attachment::is_attachment_tag},
    request::{Access, Images},
    waiver::Waivers,
};

/// Lists the images that would be mirrored, and why.
pub(crate) async fn run(request: &Images, events: Arc<dyn EventSink>) -> Result<Enumeration, Failure> {
    let access = Access::open(&request.registries, Arc::clone(&events))?;
    enumerate(&request.selection, request.strict, &access, &*events).await
}

/// Finds the images of a selection, and warns about skipped text and unused filters. Fetches a chart that is in a
/// registry. With `strict`, a chart that is named but not rendered is a failure.
pub(super) async fn enumerate(
    selection: &Selection,
    strict: bool,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Enumeration, Failure> {
    let fetched = match &selection.from {
        SelectedFrom::Chart(options) => fetch_package(options, access).await?,
        _ => None,
    };
    let fetched =
        fetched.map(|options| Selection { from: SelectedFrom::Chart(options), ..selection.clone() });
    let mut found = enumerate::enumerate(fetched.as_ref().unwrap_or(selection)).await?;
    leave_out_attachments(&mut found, events)?;
    if strict {
        refuse_unrendered_charts(&found.notes)?;
    }
    for note in &found.notes {
        event::note(events, note.message());
    }
    for filter in &found.idle_filters {
        warn_of_idle(filter, found.images.first().map(|image| &image.reference), events);
    }
    Ok(found)
}

/// Leaves out tags that belong to another image, such as those of a list of all tags of a repository: they come with that
/// image. Fails if nothing is left.
fn leave_out_attachments(found: &mut Enumeration, events: &dyn EventSink) -> Result<(), Failure> {
    let is_attachment = |image: &enumerate::Image| image.reference.tag().is_some_and(is_attachment_tag);
    let attachments = found.images.extract_if(.., |image| is_attachment(image));
    let attachments: Vec<Reference> = attachments.map(|image| image.reference).collect();
    let what = "is a signature, an attestation, an SBOM or an index of these, not an image";
    if let (Some(first), true) = (attachments.first(), found.images.is_empty()) {
        return Err(Failure::new(Kind::Usage, format!("{first} {what}")).with_hint(
            "pass the image that it belongs to: its signatures, attestations and SBOMs are copied with it",
        ));
    }
    for reference in attachments {
        warn(events, format!("{reference} {what}: skipped, because it is copied with its image"));
    }
    Ok(())
}

/// The options with the package of a chart that is in a registry; `None` if the chart is elsewhere.
pub(super) async fn fetch_package(
    options: &ChartOptions,
    access: &Access,
) -> Result<Option<Box<ChartOptions>>, Failure> {
    let package = enumerate::fetch_published(options, async || access.source()).await?;
    Ok(package.map(|package| Box::new(ChartOptions { package: Some(package), ..options.clone() })))
}

/// The chart of a run in the form that a source needs, if it was packaged on this machine.
pub(super) fn packaged_chart(package: Option<ChartPackage>) -> Option<PackagedChart> {
    let ChartPackage { reference, artifact, .. } = package?;
    artifact.map(|artifact| PackagedChart { reference, artifact: Some(artifact) })
}

/// Warns about waivers that match no image.
pub(super) fn warn_of_idle_waivers(waivers: &Waivers, images: &[Reference], events: &dyn EventSink) {
    for waiver in waivers.idle(images) {
        warn_of_idle(&format!("--allow-missing-platform {waiver}"), images.first(), events);
    }
}

/// Warns about a pattern that matches no image. Tables shorten names, so the warning shows one in full.
pub(super) fn warn_of_idle(typed: &str, example: Option<&Reference>, events: &dyn EventSink) {
    let hint = match example {
        Some(image) => format!("it must match the whole name, for example {image}"),
        None => "check its spelling".to_owned(),
    };
    warn(events, format!("`{typed}` matches no image: {hint}"));
}

/// Fails if the manifests name charts whose images are not known.
fn refuse_unrendered_charts(notes: &[Note]) -> Result<(), Failure> {
    let charts: Vec<&Note> = notes.iter().filter(|note| note.kind == NoteKind::ChartNotRendered).collect();
    if charts.is_empty() {
        return Ok(());
    }
    let message = match charts.len() {
        1 => "the manifests name a chart that is not rendered, so its images are unknown".to_owned(),
        count => {
            format!("the manifests name {count} charts that are not rendered, so their images are unknown")
        }
    };
    let mut failure = Failure::new(Kind::Input, message)
        .with_hint("mirror each chart in a separate run; if its images are not needed, omit --strict");
    failure.causes = charts.into_iter().map(Note::message).collect();
    Err(failure)
}
