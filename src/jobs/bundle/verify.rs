//! `bundle verify`: every byte of a bundle, before it is trusted.

use std::{sync::Arc, time::Instant};

use super::{Session, opening::open};
use crate::{
    cli::BundleVerify,
    endpoint::bundle::Bundle,
    error::{Failure, Kind, exit_code_of},
    jobs::check::{self, Fault, Required},
    oci::Digest,
    outcome::{Command, ImageOutcome, RunOutcome},
    report::{Document, Presentation, present},
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
    // What was left out on purpose must not hide that something is damaged: it decides the code only where nothing is.
    let damage = checked.faults.iter().filter(|fault| !matches!(fault, Fault::LeftOut { .. }));
    let damage = damage.map(|fault| fault.failure().kind);
    let damage = damage.chain(checked.images.iter().filter_map(ImageOutcome::failure_kind));
    let code = exit_code_of(damage);
    let failures = checked.faults.iter().map(Fault::failure).collect();
    let document = Document::from(RunOutcome {
        destination: Some(bundle.path().display().to_string()),
        bundle: Some(bundle.head().id().clone()),
        level: Some("bytes".to_owned()),
        chart: bundle.head().lock.as_ref().and_then(|lock| lock.chart.clone()),
        exit_code: (code != 0).then_some(code),
        ..RunOutcome::new(Command::BundleVerify, checked.images, failures, begun.elapsed())
    });
    present(&document, Presentation::new(args.output, session.verbosity))?;
    Ok(document.exit_code())
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
