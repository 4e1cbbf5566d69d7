//! The images of a chart, of manifests or of a list, and their names at each destination.

use super::{
    super::{
        images::{enumerate, packaged_chart},
        names::{self, ToName, earlier},
        own_source::{self, NamedBy},
    },
    ImagesToCopy, NamedImages, checked_sources, contents, knows_none_of,
};
use crate::{
    enumerate::Selection,
    error::Failure,
    event::EventSink,
    oci::mapping::Root,
    request::{Access, Destination, Sync},
};

/// The images of a chart, manifests or a list.
pub(super) async fn images(
    selection: &Selection,
    request: &Sync,
    access: &Access,
    events: &dyn EventSink,
) -> Result<ImagesToCopy, Failure> {
    let found = enumerate(selection, request.copy.strict, access, events).await?;
    let earlier = earlier(request.lock(), events)?;
    let mut named = Vec::new();
    for Destination { root, naming, .. } in request.destinations.iter() {
        let (placement, mappings) = ToName::found(&found)
            .below(root, naming, earlier.as_ref())
            .map_err(|error| names::failure(&error))?;
        own_source::refuse(&mappings, root, &request.registries, NamedBy::Selection(selection)).await?;
        named.push(NamedImages { placement, mappings, skipped: Vec::new() });
    }
    let sources = checked_sources(&named, request)?;
    let contents = contents(request, earlier.as_ref())?;
    let roots: Vec<&Root> = request.destinations.roots().collect();
    let new_destination = knows_none_of(earlier.as_ref(), &roots);
    let extended = earlier.filter(|lock| lock.has_destinations_besides(&roots));
    if let Some(lock) = &extended {
        let checked = lock.check_foreign_layers(&roots, request.foreign_layers);
        checked.map_err(|error| error.failure())?;
    }
    Ok(ImagesToCopy {
        sources,
        named,
        optional: found.optional(),
        chart: found.chart,
        packaged: packaged_chart(found.package),
        foreign_layers: request.foreign_layers.into(),
        new_destination,
        extended,
        recorded: None,
        contents,
    })
}
