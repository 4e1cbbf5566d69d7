//! `images`, and what every job on images begins with: finds the images and names them at the destination.

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

/// Which images would be mirrored, and why.
pub(crate) async fn run(request: &Images, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    enumerate(&request.selection, events).await
}

/// Finds the images of a selection, and warns of what was left out.
pub(super) async fn enumerate(selection: &Selection, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    let found = enumerate::enumerate(selection).await?;
    for note in &found.notes {
        warn(events, note.message());
    }
    for filter in &found.idle_filters {
        warn(events, format!("`{filter}` matches none of the images: check its spelling"));
    }
    Ok(found)
}

/// The chart of a run as a source has to know it, if no registry has it.
pub(super) fn packaged_chart(package: Option<ChartPackage>) -> Option<PackagedChart> {
    let ChartPackage { reference, artifact, .. } = package?;
    artifact.map(|artifact| PackagedChart { reference, artifact: Some(artifact) })
}

/// Warns of waivers that match no image.
pub(super) fn warn_of_idle_waivers(waivers: &Waivers, images: &[Reference], events: &dyn EventSink) {
    for waiver in waivers.idle(images) {
        let message =
            format!("`--allow-missing-platform {waiver}` matches none of the images: check its spelling");
        warn(events, message);
    }
}

/// Gives every image its own name at the destination.
pub(super) fn name_all(
    placement: &Placement,
    root: &Root,
    references: &[Reference],
) -> Result<Vec<Mapping>, Failure> {
    placement.namer(root.clone()).map_all(references).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .with_hint("give them different names with --naming full, or leave one out with --exclude")
    })
}
