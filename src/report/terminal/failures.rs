//! Failures and problems: what failed, why, and what to do.
//!
//! One cause is one text, with the number and the names of the images that it affects.

use std::fmt::Write as _;

use super::differences;
use crate::{
    error::{Failure, Kind, escape},
    outcome::{ImageOutcome, RunOutcome, Status},
    problem::{
        Problem,
        absent_volumes::{absent_volumes, is_about_absent_volumes},
    },
    report::{
        Document,
        same_cause::{SharedCause, general, name_in},
        short_names::ShortNames,
        style::Palette,
    },
    units,
};

/// The most images that are named in the first line of a shared failure. More are listed below it.
const MAX_NAMED: usize = 3;
/// The most names in the list below a shared failure.
const MAX_LISTED: usize = 200;
/// The width of the list.
const LIST_WIDTH: usize = 80;

/// Every failure. Below a table of images, an empty line separates the texts.
pub(super) fn texts(document: &Document, palette: Palette) -> Vec<String> {
    let mut texts = Vec::new();
    let mut others: Vec<&Failure> = document.failures().iter().collect();
    if let Document::Run(document) = document {
        let images = &document.outcome.images;
        texts = image_texts(&document.outcome, palette);
        let of_images: Vec<&Failure> = images.iter().filter_map(|image| image.failure.as_ref()).collect();
        others.retain(|failure| !is_said_by_images(failure, &of_images));
    }
    texts.extend(other_texts(others, palette));
    texts
}

/// Whether the failures of images name this missing volume.
fn is_said_by_images(failure: &Failure, of_images: &[&Failure]) -> bool {
    is_about_absent_volumes(failure)
        && of_images
            .iter()
            .any(|image| is_about_absent_volumes(image) && image.message.contains(&failure.message))
}

/// The failures of images, the differences first.
fn image_texts(outcome: &RunOutcome, palette: Palette) -> Vec<String> {
    let names = ShortNames::for_outcomes(&outcome.images);
    let name = |image: &ImageOutcome| names.of_copy(&image.source, &image.destination);
    let differs = |image: &&ImageOutcome| image.status == Status::Different && !image.problems.is_empty();
    let different: Vec<(&ImageOutcome, String)> =
        outcome.images.iter().filter(differs).map(|image| (image, name(image))).collect();
    let mut texts = differences::texts(&different, outcome.repair.as_ref(), palette);
    let mut shared: Vec<Shared> = Vec::new();
    for image in outcome.images.iter().filter(|image| !differs(image)) {
        if let Some(failure) = &image.failure {
            let problems = shown_problems(failure, &image.problems);
            let cause = SharedCause::of_image(image, failure, problems);
            let subject = Subject { name: name(image), full_name: image.source.to_string() };
            Shared::add(&mut shared, cause, with_problems(failure, problems), subject);
        }
    }
    texts.extend(shared.iter().flat_map(|shared| shared.texts(palette)));
    texts
}

/// The failures that do not belong to an image of the document. Each names its image itself, if it concerns one.
fn other_texts<'a>(failures: impl IntoIterator<Item = &'a Failure>, palette: Palette) -> Vec<String> {
    let mut shared: Vec<Shared> = Vec::new();
    for failure in failures {
        let name = name_in(&failure.message).unwrap_or_default();
        let subject = Subject { full_name: name.clone(), name };
        Shared::add(&mut shared, SharedCause::of(failure), failure.clone(), subject);
    }
    shared.iter().flat_map(|shared| shared.texts(palette)).collect()
}

/// What a failure concerns. The names are empty if that is no image.
struct Subject {
    /// The short name.
    name: String,
    full_name: String,
}

/// A failure and all images that have it.
struct Shared {
    cause: SharedCause,
    failure: Failure,
    /// Whether all images have it word for word, so that no name in it has to be replaced.
    is_verbatim: bool,
    /// Whether its causes are the words of one server for one image, and others were answered in other words.
    is_example: bool,
    /// The short names.
    names: Vec<String>,
    full_names: Vec<String>,
}

impl Shared {
    fn add(all: &mut Vec<Self>, cause: SharedCause, failure: Failure, subject: Subject) {
        let Subject { name, full_name } = subject;
        if let Some(known) = all.iter_mut().find(|known| known.cause == cause) {
            known.is_verbatim &= known.failure == failure;
            known.is_example |= !known.cause.has_words_of(&cause);
            known.names.push(name);
            known.full_names.push(full_name);
        } else {
            let (names, full_names) = (vec![name], vec![full_name]);
            all.push(Self { cause, failure, is_verbatim: true, is_example: false, names, full_names });
        }
    }

    /// Wrong bytes are reported for each of a few images, everything else once.
    fn texts(&self, palette: Palette) -> Vec<String> {
        let is_wrong = self.failure.kind == Kind::Integrity && !is_about_absent_volumes(&self.failure);
        if is_wrong && self.names.len() <= MAX_NAMED {
            let subjects = self.names.iter().map(|name| Some(name.as_str()).filter(|name| !name.is_empty()));
            return subjects.map(|name| text(&self.failure, name, palette)).collect();
        }
        vec![self.text(palette)]
    }

