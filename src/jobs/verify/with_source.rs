//! The expectations of `verify` from the source.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use futures::{StreamExt, stream};

use super::{
    super::{
        images::{enumerate, warn_of_idle_waivers},
        names::{self, ToName, earlier_if_usable, warn_of_unused_prefix},
        own_source::{self, NamedBy},
        record::no_destination,
    },
    Expectations, with_repair,
};
use crate::{
    confirm::Level,
    endpoint::{Cause, Error, Operation, Source},
    enumerate::Selection,
    error::Failure,
    event::EventSink,
    oci::{Digest, Mapping, Reference, Target, mapping::Root},
    outcome::Repair,
    pipeline::{Expectation, Unknown, mirror::skip_reason},
    problem::Side,
    quota::RunRegistries,
    request::{self, Access, NamingRule, Verify},
};

/// How many references are resolved at once at the source.
const CONCURRENCY: usize = 16;

/// Mirrors that are compared with their source.
pub(super) struct Mirrors<'a> {
    pub(super) roots: &'a [Root],
    pub(super) naming: &'a NamingRule,
    pub(super) foreign_layers: bool,
    /// The lock whose names `sync` keeps.
    pub(super) lock: &'a Path,
}

/// Every image of the chart or list, with its current digest at the source.
pub(super) async fn comparison(
    mirrors: &Mirrors<'_>,
    selection: &Selection,
    request: &Verify,
    access: &Access,
    events: &dyn EventSink,
) -> Result<Expectations, Failure> {
    let Mirrors { roots, naming, foreign_layers, lock } = *mirrors;
    let found = enumerate(selection, request.strict, access, events).await?;
    let references = ToName::found(&found).references;
    let earlier = earlier_if_usable(lock, events);
    let mut named: Vec<(&Root, Vec<Mapping>)> = Vec::new();
    for root in roots {
        let (_, mappings) = ToName::found(&found)
            .below(root, naming, earlier.as_ref())
            .map_err(|error| names::failure(&error))?;
        own_source::refuse(&mappings, root, &request.registries, NamedBy::Selection(selection)).await?;
        named.push((root, mappings));
    }
    drop(earlier);
    let optional = found.optional();
    let source = access.source()?;
    let (waivers, required) = (request.platforms.waivers(), &request.platforms.required);
    warn_of_idle_waivers(&waivers, &references, events);
    warn_of_unused_prefix(naming, &references, events);
    let chart = selection.chart_repository();
    let sources = references.iter().map(Reference::repository).chain(&chart);
    let mirrors = roots.iter().map(Root::registry).collect();
    let run = RunRegistries { read: mirrors, ..RunRegistries::default() };
    access.check_registries(&request.registries, sources, run, events)?;
    // The mirrors have the same images, in the same order.
    let first = named.first().map_or(&[][..], |(_, mappings)| mappings);
    let digests = source_digests(&source, first, &optional, request).await;
    let (mut expectations, mut repair) = (Vec::new(), None::<Repair>);
    for (root, mappings) in named {
        let here = mappings.into_iter().zip(&digests).map(|(mapping, digest)| {
            let (waived, platforms) = waivers.split(&mapping.source, required);
            Expectation {
                optional: optional.contains(&mapping.source),
                image: Arc::new(mapping),
                digest: digest.clone(),
                platforms,
                waived,
                foreign_layers: foreign_layers.into(),
                // The source says what must be attached.
                attached: Vec::new(),
            }
        });
        let here: Vec<Expectation> = here.collect();
        repair = with_repair(
            repair,
            request.sync_from_source(root, &references).as_ref().map(request::repair),
            &here,
        );
        expectations.extend(here);
    }
    let destinations = roots.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let root = roots.first().cloned().ok_or_else(no_destination)?;
    let (packaged, chart, excluded) = (None, found.chart, Vec::new());
    Ok(Expectations { root, destinations, images: expectations, chart, packaged, excluded, repair })
}

/// The current digest of each image at the source.
async fn source_digests<S: Source>(
    source: &S,
    mappings: &[Mapping],
    optional: &BTreeSet<Reference>,
    request: &Verify,
) -> Vec<Result<Digest, Unknown>> {
    let digests = stream::iter(mappings).map(|mapping| async {
        let optional = optional.contains(&mapping.source);
        let resolved = resolve(source, mapping, request.level, optional).await;
        resolved.map_err(|error| match skip_reason(&error) {
            Some(because) if optional && !request.strict => Unknown::Skipped(because),
            _ => Unknown::Source(error),
        })
    });
    digests.buffered(CONCURRENCY).collect().await
}

/// The current digest at the source. A HEAD request, which does not count against pull quotas, is enough unless every
/// byte is verified. A digest needs no request, unless the source may not provide it.
async fn resolve<S: Source>(
    source: &S,
    mapping: &Mapping,
    level: Level,
    optional: bool,
) -> Result<Digest, Error> {
    let repository = mapping.source.repository();
    let found = match mapping.source.target() {
        pinned @ Target::Digest(_) if optional => {
            source.manifest(repository, &pinned).await?.map(|manifest| manifest.digest().clone())
        }
        Target::Digest(digest) => Some(digest),
        tag @ Target::Tag(_) if level == Level::Bytes => {
            source.manifest(repository, &tag).await?.map(|manifest| manifest.digest().clone())
        }
        Target::Tag(tag) => source.digest(repository, &tag).await?,
    };
    found.ok_or_else(|| {
        Error::new(Operation::ReadManifest, Side::Source, mapping.source.to_string(), Cause::NoSuchManifest)
    })
}
