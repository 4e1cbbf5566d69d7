//! The attachments of a run's images: which of them the destination has, and which must be pushed.

use std::{collections::HashMap, sync::Arc};

use super::{Run, Stopped};
use crate::{
    confirm::attached::{AttachedState, ListingState, attached, kept_tags},
    endpoint::{Destination, Error, Source},
    error::{Failure, Kind},
    event::{Event, EventSink},
    graph::{Attached, AttachedCounts, AttachedManifest, Graph},
    oci::{Digest, Mapping, RawManifest},
    outcome::ImageOutcome,
    plan::AttachedNeed,
    problem::Problem,
    resolve::AttachedToRead,
};

impl<S: Source, D: Destination> Run<S, D> {
    /// Which attachments of an image to read. `mirror` is the destination if it may have some of it.
    pub(super) fn wanted<'a>(&'a self, image: &'a Mapping, has_image: bool) -> AttachedToRead<'a, D> {
        let wanted = match &self.options.recorded {
            Some(recorded) => {
                AttachedToRead::recorded(recorded.get(&image.source).map_or(&[], Vec::as_slice))
            }
            None => AttachedToRead::selected(&self.options.referrers),
        };
        wanted.mirrored_in(has_image.then_some((&*self.destination, &image.repository)))
    }

    /// The state of all attachments of the image at the destination. Makes no request if there are none.
    pub(super) async fn attached(&self, image: &Mapping, graph: &Graph) -> Result<Vec<AttachedState>, Error> {
        let wanted: Vec<AttachedManifest> = graph.attached.iter().map(Attached::record).collect();
        let tagged = graph.attached.iter().filter(|attached| attached.tag().is_some());
        let bytes: HashMap<Digest, RawManifest> = tagged
            .filter_map(|attached| Some((attached.digest().clone(), attached.node.manifest.clone()?)))
            .collect();
        attached(&*self.destination, &image.repository, &wanted, &bytes, self.options.coverage()).await
    }
}

/// Records how many attachments the image has, how many of them are new at the destination, and which tags
/// are kept.
pub(super) fn describe(graph: &Graph, states: &[AttachedState], outcome: &mut ImageOutcome) {
    outcome.attached = graph.attached_counts();
    let new = graph.attached.iter().zip(states).filter(|(_, state)| {
        // An extended tag shows its signatures already.
        need(state) != AttachedNeed::Nothing && !matches!(state.found, ListingState::Extended { .. })
    });
    outcome.attached_new = AttachedCounts::of(new.map(|(attached, _)| attached));
    let wanted: Vec<AttachedManifest> = graph.attached.iter().map(Attached::record).collect();
    outcome.kept_tags = kept_tags(&wanted, states);
}

/// What each attached manifest needs.
pub(super) fn needs(graph: &Graph, states: &[AttachedState]) -> Vec<AttachedNeed> {
    graph.attached.iter().zip(states).map(|(_, state)| need(state)).collect()
}

fn need(state: &AttachedState) -> AttachedNeed {
    match &state.found {
        ListingState::Listed | ListingState::Extended { .. } if state.is_whole() => AttachedNeed::Nothing,
        // The manifest itself is pushed as well: a later comparison needs it.
        ListingState::Extended { .. } => AttachedNeed::Digest,
        _ => AttachedNeed::Tag,
    }
}

/// Refuses to replace a tag of cosign's older format if entries of the destination would be lost.
pub(super) fn refuse_loss(graph: &Graph, states: &[AttachedState]) -> Result<(), Stopped> {
    let diverged = graph.attached.iter().zip(states).filter_map(|(attached, state)| match &state.found {
        ListingState::Diverged(found) => Some(Problem::DivergedAttachment {
            tag: attached.tag()?.to_owned(),
            expected: attached.digest().clone(),
            found: found.clone(),
        }),
        _ => None,
    });
    let problems: Vec<Problem> = diverged.collect();
    if problems.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(
        Kind::Image,
        "the destination and the source each have signatures or attestations that the other lacks",
    )
    .with_hint(
        "delete the tag at the destination and run this again, then sign or attest there again; or leave it out with \
         --referrer-type",
    );
    Err(Stopped { problems, ..failure.into() })
}

/// Warns of what a registry lists as attached but is not copied.
pub(super) fn warn_of_ignored(image: &Arc<Mapping>, graph: &Graph, events: &dyn EventSink) {
    for message in &graph.ignored {
        events.emit(Event::Warning { image: Some(image.source.clone()), message: message.clone() });
    }
}

/// What is wrong with the attachments after a push.
pub(super) fn problems(states: &[AttachedState]) -> impl Iterator<Item = Problem> {
    states.iter().flat_map(|state| state.problems.iter().cloned())
}
