//! `bundle inspect`: shows what is in a bundle; reads only its head.

use std::{collections::HashMap, sync::Arc};

use super::{
    import::plan::name_below,
    inspect::platforms,
    open_bundle::{open, volumes_beside},
    trust_files,
};
use crate::{
    endpoint::{
        BlobStream, Cause, Error, Operation, Source,
        bundle::{Bundle, index::IndexEntry},
        forward,
    },
    error::{Failure, Kind},
    event::{EventSink, warn},
    graph::{KnownManifests, ManifestBytes, PlatformManifest},
    lock::Lock,
    oci::{Descriptor, Digest, Reference, Repository, Target, mapping::Root},
    outcome::inspection::{BundleContents, BundledImage, DeltaBase},
    problem::Side,
    request::BundleInspect,
    resolve,
};

pub(crate) async fn run(request: &BundleInspect, events: &dyn EventSink) -> Result<BundleContents, Failure> {
    let bundle = Arc::new(open(&request.paths, request.signed.as_ref(), events)?);
    let contents = HeadOnly(Arc::clone(&bundle));
    let head = bundle.head();
    let destinations = destinations(&bundle, request)?;
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for named in head.top_images() {
        let destination = named.reference.as_ref().and_then(|reference| destinations.get(reference));
        match image(&contents, named).await {
            Ok(image) => images.push(BundledImage { destination: destination.cloned(), ..image }),
            Err(error) => failures.push(Failure { kind: Kind::Integrity, ..error.failure() }),
        }
    }
    failures.extend(bundle.check_has_images().err().map(|error| error.failure()));
    if let Some(error) = bundle.truncation() {
        // The head is complete, and so is everything that is shown.
        let Failure { message, hint, .. } = error.failure();
        warn(events, hint.map_or_else(|| message.clone(), |hint| format!("{message}: {hint}")));
    }
    let trust = trust_files::listed(head).unwrap_or_else(|error| {
        failures.push(error.failure());
        Vec::new()
    });
    let left_out = |is_skipped: bool| {
        let images = head.left_out().filter(|image| image.is_skipped() == is_skipped);
        images.map(|image| image.source.clone()).collect()
    };
    Ok(BundleContents {
        id: head.id().clone(),
        path: bundle.path().display().to_string(),
        size: bundle.size().map_err(|error| error.failure())?,
        volumes: bundle.volumes(),
        missing_volumes: bundle.absent_volumes(),
        volumes_beside: match request.paths.as_slice() {
            [path] if bundle.volumes().is_empty() => volumes_beside(path),
            _ => Vec::new(),
        },
        chart: head.lock.as_ref().and_then(|lock| lock.chart.clone()),
        base: head.lock.as_ref().and_then(delta_base),
        trust,
        images,
        left_out: left_out(false),
        skipped: left_out(true),
        failures,
    })
}

/// Where an import would push the named images: in full if the request has a destination, else below it.
fn destinations(bundle: &Bundle, request: &BundleInspect) -> Result<HashMap<Reference, String>, Failure> {
    let head = bundle.head();
    let named = head.index.images.iter().filter_map(|image| image.reference.clone());
    let mut references: Vec<Reference> = named.collect();
    // Without a destination, only what is below it is shown.
    let root = request.to.clone().unwrap_or_else(Root::unknown);
    references.extend(head.left_out().map(|image| image.source.clone()));
    references.sort();
    references.dedup();
    let (_, mappings) = name_below(head.lock.as_ref(), references, &root, &request.naming, None)?;
    let shown = mappings.into_iter().map(|mapping| {
        let name = match request.to {
            Some(_) => mapping.destination(),
            None => format!("{}:{}", mapping.repository.path(), mapping.tag),
        };
        (mapping.source, name)
    });
    Ok(shown.collect())
}

fn delta_base(lock: &Lock) -> Option<DeltaBase> {
    let base = lock.base.as_ref()?;
    Some(DeltaBase {
        id: base.id.clone(),
        absent_blobs: base.blobs.len(),
        absent_bytes: base.blobs.keys().filter_map(|digest| lock.blobs.get(digest)).sum(),
    })
}

async fn image(head: &HeadOnly, named: &IndexEntry) -> Result<BundledImage, Error> {
    let repository = named.handle.repository();
    let target = Target::Digest(named.root.digest.clone());
    let Some(root) = head.manifest(repository, &target).await? else {
        let location = named.handle.to_string();
        return Err(Error::new(Operation::ReadManifest, Side::Source, location, Cause::NoSuchManifest));
    };
    let mut graph =
        resolve::resolve(head, repository, root, &KnownManifests::new(), ManifestBytes::Small).await?;
    let manifests = graph.nodes.iter().map(|node| node.descriptor.size);
    // Without attachments, which do not count toward the size of the image.
    let total_size = manifests.fold(graph.blob_bytes(), u64::saturating_add);
    resolve::add_everything_attached(head, repository, &mut graph).await?;
    if graph.platforms.is_empty() {
        graph.platforms = locked_platforms(&head.0, named);
    }
    Ok(BundledImage {
        reference: named.reference.clone(),
        label: named.label.clone(),
        destination: None,
        digest: named.root.digest.clone(),
        media_type: named.root.media_type.clone(),
        total_size,
        platforms: platforms(&graph),
        attestations: graph.attestations(),
        attached: graph.attached_counts(),
    })
}

/// An image without an index names its platform only in its config, which is a blob; the lock records it as well.
fn locked_platforms(bundle: &Bundle, named: &IndexEntry) -> Vec<PlatformManifest> {
    let lock = bundle.head().lock.iter();
    let image = lock.flat_map(|lock| &lock.images).find(|image| image.source == named.handle);
    image.map(|image| image.platforms.clone()).unwrap_or_default()
}

/// A bundle as a source without blobs.
struct HeadOnly(Arc<Bundle>);

impl Source for HeadOnly {
    forward!(0: side, digest, manifest, attachments);

    async fn blob_size(&self, _: &Repository, _: &Digest) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    async fn open_blob(&self, _: &Repository, blob: &Descriptor, _: u64) -> Result<BlobStream, Error> {
        Err(Error::new(Operation::ReadBlob, self.side(), blob.digest.to_string(), Cause::NoSuchBlob))
    }
}
