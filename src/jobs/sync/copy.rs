//! Copies the images to every destination. Several destinations share what is read from the source.

use std::{sync::Arc, time::Instant};

use super::{super::record::CopiedTo, NamedImages};
use crate::{
    endpoint::{packaged_chart::ChartSource, registry::Registries, shared_source::Shared},
    event::{Event, EventSink},
    outcome::{ExtraReads, ImageOutcome, Mirrored},
    pipeline::{
        self, Options,
        several::{Arrived, Target, mirror_to_each},
    },
    request::Destination,
};

type Source = Arc<ChartSource<Registries>>;

/// Copies the images to each of these destinations. `registries` are the destinations once they are open.
pub(super) async fn to_each<'a>(
    mut named: Vec<(NamedImages, &'a Destination)>,
    registries: &[Arc<Registries>],
    source: Source,
    options: Options,
    events: &Arc<dyn EventSink>,
) -> Vec<CopiedTo<'a>> {
    let arrived = match (named.as_mut_slice(), registries) {
        ([(images, _)], [registry]) => {
            let begun = Instant::now();
            let (mappings, registry) = (std::mem::take(&mut images.mappings), Arc::clone(registry));
            let images = pipeline::mirror(source, registry, mappings, options, Arc::clone(events)).await;
            vec![(Arrived { images, time: begun.elapsed() }, ExtraReads::default())]
        }
        (several, registries) => to_several(several, registries, &source, &options, events).await,
    };
    let copied = named.into_iter().zip(arrived);
    let copied = copied.map(|((named, destination), (arrived, extra_reads))| {
        let Arrived { mut images, time } = arrived;
        images.extend(named.skipped.into_iter().map(|outcome| announced(outcome, &**events)));
        CopiedTo { destination, placement: named.placement, images, time, extra_reads }
    });
    copied.collect()
}

async fn to_several(
    named: &mut [(NamedImages, &Destination)],
    registries: &[Arc<Registries>],
    source: &Source,
    options: &Options,
    events: &Arc<dyn EventSink>,
) -> Vec<(Arrived, ExtraReads)> {
    let own_source = |_| Arc::new(source.with_inner(Registries::with_own_connections));
    let sources = (0..registries.len()).map(own_source).collect();
    let read_connections =
        registries.iter().map(|registry| Arc::new(registry.with_own_connections())).collect();
    let shared = Shared::new(sources, registries.to_vec(), read_connections);
    let targets = named.iter_mut().enumerate().filter_map(|(number, (images, _))| {
        Some(Target {
            source: shared.source(number)?,
            destination: shared.destination(number)?,
            mappings: std::mem::take(&mut images.mappings),
            options: options.clone(),
        })
    });
    let arrived = mirror_to_each(targets.collect(), Arc::clone(events)).await;
    let extra_reads = (0..registries.len()).map(|number| shared.extra_reads(number));
    arrived.into_iter().zip(extra_reads).collect()
}

/// Emits the events of an image that is skipped from the start.
fn announced(outcome: ImageOutcome, events: &dyn EventSink) -> Mirrored {
    let (image, message) = (Some(outcome.source.clone()), outcome.skip_message().unwrap_or_default());
    events.emit(Event::Warning { image, message });
    Mirrored::from(outcome)
}
