//! `bundle verify`: every byte of a bundle, before it is trusted.

use std::{sync::Arc, time::Instant};

use super::{Session, opening::open};
use crate::{
    cli::BundleVerify,
    endpoint::bundle::Bundle,
    error::{Failure, Kind, exit_code_of},
    jobs::check::{self, Required},
    oci::Digest,
    outcome::ImageOutcome,
    problem::{FoundBy, Problem},
    report::{Closing, Command, Format, Repair, RunDocument, Verbosity, present_run, print},
    waiver::Waivers,
};

pub(super) async fn run(args: BundleVerify, session: &Session) -> Result<u8, Failure> {
    let begun = Instant::now();
    let bundle = Arc::new(open(&args.paths)?);
    expect(&bundle, args.expect.as_ref())?;
    let required = Required {
        platforms: (!args.platform.is_empty()).then_some(args.platform),
        waivers: Waivers::new(args.allow_missing_platform),
    };
    let checked = check::check(&bundle, &required, session.events()).await;
    session.reporter.finish();
    // Images that were left out must not hide damage: they decide the exit code only where nothing is damaged.
    let damage = checked.problems.iter().filter(|problem| !matches!(problem, Problem::LeftOut { .. }));
    let damage = damage.map(|problem| problem.failure_kind(FoundBy::BundleVerify));
    let damage = damage.chain(checked.images.iter().filter_map(ImageOutcome::failure_kind));
    let code = exit_code_of(damage);
    let failures = checked.problems.iter().map(|problem| problem.failure(FoundBy::BundleVerify)).collect();
    let mut document = RunDocument::new(Command::BundleVerify, checked.images, failures, begun.elapsed());
    if code != 0 {
        document.exit_code = code;
    }
    document.destination = Some(bundle.path().display().to_string());
    document.bundle = Some(bundle.head().id().clone());
    document.level = Some("bytes".to_owned());
    document.chart = bundle.head().lock.as_ref().and_then(|lock| lock.chart.clone());
    // What is wrong with a bundle is put right where it was written.
    let closing = Closing::Verify { level: "bytes", repair: &Repair::default() };
    present_run(&document, closing, args.output, session.verbosity)?;
    if args.output == Format::Table && session.verbosity != Verbosity::Quiet {
        print::result(&format!("bundle {}", bundle.head().id()))?;
    }
    Ok(document.exit_code)
}

/// Refuses a bundle that is not the one that was meant.
fn expect(bundle: &Bundle, expected: Option<&Digest>) -> Result<(), Failure> {
    let found = bundle.head().id();
    match expected {
        Some(expected) if expected != found => {
            let message = format!("the bundle's id is {found}, not {expected}");
            Err(Failure::new(Kind::Integrity, message)
                .with_hint("`thoras-mirror bundle inspect` shows what is in it"))
        }
        _ => Ok(()),
    }
}