    fn text(&self, palette: Palette) -> String {
        if let [name] = self.names.as_slice() {
            return text(&self.failure, Some(name.as_str()).filter(|name| !name.is_empty()), palette);
        }
        let mut failure = if self.is_verbatim { self.failure.clone() } else { general(&self.failure) };
        if let Some(cause) = failure.causes.first_mut().filter(|_| self.is_example) {
            cause.insert_str(0, "(for example) ");
        }
        let names: Vec<&String> = self.names.iter().filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return text_with(&failure, Some(&format!("{} times", self.names.len())), &[], palette);
        }
        if names.len() <= MAX_NAMED {
            // The full names, if the message had them.
            let has_names = name_in(&self.failure.message).is_some();
            let names = if has_names { &self.full_names } else { &self.names };
            return text_with(&failure, Some(&names.join(", ")), &[], palette);
        }
        text_with(&failure, Some(&units::counted(names.len(), "image")), &list(&self.names), palette)
    }
}

/// `images: a:1, b:1, …` in lines of limited width.
pub(super) fn list(names: &[String]) -> Vec<String> {
    let mut lines = vec!["  images:".to_owned()];
    let more = names.len().saturating_sub(MAX_LISTED);
    let end = (more > 0).then(|| format!("and {more} more"));
    let shown = names.iter().take(MAX_LISTED).cloned().chain(end).collect::<Vec<_>>();
    for (position, name) in shown.iter().enumerate() {
        let comma = if position + 1 < shown.len() { "," } else { "" };
        let word = format!("{}{comma}", escape(name));
        match lines.last_mut() {
            Some(line) if console::measure_text_width(line) + word.len() < LIST_WIDTH => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(format!("    {word}")),
        }
    }
    lines
}

/// `error:` and the message, `because` and a line for every cause, `hint:` and the hint. `subject` names what failed,
/// unless the message does.
pub(super) fn text(failure: &Failure, subject: Option<&str>, palette: Palette) -> String {
    text_with(failure, subject, &[], palette)
}

/// The same, with further lines before the hint.
fn text_with(failure: &Failure, subject: Option<&str>, list: &[String], palette: Palette) -> String {
    let mut lines = palette.error("error:");
    match subject.filter(|subject| !failure.message.contains(subject)) {
        Some(subject) => write_indented(&mut lines, &format!(" {subject}: {}", failure.message)),
        None => write_indented(&mut lines, &format!(" {}", failure.message)),
    }
    for cause in &failure.causes {
        write_indented(&mut lines, &format!("\n  because {cause}"));
    }
    for line in list {
        let _ = write!(lines, "\n{line}");
    }
    if let Some(hint) = &failure.hint {
        lines.push('\n');
        lines.push_str(&palette.hint("hint:"));
        write_indented(&mut lines, &format!(" {hint}"));
    }
    lines
}

/// The problems to show with a failure.
fn shown_problems<'a>(failure: &Failure, problems: &'a [Problem]) -> &'a [Problem] {
    // The message names the volumes, whichever blobs are in them.
    let are_said = is_about_absent_volumes(failure) && absent_volumes(problems).is_some();
    if are_said { &[] } else { problems }
}

/// The failure of a copy, caused by these problems. It has its own hint: repeating the copy would fail again.
fn with_problems(failure: &Failure, problems: &[Problem]) -> Failure {
    let mut failure = failure.clone();
    failure.causes.extend(problems.iter().map(Problem::to_string));
    failure
}

