//! Failures and problems as lines: what failed, because of what, and what to do about it.

use std::fmt::Write as _;

use super::{label::Labels, style::Palette, units};
use crate::{
    error::{Failure, escape},
    outcome::{ImageOutcome, Status},
    problem::{FoundBy, Problem, Remedy},
};

/// `error:` and one line, `because` and a line for every cause, `hint:` and what to do. `subject` names
/// what the failure is about, unless its message does so itself.
pub(super) fn text(failure: &Failure, subject: Option<&str>, palette: Palette) -> String {
    let mut lines = palette.error("error:");
    match subject.filter(|subject| !failure.message.contains(subject)) {
        Some(subject) => write_indented(&mut lines, &format!(" {subject}: {}", failure.message)),
        None => write_indented(&mut lines, &format!(" {}", failure.message)),
    }
    for cause in &failure.causes {
        write_indented(&mut lines, &format!("\n  because {cause}"));
    }
    if let Some(hint) = &failure.hint {
        lines.push('\n');
        lines.push_str(&palette.hint("hint:"));
        write_indented(&mut lines, &format!(" {hint}"));
    }
    lines
}

/// Everything that is wrong with one image, `None` when nothing is: why it failed, or what differs at the
/// destination and, where one is known, the command that repairs it.
pub(super) fn of_image(
    outcome: &ImageOutcome,
    labels: &Labels,
    repair: Option<&Repair>,
    palette: Palette,
) -> Option<String> {
    let label = labels.label(&outcome.source);
    let failed = |failure: &Failure| text(failure, Some(&label), palette);
    if outcome.status != Status::Different {
        return outcome.failure.as_ref().map(|failure| failed(&because_of(failure, &outcome.problems)));
    }
    let failure = outcome.failure.as_ref().map(failed);
    if outcome.problems.is_empty() {
        return failure;
    }
    let mut lines = failure.unwrap_or_else(|| {
        let count = units::counted(outcome.problems.len(), "problem");
        format!("{} {label}: {count} at {}", palette.error("error:"), escape(&outcome.destination))
    });
    for remedy in Remedy::OF_MIRRORS {
        let mut found = false;
        for problem in outcome.problems.iter().filter(|problem| problem.remedy(FoundBy::Verify) == remedy) {
            write_indented(&mut lines, &format!("\n  {problem}"));
            found = true;
        }
        if let Some(repair) = repair.filter(|_| found) {
            let _ = write!(lines, "\n    {} {}", palette.hint("repair:"), remedy.command(&repair.command));
            if let Some(note) = &repair.note {
                let _ = write!(lines, "\n    {note}");
            }
        }
    }
    Some(lines)
}

/// A copy that failed because of problems. Its own hint says what to do: the same copy again would fail again.
fn because_of(failure: &Failure, problems: &[Problem]) -> Failure {
    let mut failure = failure.clone();
    failure.causes.extend(problems.iter().map(Problem::to_string));
    failure
}

/// The command that puts problems right, ready for a shell: `thoras-mirror sync --to REGISTRY/PATH` with whatever
/// else the run was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// The command.
    pub command: String,
    /// What has to be done to it before it can be run.
    pub note: Option<String>,
}

/// Appends a text whose later lines stand below its first, so that `error:` begins every failure and
/// nothing inside one.
fn write_indented(lines: &mut String, text: &str) {
    let mut rest = text.split('\n').peekable();
    // A leading line break belongs to the caller's layout.
    if text.starts_with('\n') {
        rest.next();
        lines.push('\n');
    }
    let mut first = true;
    for line in rest {
        if !first {
            lines.push_str("\n    ");
        }
        lines.push_str(&escape(line.trim_end()));
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{error::Kind, report::samples};

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure {
            kind: Kind::Input,
            message: "helm cannot render the chart".to_owned(),
            causes: vec!["helm ended with 1:\nError: no such file\u{1b}[2J".to_owned()],
            hint: Some("look at --values".to_owned()),
        };
        assert_snapshot!(text(&failure, Some("thoras 4.53.0"), Palette::plain()), @r#"
        error: thoras 4.53.0: helm cannot render the chart
          because helm ended with 1:
            Error: no such file\u{1b}[2J
        hint: look at --values
        "#);
    }

    #[test]
    fn a_subject_is_not_said_twice() {
        let failure = Failure::new(Kind::Image, "services:4.53.0 is not there");
        let shown = text(&failure, Some("services:4.53.0"), Palette::plain());
        assert_eq!(shown, "error: services:4.53.0 is not there");
    }

    #[test]
    fn every_problem_stands_above_the_command_that_repairs_it() {
        let outcome = samples::different();
        let labels = Labels::of([&outcome.source]);
        let command = "thoras-mirror sync --to registry.example.com/thoras".to_owned();
        let repair = Repair { command, note: None };
        assert_snapshot!(of_image(&outcome, &labels, Some(&repair), Palette::plain()).unwrap(), @r#"
        error: services:4.53.0: 4 problems at registry.example.com/thoras/services:4.53.0
          linux/arm64 is missing (available: linux/amd64)
          the tag names sha256:252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111, not sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea
            repair: thoras-mirror sync --to registry.example.com/thoras
          blob sha256:62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a (1234 bytes) is missing
            repair: thoras-mirror sync --to registry.example.com/thoras --check blobs
          blob sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6 is corrupt: its bytes hash to \u{1b}[31mothers
            repair: delete it in that registry and run the registry's garbage collection, because a registry
            keeps blobs that it seems to have; then: thoras-mirror sync --to registry.example.com/thoras --check blobs
        "#);
    }

    #[test]
    fn a_copy_that_failed_is_not_told_to_copy_again() {
        let mut outcome = samples::failed();
        outcome.failure = Some(
            Failure::new(Kind::Image, "the source has no linux/arm64")
                .with_hint("pass --allow-missing-platform IMAGE"),
        );
        outcome.problems = vec![Problem::MissingPlatform {
            platform: "linux/arm64".parse().unwrap(),
            available: vec!["linux/amd64".parse().unwrap()],
        }];
        let labels = Labels::of([&outcome.source]);
        assert_snapshot!(of_image(&outcome, &labels, None, Palette::plain()).unwrap(), @r#"
        error: timescaledb:2.21.3-pg16: the source has no linux/arm64
          because linux/arm64 is missing (available: linux/amd64)
        hint: pass --allow-missing-platform IMAGE
        "#);
    }

    #[test]
    fn an_image_without_problems_has_no_text() {
        let outcome = samples::copied();
        assert_eq!(of_image(&outcome, &Labels::default(), None, Palette::plain()), None);
    }
}
