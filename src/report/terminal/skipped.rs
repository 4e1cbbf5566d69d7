//! Notes about optional images that were skipped: one for each reason.

use crate::{error::escape, outcome::ImageOutcome, report::same_cause::SharedCause, units};

use super::failures;

/// The most images that are named in the first line of a note. More are listed below it.
const MAX_NAMED: usize = 3;

/// Images that were skipped for one reason.
struct Skipped {
    cause: SharedCause,
    /// The message for a single image.
    message: String,
    hint: String,
    names: Vec<String>,
}

/// The lines about the images that were skipped, with their names.
pub(super) fn notes<'a>(images: impl Iterator<Item = (&'a ImageOutcome, &'a str)>) -> Vec<String> {
    let mut all: Vec<Skipped> = Vec::new();
    for (image, name) in images {
        let Some(message) = image.skip_message() else { continue };
        // What to do depends on the command: not every command that skips an image has --strict.
        let hint = image.skipped_because.as_ref().and_then(|reason| reason.hint.as_deref());
        let hint = hint.map(|hint| format!("; {}", escape(hint))).unwrap_or_default();
        let cause = SharedCause::of_warning(Some(&image.source), &message);
        match all.iter_mut().find(|known| known.cause == cause && known.hint == hint) {
            // A lock with several destinations names the same image for each.
            Some(known) if known.names.iter().any(|known| known == name) => {}
            Some(known) => known.names.push(name.to_owned()),
            None => all.push(Skipped { cause, message, hint, names: vec![name.to_owned()] }),
        }
    }
    all.iter().flat_map(Skipped::lines).collect()
}

impl Skipped {
    fn lines(&self) -> Vec<String> {
        let Self { cause, message, hint, names } = self;
        let (subject, message) = match names.as_slice() {
            [name] => (name.clone(), escape(message)),
            names if names.len() <= MAX_NAMED => (names.join(", "), escape(&cause.message())),
            names => (units::counted(names.len(), "image"), escape(&cause.message())),
        };
        let mut lines = vec![format!("{subject}: {message}{hint}")];
        if names.len() > MAX_NAMED {
            lines.extend(failures::list(names));
        }
        lines
    }
}
