//! The documents against their schemas.

use std::time::Duration;

use schemars::schema_for;
use serde_json::json;

use super::*;
use crate::{committed_schema, jobs::doctor::DoctorCheck, report::samples};

fn run() -> Document {
    let images = vec![samples::copied(), samples::up_to_date(), samples::failed(), samples::different()];
    let failures = vec![Failure::new(Kind::Input, "the lock cannot be written")];
    Document::from(RunOutcome {
        destination: Some("registry.example.com/thoras".to_owned()),
        level: Some("blobs".to_owned()),
        chart: Some(samples::chart()),
        ..RunOutcome::new(Command::Sync, images, failures, Duration::from_secs(34))
    })
}

#[test]
fn the_schemas_are_current() {
    committed_schema::assert_current("report/schema/run.v1.json", &schema_for!(RunDocument));
    committed_schema::assert_current("report/schema/images.v1.json", &schema_for!(ImagesDocument));
    committed_schema::assert_current("report/schema/inspect.v1.json", &schema_for!(InspectDocument));
    committed_schema::assert_current("report/schema/bundle.v1.json", &schema_for!(BundleDocument));
    committed_schema::assert_current("report/schema/doctor.v1.json", &schema_for!(DoctorDocument));
    committed_schema::assert_current("report/schema/values.v1.json", &schema_for!(ValuesDocument));
    committed_schema::assert_current("report/schema/running.v1.json", &schema_for!(RunningDocument));
    committed_schema::assert_current("report/schema/lock-merge.v1.json", &schema_for!(LockMergeDocument));
}

#[test]
fn documents_follow_their_schemas() {
    let early = RunOutcome::failed(Command::Images, Failure::new(Kind::Usage, "no such chart"));
    let failures = vec![Failure::new(Kind::Image, "no such tag")];
    for (file, document) in [
        ("run.v1.json", run()),
        ("run.v1.json", early.into()),
        ("images.v1.json", samples::enumeration().into()),
        ("inspect.v1.json", Inspection { images: vec![samples::inspected()], failures }.into()),
        ("bundle.v1.json", samples::bundle().into()),
        ("doctor.v1.json", samples::doctor().into()),
        ("values.v1.json", samples::values().into()),
        ("running.v1.json", samples::running().into()),
        ("lock-merge.v1.json", samples::merged().into()),
    ] {
        committed_schema::assert_valid(
            &format!("report/schema/{file}"),
            &serde_json::to_value(document).unwrap(),
        );
    }
}

#[test]
fn a_document_of_another_version_does_not_match_the_schema() {
    let mut value = serde_json::to_value(run()).unwrap();
    value["schema"] = json!("thoras-mirror/run/v2");
    assert!(!committed_schema::validator("report/schema/run.v1.json").is_valid(&value));
}

#[test]
fn totals_and_exit_code_follow_from_the_images() {
    let Document::Run(document) = run() else { panic!("a run") };
    assert_eq!((document.totals.images, document.totals.confirmed, document.totals.failed), (4, 2, 2));
    assert_eq!(document.exit_code, 1, "failures of several kinds");
    let verified = RunOutcome::new(Command::Verify, vec![samples::verified()], Vec::new(), Duration::ZERO);
    assert_eq!(Document::from(verified).exit_code(), 0);
}

#[test]
fn verify_exits_with_a_difference_whatever_else_failed() {
    let images = vec![samples::different(), samples::failed()];
    let outcome = |command| RunOutcome::new(command, images.clone(), Vec::new(), Duration::ZERO);
    assert_eq!(Document::from(outcome(Command::Verify)).exit_code(), 5);
    assert_eq!(Document::from(outcome(Command::Sync)).exit_code(), 1);
}

#[test]
fn an_exit_code_that_the_job_decided_stays() {
    let failure = Failure::new(Kind::Interrupted, "interrupted");
    let outcome = RunOutcome { exit_code: Some(143), ..RunOutcome::failed(Command::Sync, failure) };
    assert_eq!(Document::from(outcome).exit_code(), 143);
}

#[test]
fn the_exit_code_of_an_inspection_follows_from_its_failures() {
    let failures = vec![Failure::new(Kind::Image, "no such tag")];
    let inspection = Inspection { images: vec![samples::inspected()], failures };
    assert_eq!(Document::from(inspection).exit_code(), 1);
    assert_eq!(Document::from(samples::bundle()).exit_code(), 6);
    assert_eq!(Document::from(samples::enumeration()).exit_code(), 0);
}

#[test]
fn the_exit_code_of_doctor_follows_from_the_problems() {
    let document = samples::doctor();
    assert_eq!(document.exit_code, 4);
    let mut findings = document.findings;
    findings.push(CheckResult::failed(DoctorCheck::Lock, Failure::new(Kind::Usage, "x")));
    assert_eq!(DoctorDocument::new(String::new(), findings, &[]).exit_code, 1);
    assert_eq!(DoctorDocument::new(String::new(), Vec::new(), &[]).exit_code, 0);
}
