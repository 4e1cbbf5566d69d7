//! `images`, and the first step of every job on images: finds the images and names them at the destination.

use crate::{
    endpoint::packaged_chart::PackagedChart,
    enumerate::{self, ChartPackage, Enumeration, Selection},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::Placement,
    oci::{Mapping, Reference, mapping::Root},
    request::Images,
    waiver::Waivers,
};

/// Lists the images that would be mirrored, and why.
pub(crate) async fn run(request: &Images, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    enumerate(&request.selection, events).await
}

/// Finds the images of a selection, and warns about skipped text and unused filters.
pub(super) async fn enumerate(selection: &Selection, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    let found = enumerate::enumerate(selection).await?;
    for note in &found.notes {
        warn(events, note.message());
    }
    for filter in &found.idle_filters {
        warn(events, format!("`{filter}` matches no image: check its spelling"));
    }
    Ok(found)
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
