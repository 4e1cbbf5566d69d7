//! Events in; a terminal, JSON and exit codes out. The only module that prints.
//!
//! While the work is done, a [`Reporter`] takes events and shows progress on standard error. When it is
//! done, [`present_run`] writes the closing table or the JSON document to standard output, and everything
//! that failed to standard error. Whatever came from a registry, a chart or helm is escaped on its way out.

mod bars;
pub mod bundle;
pub mod doctor;
pub mod document;
mod failure;
mod grid;
pub mod images;
pub mod inspect;
mod label;
mod lines;
mod message;
pub mod print;
mod progress;
#[cfg(test)]
mod samples;
#[cfg(test)]
pub(crate) mod schema;
mod style;
pub mod table;
mod terminal;
pub mod units;

pub use bundle::{BundleDocument, present_bundle};
pub use doctor::{DoctorDocument, present_findings};
pub use document::{RunDocument, Totals};
pub use images::{ImagesDocument, present_images};
pub use inspect::InspectDocument;
pub use label::Labels;
pub use table::Closing;
pub use terminal::Reporter;

use crate::{
    enumerate::Enumeration,
    error::{Failure, exit},
    outcome::{
        Command, Repair, RunOutcome,
        inspection::{BundleContents, Inspection},
    },
    output::{Format, Verbosity},
};

/// What a command has to show.
#[expect(clippy::large_enum_variant, reason = "there is one for each run")]
pub(crate) enum Document {
    Run(Box<RunDocument>),
    Images(ImagesDocument),
    Inspection(InspectDocument),
    Bundle(Box<BundleDocument>),
    Doctor(DoctorDocument),
}

impl Document {
    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Run(document) => document.exit_code,
            Self::Images(_) => exit::SUCCESS,
            Self::Inspection(document) => document.exit_code,
            Self::Bundle(document) => document.exit_code,
            Self::Doctor(document) => document.exit_code,
        }
    }
}

impl From<RunOutcome> for Document {
    fn from(outcome: RunOutcome) -> Self {
        Self::Run(Box::new(outcome.into()))
    }
}

impl From<Enumeration> for Document {
    fn from(found: Enumeration) -> Self {
        Self::Images(ImagesDocument::new(found))
    }
}

impl From<Inspection> for Document {
    fn from(found: Inspection) -> Self {
        Self::Inspection(InspectDocument::new(found.images, found.failures))
    }
}

impl From<BundleContents> for Document {
    fn from(contents: BundleContents) -> Self {
        Self::Bundle(Box::new(contents.into()))
    }
}

impl From<DoctorDocument> for Document {
    fn from(document: DoctorDocument) -> Self {
        Self::Doctor(document)
    }
}

/// How a document is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presentation {
    /// The format of the result.
    pub(crate) format: Format,
    /// How much is shown.
    pub(crate) verbosity: Verbosity,
    /// `images --why`: show every use of every image. JSON always has them.
    pub(crate) why: bool,
    /// Write the result to standard error, because standard output carries the bundle itself.
    pub(crate) on_stderr: bool,
}

impl Presentation {
    /// The result goes to standard output.
    pub(crate) const fn new(format: Format, verbosity: Verbosity) -> Self {
        Self { format, verbosity, why: false, on_stderr: false }
    }
}

/// Writes the result to standard output, then every failure in full to standard error. Finish the [`Reporter`] first.
pub(crate) fn present(document: &Document, presentation: Presentation) -> Result<(), Failure> {
    let Presentation { format, verbosity, why, on_stderr } = presentation;
    match document {
        Document::Run(document) => {
            let closing = closing(document);
            if on_stderr {
                present_run_on_stderr(document, closing, verbosity);
                return Ok(());
            }
            present_run(document, closing, format, verbosity)?;
            let names_bundle = matches!(document.command, Command::BundleImport | Command::BundleVerify);
            match &document.bundle {
                Some(id) if names_bundle && format != Format::Json && verbosity != Verbosity::Quiet => {
                    print::result(&format!("bundle {id}"))
                }
                _ => Ok(()),
            }
        }
        Document::Images(document) => present_images(document, format, why),
        Document::Inspection(document) => present_inspection(document, format),
        Document::Bundle(document) => present_bundle(document, format),
        Document::Doctor(document) => present_findings(document, format),
    }
}

