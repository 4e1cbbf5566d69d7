//! `doctor`: what would go wrong, found out before a long run.

use std::{sync::Arc, time::Duration};

use super::super::{Session, enumerate, name_all};
use crate::{
    cli::Doctor,
    endpoint::registry::Registries,
    enumerate::Enumeration,
    error::{Failure, Kind},
    jobs::doctor::{Check, Finding, Listener, Patience, Verdict, destination, local, source},
    oci::{Mapping, Naming, Reference, Repository, mapping::Root},
    report::{DoctorDocument, Document, Presentation, present},
    request::{self, Access},
    units,
};

/// A chart may have to be downloaded.
const SHORTEST_RENDERING: Duration = Duration::from_secs(60);

pub(in crate::jobs) async fn run(args: Doctor, session: &Session) -> Result<u8, Failure> {
    request::check_stdin(Some(&args.selection), &args.registries, Some(&args.destination.login))?;
    let root = request::root(&args.destination.to)?;
    let listener = Arc::new(Listener::new(session.events()));
    let access = Access::new(&args.registries, Arc::<Listener>::clone(&listener))?;
    let source = access.source()?;
    let patience = Patience::new(Duration::from_secs(args.timeout.into()), listener);

    let ((helm, images), (destination, reached)) = tokio::join!(
        async { tokio::join!(helm(&args), images(&args, &root, session)) },
        reach(&args, &root, &access, &patience),
    );
    let (sources, pushes) = tokio::join!(
        source::registries(&source, &images.references, &patience),
        push(destination.as_ref(), &images.mappings, &reached, &patience),
    );
    let mut findings: Vec<Finding> = helm.into_iter().collect();
    for some in [images.findings, sources, reached, pushes, vec![local::lock(&args.lock)]] {
        findings.extend(some);
    }
    session.reporter.finish();
    let document = Document::from(DoctorDocument::new(root.to_string(), findings, &images.mappings));
    present(&document, Presentation::new(args.output, session.verbosity))?;
    Ok(document.exit_code())
}

/// Helm is asked only where a chart has to be rendered.
async fn helm(args: &Doctor) -> Option<Finding> {
    let selection = &args.selection;
    let is_chart = selection.rendered.is_none() && selection.images.is_none() && selection.image.is_empty();
    if !is_chart {
        return None;
    }
    Some(local::helm(selection.helm.clone(), Duration::from_secs(args.timeout.into())).await)
}

/// The images that are asked for, and their names.
#[derive(Default)]
struct Images {
    references: Vec<Reference>,
    mappings: Vec<Mapping>,
    findings: Vec<Finding>,
}

async fn images(args: &Doctor, root: &Root, session: &Session) -> Images {
    let limit = SHORTEST_RENDERING.max(Duration::from_secs(args.timeout.into()));
    let found = tokio::time::timeout(limit, enumerate(&args.selection, session)).await;
    let found = found.unwrap_or_else(|_| {
        let message = format!("the images were not found within {} s", limit.as_secs());
        Err(Failure::new(Kind::Input, message).with_hint("--timeout SECONDS waits longer"))
    });
    match found {
        Ok(found) => name(args, root, found),
        Err(failure) => {
            Images { findings: vec![Finding::problem(Check::Images, failure)], ..Images::default() }
        }
    }
}

fn name(args: &Doctor, root: &Root, found: Enumeration) -> Images {
    let chart = found.chart.map(|chart| format!(" in chart {} {}", chart.name, chart.version));
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let count = units::counted(references.len(), "image");
    let mut findings = vec![Finding::ok(Check::Images, format!("{count}{}", chart.unwrap_or_default()))];
    let usual = (Naming::default(), found.source_prefix);
    let placement = request::placement(root, &args.destination.naming, usual);
    let mappings = name_all(&placement, root, &references).unwrap_or_else(|failure| {
        findings.push(Finding::problem(Check::Names, failure));
        Vec::new()
    });
    if !mappings.is_empty() {
        let message = format!("every image gets a name of its own below {root}");
        findings.push(Finding::ok(Check::Names, message));
    }
    Images { references, mappings, findings }
}

/// The destination, and whether it answers.
async fn reach(
    args: &Doctor,
    root: &Root,
    access: &Access,
    patience: &Patience,
) -> (Option<Registries>, Vec<Finding>) {
    let opened = patience.find(root.registry(), access.destination(root, &args.destination.login)).await;
    // The repository only says which registry is meant.
    let repository = format!("{root}/doctor").parse::<Repository>();
    match (opened, repository) {
        (Ok(registries), Ok(repository)) => {
            let findings = destination::registry(&registries, &repository, patience).await;
            (Some(registries), findings)
        }
        (Err(failure), _) => (None, vec![Finding::problem(Check::Destination, failure)]),
        (_, Err(error)) => {
            (None, vec![Finding::problem(Check::Destination, Failure::from_error(Kind::Usage, &error))])
        }
    }
}

/// What can be asked only of a destination that answers.
async fn push(
    destination: Option<&Registries>,
    mappings: &[Mapping],
    reached: &[Finding],
    patience: &Patience,
) -> Vec<Finding> {
    let answers = reached.iter().all(|finding| finding.verdict != Verdict::Problem);
    match destination.filter(|_| answers) {
        Some(destination) => destination::images(destination, mappings, patience).await,
        None => vec![Finding::untested(Check::Push, "the destination does not answer")],
    }
}
