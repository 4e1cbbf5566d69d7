//! `doctor`: one line per check, with the hint below it.

use crate::{
    error::escape,
    jobs::doctor::{CheckResult, CheckVerdict},
    report::{document::DoctorDocument, style::Palette},
    units,
};

pub(super) fn text(document: &DoctorDocument, palette: Palette) -> String {
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

fn paint(verdict: CheckVerdict, palette: Palette) -> String {
    match verdict {
        CheckVerdict::Ok => palette.good("ok      "),
        CheckVerdict::Untested => "untested".to_owned(),
        CheckVerdict::Warning => palette.warning("warning "),
        CheckVerdict::Problem => palette.error("problem "),
    }
}

fn summary(findings: &[CheckResult]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let warnings = units::counted(count(CheckVerdict::Warning), "warning");
    match count(CheckVerdict::Problem) {
        0 => format!("no problems, {warnings}"),
        problems => format!("{}, {warnings}", units::counted(problems, "problem")),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        error::{Failure, Kind},
        jobs::doctor::DoctorCheck,
        report::samples,
    };

    #[test]
    fn each_check_is_one_line_with_its_hint_below() {
        assert_snapshot!(text(&samples::doctor(), Palette::plain()), @r#"
        ok        helm         helm is v3.10.1
        warning   clock        this machine's clock is 600 s behind
                  hint: set the clock
        untested  indexes      shows when the first is pushed
        problem   push         cannot push
                  hint: check that this credential is still valid

        us-east4-docker.pkg.dev/thoras-registry/platform/services:4.53.0 -> reg.example.com/mirror/services:4.53.0

        1 problem, 1 warning
        "#);
    }

    #[test]
    fn text_from_a_registry_cannot_imitate_a_line() {
        let failure = Failure::new(Kind::Image, "refused\nok  push  all is well\u{1b}[2J");
        let findings = vec![CheckResult::failed(DoctorCheck::Push, failure)];
        let text = text(&DoctorDocument::new("r".to_owned(), findings, &[]), Palette::plain());
        assert!(
            text.starts_with("problem   push         refused ok  push  all is well\\u{1b}[2J\n"),
            "{text}"
        );
    }
}
