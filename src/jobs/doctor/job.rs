//! `doctor`: checks everything before a long run.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    super::{
        images::enumerate,
        names::{self, ToName, earlier_if_usable, warn_of_unused_prefix},
        own_source::{self, NamedBy},
    },
    CheckResult, CheckVerdict, Deadline, DoctorCheck, RetryListener,
    cluster::{self, Installed},
    destination, local, source,
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
const MIN_RENDERING_TIME: Duration = Duration::from_secs(60);

/// The result of `doctor`.
pub(crate) struct Diagnosis {
    /// `REGISTRY[/PATH]`
    pub(crate) destination: String,
    pub(crate) findings: Vec<CheckResult>,
    /// The name that each image gets at the destination, or has there.
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
        at_destination(registry.as_ref(), &access, &images, &reached, &deadline),
    );
    if !images.references.is_empty() {
        let chart = request.selection.chart_repository();
        access.warn_of_unused_license(
            images.references.iter().map(Reference::repository).chain(&chart),
            &*events,
        );
    }
    access.warn_of_unused_hosts(&*events);
    let settings = origins
        .set_by_environment()
        .map(|settings| CheckResult::ok(DoctorCheck::Settings, format!("from the environment: {settings}")));
    let mut findings: Vec<CheckResult> = settings.into_iter().chain(helm).collect();
    let names = images.names();
    for some in [images.results, sources, reached, pushes, vec![local::lock(lock)]] {
        findings.extend(some);
    }
    Ok(Diagnosis { destination: destination.root.to_string(), findings, names })
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
    /// Those that the values already take from the mirror.
    installed: Vec<Mapping>,
    /// Why `sync` refuses to copy those.
    refusal: Option<Failure>,
    results: Vec<CheckResult>,
}

impl Images {
    fn names(&self) -> Vec<Mapping> {
        self.mappings.iter().chain(&self.installed).cloned().collect()
    }
}

async fn images(request: &Doctor, access: &Access, events: &dyn EventSink) -> Images {
    let limit = MIN_RENDERING_TIME.max(request.timeout);
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
                let is_installed = |mapping: &Mapping| own_source::is_refused(mapping, &request.registries);
                (images.installed, images.mappings) = images.mappings.into_iter().partition(is_installed);
                let installed =
                    |image: &Reference| images.installed.iter().any(|installed| installed.source == *image);
                // The mirror is not where the images come from.
                images.references.retain(|image| !installed(image));
                images.refusal = Some(failure);
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
    warn_of_unused_prefix(naming, &references, events);
    let optional = if request.strict { BTreeSet::new() } else { found.optional() };
    let count = match references.len() {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    let mut results =
        vec![CheckResult::ok(DoctorCheck::Images, format!("{count}{}", chart.unwrap_or_default()))];
    let named = to_name.below(root, naming, earlier_if_usable(&request.lock, events).as_ref());
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
    Images { references, optional, mappings, results, ..Images::default() }
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
async fn at_destination(
    destination: Option<&Registries>,
    access: &Access,
    images: &Images,
    reached: &[CheckResult],
    deadline: &Deadline,
) -> Vec<CheckResult> {
    let Images { mappings, installed, refusal, .. } = images;
    let answers = reached.iter().all(|result| result.verdict != CheckVerdict::Problem);
    let Some(destination) = destination.filter(|_| answers) else {
        let refused = refusal.clone().map(|failure| CheckResult::failed(DoctorCheck::Names, failure));
        let untested = CheckResult::untested(DoctorCheck::Push, "the destination does not answer");
        return refused.into_iter().chain([untested]).collect();
    };
    let push = async {
        // What is there already needs no push.
        if mappings.is_empty() && !installed.is_empty() {
            return Vec::new();
        }
        destination::images(destination, mappings, deadline).await
    };
    let installed = Installed { mappings: installed, refusal: refusal.as_ref() };
    let (mut results, cluster) =
        tokio::join!(push, cluster::images(access, destination, mappings, &installed, deadline));
    results.extend(cluster);
    results
}
