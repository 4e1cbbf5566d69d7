//! `doctor`: checks everything before a long run.

use std::{sync::Arc, time::Duration};

use super::super::{Session, enumerate, name_all};
use crate::{
    cli::Doctor,
    endpoint::registry::Registries,
    enumerate::Enumeration,
    error::{Failure, Kind},
    jobs::doctor::{Check, CheckResult, Deadline, RetryListener, Verdict, destination, local, source},
    oci::{Mapping, Naming, Reference, Repository, mapping::Root},
    report::{DoctorDocument, present_findings, units},
    request::{self, Access},
};

/// A chart may have to be downloaded.
const SHORTEST_RENDERING: Duration = Duration::from_secs(60);

pub(in crate::jobs) async fn run(args: Doctor, session: &Session) -> Result<u8, Failure> {
    request::check_stdin(Some(&args.selection), &args.registries, Some(&args.destination.login))?;
    let root = request::root(&args.destination.to)?;
    let retries = Arc::new(RetryListener::new(session.events()));
    let access = Access::new(&args.registries, Arc::<RetryListener>::clone(&retries))?;
    let source = access.source()?;
    let deadline = Deadline::new(Duration::from_secs(args.timeout.into()), retries);

    let ((helm, images), (destination, reached)) = tokio::join!(
        async { tokio::join!(helm(&args), images(&args, &root, session)) },
        reach(&args, &root, &access, &deadline),
    );
    let (sources, pushes) = tokio::join!(
        source::registries(&source, &images.references, &deadline),
        push(destination.as_ref(), &images.mappings, &reached, &deadline),
    );
    let mut results: Vec<CheckResult> = helm.into_iter().collect();
    for some in [images.results, sources, reached, pushes, vec![local::lock(&args.lock)]] {
        results.extend(some);
    }
    session.reporter.finish();
    let document = DoctorDocument::new(root.to_string(), results, &images.mappings);
    present_findings(&document, args.output)?;
    Ok(document.exit_code)
}

/// Helm is checked only where a chart has to be rendered.
async fn helm(args: &Doctor) -> Option<CheckResult> {
    let selection = &args.selection;
    let is_chart = selection.rendered.is_none() && selection.images.is_none() && selection.image.is_empty();
    if !is_chart {
        return None;
    }
    Some(local::helm(selection.helm.clone(), Duration::from_secs(args.timeout.into())).await)
}

/// The requested images, and their names.
#[derive(Default)]
struct Images {
    references: Vec<Reference>,
    mappings: Vec<Mapping>,
    results: Vec<CheckResult>,
}

async fn images(args: &Doctor, root: &Root, session: &Session) -> Images {
    let limit = SHORTEST_RENDERING.max(Duration::from_secs(args.timeout.into()));
    let found = tokio::time::timeout(limit, enumerate(&args.selection, session)).await;
    let found = found.unwrap_or_else(|_| {
        let message = format!("finding the images took longer than {} s", limit.as_secs());
        Err(Failure::new(Kind::Input, message).with_hint("--timeout SECONDS waits longer"))
    });
    match found {
        Ok(found) => name(args, root, found),
        Err(failure) => {
            Images { results: vec![CheckResult::failed(Check::Images, failure)], ..Images::default() }
        }
    }
}

fn name(args: &Doctor, root: &Root, found: Enumeration) -> Images {
    let chart = found.chart.map(|chart| format!(" in chart {} {}", chart.name, chart.version));
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let count = units::counted(references.len(), "image");
    let mut results = vec![CheckResult::ok(Check::Images, format!("{count}{}", chart.unwrap_or_default()))];
    let usual = (Naming::default(), found.source_prefix);
    let placement = request::placement(root, &args.destination.naming, usual);
    let mappings = name_all(&placement, root, &references).unwrap_or_else(|failure| {
        results.push(CheckResult::failed(Check::Names, failure));
        Vec::new()
    });
    if !mappings.is_empty() {
        let message = format!("every image has its own name below {root}");
        results.push(CheckResult::ok(Check::Names, message));
    }
    Images { references, mappings, results }
}

/// The destination, and whether it answers.
async fn reach(
    args: &Doctor,
    root: &Root,
    access: &Access,
    deadline: &Deadline,
) -> (Option<Registries>, Vec<CheckResult>) {
    let opened = deadline.find(root.registry(), access.destination(root, &args.destination.login)).await;
    // Any repository will do: only its registry is asked.
    let repository = format!("{root}/doctor").parse::<Repository>();
    match (opened, repository) {
        (Ok(registries), Ok(repository)) => {
            let results = destination::registry(&registries, &repository, deadline).await;
            (Some(registries), results)
        }
        (Err(failure), _) => (None, vec![CheckResult::failed(Check::Destination, failure)]),
        (_, Err(error)) => {
            (None, vec![CheckResult::failed(Check::Destination, Failure::from_error(Kind::Usage, &error))])
        }
    }
}

/// The checks that need a destination that answers.
async fn push(
    destination: Option<&Registries>,
    mappings: &[Mapping],
    reached: &[CheckResult],
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let answers = reached.iter().all(|result| result.verdict != Verdict::Problem);
    match destination.filter(|_| answers) {
        Some(destination) => destination::images(destination, mappings, deadline).await,
        None => vec![CheckResult::untested(Check::Push, "the destination does not answer")],
    }
}
