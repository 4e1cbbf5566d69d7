//! Shows events and documents, on a terminal or as JSON. The only module that prints.
//!
//! During a job, a [`Reporter`] receives events and shows progress on standard error. At its end, the result becomes a
//! [`Document`], which [`present`] writes in the requested format. All text from registries, charts and helm is
//! escaped.
//!
//! | task | file |
//! |---|---|
//! | add a field to the JSON | `crate::outcome` for results, `document.rs` for what follows from them |
//! | add a column to a table | the document's file in `terminal/`; `terminal/run.rs` for `sync`, `verify` and `bundle` |
//! | add a format | a variant of [`Format`], a file next to `json.rs` with one function of the type [`Render`], an arm in [`renderer`] |
//! | change progress bars or what a log line says | `progress/` |
//! | change how a log line is written (`--log-format`) | `log.rs` |

mod document;
mod json;
pub(crate) mod log;
pub(crate) mod print;
mod progress;
mod same_cause;
#[cfg(test)]
mod samples;
mod short_names;
mod style;
mod terminal;

pub(crate) use document::{DoctorDocument, Document};
use log::Level;
pub(crate) use progress::Reporter;

use crate::{
    error::Failure,
    output::{Format, Verbosity},
};

/// How a document is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presentation {
    /// The format of the result.
    pub(crate) format: Format,
    /// The verbosity. With [`Verbosity::Quiet`], a run shows only its failures, no table.
    pub(crate) verbosity: Verbosity,
    /// `images --why`: show every use of every image. JSON always includes them.
    pub(crate) why: bool,
    /// `inspect --tree`: show the attachments of each manifest. JSON always includes it.
    pub(crate) tree: bool,
    /// Write the result to standard error, because standard output carries the bundle.
    pub(crate) on_stderr: bool,
}

impl Presentation {
    /// The result goes to standard output.
    pub(crate) const fn new(format: Format, verbosity: Verbosity) -> Self {
        Self { format, verbosity, why: false, tree: false, on_stderr: false }
    }
}

/// A renderer: turns a document into text. `None` if the format shows nothing for it.
type Render = fn(&Document, Presentation) -> Result<Option<String>, Failure>;

fn renderer(format: Format) -> Render {
    match format {
        Format::Json => json::render,
        Format::Table | Format::List | Format::Yaml => terminal::render,
    }
}

/// Writes the result to standard output, then every failure in full to standard error. Finish the [`Reporter`] first.
/// Fails if the result could not be written.
pub(crate) fn present(document: &Document, presentation: Presentation) -> Result<(), Failure> {
    let written = match renderer(presentation.format)(document, presentation) {
        Ok(Some(text)) if presentation.on_stderr => {
            print::diagnostic(Level::Info, &text);
            Ok(())
        }
        Ok(Some(text)) => print::result(&text),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    for text in terminal::failure_texts(document) {
        print::diagnostic(Level::Error, &text);
    }
    written
}
