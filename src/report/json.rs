//! Renders a document as JSON.

use super::{Document, Presentation};
use crate::error::{Failure, Kind, escape_json, hide_secrets};

/// Renders the document. Control characters in strings become `\uXXXX`, which every parser reads back unchanged.
pub(super) fn render(document: &Document, _: Presentation) -> Result<Option<String>, Failure> {
    let text =
        serde_json::to_string_pretty(document).map_err(|error| Failure::from_error(Kind::Image, &error))?;
    Ok(Some(escape_json(hide_secrets(&text).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::escape,
        outcome::{Command, RunOutcome},
        output::{Format, Verbosity},
    };

    #[test]
    fn control_characters_are_escaped_and_survive() {
        let hostile = "a\u{9b}2J\u{7f}\u{202e}b\u{1b}[0m\n\u{1f600}";
        let failure = Failure { message: hostile.to_owned(), ..Failure::new(Kind::Image, "") };
        let document = RunOutcome::failed(Command::Sync, failure).into();
        let text = render(&document, Presentation::new(Format::Json, Verbosity::Normal)).unwrap().unwrap();
        assert_eq!(escape(&text), text);
        assert!(text.contains(r"a\u009b2J\u007f\u202eb\u001b[0m\n"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["failures"][0]["message"], hostile);
    }
}
