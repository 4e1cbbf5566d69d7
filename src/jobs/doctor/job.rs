//! `doctor`: finds out before a long run what would go wrong.

use std::{sync::Arc, time::Duration};

use super::{
    super::images::{enumerate, name_all},
    Check, Finding, Listener, Patience, Verdict, destination, local, source,
};
use crate::{
    endpoint::registry::Registries,
    enumerate::{Enumeration, Source},
    error::{Failure, Kind},
    event::EventSink,
    oci::{Mapping, Naming, Reference, Repository},
    request::{Access, Destination, Doctor},
};

/// A chart may have to be downloaded.
const SHORTEST_RENDERING: Duration = Duration::from_secs(60);

/// What `doctor` found.
pub(crate) struct Diagnosis {
    /// `REGISTRY[/PATH]`
    pub(crate) destination: String,
    pub(crate) findings: Vec<Finding>,
    /// The name that each image would get.
    pub(crate) names: Vec<Mapping>,
}

pub(crate) async fn run(request: &Doctor, events: Arc<dyn EventSink>) -> Result<Diagnosis, Failure> {
    let Doctor { selection: _, destination, registries, lock, timeout } = request;
    let listener = Arc::new(Listener::new(Arc::clone(&events)));
    let access = Access::open(registries, Arc::<Listener>::clone(&listener))?;
    let source = access.source()?;
    let patience = Patience::new(*timeout, listener);

    let ((helm, images), (registry, reached)) = tokio::join!(
        async { tokio::join!(helm(request), images(request, &*events)) },
        reach(destination, &access, &patience),
    );
    let (sources, pushes) = tokio::join!(
        source::registries(&source, &images.references, &patience),
        push(registry.as_ref(), &images.mappings, &reached, &patience),
    );
    let mut findings: Vec<Finding> = helm.into_iter().collect();
    for some in [images.findings, sources, reached, pushes, vec![local::lock(lock)]] {
        findings.extend(some);
    }
    Ok(Diagnosis { destination: destination.root.to_string(), findings, names: images.mappings })
}

/// Helm is asked only where a chart has to be rendered.
async fn helm(request: &Doctor) -> Option<Finding> {
    let Source::Chart(options) = &request.selection.source else { return None };
    Some(local::helm(options.helm.clone(), request.timeout).await)
}

/// The images that are asked for, and their names.
#[derive(Default)]
struct Images {
    references: Vec<Reference>,
    mappings: Vec<Mapping>,
    findings: Vec<Finding>,
}

async fn images(request: &Doctor, events: &dyn EventSink) -> Images {
    let limit = SHORTEST_RENDERING.max(request.timeout);
    let found = tokio::time::timeout(limit, enumerate(&request.selection, events)).await;
    let found = found.unwrap_or_else(|_| {
        let message = format!("the images were not found within {} s", limit.as_secs());
        Err(Failure::new(Kind::Input, message).with_hint("--timeout SECONDS waits longer"))
    });
    match found {
        Ok(found) => name(&request.destination, found),
        Err(failure) => {
            Images { findings: vec![Finding::problem(Check::Images, failure)], ..Images::default() }
        }
    }
}

fn name(destination: &Destination, found: Enumeration) -> Images {
    let Destination { root, naming, login: _ } = destination;
    let chart = found.chart.map(|chart| format!(" in chart {} {}", chart.name, chart.version));
    let references: Vec<Reference> = found.images.into_iter().map(|image| image.reference).collect();
    let count = match references.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let mut findings = vec![Finding::ok(Check::Images, format!("{count}{}", chart.unwrap_or_default()))];
    let placement = naming.placement(Some(root), Naming::default(), found.source_prefix, None);
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
    destination: &Destination,
    access: &Access,
    patience: &Patience,
) -> (Option<Registries>, Vec<Finding>) {
    let Destination { root, naming: _, login } = destination;
    let opened = patience.find(root.registry(), access.destination(root, login.as_ref())).await;
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
