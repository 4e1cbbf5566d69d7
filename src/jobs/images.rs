//! `images`, and the first step of every job on images: finds the images and names them at the destination.

use std::sync::Arc;

use crate::{
    endpoint::packaged_chart::PackagedChart,
    enumerate::{self, ChartOptions, ChartPackage, Enumeration, SelectedFrom, Selection},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::Placement,
    oci::{Mapping, Reference, mapping::Root},
    request::{Access, Images},
    waiver::Waivers,
};

/// Lists the images that would be mirrored, and why.
pub(crate) async fn run(request: &Images, events: Arc<dyn EventSink>) -> Result<Enumeration, Failure> {
    let access = Access::open(&request.registries, Arc::clone(&events))?;
    enumerate(&request.selection, &access, &*events).await
}

/// Finds the images of a selection, and warns about skipped text and unused filters. Fetches a chart that is in a
/// registry.
pub(super) async fn enumerate(
    selection: &Selection,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Enumeration, Failure> {
    let fetched = match &selection.from {
        SelectedFrom::Chart(options) => fetch_package(options, access).await?,
        _ => None,
    };
    let fetched =
        fetched.map(|options| Selection { from: SelectedFrom::Chart(options), ..selection.clone() });
    let found = enumerate::enumerate(fetched.as_ref().unwrap_or(selection)).await?;
    for note in &found.notes {
        warn(events, note.message());
    }
    for filter in &found.idle_filters {
        warn(events, format!("`{filter}` matches no image: check its spelling"));
    }
    Ok(found)
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
        let message = format!("`--allow-missing-platform {waiver}` matches no image: check its spelling");
        warn(events, message);
    }
}

/// Gives every image a unique name at the destination.
pub(super) fn name_all(
    placement: &Placement,
    root: &Root,
    references: &[Reference],
) -> Result<Vec<Mapping>, Failure> {
    placement.namer(root.clone()).map_all(references).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .with_hint("give them different names with --naming full, or leave an image out with --exclude")
    })
}
