//! `inspect`: platforms, digests and sizes of images in a registry.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use crate::{
    endpoint::{Cause, Error, Operation, Source, registry::Registries},
    error::{Failure, hide_repeated},
    event::{Event, EventSink},
    graph::{
        self, Attached, Graph, KnownManifests, ManifestBytes, Node, PlatformManifest, ReferrerSelection,
    },
    oci::{Digest, RawManifest, Reference},
    outcome::inspection::{Attestation, InspectedAttachment, InspectedImage, InspectedPlatform, Inspection},
    problem::Side,
    request::{Access, Inspect},
    resolve::{self, AttachedToRead},
};

/// The result.
pub(crate) enum Inspected {
    /// The images.
    Images(Inspection),
    /// A manifest byte for byte, so that `| sha256sum` gives its digest.
    Raw(Bytes),
}

pub(crate) async fn run(request: &Inspect, events: Arc<dyn EventSink>) -> Result<Inspected, Failure> {
    let access = Access::open(&request.registries, Arc::clone(&events))?;
    access.warn_of_unused_license(request.images.iter().map(Reference::repository), &*events);
    let source = access.source_with_login(request.login.as_ref()).await?;
    if let (true, Some(reference)) = (request.raw, request.images.first()) {
        let root = root(&source, reference).await.map_err(|error| error.failure())?;
        return Ok(Inspected::Raw(root.bytes().clone()));
    }
    let (mut images, mut failures) = (Vec::new(), Vec::new());
    for reference in &request.images {
        match inspect(&source, reference, &request.referrers.selection, &*events).await {
            Ok(image) => images.push(image),
            Err(error) => failures.push(error.failure()),
        }
    }
    access.warn_of_unused_hosts(&*events);
    Ok(Inspected::Images(Inspection { images, failures }))
}

async fn root(source: &Registries, reference: &Reference) -> Result<RawManifest, Error> {
    source.manifest(reference.repository(), &reference.target()).await?.ok_or_else(|| {
        Error::new(Operation::ReadManifest, Side::Source, reference.to_string(), Cause::NoSuchManifest)
    })
}

async fn inspect(
    source: &Registries,
    reference: &Reference,
    referrers: &ReferrerSelection,
    events: &dyn EventSink,
) -> Result<InspectedImage, Error> {
    let root = root(source, reference).await?;
    let (digest, media_type, manifest_size) = (root.digest().clone(), root.media_type().clone(), root.size());
    let (known, keep) = (KnownManifests::new(), ManifestBytes::Small);
    let repository = reference.repository();
    let wanted = AttachedToRead::<Registries>::selected(referrers);
    let graph = resolve::resolve_with_attached(source, repository, root, &known, keep, wanted).await?;
    for message in &graph.ignored {
        events.emit(Event::Warning { image: Some(reference.clone()), message: message.clone() });
    }
    let attached = graph.attached.iter().map(attached_manifest).collect();
    let counts = graph.attached_counts();
    // The sizes are those of the image itself.
    let graph = Graph { attached: Vec::new(), ..graph };
    let manifests: u64 = graph.nodes.iter().map(|node| node.descriptor.size).sum();
    let blobs: u64 = graph.blobs().iter().map(|blob| blob.size).sum();
    Ok(InspectedImage {
        reference: reference.clone(),
        digest,
        media_type,
        manifest_size,
        total_size: manifests + blobs,
        platforms: platforms(&graph),
        attestations: attestations(&graph),
        counts,
        attached,
    })
}

fn attached_manifest(attached: &Attached) -> InspectedAttachment {
    let mut manifest = attached.record();
    manifest.artifact_type = hide_repeated(&manifest.artifact_type);
    InspectedAttachment {
        kind: attached.kind,
        blobs: attached.manifests().flat_map(|node| graph::blobs(&node.contents)).map(|blob| blob.size).sum(),
        manifest,
    }
}

/// The platforms in the order of the index.
pub(super) fn platforms(graph: &Graph) -> Vec<InspectedPlatform> {
    let nodes: HashMap<&Digest, &Node> =
        graph.nodes.iter().map(|node| (&node.descriptor.digest, node)).collect();
    let describe = |platform: &PlatformManifest| {
        let node = nodes.get(&platform.digest)?;
        let config = graph::config(&node.contents)?;
        let blobs: u64 = graph::blobs(&node.contents).map(|blob| blob.size).sum();
        Some(InspectedPlatform {
            platform: platform.platform.clone(),
            digest: platform.digest.clone(),
            media_type: node.media_type.clone(),
            manifest_size: node.descriptor.size,
            config_digest: config.digest.clone(),
            layers: graph::layers(&node.contents).count(),
            total_size: node.descriptor.size + blobs,
        })
    };
    graph.platforms.iter().filter_map(describe).collect()
}

fn attestations(graph: &Graph) -> Vec<Attestation> {
    graph
        .nodes
        .iter()
        .filter(|node| node.descriptor.is_attestation())
        .map(|node| Attestation {
            digest: node.descriptor.digest.clone(),
            about: node.descriptor.about.clone(),
        })
        .collect()
}
