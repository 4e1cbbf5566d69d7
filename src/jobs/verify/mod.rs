//! `verify`: compares the mirror with its lock, or with the source.
//!
//! `with_lock` and `with_source` say what each image must be; the pipeline reads the mirror.

mod with_lock;
mod with_source;

use std::{sync::Arc, time::Instant};

use super::notation;
use crate::{
    error::Failure,
    event::EventSink,
    oci::{ChartIdentity, Reference, mapping::Root},
    outcome::{Command, Repair, RunOutcome},
    pipeline::{self, AttachedAt, Expectation},
    request::{Access, CompareWith, Installation, Verify, next_steps},
};

pub(crate) async fn run(request: &Verify, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let Verify { with, level, referrers, signatures, login, registries, .. } = request;
    let verifier = notation::verifier(signatures)?;
    let access = Access::open(registries, Arc::clone(&events))?;
    let Expectations { root, destinations, images: expectations, chart, packaged, excluded, repair } =
        match with {
            CompareWith::Lock { path, mirrors, only, .. } => {
                with_lock::comparison(path, mirrors.as_ref(), only, request, &*events)?
            }
            CompareWith::Source { selection, roots, naming, foreign_layers, lock } => {
                let mirrors = with_source::Mirrors { roots, naming, foreign_layers: *foreign_layers, lock };
                with_source::comparison(&mirrors, selection, request, &access, &*events).await?
            }
        };
    let destination = Arc::new(access.destination(login.as_ref()).await?);
    let source = match with {
        CompareWith::Source { .. } if !referrers.selection.is_none() => {
            let (source, referrers) = (Arc::new(access.source()?), referrers.selection.clone());
            Some(AttachedAt { source, referrers })
        }
        _ => None,
    };
    let outcomes =
        pipeline::verify_against(destination, source, verifier, expectations, *level, Arc::clone(&events))
            .await;
    access.warn_of_unused_hosts(&*events);
    let mut outcome = RunOutcome {
        destination: Some(destinations),
        level: Some(level.to_string()),
        chart,
        repair,
        ..RunOutcome::new(Command::Verify, outcomes, Vec::new(), started.elapsed())
    };
    outcome.next_steps = next_steps(
        &outcome,
        &Installation {
            root: &root,
            login: login.as_ref(),
            registries,
            lock: match with {
                CompareWith::Lock { path, .. } => Some(path),
                CompareWith::Source { .. } => None,
            },
            packaged: packaged.as_ref(),
            excluded: &excluded,
            selection: match with {
                CompareWith::Lock { .. } => None,
                CompareWith::Source { selection, .. } => Some(selection),
            },
        },
    );
    Ok(outcome)
}

/// What each image must be, and the command that repairs it.
struct Expectations {
    /// The mirror, or the first of several.
    root: Root,
    /// The destinations as reports show them.
    destinations: String,
    images: Vec<Expectation>,
    chart: Option<ChartIdentity>,
    /// The name of the packaged chart before it was mirrored.
    packaged: Option<Reference>,
    /// What the filters of `sync` left out, by the lock.
    excluded: Vec<Reference>,
    repair: Option<Repair>,
}

/// Adds the command that repairs these images. The first command is for all images that no other one is for.
fn with_repair(
    repair: Option<Repair>,
    command: Option<Repair>,
    expectations: &[Expectation],
) -> Option<Repair> {
    let (Some(mut repair), Some(command)) = (repair.clone(), command.clone()) else {
        return repair.or(command);
    };
    let names = expectations.iter().map(|expected| expected.image.destination());
    repair.elsewhere.extend(names.map(|name| (name, command.command.clone())));
    Some(repair)
}
