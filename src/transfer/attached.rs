//! Pushes the attachments of an image: by digest, each manifest after its subject; then the tags of cosign's older
//! format, so that no tag comes before the attachments of the manifest that it names.

use std::{collections::HashSet, sync::Arc};

use futures::{TryStreamExt, stream::FuturesUnordered};

use super::{CONCURRENT_MANIFESTS, Transfer, start};
use crate::{
    endpoint::{Destination, Error, Source},
    graph::{Attached, Graph},
    oci::{Digest, Mapping, Target},
    plan::AttachedStep,
};

impl<S: Source, D: Destination> Transfer<S, D> {
    pub(super) async fn push_attached(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        steps: &[AttachedStep],
    ) -> Result<(), Error> {
        let rounds = rounds(graph, steps);
        for round in &rounds {
            let mut pushes = FuturesUnordered::new();
            for (step, attached) in round {
                let push = self.push_by_digest(image, graph, *step, attached);
                start(&mut pushes, push, CONCURRENT_MANIFESTS).await?;
            }
            pushes.try_collect::<()>().await?;
        }
        for round in rounds.iter().rev() {
            let mut pushes = FuturesUnordered::new();
            for (step, attached) in round {
                if let Some(tag) = attached.tag().filter(|_| step.by_tag) {
                    let target = Target::Tag(tag.to_owned());
                    let push = async move { self.push_manifest(image, graph, &attached.node, &target).await };
                    start(&mut pushes, push, CONCURRENT_MANIFESTS).await?;
                }
            }
            pushes.try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Pushes the children of the manifest, then the manifest itself unless its tag is enough.
    async fn push_by_digest(
        &self,
        image: &Arc<Mapping>,
        graph: &Graph,
        step: AttachedStep,
        attached: &Attached,
    ) -> Result<(), Error> {
        for node in &attached.below {
            self.push_child(image, graph, node).await?;
        }
        if step.by_digest {
            self.push_child(image, graph, &attached.node).await?;
        }
        Ok(())
    }
}

/// The steps in rounds: no attachment is in the same round as its subject.
fn rounds<'a>(graph: &'a Graph, steps: &[AttachedStep]) -> Vec<Vec<(AttachedStep, &'a Attached)>> {
    let mut rounds: Vec<Vec<(AttachedStep, &Attached)>> = Vec::new();
    let mut in_round: HashSet<&Digest> = HashSet::new();
    for step in steps {
        let Some(attached) = graph.attached.get(step.position) else { continue };
        if rounds.is_empty() || in_round.contains(&attached.subject) {
            rounds.push(Vec::new());
            in_round.clear();
        }
        in_round.extend(attached.manifests().map(|node| &node.descriptor.digest));
        if let Some(round) = rounds.last_mut() {
            round.push((*step, attached));
        }
    }
    rounds
}
