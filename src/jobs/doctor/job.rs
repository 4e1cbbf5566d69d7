//! `doctor`: checks everything before a long run.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        images::enumerate,
        names::{self, ToName, earlier},
        own_source::{self, NamedBy},
    },
    CheckResult, Deadline, DoctorCheck, RetryListener, Verdict, destination, local, source,
};
use crate::{
    endpoint::registry::Registries,
    enumerate::{Enumeration, SelectedFrom},
    error::{Failure, Kind},
    event::EventSink,
    oci::{Mapping, Reference, Repository},
    request::{Access, Destination, Doctor},
};

/// The least time for rendering a chart, which may have to be downloaded.
const SHORTEST_RENDERING: Duration = Duration::from_secs(60);

/// The result of `doctor`.
pub(crate) struct Diagnosis {
    /// `REGISTRY[/PATH]`
    pub(crate) destination: String,
    pub(crate) findings: Vec<CheckResult>,
    /// The name that each image would get at the destination.
    pub(crate) names: Vec<Mapping>,
}

pub(crate) async fn run(request: &Doctor, events: Arc<dyn EventSink>) -> Result<Diagnosis, Failure> {
    let Doctor { selection: _, strict: _, destination, registries, lock, timeout, origins } = request;
    let retries = Arc::new(RetryListener::new(Arc::clone(&events)));
    let access = Access::open(registries, Arc::<RetryListener>::clone(&retries))?;
    let source = access.source()?;
    let deadline = Deadline::new(*timeout, retries);

    let ((helm, images), (registry, reached)) = tokio::join!(
        async { tokio::join!(helm(request), images(request, &access, &*events)) },
        reach(destination, &access, &deadline),
    );
    let (sources, pushes) = tokio::join!(
        source::registries(&source, &images.references, &images.optional, &deadline),
        push(registry.as_ref(), &images.mappings, &reached, &deadline),
    );
    if !images.references.is_empty() {
        let chart = request.selection.chart_repository();
        access.warn_of_unused_license(
            images.references.iter().map(Reference::repository).chain(&chart),
            &*events,
        );
    }
    let settings = origins
        .set_by_variables()
        .map(|settings| CheckResult::ok(DoctorCheck::Settings, format!("from the environment: {settings}")));
    let mut findings: Vec<CheckResult> = settings.into_iter().chain(helm).collect();
    for some in [images.results, sources, reached, pushes, vec![local::lock(lock)]] {
        findings.extend(some);
    }
    Ok(Diagnosis { destination: destination.root.to_string(), findings, names: images.mappings })
}

/// Helm is checked only if a chart must be rendered.
async fn helm(request: &Doctor) -> Option<CheckResult> {
    let SelectedFrom::Chart(options) = &request.selection.from else { return None };
    Some(local::helm(options.helm.clone(), request.timeout).await)
}

/// The requested images, and their names.
#[derive(Default)]
struct Images {
    references: Vec<Reference>,
    /// Those that the source need not provide.
    optional: BTreeSet<Reference>,
    mappings: Vec<Mapping>,
    results: Vec<CheckResult>,
}

async fn images(request: &Doctor, access: &Access, events: &dyn EventSink) -> Images {
    let limit = SHORTEST_RENDERING.max(request.timeout);
    let listing = enumerate(&request.selection, request.strict, access, events);
    let found = tokio::time::timeout(limit, listing).await;
    let found = found.unwrap_or_else(|_| {
        let message = format!("listing the images took longer than {} s", limit.as_secs());
        Err(Failure::new(Kind::Input, message).with_hint("pass a longer --timeout SECONDS"))
    });
    match found {
        Ok(found) => {
            let mut images = name(request, &found, events);
            let (root, registries) = (&request.destination.root, &request.registries);
            let named_by = NamedBy::Selection(&request.selection);
            if let Err(failure) = own_source::refuse(&images.mappings, root, registries, named_by).await {
                images.results.push(CheckResult::failed(DoctorCheck::Names, failure));
                // The mirror is not where the images come from.
                images.references.clear();
            }
            images
        }
        Err(failure) => {
            Images { results: vec![CheckResult::failed(DoctorCheck::Images, failure)], ..Images::default() }
        }
    }
}

fn name(request: &Doctor, found: &Enumeration, events: &dyn EventSink) -> Images {
    let Destination { root, naming, login: _ } = &request.destination;
    let chart = found.chart.as_ref().map(|chart| format!(" in chart {} {}", chart.name, chart.version));
    let to_name = ToName::found(found);
    let references = to_name.references.clone();
    let optional = if request.strict { BTreeSet::new() } else { found.optional() };
    let count = match references.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let mut results =
        vec![CheckResult::ok(DoctorCheck::Images, format!("{count}{}", chart.unwrap_or_default()))];
    let named = to_name.below(root, naming, earlier(&request.lock, events).as_ref());
    let mappings = named.map_or_else(
        |error| {
            results.push(CheckResult::failed(DoctorCheck::Names, names::failure(&error)));
            Vec::new()
        },
        |(_, mappings)| mappings,
    );
    if !mappings.is_empty() {
        let message = format!("every image has a unique name below {root}");
        results.push(CheckResult::ok(DoctorCheck::Names, message));
    }
    Images { references, optional, mappings, results }
}

/// The destination, and whether it answers.
async fn reach(
    destination: &Destination,
    access: &Access,
    deadline: &Deadline,
) -> (Option<Registries>, Vec<CheckResult>) {
    let Destination { root, naming: _, login } = destination;
    let opened = deadline.find(root.registry(), access.destination(login.as_ref())).await;
    // Any repository works: only its registry is contacted.
    let repository = format!("{root}/doctor").parse::<Repository>();
    match (opened, repository) {
        (Ok(registries), Ok(repository)) => {
            let results = destination::registry(&registries, &repository, deadline).await;
            (Some(registries), results)
        }
        (Err(failure), _) => (None, vec![CheckResult::failed(DoctorCheck::Destination, failure)]),
        (_, Err(error)) => (
            None,
            vec![CheckResult::failed(DoctorCheck::Destination, Failure::from_error(Kind::Usage, &error))],
        ),
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
        None => vec![CheckResult::untested(DoctorCheck::Push, "the destination does not answer")],
    }
}
