//! `bundle verify`: reads every byte of a bundle before it is trusted.

use std::{sync::Arc, time::Instant};

use super::{
    check::{self, Required},
    open_bundle::{expect_id, open},
};
use crate::{
    error::{Failure, exit_code_of},
    event::EventSink,
    outcome::{Command, ImageOutcome, RunOutcome},
    problem::{FoundBy, Problem},
    request::BundleVerify,
    waiver::Waivers,
};

pub(crate) async fn run(request: &BundleVerify, events: Arc<dyn EventSink>) -> Result<RunOutcome, Failure> {
    let started = Instant::now();
    let BundleVerify { paths, expect, platforms, waivers } = request;
    let bundle = Arc::new(open(paths, &*events)?);
    expect_id(&bundle, expect.as_ref())?;
    let required = Required { platforms: platforms.clone(), waivers: Waivers::new(waivers.clone()) };
    let checked = check::check(&bundle, &required, events).await;
    // Images that were left out must not hide damage: they decide the exit code only if nothing is damaged.
    let damage = checked.problems.iter().filter(|problem| !matches!(problem, Problem::LeftOut { .. }));
    let damage = damage.map(|problem| problem.failure_kind(FoundBy::BundleVerify));
    let damage = damage.chain(checked.images.iter().filter_map(ImageOutcome::failure_kind));
    let code = exit_code_of(damage);
    let failures = checked.problems.iter().map(|problem| problem.failure(FoundBy::BundleVerify)).collect();
    Ok(RunOutcome {
        destination: Some(bundle.path().display().to_string()),
        bundle: Some(bundle.head().id().clone()),
        level: Some("bytes".to_owned()),
        chart: bundle.head().lock.as_ref().and_then(|lock| lock.chart.clone()),
        exit_code: (code != 0).then_some(code),
        ..RunOutcome::new(Command::BundleVerify, checked.images, failures, started.elapsed())
    })
}
