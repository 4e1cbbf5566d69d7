//! The last stage: compares what was read back from the destination with what was pushed.

use super::{Stopped, attached};
use crate::{
    confirm::{self, Expected, Survey, attached::AttachedState},
    error::Failure,
    oci::Platform,
    outcome::ImageOutcome,
    problem::{FoundBy, Problem},
};

/// Fails if anything is missing or differs. Then records the platforms that were found.
pub(super) fn confirm(
    after: &Survey,
    attached: &[AttachedState],
    required: &[Platform],
    outcome: &mut ImageOutcome,
) -> Result<(), Stopped> {
    let expected = Expected { digest: outcome.digest.as_ref(), platforms: required };
    let mut problems = confirm::problems_of(after, expected);
    problems.extend(attached::problems(attached));
    if !problems.is_empty() {
        return Err(unconfirmed(problems));
    }
    if let Some(graph) = &after.graph {
        outcome.platforms.clone_from(&graph.platforms);
    }
    Ok(())
}

fn unconfirmed(problems: Vec<Problem>) -> Stopped {
    let kind = Problem::failure_kind_of(&problems, FoundBy::Confirmation);
    let failure = Failure::new(kind, "the destination does not have what was pushed")
        .with_hint("another client may be writing to it, or it may be losing data: run the command again");
    Stopped { problems, ..failure.into() }
}
