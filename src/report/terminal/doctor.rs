//! `doctor`: one line per check, with the hint below it.

use super::wrapped::{Indent, joined_parts, wrapped};
use crate::{
    error::escape,
    jobs::doctor::{CheckResult, CheckVerdict},
    report::{document::DoctorDocument, style::Palette},
    units,
};

/// Before the further lines of a message, and of a hint.
const BELOW_MESSAGE: &str = "                       ";
const BELOW_HINT: &str = "                ";

/// The report. `width` is the terminal's, in columns.
pub(super) fn text(document: &DoctorDocument, width: Option<usize>, palette: Palette) -> String {
    let mut lines = Vec::new();
    for finding in &document.findings {
        // Padded before it is colored: colors have a width of their own.
        let verdict = paint(finding.verdict, palette);
        let first = format!("{verdict}  {:<11}  ", finding.check.to_string());
        lines.extend(wrapped(&finding.message, Indent { first: &first, rest: BELOW_MESSAGE }, width));
        if let Some(hint) = &finding.hint {
            let (first, hint) =
                (format!("          {} ", palette.hint("hint:")), escape(hint).replace('\n', " "));
            lines.extend(wrapped(&hint, Indent { first: &first, rest: BELOW_HINT }, width));
        }
    }
    if !document.names.is_empty() {
        lines.push(String::new());
        let indent = Indent { first: "", rest: "  " };
        lines.extend(document.names.iter().flat_map(|name| {
            let parts = [name.source.to_string(), format!("-> {}", name.destination)];
            joined_parts(parts.iter().map(String::as_str), " ", indent, width)
        }));
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
    let problems = match count(CheckVerdict::Problem) {
        0 => "no problems".to_owned(),
        problems => units::counted(problems, "problem"),
    };
    if count(CheckVerdict::Warning) == 0 { problems } else { format!("{problems}, {warnings}") }
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
        assert_snapshot!(text(&samples::doctor(), None, Palette::plain()), @r#"
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
    fn a_narrow_terminal_breaks_no_word_bug() {
        assert_snapshot!(text(&samples::doctor(), Some(40), Palette::plain()));
    }

    #[test]
    fn text_from_a_registry_cannot_imitate_a_line() {
        let failure = Failure::new(Kind::Image, "refused\nok  push  all is well\u{1b}[2J");
        let findings = vec![CheckResult::failed(DoctorCheck::Push, failure)];
        let text = text(&DoctorDocument::new("r".to_owned(), findings, &[]), None, Palette::plain());
        assert!(
            text.starts_with("problem   push         refused ok  push  all is well\\u{1b}[2J\n"),
            "{text}"
        );
    }
}
