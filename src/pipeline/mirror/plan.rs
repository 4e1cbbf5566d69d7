//! The second stage: what the image needs at the destination.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use futures::{StreamExt, stream};

use super::{Run, attached, window::WindowSlot};
use crate::{
    confirm::{Level, Survey, attached::AttachedState},
    endpoint::{Destination, Error, Source},
    event::Event,
    graph::Graph,
    oci::{Descriptor, Mapping},
    outcome::{Bytes, PlannedRequests},
    plan::Presence,
    problem::Problem,
    transfer::Admitted,
};

/// How many blobs of an image are checked concurrently.
const CONCURRENT_CHECKS: usize = 16;

/// What an image needs.
pub(super) struct Planned {
    /// The claims on its blobs; `None` in a dry run.
    pub(super) admitted: Option<Admitted>,
    /// Whether it needs nothing.
    pub(super) idle: bool,
    pub(super) bytes: Bytes,
    /// In a dry run.
    pub(super) requests: Option<Box<PlannedRequests>>,
}

impl<S: Source, D: Destination> Run<S, D> {
    pub(super) async fn presence(
        &self,
        image: &Mapping,
        graph: &Graph,
        (there, attached): (&Survey, &[AttachedState]),
    ) -> Result<Presence, Error> {
        let of_attached = attached.iter().flat_map(|state| &state.manifests);
        let mut presence = Presence {
            tag: there.digest().cloned(),
            manifests: there.manifests().chain(of_attached).cloned().collect::<HashSet<_>>(),
            blobs: HashMap::new(),
            attached: attached::needs(graph, attached),
        };
        for problem in there.problems.iter().chain(attached.iter().flat_map(|state| &state.problems)) {
            if let Problem::MissingBlob { digest, .. } | Problem::WrongSize { digest, .. } = problem {
                presence.blobs.insert(digest.clone(), false);
            }
        }
        let looked: Vec<Result<_, Error>> = stream::iter(self.blobs_to_check(graph, there))
            .map(|blob| async move {
                let size = self.destination.blob_size(&image.repository, &blob.digest).await?;
                Ok((blob.digest, size == Some(blob.size)))
            })
            .buffer_unordered(CONCURRENT_CHECKS)
            .collect()
            .await;
        presence.blobs.extend(looked.into_iter().collect::<Result<Vec<_>, _>>()?);
        Ok(presence)
    }

    /// The blobs to check one by one. A dry run checks all, because it starts no upload that would tell. Otherwise an
    /// existing manifest implies its blobs, except for foreign layers, which an earlier run may have skipped.
    pub(super) fn blobs_to_check(&self, graph: &Graph, there: &Survey) -> Vec<Descriptor> {
        let is_unproven = |blob: &Descriptor| {
            there.graph.is_some()
                && self.options.check == Level::Platforms
                && blob.media_type.is_foreign_layer()
        };
        let blobs = graph.blobs().into_iter();
        blobs.filter(|blob| self.options.dry_run || is_unproven(blob)).cloned().collect()
    }

    /// Plans the image and claims its blobs without awaiting anything in between, as
    /// [`Transfer::admit`](crate::transfer::Transfer::admit) requires. A dry run transfers nothing, so it claims nothing
    /// and announces nothing.
    pub(super) fn plan(
        &self,
        image: &Arc<Mapping>,
        slot: &WindowSlot,
        (graph, presence): (&Graph, &Presence),
    ) -> Planned {
        let source = image.source.repository();
        let same_registry = source.registry() == image.repository.registry();
        let mut planner = self.planner.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = planner.add(graph, &image.repository, same_registry.then_some(source), presence);
        let (idle, bytes) = (plan.is_idle(), plan.bytes());
        if self.options.dry_run {
            let requests = Some(Box::new(plan.requests(graph)));
            return Planned { admitted: None, idle, bytes, requests };
        }
        self.events.emit(Event::Planned {
            image: Arc::clone(image),
            blobs: plan.moving(),
            bytes: bytes.copied + bytes.mounted,
        });
        let admitted = Some(self.transfer.admit(image, plan, slot.rank(bytes.copied)));
        Planned { admitted, idle, bytes, requests: None }
    }
}
