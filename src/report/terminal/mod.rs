//! Renders documents for people: tables, lists and summaries. Failures follow the result, in full.

mod columns;
mod differences;
mod doctor;
mod failures;
mod fitted;
mod images;
mod inspection;
mod lock_merge;
mod next_steps;
mod run;
mod running;
mod skipped;
mod tree;
mod wrapped;

pub(super) use self::run::word;

use self::columns::{Column, table_lines};
use super::{
    Document, Presentation,
    style::{Palette, Symbols},
};
use crate::{
    error::{Failure, escape},
    output::{Format, Verbosity},
};

/// Renders the document as a table, or as a list if the document supports it.
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of every renderer")]
pub(super) fn render(document: &Document, presentation: Presentation) -> Result<Option<String>, Failure> {
    let width = if presentation.on_stderr { None } else { stdout_width() };
    Ok(match document {
        Document::Run(_) if presentation.verbosity == Verbosity::Quiet => None,
        Document::Run(document) => {
            let palette = if presentation.on_stderr { Palette::of_stderr() } else { Palette::of_stdout() };
            run::text(document, width, palette)
        }
        Document::Images(document) if presentation.format == Format::List => {
            Some(images::list(&document.found.images, presentation.why))
        }
        Document::Images(document) => Some(images::table(&document.found.images, presentation.why, width)),
        Document::Inspection(document) if document.found.images.is_empty() => None,
        Document::Inspection(document) if presentation.tree => {
            Some(tree::images_text(&document.found.images, Symbols::of_locale(), width))
        }
        Document::Inspection(document) => Some(inspection::images_text(&document.found.images, width)),
        Document::Bundle(document) => Some(inspection::bundle_text(&document.contents, width)),
        // The result is the file that was written, and its name was typed.
        Document::Values(document) if document.found.written.is_some() => None,
        Document::Values(document) => Some(document.found.yaml()),
        Document::LockMerge(document) => Some(lock_merge::text(&document.merged)),
        Document::Running(document) => Some(running::text(&document.images, width)),
        Document::Doctor(document) => Some(doctor::text(document, width, Palette::of_stdout())),
    })
}

/// Every failure, images first, as texts for standard error.
pub(super) fn failure_texts(document: &Document) -> Vec<String> {
    separated_failures(document, Palette::of_stderr())
}

fn separated_failures(document: &Document, palette: Palette) -> Vec<String> {
    let mut texts = failures::texts(document, palette);
    if follows_result(document) {
        for text in &mut texts {
            text.insert(0, '\n');
        }
    }
    texts
}

/// Whether a result is shown before the failures, so that an empty line separates them.
fn follows_result(document: &Document) -> bool {
    match document {
        Document::Run(document) => !document.outcome.images.is_empty(),
        Document::Inspection(document) => !document.found.images.is_empty(),
        Document::Values(document) => document.found.written.is_none(),
        Document::Bundle(_) | Document::LockMerge(_) => true,
        Document::Images(_) | Document::Doctor(_) | Document::Running(_) => false,
    }
}

/// One failure as text for standard error.
pub(super) fn failure_text(failure: &Failure) -> String {
    failures::text(failure, None, Palette::of_stderr())
}

/// The terminal's width in columns. `None` if standard output is not a terminal: no line is folded.
fn stdout_width() -> Option<usize> {
    let (_, columns) = console::Term::stdout().size_checked()?;
    Some(usize::from(columns))
}

/// Text from outside, escaped to fit on one line.
fn one_line(text: &str) -> String {
    escape(text).replace('\n', " ")
}

/// `linux/amd64,linux/arm64` or `-`: without spaces, so that the column is one word for `awk` and `cut`.
fn joined(platforms: impl Iterator<Item = impl ToString>) -> String {
    let platforms: Vec<String> = platforms.map(|platform| platform.to_string()).collect();
    if platforms.is_empty() { "-".to_owned() } else { platforms.join(",") }
}
