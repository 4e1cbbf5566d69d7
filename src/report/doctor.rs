//! What `doctor` found, as JSON and as text: one line a check, and what to do below it.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Format, print, style::Palette, units};
use crate::{
    error::{Failure, escape, exit_code_of},
    jobs::doctor::{CheckResult, Verdict},
    oci::{Mapping, Reference},
};

/// The schema of [`DoctorDocument`].
pub const DOCTOR_SCHEMA: &str = "thoras-mirror/doctor/v1";

/// What `doctor --output json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorDocument {
    #[schemars(extend("const" = DOCTOR_SCHEMA))]
    schema: &'static str,
    /// `REGISTRY[/PATH]`
    pub destination: String,
    /// What the checks found.
    pub findings: Vec<CheckResult>,
    /// Which image would get which name.
    pub names: Vec<PlannedName>,
    /// What the process exits with.
    pub exit_code: u8,
}

/// One image and its name at the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedName {
    /// The reference that would be pulled.
    pub source: Reference,
    /// `REGISTRY/REPOSITORY:TAG`
    pub destination: String,
}

impl DoctorDocument {
    /// The exit code follows from the problems.
    #[must_use]
    pub fn new(destination: String, findings: Vec<CheckResult>, mappings: &[Mapping]) -> Self {
        let exit_code = exit_code_of(findings.iter().filter_map(|finding| finding.kind));
        let name = |mapping: &Mapping| PlannedName {
            source: mapping.source.clone(),
            destination: mapping.destination(),
        };
        let names = mappings.iter().map(name).collect();
        Self { schema: DOCTOR_SCHEMA, destination, findings, names, exit_code }
    }
}

/// Writes what was found to standard output.
pub fn present_findings(document: &DoctorDocument, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => print::document(document),
        Format::Table => print::result(&text(document, Palette::of_stdout())),
    }
}

fn text(document: &DoctorDocument, palette: Palette) -> String {
    let mut lines = Vec::new();
    for finding in &document.findings {
        // Padded before it is colored: colors have a width of their own.
        let verdict = paint(finding.verdict, palette);
        lines.push(format!("{verdict}  {:<11}  {}", finding.check.to_string(), finding.message));
        if let Some(hint) = &finding.hint {
            lines.push(format!("          {} {}", palette.hint("hint:"), escape(hint).replace('\n', " ")));
        }
    }
    if !document.names.is_empty() {
        lines.push(String::new());
        lines.extend(document.names.iter().map(|name| format!("{} -> {}", name.source, name.destination)));
    }
    lines.push(String::new());
    lines.push(summary(&document.findings));
    lines.join("\n")
}

fn paint(verdict: Verdict, palette: Palette) -> String {
    match verdict {
        Verdict::Ok => palette.good("ok      "),
        Verdict::Untested => "untested".to_owned(),
        Verdict::Warning => palette.warning("warning "),
        Verdict::Problem => palette.error("problem "),
    }
}

fn summary(findings: &[CheckResult]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let warnings = units::counted(count(Verdict::Warning), "warning");
    match count(Verdict::Problem) {
        0 => format!("no problem, {warnings}"),
        problems => format!("{}, {warnings}", units::counted(problems, "problem")),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        error::Kind,
        jobs::doctor::Check,
        oci::mapping::{Namer, Naming},
        report::{samples, schema},
    };

    fn document() -> DoctorDocument {
        let namer = Namer::new(
            "reg.example.com/mirror".parse().unwrap(),
            Naming::Relative,
            Some(crate::oci::mapping::VENDOR_PREFIX.to_owned()),
        );
        let mappings = namer.map_all(&[samples::source("services:4.53.0")]).unwrap();
        let refused = Failure::new(Kind::Authentication, "cannot push")
            .with_hint("check that this credential is still valid");
        let findings = vec![
            CheckResult::ok(Check::Helm, "helm is v3.10.1"),
            CheckResult::warning(Check::Clock, "this machine's clock is 600 s behind", "set the clock"),
            CheckResult::untested(Check::Indexes, "shows when the first is pushed"),
            CheckResult::failed(Check::Push, refused),
        ];
        DoctorDocument::new("reg.example.com/mirror".to_owned(), findings, &mappings)
    }

    #[test]
    fn one_line_a_check_and_what_to_do_below() {
        assert_snapshot!(text(&document(), Palette::plain()));
    }

    #[test]
    fn what_a_registry_said_cannot_imitate_a_line() {
        let failure = Failure::new(Kind::Image, "refused\nok  push  all is well\u{1b}[2J");
        let findings = vec![CheckResult::failed(Check::Push, failure)];
        let text = text(&DoctorDocument::new("r".to_owned(), findings, &[]), Palette::plain());
        assert!(
            text.starts_with("problem   push         refused ok  push  all is well\\u{1b}[2J\n"),
            "{text}"
        );
    }

    #[test]
    fn the_exit_code_follows_from_the_problems() {
        assert_eq!(document().exit_code, 4);
        let mut findings = document().findings;
        findings.push(CheckResult::failed(Check::Lock, Failure::new(Kind::Usage, "x")));
        assert_eq!(DoctorDocument::new(String::new(), findings, &[]).exit_code, 1);
        assert_eq!(DoctorDocument::new(String::new(), Vec::new(), &[]).exit_code, 0);
    }

    #[test]
    fn the_schema_is_current() {
        schema::assert_current("doctor.v1.json", &schemars::schema_for!(DoctorDocument));
    }

    #[test]
    fn documents_follow_their_schema() {
        schema::assert_valid("doctor.v1.json", &serde_json::to_value(document()).unwrap());
    }
}