fn closing(document: &RunDocument) -> Closing<'_> {
    match document.command {
        Command::BundleExport => Closing::Export { bundle: document.written.as_ref() },
        Command::Verify | Command::BundleVerify => Closing::Verify {
            level: document.level.as_deref().unwrap_or_default(),
            repair: document.repair.as_ref(),
        },
        _ if document.dry_run => Closing::Plan,
        _ => Closing::Sync,
    }
}

/// Writes a run's end: the closing table or the document to standard output, then every failure in full to
/// standard error. Finish the [`Reporter`] first.
pub fn present_run(
    document: &RunDocument,
    closing: Closing<'_>,
    format: Format,
    verbosity: Verbosity,
) -> Result<(), Failure> {
    let printed = match format {
        Format::Json => print::document(document),
        _ if verbosity == Verbosity::Quiet || document.images.is_empty() => Ok(()),
        _ => print::result(&table::closing_text(closing, &document.images, document.time(), stdout_width())),
    };
    let repair = if let Closing::Verify { repair, .. } = closing { repair } else { None };
    for text in failure_texts(document, repair, style::Palette::of_stderr()) {
        print::diagnostic(&text);
    }
    printed
}

/// The same on standard error alone, where standard output carries something else.
pub fn present_run_on_stderr(document: &RunDocument, closing: Closing<'_>, verbosity: Verbosity) {
    if verbosity > Verbosity::Quiet && !document.images.is_empty() {
        print::diagnostic(&table::closing_text(closing, &document.images, document.time(), None));
    }
    for text in failure_texts(document, None, style::Palette::of_stderr()) {
        print::diagnostic(&text);
    }
}

/// Writes what `inspect` found, then every failure in full to standard error.
pub fn present_inspection(document: &InspectDocument, format: Format) -> Result<(), Failure> {
    let printed = match format {
        Format::Json => print::document(document),
        _ if document.images.is_empty() => Ok(()),
        _ => print::result(&inspect::inspect_text(&document.images, stdout_width())),
    };
    document.failures.iter().for_each(print::print_failure);
    printed
}

/// Everything that failed in a run, images first, an empty line before each. Images that failed for one and
/// the same reason (a registry that nobody reaches) share one text.
fn failure_texts(document: &RunDocument, repair: Option<&Repair>, palette: style::Palette) -> Vec<String> {
    let labels = Labels::of(document.images.iter().map(|image| &image.source));
    let mut shared: Vec<(&Failure, Vec<String>)> = Vec::new();
    let mut texts = Vec::new();
    for image in &document.images {
        match &image.failure {
            Some(failure) if image.problems.is_empty() => {
                let label = labels.label(&image.source);
                match shared.iter_mut().find(|(same, _)| *same == failure) {
                    Some((_, subjects)) => subjects.push(label),
                    None => shared.push((failure, vec![label])),
                }
            }
            _ => texts.extend(failure::of_image(image, &labels, repair, palette)),
        }
    }
    texts.extend(
        shared.iter().map(|(failure, subjects)| failure::text(failure, Some(&subject(subjects)), palette)),
    );
    texts.extend(document.failures.iter().map(|failure| failure::text(failure, None, palette)));
    let lonely = document.images.is_empty();
    texts.into_iter().map(|text| if lonely { text } else { format!("\n{text}") }).collect()
}

/// One image, or a few and how many more.
fn subject(labels: &[String]) -> String {
    const NAMED: usize = 3;
    let named = labels.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match labels.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The terminal's width in columns; `None` where standard output is none, so that nothing is folded.
fn stdout_width() -> Option<usize> {
    let (_, columns) = console::Term::stdout().size_checked()?;
    Some(usize::from(columns))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn failures_follow_the_table_in_full() {
        let images = vec![samples::copied(), samples::failed()];
        let failures = vec![Failure::new(Kind::Input, "thoras-mirror.lock: no space left on device")];
        let document = RunDocument::new(Command::Sync, images, failures, Duration::from_secs(3));
        let texts = failure_texts(&document, None, style::Palette::plain());
        assert_snapshot!(texts.join("\n").trim_start(), @r#"
        error: source: cannot read the manifest of timescaledb:2.21.3-pg16
          because the registry answered 403 Forbidden: DENIED: no rights
        hint: is the license valid? `thoras-mirror doctor` tells

        error: thoras-mirror.lock: no space left on device
        "#);
    }
}
