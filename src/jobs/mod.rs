//! The jobs: each takes a typed request and an event sink, and returns one complete outcome. Nothing here prints.
//!
//! | job | file |
//! |---|---|
//! | `images`, `inspect`, `sync`, `verify`, `serve` | the file of that name |
//! | `doctor` | [`doctor`] |
//! | `bundle export`, `bundle import` | [`export`], [`import`] |
//! | `bundle verify`, `bundle inspect` | [`bundle_verify`], on top of [`check`]; [`bundle_inspect`] |
//!
//! [`record`] ends the jobs that copy images: it writes the lock and completes the outcome. [`opening`] opens bundles.

pub(crate) mod bundle_inspect;
pub(crate) mod bundle_verify;
pub mod check;
pub mod doctor;
pub(crate) mod export;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod inspect;
mod opening;
mod record;
pub(crate) mod serve;
pub(crate) mod sync;
pub(crate) mod verify;

use crate::{
    endpoint::with_chart::MadeHere,
    enumerate::{self, ChartPackage, Enumeration, Selection},
    error::{Failure, Kind},
    event::{EventSink, warn},
    lock::Placement,
    oci::{Mapping, Reference, mapping::Root},
    waiver::Waivers,
};

/// Finds the images of a selection, and warns of what was left out.
async fn enumerate(selection: &Selection, events: &dyn EventSink) -> Result<Enumeration, Failure> {
    let found = enumerate::enumerate(selection).await?;
    for note in &found.notes {
        warn(events, format!("{}: {}", note.place.place(), note.reason));
    }
    for filter in &found.idle_filters {
        warn(events, format!("`{filter}` matches none of the images: check its spelling"));
    }
    Ok(found)
}

/// The chart of a run as a source has to know it, if no registry has it.
fn packaged_chart(package: Option<ChartPackage>) -> Option<MadeHere> {
    let ChartPackage { reference, artifact, .. } = package?;
    artifact.map(|artifact| MadeHere { reference, artifact: Some(artifact) })
}

/// Warns of waivers that match no image.
fn warn_of_idle_waivers(waivers: &Waivers, images: &[Reference], events: &dyn EventSink) {
    for waiver in waivers.idle(images) {
        let message =
            format!("`--allow-missing-platform {waiver}` matches none of the images: check its spelling");
        warn(events, message);
    }
}

/// Gives every image its own name at the destination.
fn name_all(placement: &Placement, root: &Root, references: &[Reference]) -> Result<Vec<Mapping>, Failure> {
    placement.namer(root.clone()).map_all(references).map_err(|error| {
        Failure::from_error(Kind::Usage, &error)
            .with_hint("give them different names with --naming full, or leave one out with --exclude")
    })
}