/// Appends a text with its further lines indented, so that `error:` at the start of a line always begins a failure.
pub(super) fn write_indented(lines: &mut String, text: &str) {
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

    use crate::{
        error::{CauseKey, Fault, Side},
        outcome::Command,
        report::{samples, terminal::separated_failures},
    };

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure {
            kind: Kind::Input,
            message: "helm cannot render the chart".to_owned(),
            causes: vec!["helm ended with 1:\nError: no such file\u{1b}[2J".to_owned()],
            hint: Some("look at --values".to_owned()),
            reason: None,
            cause_key: None,
        };
        assert_snapshot!(text(&failure, Some("thoras 4.53.0"), Palette::plain()), @r#"
        error: thoras 4.53.0: helm cannot render the chart
          because helm ended with 1:
            Error: no such file\u{1b}[2J
        hint: look at --values
        "#);
    }

    #[test]
    fn a_subject_is_not_named_twice() {
        let failure = Failure::new(Kind::Image, "services:4.53.0 is not there");
        let shown = text(&failure, Some("services:4.53.0"), Palette::plain());
        assert_eq!(shown, "error: services:4.53.0 is not there");
    }

    #[test]
    fn a_failed_copy_gets_no_hint_to_copy_again() {
        let mut outcome = samples::failed();
        outcome.failure = Some(
            Failure::new(Kind::Image, "the source has no linux/arm64")
                .with_hint("pass --allow-missing-platform IMAGE"),
        );
        outcome.problems = vec![Problem::MissingPlatform {
            platform: "linux/arm64".parse().unwrap(),
            available: vec!["linux/amd64".parse().unwrap()],
        }];
        let document = run(vec![outcome], Vec::new());
        assert_snapshot!(texts(&document, Palette::plain()).join("\n").trim_start(), @r#"
        error: timescaledb:2.21.3-pg16: the source has no linux/arm64
          because linux/arm64 is missing (available: linux/amd64)
        hint: pass --allow-missing-platform IMAGE
        "#);
    }

    fn run(images: Vec<ImageOutcome>, failures: Vec<Failure>) -> Document {
        RunOutcome::new(Command::Sync, images, failures, Duration::from_secs(3)).into()
    }

    #[test]
    fn failures_follow_the_table_in_full() {
        let failures = vec![Failure::new(Kind::Input, "thoras-mirror.lock: no space left on device")];
        let document = run(vec![samples::copied(), samples::failed()], failures);
        let texts = separated_failures(&document, Palette::plain());
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
        assert_snapshot!(texts(&document, Palette::plain()).join("\n").trim_start(), @r#"
        error: 5 images: cannot connect
          images: a:1, b:1, c:1, d:1, e:1
        "#);
        let document = run(["a:1", "b:1"].map(failed).into(), Vec::new());
        assert_eq!(separated_failures(&document, Palette::plain()), ["\nerror: a:1, b:1: cannot connect"]);
    }

    #[test]
    fn a_failure_without_a_table_begins_without_an_empty_line() {
        let document = run(Vec::new(), vec![Failure::new(Kind::Usage, "no such chart")]);
        assert_eq!(separated_failures(&document, Palette::plain()), ["error: no such chart"]);
    }

    #[test]
    fn forty_images_without_a_login_are_one_text() {
        let failed = |number: usize| {
            let source = samples::source(&format!("img{number}:1"));
            let name = source.repository().clone();
            let failure = Failure {
                causes: vec![format!(
                    "https://reg.example.com requires a login to pull {name}; none is configured"
                )],
                ..Failure::new(
                    Kind::Authentication,
                    format!("cannot read manifest {source} (source), tried 5 times in {number}.0 s"),
                )
            };
            ImageOutcome { source, failure: Some(failure.with_hint("log in")), ..samples::failed() }
        };
        let document = run((1..=40).map(failed).collect(), Vec::new());
        let texts = texts(&document, Palette::plain());
        assert_snapshot!(texts.join("\n").trim_start(), @r#"
        error: 40 images: cannot read manifest us-east4-docker.pkg.dev/IMAGE (source)
          because https://reg.example.com requires a login to pull us-east4-docker.pkg.dev/IMAGE; none is configured
          images: img1:1, img2:1, img3:1, img4:1, img5:1, img6:1, img7:1, img8:1,
            img9:1, img10:1, img11:1, img12:1, img13:1, img14:1, img15:1, img16:1,
            img17:1, img18:1, img19:1, img20:1, img21:1, img22:1, img23:1, img24:1,
            img25:1, img26:1, img27:1, img28:1, img29:1, img30:1, img31:1, img32:1,
            img33:1, img34:1, img35:1, img36:1, img37:1, img38:1, img39:1, img40:1
        hint: log in
        "#);
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn one_of_several_answers_is_shown_as_an_example() {
        let fault = Some(Fault::Answered { by: None, status: 400, code: None });
        let key = CauseKey { side: Side::Destination, registry: Some("r.io".to_owned()), fault };
        let failure = |name: &str, answer: &str| Failure {
            causes: vec![format!("the registry answered 400 Bad Request: MANIFEST_INVALID: {answer}")],
            cause_key: Some(Box::new(key.clone())),
            ..Failure::new(Kind::Image, format!("cannot write manifest r.io/m/{name} (destination)"))
        };
        let shown = |one: &str, other: &str| {
            other_texts(&[failure("a:1", one), failure("b:1", other)], Palette::plain()).join("\n")
        };
        let [one, other] = ["a", "b"].map(|digit| format!("no blob sha256:{}", digit.repeat(64)));
        assert!(!shown(&one, &other).contains("example"), "only a digest differs");
        assert_snapshot!(shown("no config", "no layers"), @r#"
        error: r.io/m/a:1, r.io/m/b:1: cannot write manifest r.io/IMAGE (destination)
          because (for example) the registry answered 400 Bad Request: MANIFEST_INVALID: no config
        "#);
    }

    #[test]
    fn other_failures_with_one_cause_are_one_text() {
        let failure = |name: &str| Failure {
            causes: vec!["it does not exist".to_owned()],
            ..Failure::new(Kind::Image, format!("cannot read manifest quay.io/a/{name} (source)"))
        };
        let failures = ["b:1", "c:1", "d:1", "e:1"].map(failure);
        assert_snapshot!(other_texts(&failures, Palette::plain()).join("\n"), @r#"
        error: 4 images: cannot read manifest quay.io/IMAGE (source)
          because it does not exist
          images: quay.io/a/b:1, quay.io/a/c:1, quay.io/a/d:1, quay.io/a/e:1
        "#);
    }
}
