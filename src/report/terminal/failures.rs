//! Failures and problems: what failed, why, and what to do.

use std::fmt::Write as _;

use crate::{
    error::{Failure, escape},
    outcome::{ImageOutcome, Repair, RunOutcome, Status},
    problem::{FoundBy, Problem, Remedy},
    report::{Document, short_names::ShortNames, style::Palette},
    units,
};

/// The most images that are named for a shared failure.
const NAMED: usize = 3;

/// Every failure. Below a table of images, an empty line separates the texts.
pub(super) fn texts(document: &Document, palette: Palette) -> Vec<String> {
    let mut texts = Vec::new();
    let mut follows_table = false;
    if let Document::Run(document) = document {
        texts = image_texts(&document.outcome, palette);
        follows_table = !document.outcome.images.is_empty();
    }
    texts.extend(document.failures().iter().map(|failure| text(failure, None, palette)));
    if follows_table {
        for text in &mut texts {
            text.insert(0, '\n');
        }
    }
    texts
}

/// The failures of images. Images that failed for the same reason (an unreachable registry) share one text.
fn image_texts(outcome: &RunOutcome, palette: Palette) -> Vec<String> {
    let names = ShortNames::for_images(outcome.images.iter().map(|image| &image.source));
    let mut shared: Vec<(&Failure, Vec<String>)> = Vec::new();
    let mut texts = Vec::new();
    for image in &outcome.images {
        let name = names.of(&image.source);
        match &image.failure {
            Some(failure) if image.problems.is_empty() => {
                match shared.iter_mut().find(|(known, _)| *known == failure) {
                    Some((_, names)) => names.push(name),
                    None => shared.push((failure, vec![name])),
                }
            }
            _ => texts.extend(image_text(image, &name, outcome.repair.as_ref(), palette)),
        }
    }
    texts.extend(shared.iter().map(|(failure, names)| text(failure, Some(&subject(names)), palette)));
    texts
}

/// The first names, and the number of further names.
fn subject(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// `error:` and the message, `because` and a line for every cause, `hint:` and the hint. `subject` names what failed,
/// unless the message does.
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

/// Why an image failed, or its problems at the destination with the command that repairs them, if known. `None` if the
/// image is fine.
fn image_text(image: &ImageOutcome, name: &str, repair: Option<&Repair>, palette: Palette) -> Option<String> {
    let failed = |failure: &Failure| text(failure, Some(name), palette);
    if image.status != Status::Different {
        return image.failure.as_ref().map(|failure| failed(&with_problems(failure, &image.problems)));
    }
    let failure = image.failure.as_ref().map(failed);
    if image.problems.is_empty() {
        return failure;
    }
    let mut lines = failure.unwrap_or_else(|| {
        let count = units::counted(image.problems.len(), "problem");
        format!("{} {name}: {count} at {}", palette.error("error:"), escape(&image.destination))
    });
    for remedy in Remedy::OF_MIRRORS {
        let mut found = false;
        for problem in image.problems.iter().filter(|problem| problem.remedy(FoundBy::Verify) == remedy) {
            write_indented(&mut lines, &format!("\n  {problem}"));
            found = true;
        }
        if let Some(repair) = repair.filter(|_| found) {
            let _ = write!(
                lines,
                "\n    {} {}",
                palette.hint("repair:"),
                remedy.command(repair.command_for(&image.destination))
            );
            if let Some(note) = &repair.note {
                let _ = write!(lines, "\n    {note}");
            }
        }
    }
    Some(lines)
}

/// The failure of a copy, caused by these problems. It has its own hint: repeating the copy would fail again.
fn with_problems(failure: &Failure, problems: &[Problem]) -> Failure {
    let mut failure = failure.clone();
    failure.causes.extend(problems.iter().map(Problem::to_string));
    failure
}

/// Appends a text with its further lines indented, so that `error:` at the start of a line always begins a failure.
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
    use std::time::Duration;

    use crate::{error::Kind, outcome::Command, report::samples};

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
    fn every_problem_is_listed_above_the_command_that_repairs_it() {
        let outcome = samples::different();
        let command = "thoras-mirror sync --to registry.example.com/thoras".to_owned();
        let repair = Repair { command, ..Repair::default() };
        assert_snapshot!(image_text(&outcome, "services:4.53.0", Some(&repair), Palette::plain()).unwrap(), @r#"
        error: services:4.53.0: 4 problems at registry.example.com/thoras/services:4.53.0
          linux/arm64 is missing (available: linux/amd64)
          the tag points to sha256:252f10c83610ebca1a059c0bae8255eba2f95be4d1d7bcfa89d7248a82d9f111, not sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea
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
        assert_snapshot!(image_text(&outcome, "timescaledb:2.21.3-pg16", None, Palette::plain()).unwrap(), @r#"
        error: timescaledb:2.21.3-pg16: the source has no linux/arm64
          because linux/arm64 is missing (available: linux/amd64)
        hint: pass --allow-missing-platform IMAGE
        "#);
    }

    #[test]
    fn an_image_without_problems_has_no_text() {
        let outcome = samples::copied();
        assert_eq!(image_text(&outcome, "services:4.53.0", None, Palette::plain()), None);
    }

    fn run(images: Vec<ImageOutcome>, failures: Vec<Failure>) -> Document {
        RunOutcome::new(Command::Sync, images, failures, Duration::from_secs(3)).into()
    }

    #[test]
    fn failures_follow_the_table_in_full() {
        let failures = vec![Failure::new(Kind::Input, "thoras-mirror.lock: no space left on device")];
        let document = run(vec![samples::copied(), samples::failed()], failures);
        let texts = texts(&document, Palette::plain());
        assert_snapshot!(texts.join("\n").trim_start(), @r#"
        error: source: cannot read the manifest of timescaledb:2.21.3-pg16
          because the registry answered 403 Forbidden: DENIED: no rights
        hint: check the license with `thoras-mirror doctor`

        error: thoras-mirror.lock: no space left on device
        "#);
    }

    #[test]
    fn images_that_failed_for_the_same_reason_share_one_text() {
        let failure = Failure::new(Kind::Image, "cannot connect");
        let failed = |name: &str| ImageOutcome {
            source: samples::source(name),
            failure: Some(failure.clone()),
            ..samples::failed()
        };
        let document = run(["a:1", "b:1", "c:1", "d:1", "e:1"].map(failed).into(), Vec::new());
        assert_eq!(texts(&document, Palette::plain()), ["\nerror: a:1, b:1, c:1 and 2 more: cannot connect"]);
    }

    #[test]
    fn a_failure_without_a_table_begins_without_an_empty_line() {
        let document = run(Vec::new(), vec![Failure::new(Kind::Usage, "no such chart")]);
        assert_eq!(texts(&document, Palette::plain()), ["error: no such chart"]);
    }
}
